"""Tombstones, and the lists that they are published in: docs/spec/tombstone.md. Written against the specification."""

from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from formats import hmac_sha256, sha256
from transparency import of_decimal, of_hex, open_note

INFO = b"identity_pgx/tombstone/v1"


def key(first_chain_key: bytes, installation: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=INFO + installation).derive(first_chain_key)


def subject(tombstone_key: bytes, candidate: bytes) -> bytes:
    return hmac_sha256(tombstone_key, b"\x01" + candidate)


def biometric(tombstone_key: bytes, candidate: bytes, collected_at: int) -> bytes:
    return hmac_sha256(tombstone_key, b"\x02" + candidate + collected_at.to_bytes(8, "big", signed=True))


class Head(NamedTuple):
    origin: str
    leaves_from: int
    leaves_to: int
    previous: bytes
    list: bytes


def head_text(head: Head) -> str:
    leaves = f"{head.leaves_from} {head.leaves_to}"
    return f"{head.origin}/tombstones\n{leaves}\n{head.previous.hex()}\n{head.list.hex()}\n"


def body(tombstones: list) -> str:
    """From pairs of a letter and a hash."""
    return "".join(f"{letter} {value.hex()}\n" for letter, value in tombstones)


def open_list(object_: bytes, keys: list) -> tuple:
    """The head and the tombstones of an object that one of the keys has signed; whatever is not as it must be raises."""
    text = object_.decode()
    signed, rest = text.split("\n\n", 1)
    lines = rest.splitlines(keepends=True)
    signatures = [line for line in lines if line.startswith("\u2014 ")]
    listed = "".join(lines[len(signatures) :])
    signed_text, signers = open_note(signed + "\n\n" + "".join(signatures), keys)
    first, second, previous, digest = signed_text.splitlines()
    origin = first.removesuffix("/tombstones")
    numbers = [of_decimal(number) for number in second.split(" ")]
    head = Head(origin, *numbers, of_hex(previous, 32), of_hex(digest, 32))
    tombstones = [(line[0], of_hex(line[2:], 32)) for line in listed.splitlines()]
    if head_text(head) != signed_text or body(tombstones) != listed or origin not in signers:
        raise ValueError("not what the writer would write")
    if sha256(listed.encode()) != head.list or not tombstones or head.leaves_from >= head.leaves_to:
        raise ValueError("the list is not what was signed")
    return head, tombstones
