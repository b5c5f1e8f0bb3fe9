"""What tests about retention have in common: schedules and policies by a DBA, subjects of an age, sweeps by a worker."""

import itertools

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from consent import template

BAD = ("22023", "bad_argument")
POLICY = "INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES (%s, %s, %s, %s)"
_serial = itertools.count(1)


def schedule(vault, **columns) -> str:
    """A schedule that is in effect at once; it ends the one before."""
    return template(vault, "retention_schedule", **columns)


def policy(vault, vertical: str = "general", days: int = 30, kind: str = "general", schedule_version: str | None = None) -> str:
    """Sets a policy, under the newest schedule if none is named."""
    version = schedule_version or newest_schedule(vault) or schedule(vault)
    with vault.connect(vault.dba) as dba:
        dba.execute(f"{POLICY} ON CONFLICT (vertical, kind) DO UPDATE SET days = excluded.days, schedule_version = excluded.schedule_version", (vertical, kind, days, version))
    return version


def newest_schedule(vault) -> str | None:
    rows = vault.sql("SELECT version FROM identity.consent_versions WHERE kind = 'retention_schedule' AND superseded_at IS NULL ORDER BY ordinal DESC LIMIT 1")
    return rows[0]["version"] if rows else None


def no_policies(vault) -> None:
    with vault.connect(vault.dba) as dba:
        dba.execute("DELETE FROM identity.retention_policies")


def changes(vault, vertical: str, kind: str = "general") -> list[dict]:
    return vault.sql("SELECT * FROM identity.retention_policy_changes WHERE vertical = %s AND kind = %s ORDER BY change_no", (vertical, kind))
