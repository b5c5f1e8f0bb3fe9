"""Vault's transit engine: keys that never leave, real cryptography by PyPI `cryptography`."""

import base64
import binascii
import datetime
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12
PREFIX = "vault:v"


class Refused(Exception):
    """An answer with an error: its status, and what Vault says."""

    def __init__(self, status: int, *errors: str):
        super().__init__(status, *errors)
        self.status, self.errors = status, list(errors)


def decoded(text, what: str) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, TypeError) as error:
        raise Refused(400, f"failed to base64-decode {what}") from error


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Key:
    name: str
    type: str = "aes256-gcm96"
    derived: bool = False
    exportable: bool = False
    allow_plaintext_backup: bool = False
    min_decryption_version: int = 1
    min_encryption_version: int = 0
    versions: list[bytes] = field(default_factory=list)

    def __post_init__(self):
        if self.type not in ("aes256-gcm96", "ed25519"):
            raise Refused(400, f"unknown key type {self.type}")
        self.rotate()

    def rotate(self) -> None:
        self.versions.append(os.urandom(32))

    def configure(self, body: dict) -> None:
        minimum = body.get("min_decryption_version", self.min_decryption_version)
        if not 1 <= minimum <= len(self.versions):
            raise Refused(400, f"cannot set min decryption version of {minimum}, latest key version is {len(self.versions)}")
        self.min_decryption_version = minimum
        self.exportable = self.exportable or bool(body.get("exportable"))
        self.allow_plaintext_backup = self.allow_plaintext_backup or bool(body.get("allow_plaintext_backup"))

    def about(self) -> dict:
        def version(secret: bytes):
            if self.type != "ed25519":
                return int(datetime.datetime.now(datetime.UTC).timestamp())
            public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
            return {"name": "ed25519", "public_key": encoded(public), "creation_time": "2026-01-01T00:00:00Z"}

        usable = enumerate(self.versions, 1)
        return {
            "name": self.name,
            "type": self.type,
            "derived": self.derived,
            "exportable": self.exportable,
            "allow_plaintext_backup": self.allow_plaintext_backup,
            "deletion_allowed": False,
            "latest_version": len(self.versions),
            "min_available_version": 0,
            "min_decryption_version": self.min_decryption_version,
            "min_encryption_version": self.min_encryption_version,
            "supports_encryption": self.type != "ed25519",
            "supports_decryption": self.type != "ed25519",
            "supports_derivation": True,
            "supports_signing": self.type == "ed25519",
            "keys": {str(number): version(secret) for number, secret in usable if number >= self.min_decryption_version},
        }

    # -- encryption -----------------------------------------------------------
    def _cipher(self, version: int, context: bytes) -> AESGCM:
        if self.type != "aes256-gcm96":
            raise Refused(400, f"message encryption not supported for key type {self.type}")
        secret = self.versions[version - 1]
        if self.derived:
            if not context:
                raise Refused(400, "missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key")
            secret = HKDF(SHA256(), 32, None, context).derive(secret)
        return AESGCM(secret)

    def encrypt(self, plaintext: bytes, context: bytes) -> str:
        version, nonce = len(self.versions), os.urandom(NONCE_BYTES)
        sealed = self._cipher(version, context).encrypt(nonce, plaintext, None)
        return f"{PREFIX}{version}:{encoded(nonce + sealed)}"

    def decrypt(self, ciphertext, context: bytes) -> bytes:
        version, text = self._split(ciphertext)
        sealed = decoded(text, "ciphertext")
        if len(sealed) < NONCE_BYTES:
            raise Refused(400, "invalid ciphertext length")
        try:
            return self._cipher(version, context).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except InvalidTag as error:
            raise Refused(400, "cipher: message authentication failed") from error

    def _split(self, ciphertext) -> tuple[int, str]:
        if not isinstance(ciphertext, str) or not ciphertext.startswith(PREFIX):
            raise Refused(400, "invalid ciphertext: no prefix")
        number, colon, text = ciphertext.removeprefix(PREFIX).partition(":")
        if not colon or not number.isdecimal():
            raise Refused(400, "invalid ciphertext: wrong number of fields")
        version = int(number)
        if not 1 <= version <= len(self.versions):
            raise Refused(400, "invalid ciphertext: version is too new")
        if version < self.min_decryption_version:
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        return version, text

    # -- signatures -----------------------------------------------------------
    def sign(self, message: bytes, version: int) -> str:
        if self.type != "ed25519":
            raise Refused(400, f"key type {self.type} does not support signing")
        version = version or len(self.versions)
        if not 1 <= version <= len(self.versions):
            raise Refused(400, "cannot sign: requested version for signing does not exist")
        signature = Ed25519PrivateKey.from_private_bytes(self.versions[version - 1]).sign(message)
        return f"{PREFIX}{version}:{encoded(signature)}"


class Transit:
    """One mount of the engine."""

    def __init__(self):
        self.keys: dict[str, Key] = {}

    def call(self, method: str, path: list[str], body: dict) -> dict | None:
        match path, method:
            case ["keys", name], "POST" | "PUT":
                known = {"type", "derived", "exportable", "allow_plaintext_backup"}
                self.keys.setdefault(name, Key(name, **{word: body[word] for word in known & body.keys()}))
                return self.keys[name].about()
            case ["keys", name], "GET":
                return self._key(name, 404).about()
            case ["keys", name, "rotate"], "POST" | "PUT":
                self._key(name).rotate()
                return self._key(name).about()
            case ["keys", name, "config"], "POST" | "PUT":
                self._key(name).configure(body)
                return self._key(name).about()
            case ["datakey", "plaintext" | "wrapped" as what, name], "POST" | "PUT":
                key, secret = self._key(name), os.urandom(body.get("bits", 256) // 8)
                answer = {"ciphertext": key.encrypt(secret, context(body)), "key_version": len(key.versions)}
                return answer | ({"plaintext": encoded(secret)} if what == "plaintext" else {})
            case ["encrypt", name], "POST" | "PUT":
                key = self._key(name)
                return {"ciphertext": key.encrypt(decoded(body.get("plaintext"), "plaintext"), context(body)), "key_version": len(key.versions)}
            case ["decrypt", name], "POST" | "PUT":
                return {"plaintext": encoded(self._key(name).decrypt(body.get("ciphertext"), context(body)))}
            case ["rewrap", name], "POST" | "PUT":
                key = self._key(name)
                plaintext = key.decrypt(body.get("ciphertext"), context(body))
                return {"ciphertext": key.encrypt(plaintext, context(body)), "key_version": len(key.versions)}
            case ["sign", name], "POST" | "PUT":
                return {"signature": self._key(name).sign(decoded(body.get("input"), "input"), body.get("key_version", 0))}
        raise Refused(404, "unsupported path")

    def _key(self, name: str, missing: int = 400) -> Key:
        if name not in self.keys:
            raise Refused(missing, *([] if missing == 404 else ["encryption key not found"]))
        return self.keys[name]


def context(body: dict) -> bytes:
    return decoded(body.get("context"), "context")
