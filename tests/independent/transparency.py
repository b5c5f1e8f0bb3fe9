"""Signed notes, checkpoints and proofs, written from docs/spec and the pages of C2SP alone.

Shares no code with crates/core, and none with proofs.go. Everything is read strictly: a text that
its writer would not write is refused, whatever it says.
"""

import base64
import binascii
import json
import re
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from formats import jcs, sha256
from tree import leaf_hash, node_hash, split


class Refused(Exception):
    """Not what it should be; the text says in which respect."""


class NotSigned(Refused):
    """Everything else holds, but no given key has signed the checkpoint."""


class Key(NamedTuple):
    name: str
    id: bytes
    public: Ed25519PublicKey


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes


def of_base64(text: str, length: int | None = None) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("base 64") from None
    if base64.b64encode(data).decode() != text or length not in (None, len(data)):
        raise Refused("base 64")
    return data


def of_hex(text: str, length: int) -> bytes:
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{%d}" % (2 * length), text):
        raise Refused("hex")
    return bytes.fromhex(text)


def of_decimal(text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,19}", text):
        raise Refused("number")
    return int(text)


# --- notes (docs/spec/checkpoint.md) ---


def verifier_key(text: str) -> Key:
    name, given, encoded = text.split("+", 2)
    key = of_base64(encoded, 33)
    id = sha256(name.encode() + b"\n" + key)[:4]
    if key[0] != 1 or id.hex() != given:
        raise Refused("verifier key")
    return Key(name, id, Ed25519PublicKey.from_public_bytes(key[1:]))


def open_note(note: str, keys: list) -> tuple:
    """The text, and the names of the given keys that have signed it."""
    if any(c < " " and c != "\n" for c in note):
        raise Refused("control character")
    text, split, lines = note.rpartition("\n\n")
    if not split or not lines.endswith("\n"):
        raise Refused("note")
    text += "\n"
    signers = []
    for line in lines[:-1].split("\n"):
        parts = re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line)
        if not parts:
            raise Refused("signature line")
        name, data = parts[1], of_base64(parts[2])
        if len(data) < 5:
            raise Refused("signature line")
        for key in keys:
            if (key.name, key.id) == (name, data[:4]):
                try:
                    key.public.verify(data[4:], text.encode())
                except InvalidSignature:
                    raise Refused("signature") from None
                signers.append(name)
    return text, signers


def checkpoint(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or any(c < " " and c != "\n" for c in text):
        raise Refused("checkpoint")
    return Checkpoint(lines[0], of_decimal(lines[1]), of_base64(lines[2], 32))


def open_checkpoint(note: str, keys: list) -> Checkpoint:
    text, signers = open_note(note, keys)
    opened = checkpoint(text)
    if opened.origin not in signers:
        raise NotSigned
    return opened


# --- paths (RFC 6962, sections 2.1.1 and 2.1.2: which way they go is found from the top down; crates/core goes from the bottom up) ---


@lru_cache(maxsize=1024)
def sides(index: int, size: int) -> list:
    """Of each sibling of a leaf and what is above it, from the bottom up: whether it is on the left."""
    found = []
    while size > 1:
        middle = split(size)
        found.append(index >= middle)
        index, size = (index - middle, size - middle) if index >= middle else (index, middle)
    return found[::-1]


def check_inclusion(index: int, head: Checkpoint, leaf: bytes, path: list):
    if not 0 <= index < head.size:
        raise Refused("index")
    ways = sides(index, head.size)
    if len(ways) != len(path):
        raise Refused("path too short or too long")
    node = leaf
    for left, sibling in zip(ways, path):
        node = node_hash(sibling, node) if left else node_hash(node, sibling)
    if node != head.root:
        raise Refused("not in the tree")


@lru_cache(maxsize=1024)
def turns(old: int, new: int) -> list:
    """Of each tree that holds both the old tree's end and the new one's, from the bottom up: whether its left half is in both of them."""
    found = []
    while old != new:
        middle = split(new)
        found.append(old > middle)
        old, new = (old - middle, new - middle) if old > middle else (old, middle)
    return found[::-1]


def check_consistency(older: Checkpoint, newer: Checkpoint, path: list):
    if not 0 < older.size <= newer.size:
        raise Refused("sizes")
    ways = turns(older.size, newer.size)
    # A tree that is a subtree of the new one as a whole is not named again.
    before, path = (path[:1], path[1:]) if any(ways) else ([older.root], path)
    if not before or len(ways) != len(path):
        raise Refused("path too short or too long")
    before = after = before[0]
    for both, sibling in zip(ways, path):
        if both:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
        else:
            after = node_hash(after, sibling)
    if (before, after) != (older.root, newer.root):
        raise Refused("not consistent")


# --- proofs (docs/spec/proof.md) ---


class TlogProof(NamedTuple):
    salt: bytes
    index: int
    path: list
    checkpoint: str


def tlog_proof(text: str) -> TlogProof:
    head, split, note = text.partition("\n\n")
    lines = head.split("\n")
    if not split or len(lines) < 3 or lines[0] != "c2sp.org/tlog-proof@v1":
        raise Refused("proof")
    if not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise Refused("proof")
    path = [of_base64(line, 32) for line in lines[3:]]
    return TlogProof(of_base64(lines[1][6:], 16), of_decimal(lines[2][6:]), path, note)


def check_tlog_proof(proof: TlogProof, leaf: bytes, open_) -> Checkpoint:
    """`leaf` is the hash of the tree's leaf; `open_` opens the checkpoint."""
    if "\n\n" not in proof.checkpoint:
        check_inclusion(proof.index, checkpoint(proof.checkpoint), leaf, proof.path)
        raise NotSigned
    head = open_(proof.checkpoint)
    check_inclusion(proof.index, head, leaf, proof.path)
    return head


def members(value: object, *names: str) -> list:
    """The values of an object with exactly these members: texts, but for `batch` and `path`."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise Refused("members")
    if not all(isinstance(value[name], str) for name in names if name not in ("batch", "path")):
        raise Refused("members")
    return [value[name] for name in names]


def of_json(text: str | bytes) -> dict:
    try:
        value = json.loads(text)
    except ValueError:
        raise Refused("JSON") from None
    if not isinstance(value, dict):
        raise Refused("JSON")
    return value


def sealed_batch(seal: str) -> tuple:
    """The root and the number of rows that a seal leaf names."""
    leaf = of_json(seal)
    if jcs(leaf) != seal.encode() or leaf.get("schema") != "identity_pgx/seal/v1":
        raise Refused("seal leaf")
    root, rows = members({name: leaf.get(name) for name in ("batch_root", "batch_rows")}, "batch_root", "batch_rows")
    return of_hex(root, 32), rows


def check_row_proof(text: bytes, row: bytes, open_) -> Checkpoint:
    """`text` is the JSON of a proof of the row whose leaf is `row`."""
    proof = of_json(text)
    batch = [proof.pop("batch")] if "batch" in proof else []
    access_id, hash_, salt, schema, inner = members(proof, "access_id", "leaf_hash", "salt", "schema", "proof")
    if schema != "identity_pgx/proof/v1" or of_decimal(access_id) >= 1 << 63:
        raise Refused("schema")
    salt, hash_, inner = of_hex(salt, 16), of_hex(hash_, 32), tlog_proof(inner)
    if not row.startswith(b'{"access_id":"%s",' % access_id.encode()) or leaf_hash(salt, row) != hash_:
        raise Refused("row")
    if not batch:
        if inner.salt != salt:
            raise Refused("salt")
        return check_tlog_proof(inner, hash_, open_)
    index, rows, path, seal = members(batch[0], "index", "rows", "path", "seal_leaf")
    root, sealed_rows = sealed_batch(seal)
    if sealed_rows != rows or not isinstance(path, list):
        raise Refused("batch")
    path = [of_hex(sibling, 32) for sibling in path]
    check_inclusion(of_decimal(index), Checkpoint("", of_decimal(rows), root), hash_, path)
    return check_tlog_proof(inner, leaf_hash(inner.salt, seal.encode()), open_)


# --- writing ---


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def vkey_text(name: str, private: Ed25519PrivateKey) -> str:
    public = b"\x01" + private.public_key().public_bytes_raw()
    id = sha256(name.encode() + b"\n" + public)[:4]
    return f"{name}+{id.hex()}+{to_base64(public)}"


def sign(text: str, name: str, private: Ed25519PrivateKey) -> str:
    """The note of one signature."""
    id = bytes.fromhex(vkey_text(name, private).split("+")[1])
    return f"{text}\n— {name} {to_base64(id + private.sign(text.encode()))}\n"


def checkpoint_text(head: Checkpoint, extensions: tuple = ()) -> str:
    return "".join(line + "\n" for line in (head.origin, str(head.size), to_base64(head.root), *extensions))


def tlog_proof_text(proof: TlogProof) -> str:
    head = ["c2sp.org/tlog-proof@v1", "extra " + to_base64(proof.salt), f"index {proof.index}"]
    return "".join(line + "\n" for line in head + [to_base64(hash_) for hash_ in proof.path] + [""]) + proof.checkpoint
