"""A transparency log in a few lines, sharing no code with ours: the proofs of RFC 6962, C2SP signed notes, checkpoints and proofs, bundles.

Written from RFC 6962 section 2.1 and c2sp.org/signed-note, tlog-checkpoint and tlog-proof.
"""

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger_tree import leaf_hash, root, sha256

ED25519 = b"\x01"


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def inclusion(index: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = _split(len(hashes))
    if index < k:
        return inclusion(index, hashes[:k]) + [root(hashes[k:])]
    return inclusion(index - k, hashes[k:]) + [root(hashes[:k])]


def consistency(old: int, hashes: list[bytes], whole: bool = True) -> list[bytes]:
    size = len(hashes)
    if old == size:
        return [] if whole else [root(hashes)]
    k = _split(size)
    if old <= k:
        return consistency(old, hashes[:k], whole) + [root(hashes[k:])]
    return consistency(old - k, hashes[k:], False) + [root(hashes[:k])]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Signer:
    def __init__(self, name: str, seed: bytes = b"\x2a" * 32):
        self.name = name
        self.key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = ED25519 + self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = sha256(name.encode() + b"\n" + self.public)[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64(self.public)}"

    def line(self, text: str) -> str:
        return f"\u2014 {self.name} {b64(self.id + self.key.sign(text.encode()))}\n"

    def sign(self, text: str) -> str:
        return f"{text}\n{self.line(text)}"


def checkpoint(origin: str, size: int, root_hash: bytes) -> str:
    return f"{origin}\n{size}\n{b64(root_hash)}\n"


def tlog_proof(salt: bytes, index: int, path: list[bytes], note: str) -> str:
    return "".join(
        f"{line}\n" for line in ("c2sp.org/tlog-proof@v1", f"extra {b64(salt)}", f"index {index}", *map(b64, path), "")
    ) + note


class Log:
    """Two cuts: a row that is a leaf of its own, and batches of other rows under seals."""

    def __init__(self, origin: str, rows: int = 3):
        self.origin = origin
        self.tree: list[bytes] = []
        self.rows: list[dict] = []
        for cut in (1, 2):
            self._cut(cut, rows)

    def _cut(self, cut: int, rows: int) -> None:
        salt = lambda number: sha256(b"salt%d/%d" % (cut, number))[:16]  # noqa: E731
        own = self._leaf(cut * 100)
        self.rows.append({"leaf": own, "salt": salt(0), "index": len(self.tree)})
        self.tree.append(leaf_hash(salt(0), own.encode()))
        batch = [(self._leaf(cut * 100 + n), salt(n)) for n in range(1, rows + 1)]
        hashes = [leaf_hash(salt, leaf.encode()) for leaf, salt in batch]
        seal = {
            "schema": "identity_pgx/seal/v1", "batch": str(cut), "batch_root": root(hashes).hex(), "batch_rows": str(rows),
            "chain_version": "1", "cut": str(cut), "keys": "development", "lane_heads": sha256(b"heads").hex(), "lsn": "0/16B3748",
            "merkle_rows": "1", "partition": "2026-11", "sealed_at": f"2026-11-0{cut}T12:00:00.123456Z",
            "settings": sha256(b"settings").hex(), "system_identifier": "7300000000000000001", "timeline": "1",
        }  # fmt: skip
        seal_leaf = json.dumps(seal, sort_keys=True, separators=(",", ":"))
        for n, (leaf, row_salt) in enumerate(batch):
            place = {"index": str(n), "rows": str(rows), "path": [h.hex() for h in inclusion(n, hashes)], "seal_leaf": seal_leaf}
            self.rows.append({"leaf": leaf, "salt": row_salt, "index": len(self.tree), "batch": place, "seal_salt": salt(99)})
        self.tree.append(leaf_hash(salt(99), seal_leaf.encode()))

    @staticmethod
    def _leaf(seq: int) -> str:
        row = {"schema": "identity_pgx/access/v1", "access_id": str(seq), "lane": "0", "seq": str(seq), "accessor_id": 'gw "é"'}
        return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def body(self, size: int | None = None) -> str:
        size = len(self.tree) if size is None else size
        return checkpoint(self.origin, size, root(self.tree[:size]))

    def proof(self, number: int, note: str) -> dict:
        row = self.rows[number]
        proof = {
            "schema": "identity_pgx/proof/v1",
            "access_id": json.loads(row["leaf"])["access_id"],
            "leaf_hash": leaf_hash(row["salt"], row["leaf"].encode()).hex(),
            "salt": row["salt"].hex(),
            "proof": tlog_proof(row.get("seal_salt", row["salt"]), row["index"], inclusion(row["index"], self.tree), note),
        }
        return proof | ({"batch": row["batch"]} if "batch" in row else {})

    def bundle(self, signer: Signer, rows: range | list[int] | None = None) -> dict:
        """Rows, their proofs, two checkpoints and the way from one to the other."""
        note = signer.sign(self.body())
        chosen = range(len(self.rows)) if rows is None else rows
        return {
            "schema": "identity_pgx/bundle/v1",
            "rows": [{"leaf": self.rows[n]["leaf"], "proof": self.proof(n, note)} for n in chosen],
            "checkpoints": [signer.sign(self.body(2)), note],
            "consistency": [
                {"old": "2", "new": str(len(self.tree)), "path": [h.hex() for h in consistency(2, self.tree)]},
            ],
        }
