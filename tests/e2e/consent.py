"""What tests about consent have in common: templates by a DBA, and what a gateway records of a subject."""

import hashlib
import itertools
from datetime import datetime, timedelta, timezone

from psycopg.types.json import Jsonb

from vault import refused, refused_read

SECRET = "Zebedee-900-12-3456"
BAD = ("22023", "bad_argument")
DENIED = ("42501", "consent")
CONSENT = "SELECT identity.consent_record(%s::uuid, %s::text, %s::text, %s::text, %s::jsonb)"
STATE = """SELECT consent_status, consent_version, consent_given_at, consent_withdrawn_at, consent_valid_until, biometric_consent_status,
                  biometric_consent_version, generation FROM identity.subjects WHERE candidate_id = %s"""
_serial = itertools.count(1)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def template(vault, kind: str = "general", **columns) -> str:
    """A new version of a template; by default one that is in effect at once."""
    version = columns.pop("version", f"v{next(_serial)}.{kind}")
    values = {"version": version, "kind": kind, "template_hash": digest(version), "template_path": f"consent/{version}.md"} | columns
    with vault.connect(vault.dba) as dba:
        dba.execute(
            f"INSERT INTO identity.consent_versions ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})", list(values.values())
        )
    return version


def record(conn, subject, status: str, version: str | None = None, evidence: dict | None = None, kind: str = "general") -> None:
    conn.execute(CONSENT, (subject.id, kind, status, version, Jsonb(evidence or {})))


def refused_record(conn, subject, sqlstate, reason, status, version=None, evidence=None, kind="general"):
    return refused(conn, CONSENT, (subject.id, kind, status, version, Jsonb(evidence or {})), sqlstate, reason, secrets=[SECRET])


def unchanged(vault, gateway, subject, attempt) -> None:
    """The attempt, which is refused, leaves nothing of the subject's behind and opens nothing."""
    before = state(vault, subject)
    attempt()
    assert state(vault, subject) == before and not history(vault, subject) and not texts(vault, subject)
    refused_read(gateway, subject, "42501", "consent")
    vault.leaves(gateway, denied=2)


def state(vault, subject) -> dict:
    return vault.sql(STATE, (subject.id,))[0]


def history(vault, subject) -> list[dict]:
    return vault.sql("SELECT * FROM identity.consent_history WHERE candidate_id = %s ORDER BY generation", (subject.id,))


def texts(vault, subject) -> list[dict]:
    return vault.sql("SELECT * FROM identity.subject_texts WHERE candidate_id = %s ORDER BY access_id", (subject.id,))


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def now(**ahead) -> datetime:
    return datetime.now(timezone.utc) + timedelta(**ahead)
