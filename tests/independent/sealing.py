"""A key on its way into the database, written from docs/spec/unlock.md alone, with an HPKE library that shares no code with crates/core.

Run as a program it checks the frozen vectors of crates/core.
"""

import json
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from formats import check_value, lp
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, KEMKeyPair, OpenError

VECTORS = Path(__file__).resolve().parents[2] / "crates/core/tests/vectors/sealing.json"
SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)


def secret_key(raw: bytes):
    return KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(raw))


def public_key(raw: bytes):
    return KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(raw))


def public_of(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def info(installation: bytes, system_identifier: str, epoch: bytes, kind: str, version: int) -> bytes:
    return lp(b"identity_pgx/key-load/v1") + installation + lp(system_identifier.encode()) + epoch + lp(kind.encode()) + struct.pack(">I", version)


def seal(worker: bytes, server_public: bytes, bound_to: bytes, key: bytes, ephemeral: bytes | None = None) -> bytes:
    eks = ephemeral and KEMKeyPair(secret_key(ephemeral), public_key(public_of(ephemeral)))
    enc, context = SUITE.create_sender_context(public_key(server_public), info=bound_to, sks=secret_key(worker), eks=eks)
    return enc + context.seal(key)


def open_(server: bytes, worker_public: bytes, bound_to: bytes, sealed: bytes) -> bytes | None:
    try:
        return SUITE.create_recipient_context(sealed[:32], secret_key(server), info=bound_to, pks=public_key(worker_public)).open(sealed[32:])
    except OpenError:
        return None


def main() -> int:
    wrong = 0
    vectors = json.loads(VECTORS.read_text())["vectors"]
    for vector in vectors:
        raw = {name: bytes.fromhex(value) for name, value in vector.items() if name not in ("system_identifier", "kind", "version")}
        bound_to = info(raw["installation"], vector["system_identifier"], raw["epoch"], vector["kind"], vector["version"])
        good = (
            seal(raw["worker"], public_of(raw["server"]), bound_to, raw["key"], raw["ephemeral"]) == raw["sealed"]
            and open_(raw["server"], public_of(raw["worker"]), bound_to, raw["sealed"]) == raw["key"]
            and check_value(vector["kind"], vector["version"], raw["key"]) == raw["check_value"]
        )
        wrong += not good
    print(f"{len(vectors)} sealed keys, {wrong} wrong")
    return bool(wrong) or not vectors


if __name__ == "__main__":
    sys.exit(main())
