"""What tests about tombstones have in common: the vault's tombstones made by other code than its own, a backup and its restore, and lists in a store."""

import json
import shutil
import sys
from pathlib import Path

from psycopg.rows import dict_row
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cluster import run_as_owner
from identityctl import report
from worker import Anchoring

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "independent"))

import formats  # noqa: E402
import tombstones  # noqa: E402
import transparency  # noqa: E402

GIVEN = "SELECT leaf_index, kind, tombstone FROM identity.tombstones(%s, %s)"
FIND = "SELECT candidate_id, kind FROM identity.restored_subjects(%s)"
ERASE = "SELECT identity.restored_erase(%s)"


def key(vault) -> bytes:
    """The key of a vault's tombstones, which is under development keys."""
    installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"]
    return tombstones.key(formats.development_key("chain"), installation.bytes)


def of_subject(vault, subject) -> bytes:
    return tombstones.subject(key(vault), subject.id.bytes)


def of_biometrics(vault, subject, collected_at) -> bytes:
    return tombstones.biometric(key(vault), subject.id.bytes, round(collected_at.timestamp() * 1_000_000))


def find(vault, hashes: list[bytes]) -> set:
    with vault.connect(vault.worker) as worker:
        return {(candidate, kind) for candidate, kind in worker.execute(FIND, (hashes,))}


def erase(vault, hashes: list[bytes]) -> dict:
    with vault.connect(vault.worker) as worker:
        return worker.execute(ERASE, (hashes,)).fetchone()[0]


class Backup:
    """The files of a vault's cluster as they are now."""

    def __init__(self, vault):
        self.vault, self.cluster = vault, vault.cluster
        self.place = self.cluster.dir / "backup"
        self.cluster.stop()
        run_as_owner("cp", "-a", self.cluster.data, self.place)
        self._start()

    def restore(self) -> None:
        self.cluster.stop()
        shutil.rmtree(self.cluster.data)
        run_as_owner("cp", "-a", self.place, self.cluster.data)
        self._start()

    def _start(self) -> None:
        self.cluster.start()
        self.cluster.unlock()
        self.vault.admin = self.cluster.connect(row_factory=dict_row)


def vkey(anchoring: Anchoring) -> str:
    origin = anchoring.vault.sql("SELECT identity.ledger_checkpoint() AS text")[0]["text"].splitlines()[0]
    return transparency.vkey_text(origin, anchoring.key)


def check(anchoring: Anchoring, *arguments, key: str | None = None) -> dict:
    """`identityctl restore-check` with the store and the login of a worker."""
    return report(
        "restore-check", "--directory", anchoring.store, "--key", key or vkey(anchoring), "--database", anchoring.url, *arguments
    )


def lists(anchoring: Anchoring, folder: str = "tombstones") -> list[tuple]:
    """Every list of the store as other code reads it, with the hash of the one before checked."""
    keys, read, before, to = [transparency.verifier_key(vkey(anchoring))], [], bytes(32), 0
    for file in sorted((anchoring.store / folder).glob("[0-9]*[0-9]")):
        head, listed = tombstones.open_list(file.read_bytes(), keys)
        assert (head.previous, head.leaves_from, head.leaves_to) == (before, to, int(file.name))
        before, to = formats.sha256(file.read_bytes()), head.leaves_to
        read.append((head, listed))
    return read


def published(anchoring: Anchoring) -> list[tuple]:
    return [one for _, listed in lists(anchoring) for one in listed]


def put(anchoring: Anchoring, folder: str, size: int, body: str) -> None:
    """As the worker itself would put it, lock and all."""
    place = anchoring.store / folder / f"{size:020}"
    place.parent.mkdir(parents=True, exist_ok=True)
    for file in (place, Path(f"{place}.lock")):
        file.unlink(missing_ok=True)
    place.write_text(body)
    lock = {"sha256": formats.sha256(body.encode()).hex(), "lock_until": "2040-01-01T00:00:00.000000Z"}
    Path(f"{place}.lock").write_text(json.dumps(lock))


def signed(key: Ed25519PrivateKey, origin: str, leaves: tuple, previous: bytes, listed: list) -> str:
    body = tombstones.body(listed)
    head = tombstones.Head(origin, *leaves, previous, formats.sha256(body.encode()))
    return transparency.sign(tombstones.head_text(head), origin, key) + body
