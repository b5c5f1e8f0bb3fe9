"""A worker that leads does the nights; the maintenance process does them where none leads, or where one leads and does nothing."""

import tempfile
from pathlib import Path

import psycopg
import pytest

from clock import Clock
from cluster import Cluster, root_dir, wait_until
from expire import MONTHS
from forget import App
from retention import aged, erased, night_is_over, policy
from test_retention_night import days_to
from vault import Vault, read
from worker import Anchoring, grow, pause

LOCK = "SELECT pg_advisory_lock(1768190072, 1)"
SUBJECTS = "SELECT count(*) AS n FROM identity.subjects WHERE erased_at IS NULL"
MAINTENANCE = "postgres"
SECONDS = 60  # of a machine that has other things to do


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """A vault that goes by the test's clock; each test has nights of its own."""
    monkeypatch = pytest.MonkeyPatch()
    clock = Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)
    clock.set(days_to(12, 0))
    cluster = Cluster("n", {"identity_pgx.recorder_slots": 1024, "identity_pgx.log_retention": "'1d'"})
    vault = Vault(cluster.start().install())
    vault.clock, vault.today = clock, 1
    night_is_over(vault)
    policy(vault, "general", 30)
    yield vault
    vault.clock.set(0)
    cluster.destroy()
    monkeypatch.undo()


@pytest.fixture
def vault(timed):
    """At noon, and the night before is over; three days after the test before, so that no night is missing."""
    timed.today += 3
    timed.clock.set(days_to(12, 0, timed.today))
    noon = timed.sql("SELECT now() AS now")[0]["now"]
    over = "SELECT bool_and(ended_at > %s - interval '1 day') AS over FROM identity.sweep_progress"
    wait_until(lambda: timed.sql(over, (noon,))[0]["over"], "the nights before", SECONDS)
    yield timed
    timed.verify()


def at(vault, hour: int, minute: int) -> None:
    """That time of the next day."""
    vault.clock.set(days_to(hour, minute, vault.today + 1))


def await_erasure(vault, subject) -> str:
    """By whom."""
    wait_until(lambda: erased(vault, subject) == [True], "the sweep", SECONDS)
    row = "SELECT accessor_role FROM identity.pii_access_log WHERE candidate_id = %s AND accessor_kind = 'erasure' AND outcome = 'committed'"
    return vault.sql(row, (subject.id,))[0]["accessor_role"]


@pytest.fixture
def anchoring(vault, tmp_path):
    anchoring = Anchoring(vault, tmp_path)
    yield anchoring
    anchoring.leave()
    print(anchoring.logs())  # shown if the test has failed


def test_a_worker_that_leads_sweeps_scrubs_and_has_old_months_dropped(vault, anchoring):
    subject, young = aged(vault, 31), vault.subject()
    with vault.gateway() as gateway:
        read(gateway, young)
    worker = anchoring.start()
    worker.says("leads")
    pause(3)
    assert erased(vault, subject) == [False], "before the night"
    at(vault, 3, 1)
    assert await_erasure(vault, subject) == vault.worker
    told = [event for event in worker.events("night") if event["sweep"] == "retention"] or [worker.says("night", SECONDS)]
    assert (told[-1]["done"], told[-1]["failed"], told[-1]["over"]) == (1, 0, True)
    assert erased(vault, young) == [False]
    at(vault, 3, 20)
    scrubbed = "SELECT scrubbed_at FROM identity.erasure_requests WHERE candidate_id = %s"
    wait_until(lambda: vault.sql(scrubbed, (subject.id,))[0]["scrubbed_at"], "the scrub", 90)
    assert worker.says("scrub", SECONDS)["state"] == "done"
    assert worker.stop() == 0 and not worker.events("refused")
    assert not [event for event in worker.events("night") if event.get("alarm")]


def test_who_is_no_worker_cannot_put_the_nights_off_by_taking_the_lock(vault):
    """Neither a gateway nor a superuser: were either taken for a worker, nobody would do it."""
    for login in (vault.gateway(), vault.cluster.connect()):
        with login as holder:
            holder.execute(LOCK)
            subject = aged(vault, 31)
            at(vault, 3, 1)
            assert await_erasure(vault, subject) == MAINTENANCE
        vault.today += 3


def test_a_worker_that_leads_and_does_nothing_is_not_waited_for(vault):
    subject = aged(vault, 31)
    with vault.connect(vault.worker) as idle:
        idle.execute(LOCK)
        for minute in (1, 25):
            at(vault, 3, minute)
            pause(2.5)
            assert erased(vault, subject) == [False], "it is the worker's turn"
        at(vault, 3, 40)
        assert await_erasure(vault, subject) == MAINTENANCE
    assert "the worker that leads does not go on with the sweeps of this night" in vault.cluster.log.read_text()


@pytest.mark.long
def test_nor_is_one_that_does_not_scrub(vault):
    subject = aged(vault, 31)
    scrubbed = "SELECT scrubbed_at FROM identity.erasure_requests WHERE candidate_id = %s"
    at(vault, 3, 1)
    assert await_erasure(vault, subject) == MAINTENANCE
    with vault.connect(vault.worker) as idle:
        idle.execute(LOCK)
        for minute in (10, 30):
            at(vault, 3, minute)
            pause(12)
            assert vault.sql(scrubbed, (subject.id,))[0]["scrubbed_at"] is None
        at(vault, 3, 45)
        wait_until(lambda: vault.sql(scrubbed, (subject.id,))[0]["scrubbed_at"], "the scrub", SECONDS)


def test_a_batch_is_cut_off_when_the_worker_stops_and_others_do_the_rest_of_the_night(vault, anchoring):
    app = App(vault)
    app.table()
    subject = aged(vault, 400)
    app.fill(subject)
    app.trigger(f"IF session_user = '{vault.worker}' THEN PERFORM pg_catalog.pg_sleep(300); END IF")
    worker = anchoring.start()
    worker.says("leads")
    at(vault, 3, 1)
    sweeping = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = %s"
    wait_until(lambda: vault.sql(sweeping, (vault.worker,)), "the batch", SECONDS)
    assert worker.stop() == 0, "it does not end in the middle of something"
    wait_until(lambda: not vault.sql(sweeping, (vault.worker,)), "the batch to end", SECONDS)
    assert await_erasure(vault, subject) == MAINTENANCE
    denied = "SELECT count(*) AS n FROM identity.pii_access_log WHERE candidate_id = %s AND outcome = 'denied'"
    assert vault.sql(denied, (subject.id,)) == [{"n": 0}], "that is no refusal of the table's"
    app.unregister()


def test_nobody_but_a_worker_is_told_what_is_due(vault):
    for login in (vault.gateway(), vault.connect(vault.dba), vault.connect(vault.auditor)):
        with login as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT identity._night_due()")
    with vault.connect(vault.worker) as worker:

        def due() -> dict:
            return worker.execute("SELECT identity._night_due()").fetchone()[0]

        wait_until(lambda: due()["sweeps"] == [] and not due()["scrub"], "the day", SECONDS)
        today = due()["night"]
        worker.execute(LOCK)
        at(vault, 2, 59)
        assert due() == {"night": today, "sweeps": [], "scrub": False}
        at(vault, 3, 1)
        assert due() == {"night": today + 1, "sweeps": ["consent", "biometric", "retention"], "scrub": False}
        worker.execute("SELECT identity.key_wipe_all()")
        assert worker.execute("SELECT identity._night_due()").fetchone()[0] == {"night": None, "sweeps": [], "scrub": False}
    vault.cluster.unlock()


def test_a_month_that_is_over_goes_in_the_night_after_it_was_anchored(vault, anchoring):
    """The last one: it makes everything old."""
    grow(vault)
    # Of this month: what is older may go as soon as the worker leads.
    month = vault.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log ORDER BY accessed_at DESC LIMIT 1")[0]
    # It stands still while the clock jumps: what a month's rows come into is not made by jumps.
    worker = anchoring.start()
    anchoring.await_anchor(anchoring.size(), SECONDS)
    assert worker.stop() == 0
    vault.today += 100
    vault.clock.set(days_to(12, 0, vault.today))
    vault.sql("SELECT identity._make_partitions()")
    grow(vault)
    at(vault, 3, 1)
    worker = anchoring.start()
    wait_until(lambda: month not in vault.sql(MONTHS), "the month to be dropped", SECONDS)
    name = month["name"][-7:].replace("m", "-")
    wait_until(lambda: [event for event in worker.events("expired") if event["month"] == name and "kept" not in event], f"it to tell of {name}", SECONDS)
    assert worker.stop() == 0 and not worker.events("refused")
