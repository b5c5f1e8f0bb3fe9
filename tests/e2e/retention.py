"""What tests about retention have in common: schedules and policies by a DBA, subjects of an age, sweeps by a worker."""

import contextlib
import time

from cluster import wait_until
from consent import template

BAD = ("22023", "bad_argument")
POLICY = "INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES (%s, %s, %s, %s)"


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


@contextlib.contextmanager
def sweeping(vault):
    """A worker, and nobody who is due but those whom the test ages."""
    if not getattr(vault, "night_is_over", False):
        night_is_over(vault)
        vault.night_is_over = True
    no_policies(vault)
    vault.sql("UPDATE identity.subjects SET created_at = now(), last_interaction = NULL WHERE erased_at IS NULL AND created_at < now() - interval '1 hour'")
    worker = vault.connect(vault.worker)
    try:
        yield worker
    finally:
        worker.close()  # whatever the test left open in it
        no_policies(vault)
    vault.verify()


def changes(vault, vertical: str, kind: str = "general") -> list[dict]:
    return vault.sql("SELECT * FROM identity.retention_policy_changes WHERE vertical = %s AND kind = %s ORDER BY change_no", (vertical, kind))


SWEEPS = ("consent", "biometric", "retention")


def night_is_over(vault) -> None:
    """The maintenance process makes up for the night before at the start of a server; from here on a test's subjects are its own."""
    ended = "SELECT FROM identity.sweep_progress WHERE ended_at IS NOT NULL"
    wait_until(lambda: len(vault.sql(ended)) == len(SWEEPS), "the sweeps of the night before", timeout=30)
    time.sleep(1.2 * len(SWEEPS))  # a round each, to see that it is over


def aged(vault, days: float, vertical: str = "general", period: int | None = None, interaction: float | None = None, **kwargs):
    """A subject that was registered so many days ago, and had its last interaction so many days ago."""
    subject = vault.subject(vertical, **kwargs)
    age(vault, [subject], days, period, interaction)
    return subject


def age(vault, subjects, days: float, period: int | None = None, interaction: float | None = None) -> None:
    vault.sql(
        """UPDATE identity.subjects SET created_at = now() - make_interval(secs => %s), retention_period_days = COALESCE(%s, retention_period_days),
                  last_interaction = now() - make_interval(secs => %s) WHERE candidate_id = ANY (%s)""",
        (days * 86400, period, None if interaction is None else interaction * 86400, [subject.id for subject in subjects]),
    )


def sweep(conn, name: str = "retention", most: int = 1000, dry_run: bool = False) -> dict:
    return conn.execute(f"SELECT identity.{name}_sweep(%s, %s)", (most, dry_run)).fetchone()[0]


def whole(conn, name: str = "retention", most: int = 1000) -> dict:
    """A pass to its end; counts added up."""
    total = {"due": 0, "done": 0, "busy": 0, "failed": 0}
    while True:
        batch = sweep(conn, name, most)
        total = {key: total[key] + batch[key] for key in total}
        if not batch["more"]:
            return total


def erased(vault, *subjects) -> list[bool]:
    """Whether each is erased, by the table and by the record; the two agree."""
    found = []
    for subject in subjects:
        row = vault.sql(
            """SELECT s.erased_at IS NOT NULL AS gone, s.name_ct IS NULL AS empty, (SELECT count(*) FROM identity.erasure_requests r WHERE r.candidate_id = s.candidate_id AND r.state = 'done') AS requests,
                      (SELECT count(*) FROM identity.pii_access_log l WHERE l.candidate_id = s.candidate_id AND l.accessor_kind = 'erasure' AND l.outcome = 'committed') AS events
                 FROM identity.subjects s WHERE s.candidate_id = %s""",
            (subject.id,),
        )[0]
        assert (row["empty"], row["requests"], row["events"]) == ((True, 1, 1) if row["gone"] else (False, 0, 0)), row
        found.append(row["gone"])
    return found
