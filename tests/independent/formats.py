"""The byte formats of identity_pgx, written from docs/spec alone.

Shares no code with crates/core: other language, other cryptography (OpenSSL through
`cryptography`), written from the specification pages. If the two disagree, one of three is wrong:
the Rust, this file, or the page.
"""

import hashlib
import hmac
import json
import struct
from datetime import datetime, timezone
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

FIELDS = ("name", "email", "phone", "address", "ssn", "dob")


class Refused(Exception):
    """An envelope does not open."""


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def jcs(members: dict) -> bytes:
    """RFC 8785 for strings and arrays of strings: keys by UTF-16 code unit, no spaces, UTF-8."""
    ordered = {key: members[key] for key in sorted(members, key=lambda k: k.encode("utf-16-be"))}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()


# --- keys (docs/spec/keys.md) ---


def development_key(kind: str) -> bytes:
    return sha256(lp(b"identity_pgx/development-key/v1") + lp(kind.encode()))


def check_value(kind: str, version: int, key: bytes) -> bytes:
    tag = lp(b"identity_pgx/key-check/v1")
    return hmac_sha256(key, tag + lp(kind.encode()) + struct.pack(">I", version))


# --- leaf (docs/spec/leaf.md) ---


def leaf_value(value):
    """A column's value as it stands in the leaf: always a string or an array of strings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (list, tuple)):
        return sorted(value, key=str.encode)
    if isinstance(value, str):
        return value
    raise TypeError(type(value).__name__)


def leaf(row: dict) -> bytes:
    """The leaf of a row of identity.pii_access_log, given as a dict of its columns."""
    members = {
        column: leaf_value(value)
        for column, value in row.items()
        if value is not None and column != "integrity_hash"
    }
    return jcs({**members, "schema": "identity_pgx/access/v1"})


# --- chain (docs/spec/chain.md) ---


def access_id(lane: int, seq: int) -> int:
    return lane << 48 | seq


def genesis(installation: bytes, lane: int) -> bytes:
    return sha256(lp(b"identity_pgx/lane/v1") + installation + struct.pack(">I", lane))


def link(key: bytes, prev: bytes, row_leaf: bytes) -> bytes:
    return hmac_sha256(key, b"\x02" + prev + row_leaf)


# --- envelope (docs/spec/envelope.md) ---


def field_context(installation: bytes, candidate: bytes, field: str, generation: int) -> bytes:
    return (
        lp(b"identity_pgx/field/v1")
        + installation
        + lp(b"subjects")
        + candidate
        + lp(field.encode())
        + struct.pack(">I", generation)
    )


def _derive(key: bytes, message_id: bytes, header: bytes, context: bytes) -> tuple:
    prk = hmac_sha256(message_id, key)

    def expand(label: bytes) -> bytes:
        return HKDFExpand(SHA256(), 32, label + header + context).derive(prk)

    return expand(b"identity_pgx/v1/enc"), expand(b"identity_pgx/v1/com"), message_id[-12:]


def seal(key: bytes, version: int, message_id: bytes, context: bytes, value: bytes) -> bytes:
    header = b"\x01\x00" + struct.pack(">I", version)
    encryption, commitment, nonce = _derive(key, message_id, header, context)
    prefix = header + message_id + commitment
    plain = lp(value)
    plain += bytes(-len(plain) % 32)
    return prefix + AESGCM(encryption).encrypt(nonce, plain, prefix + context)


def key_version(envelope: bytes) -> int:
    body = len(envelope) - 86
    if envelope[:2] != b"\x01\x00" or not 32 <= body <= 1056 or body % 32:
        raise Refused
    return struct.unpack(">I", envelope[2:6])[0]


def unseal(key: bytes, version: int, context: bytes, envelope: bytes) -> bytes:
    if key_version(envelope) != version:
        raise Refused
    prefix = envelope[:70]
    encryption, commitment, nonce = _derive(key, envelope[6:38], envelope[:6], context)
    if not hmac.compare_digest(commitment, envelope[38:70]):
        raise Refused
    try:
        plain = AESGCM(encryption).decrypt(nonce, envelope[70:], prefix + context)
    except InvalidTag:
        raise Refused from None
    length = struct.unpack(">I", plain[:4])[0]
    value = plain[4 : 4 + length]
    if not 1 <= length <= 1024 or lp(value) + bytes(-(4 + length) % 32) != plain:
        raise Refused
    return value


# --- events (docs/spec/events.md) ---


def event_digest(installation: bytes, kind: str, pairs: list) -> bytes:
    body = jcs(dict(pairs))
    return sha256(lp(b"identity_pgx/event/v1") + installation + lp(kind.encode()) + body)


def evidence_digest(salt: bytes, text: str) -> bytes:
    return sha256(lp(b"identity_pgx/evidence/v1") + salt + lp(text.encode()))


def subject_digest(installation: bytes, candidate: bytes) -> bytes:
    return sha256(lp(b"identity_pgx/subject/v1") + installation + candidate)


def cert_fingerprint(issuer: str, serial: str) -> bytes:
    return sha256(lp(b"identity_pgx/cert/v1") + lp(issuer.encode()) + lp(serial.encode()))


def candidate_id(unix_ms: int, random: bytes) -> UUID:
    """RFC 9562 section 5.7: 48 bits of milliseconds, version 7, variant 10, 74 random bits."""
    number = unix_ms << 80 | int.from_bytes(random, "big")
    number &= ~(0xF << 76 | 0x3 << 62)
    return UUID(int=number | 0x7 << 76 | 0x2 << 62)
