"""The tree of the sealed ledger, written from docs/spec/tree.md, docs/spec/seal.md and RFC 6962 alone.

Recursive, as RFC 6962 defines it, over a list of leaf hashes: slow, and plainly what the page says.
"""

import struct
from datetime import datetime, timedelta, timezone

from formats import event_digest, hmac_sha256, jcs, leaf_value, lp, sha256

TILE_WIDTH = 256


# --- salts and hashes (docs/spec/tree.md) ---


def row_salt(key: bytes, installation: bytes, access_id: int) -> bytes:
    tag = lp(b"identity_pgx/salt/v1")
    return hmac_sha256(key, tag + installation + struct.pack(">q", access_id))[:16]


def seal_salt(key: bytes, installation: bytes, leaf_index: int) -> bytes:
    tag = lp(b"identity_pgx/seal-salt/v1")
    return hmac_sha256(key, tag + installation + struct.pack(">Q", leaf_index))[:16]


def leaf_hash(salt: bytes, leaf: bytes) -> bytes:
    return sha256(b"\x00" + salt + leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


# --- RFC 6962, section 2.1 ---


def split(size: int) -> int:
    """The largest power of two below size."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: list) -> bytes:
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(root(leaves[:k]), root(leaves[k:]))


def inclusion(index: int, leaves: list) -> list:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return inclusion(index, leaves[:k]) + [root(leaves[k:])]
    return inclusion(index - k, leaves[k:]) + [root(leaves[:k])]


def consistency(old: int, leaves: list, whole: bool = True) -> list:
    if old == 0:
        return []
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return consistency(old, leaves[:k], whole) + [root(leaves[k:])]
    return consistency(old - k, leaves[k:], False) + [root(leaves[:k])]


# --- batches (docs/spec/tree.md) ---


def tiles(leaves: list) -> list:
    """(level, index, hashes) of every tile, by level and index."""
    found, level, hashes = [], 0, leaves
    while hashes:
        for at in range(0, len(hashes), TILE_WIDTH):
            found.append((level, at // TILE_WIDTH, hashes[at : at + TILE_WIDTH]))
        full = len(hashes) // TILE_WIDTH
        hashes = [root(hashes[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]) for n in range(full)]
        level += 1
    return found


# --- seal leaves (docs/spec/seal.md) ---


def lane_heads(heads: list) -> bytes:
    """heads: (lane, seq, mac), lanes ascending."""
    body = b"".join(struct.pack(">IQ", lane, seq) + mac for lane, seq, mac in heads)
    return sha256(lp(b"identity_pgx/lane_heads/v1") + body)


def settings_digest(installation: bytes, pairs: list) -> bytes:
    return event_digest(installation, "settings_change", pairs)


def seal_leaf(seal: dict) -> bytes:
    """seal: the members of the leaf; sealed_at in microseconds, lsn as a number."""
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    members = {key: leaf_value(value) for key, value in seal.items()}
    members["sealed_at"] = leaf_value(epoch + timedelta(microseconds=seal["sealed_at"]))
    members["lsn"] = f"{seal['lsn'] >> 32:X}/{seal['lsn'] & 0xFFFFFFFF:X}"
    return jcs({**members, "schema": "identity_pgx/seal/v1"})


# --- what the vectors' trees are made of ---


def numbered(size: int) -> list:
    """Leaf hashes 0 to size - 1 of a tree whose i-th leaf is `i` in decimal, its salt 16 bytes of i."""
    return [leaf_hash(struct.pack(">QQ", 0, i), str(i).encode()) for i in range(size)]
