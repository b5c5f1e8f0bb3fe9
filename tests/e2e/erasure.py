"""What tests about erasing have in common: policies in effect, requests, erasures, and what is left."""

from consent import template
from vault import RESOLVE

REQUEST = "SELECT identity.erasure_request(%s::uuid, %s::text)"
AUTHORISE = "SELECT identity.erasure_authorise(%s::uuid, %s::text)"
STATUS = "SELECT * FROM identity.erasure_status(%s::uuid)"
RECEIPT = "SELECT identity.erasure_receipt(%s::uuid)"
GONE = ("P0002", "subject_erased")
VERTICALS = ("unknown", "general", "healthcare", "finance", "other")
IN_EFFECT = """SELECT p.vertical, p.schedule_version FROM identity.retention_policies p JOIN identity.consent_versions v ON v.version = p.schedule_version
                WHERE p.kind = 'general' AND v.superseded_at IS NULL AND v.effective_at <= now()"""


def schedule(vault, vertical: str = "general") -> str:
    """The schedule of this vertical's policy in effect; made if there is none."""
    policies = {row["vertical"]: row["schedule_version"] for row in vault.sql(IN_EFFECT)}
    if vertical not in policies:
        version = template(vault, "retention_schedule")
        with vault.connect(vault.dba) as dba:
            for each in VERTICALS:
                dba.execute(
                    """INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES (%s, 'general', 730, %s)
                       ON CONFLICT (vertical, kind) DO UPDATE SET schedule_version = EXCLUDED.schedule_version""",
                    (each, version),
                )
        return version
    return policies[vertical]


def request(conn, subject, reason: str = "rtbf_request"):
    return conn.execute(REQUEST, (subject.id, reason)).fetchone()[0]


def asked(vault, subject, reason: str = "rtbf_request"):
    with vault.gateway() as gateway:
        return request(gateway, subject, reason)


def authorise(vault, request_id, authority: str) -> dict:
    with vault.connect(vault.worker) as worker:
        return worker.execute(AUTHORISE, (request_id, authority)).fetchone()[0]


def erase(vault, subject, reason: str = "rtbf_request") -> dict:
    """Asked for and done; the receipt."""
    vertical = row(vault, subject)["vertical"]
    return authorise(vault, asked(vault, subject, reason), schedule(vault, vertical))


def lasting(receipt: dict) -> dict:
    """What of a receipt no later scrub changes."""
    return {name: value for name, value in receipt.items() if name not in ("scrubbed_at", "residual_in_backups_until", "wal")}


def row(vault, subject) -> dict:
    return vault.sql("SELECT * FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]


def requests(vault, subject) -> list[dict]:
    return vault.sql("SELECT * FROM identity.erasure_requests WHERE candidate_id = %s ORDER BY requested_at", (subject.id,))


def events(vault, subject, kind: str = "erasure") -> list[dict]:
    return vault.sql("SELECT * FROM identity.pii_access_log WHERE candidate_id = %s AND accessor_kind = %s AND outcome = 'committed'", (subject.id, kind))


def there(vault, subject) -> bool:
    """Whether anything of the subject is left that an erasure clears."""
    kept = row(vault, subject)
    texts = vault.sql("SELECT count(*) AS n FROM identity.subject_texts WHERE candidate_id = %s", (subject.id,))[0]["n"]
    return texts > 0 or any(value is not None for name, value in kept.items() if name.endswith("_ct"))


def untouched(vault, gateway, subject) -> None:
    """Nobody has erased the subject, and nothing says so."""
    kept = row(vault, subject)
    assert there(vault, subject) and kept["erased_at"] is None and kept["erasure_generation"] == 0
    assert not events(vault, subject) and all(r["state"] == "requested" for r in requests(vault, subject))
    pii = gateway.execute(RESOLVE, (subject.id, "t.all", ["name"])).fetchone()[0]
    assert pii == {"name": subject.pii["name"]}
