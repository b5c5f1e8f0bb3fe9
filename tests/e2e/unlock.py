"""The test plays the worker: key service, keyring and unlocking, with an HPKE library that shares no code with ours (docs/spec/unlock.md)."""

import hashlib
import os
import sys
from pathlib import Path

import psycopg

from cluster import Cluster, wait_until
from vault import Vault

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "independent"))
import sealing
from formats import check_value

CHALLENGE = "SELECT public_key, epoch, system_identifier FROM identity.key_challenge()"
LOAD = "SELECT identity.key_load(%s::text, %s::int, %s::bytea)"
ENROL = "SELECT identity.key_enrol(%s::text, %s::int, %s::bytea, %s::text, %s::bytea)"
ROTATE = "SELECT identity.key_rotate(%s::text, %s::text, %s::text)"


def seal(secret: bytes, challenge: tuple, installation: bytes, kind: str, version: int, key: bytes) -> bytes:
    """What the worker sends."""
    public, epoch, system = challenge
    return sealing.seal(secret, bytes(public), sealing.info(installation, system, epoch.bytes, kind, version), key)


class Worker:
    """Makes keys, remembers them as a key service would, and brings them."""

    def __init__(self):
        self.secret = os.urandom(32)
        self.keys: dict[tuple[str, int], bytes] = {}
        self.conn: psycopg.Connection | None = None
        self.installation = b""

    @property
    def public(self) -> str:
        return sealing.public_of(self.secret).hex()

    def settings(self) -> dict:
        return {"identity_pgx.worker_public_key": f"'{self.public}'", "identity_pgx.allow_dev_keys": "off"}

    # -- as the worker does it ------------------------------------------------
    def connect(self, vault_or_cluster, role: str = "t_worker") -> "Worker":
        cluster = getattr(vault_or_cluster, "cluster", vault_or_cluster)
        self.conn = cluster.connect(user=role)
        return self

    def enrol(self, kind: str, version: int = 1, key: bytes | None = None, uri: str = "vault:transit/identity") -> bytes:
        key = key or os.urandom(32)
        self.conn.execute(ENROL, (kind, version, self.wrapped(key), uri, check_value(kind, version, key)))
        self.keys[kind, version] = key
        return key

    @staticmethod
    def wrapped(key: bytes) -> bytes:
        return b"vault:v1:" + hashlib.sha256(b"wrapped" + key).digest()

    def challenge(self) -> tuple:
        return self.conn.execute(CHALLENGE).fetchone()

    def sealed(self, kind: str, version: int, key: bytes | None = None, challenge: tuple | None = None, **other) -> bytes:
        secret, installation = other.get("secret") or self.secret, other.get("installation") or self.installation
        return seal(secret, challenge or self.challenge(), installation, kind, version, key or self.keys[kind, version])

    def know(self, cluster: Cluster) -> "Worker":
        with cluster.connect() as admin:
            self.installation = admin.execute("SELECT installation_id FROM identity.installation").fetchone()[0].bytes
        return self

    def load(self, kind: str, version: int, **other) -> None:
        self.conn.execute(LOAD, (kind, version, self.sealed(kind, version, **other)))

    def unlock(self) -> None:
        """Brings everything that the keyring has, but for what is retired."""
        for kind, version in self.conn.execute("SELECT kind, version FROM identity.keyring WHERE state <> 'retired' ORDER BY 1, 2").fetchall():
            self.load(kind, version)

    def rotate(self, kind: str, reason: str = "scheduled", witness: str | None = None) -> int:
        """Makes the next key of a kind, brings it, and has it used."""
        version = max(v for k, v in self.keys if k == kind) + 1
        self.enrol(kind, version)
        self.load(kind, version)
        return self.conn.execute(ROTATE, (kind, reason, witness)).fetchone()[0]

    def reencrypt(self, max_rows: int = 1000) -> dict:
        return self.conn.execute("SELECT identity.reencrypt(%s)", (max_rows,)).fetchone()[0]

    def reencrypt_all(self) -> dict:
        """Until nothing is left to do, retirement included."""
        last = {}

        def over() -> bool:
            last.update(self.reencrypt())
            return bool(last["retired"])

        wait_until(over, "the older keys to be retired")
        return last

    def states(self) -> dict:
        rows = self.conn.execute("SELECT kind, version, state FROM identity.key_status()").fetchall()
        return {(kind, version): state for kind, version, state in rows}


def installed(cluster: Cluster, worker: Worker) -> Vault:
    """A vault whose keys come from the worker, unlocked."""
    with cluster.connect() as admin:
        admin.execute("CREATE EXTENSION identity_pgx")
        admin.execute("SELECT identity.initialize()")
        admin.execute("CREATE ROLE t_worker0 LOGIN IN ROLE identity_worker")
    worker.know(cluster).connect(cluster, "t_worker0")
    for kind in ("dek", "chain"):
        worker.enrol(kind)
    worker.unlock()
    well(cluster)
    vault = Vault(cluster)
    worker.connect(vault)
    return vault


def well(cluster: Cluster) -> None:
    def health() -> bool:
        try:
            with cluster.connect() as admin:
                return admin.execute("SELECT identity.identity_health()").fetchone() is not None
        except psycopg.Error:
            return False

    wait_until(health, "the vault to be well")


def events(vault: Vault, kind: str) -> list[dict]:
    return vault.sql("SELECT * FROM identity.key_history WHERE event = %s ORDER BY recorded_at, access_id", (kind,))


__all__ = ["Worker", "check_value", "events", "installed", "seal", "well"]
