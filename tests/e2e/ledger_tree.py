"""The sealed ledger as somebody else would check it: RFC 6962 and our formats in Python, from the pages of docs/spec."""

import base64
import hashlib
import hmac
import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "independent"))
import formats

MONTH = slice(0, 7)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def leaf_hash(salt: bytes, leaf: bytes) -> bytes:
    return sha256(b"\0" + salt + leaf)


def root(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root(hashes[:split]), root(hashes[split:]))


def included(index: int, size: int, leaf: bytes, path: list[bytes], expected: bytes) -> bool:
    """RFC 9162, section 2.1.3.2."""
    if index >= size:
        return False
    number, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            result = node(sibling, result)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            result = node(result, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and result == expected


def consistent(old: int, new: int, path: list[bytes], old_root: bytes, new_root: bytes) -> bool:
    """RFC 9162, section 2.1.4.2."""
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == root([])
    path = list(path) if old & (old - 1) else [old_root, *path]
    if not path:
        return False
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            first, second = node(sibling, first), node(sibling, second)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node(second, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


# -- our formats ------------------------------------------------------------
def _salt(tag: bytes, installation: bytes, number: int, key: bytes | None) -> bytes:
    message = formats.lp(tag) + installation + struct.pack(">q", number)
    return hmac.new(key or formats.development_key("chain"), message, hashlib.sha256).digest()[:16]


def row_salt(installation: bytes, access_id: int, key: bytes | None = None) -> bytes:
    return _salt(b"identity_pgx/salt/v1", installation, access_id, key)


def seal_salt(installation: bytes, leaf_index: int, key: bytes | None = None) -> bytes:
    return _salt(b"identity_pgx/seal-salt/v1", installation, leaf_index, key)


def row_hash(installation: bytes, row: dict, chain_keys: dict[int, bytes]) -> bytes:
    return leaf_hash(row_salt(installation, row["access_id"], chain_keys.get(row["chain_version"])), formats.leaf(row))


def lane_heads(heads: dict[int, tuple[int, bytes]]) -> bytes:
    parts = [struct.pack(">IQ", lane, seq) + mac for lane, (seq, mac) in sorted(heads.items())]
    return sha256(formats.lp(b"identity_pgx/lane_heads/v1") + b"".join(parts))


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, body: str) -> "Checkpoint":
        origin, size, root_hash, *rest = body.split("\n")
        assert rest == [""], body
        assert str(int(size)) == size and len(base64.b64decode(root_hash, validate=True)) == 32
        return cls(origin, int(size), base64.b64decode(root_hash))

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class TreeProof:
    """C2SP tlog-proof@v1."""

    extra: bytes
    index: int
    path: list[bytes]
    checkpoint: str

    @classmethod
    def parse(cls, text: str) -> "TreeProof":
        head, checkpoint = text.split("\n\n", 1)
        magic, extra, index, *path = head.split("\n")
        assert magic == "c2sp.org/tlog-proof@v1" and extra.startswith("extra ") and index.startswith("index ")
        return cls(base64.b64decode(extra[6:]), int(index[6:]), [base64.b64decode(line) for line in path], checkpoint)

    def tree(self) -> Checkpoint:
        return Checkpoint.parse(self.checkpoint.split("\n\n")[0].rstrip("\n") + "\n")


def proven(proof: dict, row: dict, tree: Checkpoint | None = None) -> bool:
    """Whether the proof shows the row in the tree, which is the one the proof names unless another is given. Trusts nothing in it but what follows from the row."""
    leaf = leaf_hash(bytes.fromhex(proof["salt"]), formats.leaf(row))
    assert proof["schema"] == "identity_pgx/proof/v1" and proof["access_id"] == str(row["access_id"])
    assert set(proof) - {"batch"} == {"schema", "access_id", "leaf_hash", "salt", "proof"}
    if leaf.hex() != proof["leaf_hash"]:
        return False
    in_tree = TreeProof.parse(proof["proof"])
    if "batch" in proof:
        batch = proof["batch"]
        assert set(batch) == {"index", "rows", "path", "seal_leaf"}
        seal = json.loads(batch["seal_leaf"])
        assert formats.jcs(seal).decode() == batch["seal_leaf"]
        path = [bytes.fromhex(hash_) for hash_ in batch["path"]]
        if seal["batch_rows"] != batch["rows"] or not included(int(batch["index"]), int(batch["rows"]), leaf, path, bytes.fromhex(seal["batch_root"])):
            return False
        leaf = leaf_hash(in_tree.extra, batch["seal_leaf"].encode())
    elif in_tree.extra.hex() != proof["salt"]:
        return False
    tree = tree or in_tree.tree()
    return included(in_tree.index, tree.size, leaf, in_tree.path, tree.root)


def month(row: dict) -> str:
    return row["accessed_at"].astimezone(formats.timezone.utc).isoformat()[MONTH]


def recomputed(vault, chain_keys: dict[int, bytes] | None = None) -> list[bytes]:
    """The leaf hashes of the tree as it must be, from the log and the seals; what else the ledger's tables hold is compared on the way. Without
    chain keys, by their versions, the log is chained with the development key."""
    chain_keys, provider = chain_keys or {}, "vault" if chain_keys else "development"
    installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes
    rows = vault.sql("SELECT * FROM identity.pii_access_log ORDER BY access_id")
    heads: dict[int, tuple[int, bytes]] = {}
    tree: list[bytes] = []
    ids: list[int | None] = []
    batch_number = 0
    for cut in [row["cut"] for row in vault.sql("SELECT DISTINCT cut FROM identity.ledger_seals ORDER BY 1")]:
        moved = vault.sql("SELECT * FROM identity.ledger_heads WHERE cut = %s ORDER BY lane", (cut,))
        batches: dict[str, tuple[list[dict], list[dict]]] = {}
        for head in moved:
            before, macs = heads.get(head["lane"], (0, b"")), {row["seq"]: bytes(row["integrity_hash"]) for row in rows if row["lane"] == head["lane"]}
            taken = [row for row in rows if row["lane"] == head["lane"] and before[0] < row["seq"] <= head["seq"]]
            assert len(taken) == head["seq"] - before[0] > 0 and macs[head["seq"]] == bytes(head["mac"])
            heads[head["lane"]] = (head["seq"], bytes(head["mac"]))
            for row in taken:
                own = row["chain_kind"] == "merkle"
                batches.setdefault(month(row), ([], []))[own].append(row)
                if own:
                    tree.append(row_hash(installation, row, chain_keys))
                    ids.append(row["access_id"])
        seals = vault.sql("SELECT * FROM identity.ledger_seals WHERE cut = %s ORDER BY leaf_index", (cut,))
        assert [seal["partition"] for seal in seals] == sorted(batches)
        assert sorted(seal["batch"] for seal in seals) == list(range(batch_number + 1, batch_number + len(seals) + 1))
        batch_number += len(seals)
        for seal in seals:
            folded, own = batches[seal["partition"]]
            hashes = [row_hash(installation, row, chain_keys) for row in folded]
            leaf = json.loads(seal["leaf"])
            assert formats.jcs(leaf).decode() == seal["leaf"]
            assert seal["leaf_index"] == len(tree) and bytes(seal["batch_root"]) == root(hashes)
            expected = {
                "schema": "identity_pgx/seal/v1", "batch": str(seal["batch"]), "batch_root": root(hashes).hex(), "batch_rows": str(len(folded)),
                "chain_version": leaf["chain_version"] if chain_keys else "1", "cut": str(cut), "keys": provider, "lane_heads": lane_heads(heads).hex(), "merkle_rows": str(len(own)),
                "partition": seal["partition"], "sealed_at": formats.leaf_value(seal["sealed_at"]),
            }
            assert {name: leaf[name] for name in expected} == expected
            assert set(leaf) - set(expected) == {"lsn", "settings", "system_identifier", "timeline"}
            check_tiles(vault, seal["batch"], [row["access_id"] for row in folded], hashes)
            tree.append(leaf_hash(seal_salt(installation, len(tree), chain_keys.get(int(leaf["chain_version"]))), seal["leaf"].encode()))
            ids.append(None)
    assert [row["access_id"] for row in vault.sql("SELECT access_id FROM identity.ledger_leaves ORDER BY leaf_index")] == ids
    return tree


def check_tiles(vault, batch: int, ids: list[int], hashes: list[bytes]) -> None:
    stored = vault.sql("SELECT level, tile, access_ids, hashes FROM identity.ledger_tiles WHERE batch = %s ORDER BY level, tile", (batch,))
    expected, level = [], 0
    while hashes:
        for tile in range(0, len(hashes), 256):
            content = b"".join(hashes[tile : tile + 256])
            expected.append({"level": level, "tile": tile // 256, "access_ids": None if level else ids[tile : tile + 256], "hashes": content})
        hashes = [root(hashes[tile : tile + 256]) for tile in range(0, len(hashes) // 256 * 256, 256)]
        level += 1
    assert [row | {"hashes": bytes(row["hashes"])} for row in stored] == expected
