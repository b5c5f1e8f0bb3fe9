"""What tests about biometrics have in common: schedules, uploads, and what is there of them."""

import hashlib
import os
import uuid
from pathlib import Path

from psycopg.types.json import Jsonb

from cluster import Cluster, give_to_owner, root_dir, wait_until
from consent import record, template
from vault import Vault, refused

ATTACH = "SELECT retention_until, consent_version FROM identity.biometric_attach(%s::uuid, %s::text, %s::text)"
CLASSIFY = "SELECT identity.biometric_classify(%s::uuid, %s::jsonb)"
ERASE = "SELECT identity.biometric_erase(%s::uuid, %s::text)"
HASH = hashlib.sha256(b"template").hexdigest()
COLUMNS = ("biometric_data_path", "biometric_template_hash", "biometric_collected_at", "biometric_retention_until", "biometric_classifications_ct")
NOTHING = dict.fromkeys(COLUMNS)


def policy(vault, days: int = 365, vertical: str = "general", schedule: str | None = None) -> str:
    """A published schedule, and a policy under it."""
    schedule = schedule or template(vault, "retention_schedule")
    with vault.connect(vault.dba) as dba:
        dba.execute(
            """INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES (%s, 'biometric', %s, %s)
               ON CONFLICT (vertical, kind) DO UPDATE SET days = excluded.days, schedule_version = excluded.schedule_version""",
            (vertical, days, schedule),
        )
    return schedule


def consenting(vault, gateway, **columns):
    """A subject who has agreed to the text in effect."""
    subject = vault.subject()
    record(gateway, subject, "given", template(vault, "biometric", **columns), kind="biometric")
    return subject


def attach(conn, subject, path: str | Path = "s3://uploads/1", hash: str = HASH) -> tuple:
    return conn.execute(ATTACH, (subject.id, str(path), hash)).fetchone()


def refused_attach(conn, subject, sqlstate: str, reason: str, path: str | Path = "s3://uploads/secret-path", hash: str = HASH):
    return refused(conn, ATTACH, (subject.id, str(path), hash), sqlstate, reason, secrets=[str(path), hash] if path and hash else [])


def classify(conn, subject, **classifications) -> None:
    conn.execute(CLASSIFY, (subject.id, Jsonb(classifications)))


def erase(vault, subject, reason: str = "candidate_request") -> dict:
    with vault.connect(vault.worker) as worker:
        return worker.execute(ERASE, (subject.id, reason)).fetchone()[0]


def collected(vault, subject) -> dict:
    return vault.sql(f"SELECT {', '.join(COLUMNS)} FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]


def events(vault, subject) -> list[dict]:
    return vault.sql("SELECT * FROM identity.biometric_history WHERE candidate_id = %s ORDER BY generation, recorded_at", (subject.id,))


def texts(vault, subject) -> list[dict]:
    return vault.sql("SELECT * FROM identity.subject_texts WHERE candidate_id = %s AND kind = 'biometric'", (subject.id,))


def waiting(vault) -> list[dict]:
    return vault.sql("SELECT access_id, candidate_id, trouble FROM identity.files_to_destroy ORDER BY access_id")


# -- files ---------------------------------------------------------------------------
class Uploads:
    """A vault whose server destroys the files of one directory."""

    def __init__(self, **settings):
        self.directory = root_dir() / f"uploads-{uuid.uuid4().hex[:8]}"
        self.make(self.directory)
        self.cluster = Cluster("u", {"max_connections": "60", "identity_pgx.biometric_directory": f"'{self.directory}'"} | settings)
        self.vault = Vault(self.cluster.start().install())
        self.schedule = policy(self.vault)

    def make(self, directory: Path) -> Path:
        directory.mkdir()
        give_to_owner(directory)
        return directory

    def path(self, subject, name: str = "face.bin") -> Path:
        return self.directory / f"{subject.id}-{name}"

    def write(self, path: Path, content: bytes = b"face" * 5000) -> Path:
        path.write_bytes(content)
        give_to_owner(path)
        return path

    def gone(self, path: Path) -> None:
        wait_until(lambda: not os.path.lexists(path) and not waiting(self.vault), f"{path.name} to be destroyed")

    def stuck(self, subject) -> str:
        """What the server says is in the way of the subject's file."""

        def trouble():
            return [row["trouble"] for row in waiting(self.vault) if row["candidate_id"] == subject.id and row["trouble"]]

        return wait_until(trouble, "a file to be stuck")[0]

    def again(self) -> None:
        """As if the pause after a failure were over."""
        self.vault.sql("UPDATE identity.files_to_destroy SET tried_at = NULL")
