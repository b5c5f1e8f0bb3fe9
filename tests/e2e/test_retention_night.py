"""The maintenance process sweeps at 03:00 UTC, catches up, and goes on whatever a batch meets."""

import os
import signal
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from clock import DAY, Clock
from cluster import root_dir, wait_until
from retention import aged, erased, night_is_over, policy, sweep
from vault import Vault

MAINTENANCE = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'identity_pgx maintenance'"


@pytest.fixture
def clock(monkeypatch):
    return Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)


@pytest.fixture
def timed(clock, fresh):
    """A vault that goes by the test's clock, which stands at noon; the night before is over."""
    clock.set(days_to(12, 0))
    vault = Vault(fresh({"identity_pgx.recorder_slots": 1024}))
    vault.clock = clock
    night_is_over(vault)
    yield vault
    vault.clock.set(0)


def days_to(hour: int, minute: int, days: int = 1) -> float:
    """How far ahead of the machine's clock that time of a coming day is."""
    now = datetime.now(timezone.utc)
    at = now.replace(hour=hour, minute=minute, second=0) + timedelta(days=days)
    return (at - now).total_seconds() / DAY


def ended(vault, name: str = "retention"):
    return vault.sql("SELECT ended_at FROM identity.sweep_progress WHERE sweep = %s", (name,))[0]["ended_at"]


def test_the_night_begins_at_three_utc(timed):
    vault = timed
    policy(vault, "general", 30)
    vault.clock.set(days_to(2, 58, days=2))
    subject = aged(vault, 31)
    before = ended(vault)
    time.sleep(4)
    assert erased(vault, subject) == [False] and ended(vault) == before
    vault.clock.set(days_to(3, 0, days=2))
    wait_until(lambda: erased(vault, subject) == [True], "the sweep of the night", timeout=30)
    row = vault.sql("SELECT accessor_role, purpose_token FROM identity.pii_access_log WHERE candidate_id = %s AND accessor_kind = 'erasure'", (subject.id,))
    assert row == [{"accessor_role": "postgres", "purpose_token": "retention_expired"}]
    wait_until(lambda: ended(vault) > before, "the end of the pass")
    young = aged(vault, 31)  # after the night: due in the next one
    time.sleep(4)
    assert erased(vault, young) == [False]
    vault.verify()


def test_a_night_of_many_batches_holds_no_other_duty_up(timed):
    vault = timed
    policy(vault, "general", 30)
    vault.sql("SELECT count(identity._import_subject(gen_random_uuid(), '{\"name\": \"Many\"}', 'general', 'given')) FROM generate_series(1, 2500)")
    vault.sql("UPDATE identity.subjects SET created_at = created_at - interval '31 days'")
    vault.clock.set(days_to(3, 1, days=2))
    left = "SELECT count(*) AS n FROM identity.subjects WHERE erased_at IS NULL"
    wait_until(lambda: vault.sql(left)[0]["n"] < 2500, "the first batch", timeout=30)
    assert vault.sql(left)[0]["n"] > 0
    wait_until(lambda: vault.sql(left)[0]["n"] == 0, "the last batch", timeout=60)
    wait_until(lambda: vault.sql("SELECT count(*) AS n FROM identity.subject_changes_pending")[0]["n"] == 0, "the changes to be numbered", timeout=30)
    vault.verify()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_killed_resumes_and_nobody_is_missed_or_done_twice(timed, how):
    vault = timed
    policy(vault, "general", 30)
    vault.sql("SELECT count(identity._import_subject(gen_random_uuid(), '{\"name\": \"Many\"}', 'general', 'given')) FROM generate_series(1, 3500)")
    vault.sql("UPDATE identity.subjects SET created_at = created_at - interval '31 days'")
    vault.clock.set(days_to(3, 1, days=2))
    left = "SELECT count(*) AS n FROM identity.subjects WHERE erased_at IS NULL"
    wait_until(lambda: vault.sql(left)[0]["n"] < 3500, "the first batch", timeout=30)
    pid = vault.sql(MAINTENANCE)[0]["pid"]
    os.kill(pid, how)
    if how == signal.SIGKILL:  # takes all sessions along
        wait_until(lambda: not answers(vault), "the sessions to end", timeout=60)
        wait_until(lambda: reconnected(vault), "the server to come back", timeout=60)
        vault.cluster.unlock()
    wait_until(lambda: vault.sql(left)[0]["n"] == 0, "the last batch", timeout=60)
    counted = vault.sql("SELECT count(*) AS events, count(DISTINCT candidate_id) AS subjects FROM identity.pii_access_log WHERE accessor_kind = 'erasure' AND outcome = 'committed'")
    assert counted == [{"events": 3500, "subjects": 3500}]
    vault.verify()


def answers(vault) -> bool:
    try:
        return bool(vault.sql("SELECT 1"))
    except psycopg.OperationalError:
        return False


def reconnected(vault) -> bool:
    try:
        vault.admin = vault.cluster.connect(row_factory=dict_row)
        return True
    except psycopg.OperationalError:
        return False


def test_locked_keys_put_the_night_off(timed):
    vault = timed
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    with vault.connect(vault.worker) as worker:
        worker.execute("SELECT identity.key_wipe_all()")
        vault.clock.set(days_to(3, 1, days=2))
        time.sleep(4)
        assert erased(vault, subject) == [False]
    vault.cluster.unlock()
    wait_until(lambda: erased(vault, subject) == [True], "the sweep", timeout=30)


def test_a_batch_that_fails_ends_neither_the_process_nor_its_duties(timed):
    """A lock on the table of requests: every batch fails. The others of the night, and the numbering of changes, go on."""
    vault = timed
    policy(vault, "general", 30)
    subject, other = aged(vault, 31), vault.subject()
    pid = vault.sql(MAINTENANCE)[0]["pid"]
    with vault.cluster.connect() as admin:
        admin.execute("BEGIN; LOCK identity.erasure_requests IN SHARE MODE")
        vault.clock.set(days_to(3, 1, days=2))
        wait_until(lambda: "a batch of the retention sweep failed with SQLSTATE 55P03" in vault.cluster.log.read_text(), "the failure", timeout=40)
        vault.change(other.id, {"name": "Another"})
        wait_until(lambda: vault.sql("SELECT count(*) AS n FROM identity.subject_changes_pending")[0]["n"] == 0, "the changes to be numbered", timeout=30)
        assert vault.sql(MAINTENANCE)[0]["pid"] == pid
        assert vault.sql("SELECT erased_at FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]["erased_at"] is None
    with vault.connect(vault.worker) as worker:
        assert sweep(worker)["done"] == 1
    vault.verify()


def test_a_clock_that_was_set_back_erases_nobody_early_and_the_next_night_comes(timed):
    vault = timed
    policy(vault, "general", 30)
    vault.clock.set(days_to(12, 0, days=400))
    night = ended(vault)
    wait_until(lambda: ended(vault) > night, "the night that lies far ahead", timeout=60)
    vault.clock.set(days_to(12, 0, days=3))
    young = aged(vault, 29)
    wait_until(lambda: ended(vault) < datetime.now(timezone.utc) + timedelta(days=10), "a night of the right time", timeout=60)
    with vault.connect(vault.worker) as worker:
        sweep(worker)
    assert erased(vault, young) == [False]


def test_what_was_erased_is_scrubbed_some_minutes_later(timed):
    vault = timed
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    with vault.connect(vault.worker) as worker:
        assert sweep(worker)["done"] == 1
    scrubbed = "SELECT scrubbed_at FROM identity.erasure_requests WHERE candidate_id = %s"
    time.sleep(3)
    assert vault.sql(scrubbed, (subject.id,))[0]["scrubbed_at"] is None
    vault.clock.set(days_to(12, 20))
    wait_until(lambda: vault.sql(scrubbed, (subject.id,))[0]["scrubbed_at"], "the scrub", timeout=90)


def test_status_and_metrics_say_what_is_due_and_what_nobody_covers(timed):
    vault = timed
    policy(vault, "general", 30)
    aged(vault, 31)
    vault.subject("finance")
    status = {row["item"]: row for row in vault.sql("SELECT * FROM identity.identity_status()")}
    assert status["retention"]["state"] == "1 due, without a policy 1 of finance" and "kept for good" in status["retention"]["hint"]
    assert status["retention sweep"]["state"] == "0 done, 0 busy, 0 failed" and status["retention sweep"]["hint"] is None
    numbers = {(row["name"], *sorted(row["labels"].items())): row["value"] for row in vault.sql("SELECT * FROM identity.metrics()")}
    assert numbers[("identity_retention_due", ("vertical", "general"))] == 1
    assert numbers[("identity_retention_without_policy", ("vertical", "finance"))] == 1
    assert numbers[("identity_sweep_last_seconds", ("sweep", "retention"))] >= 0
    assert numbers[("identity_sweep_subjects", ("state", "done"), ("sweep", "retention"))] == 0
    vault.clock.set(days_to(2, 0, days=4))
    wait_until(lambda: vault.sql("SELECT state FROM identity.identity_status() WHERE item = 'retention'")[0]["state"].startswith("0 due"), "the catch-up", timeout=60)
