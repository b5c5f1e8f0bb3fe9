"""The server's clock jumps, by months and back: every lane goes on where it was, and what waits for a month holds nobody up."""

import tempfile
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from approval import NARROW, WIDE, opens, update, waits
from clock import Clock
from cluster import root_dir, wait_until
from vault import ONBOX, Vault, read, reason_of

RECORDER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'identity_pgx recorder'"
NEWEST = "SELECT lane, max(seq) AS seq FROM identity.pii_access_log GROUP BY 1"


@pytest.fixture
def clock(monkeypatch):
    return Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)


@pytest.fixture
def timed(clock, fresh):
    """A vault that goes by the test's clock."""
    vault = Vault(fresh({"identity_pgx.recorder_slots": 1024}))
    vault.clock = clock
    return vault


def read_when_possible(conn, subject) -> None:
    """A month that nobody foresaw gets its partition after the first refusal."""

    def done() -> bool:
        try:
            read(conn, subject)
            return True
        except psycopg.Error as error:
            assert reason_of(error)[1] == "audit_unwritable"
            return False

    wait_until(done, "the partition of the month", timeout=30)


@pytest.mark.parametrize(
    "days",
    [[0, 65, 0], [0, 35, 65, 0], [0, -40], [65, 0]],
    ids=["ahead and back", "ahead twice and back", "set back", "set right"],
)
def test_lanes_go_on_where_they_were_after_the_clock_jumped(timed, days):
    vault, role = timed, timed.login(*ONBOX)
    vault.clock.set(days[0])
    subject = vault.subject()
    sessions = [vault.connect(role) for _ in range(4)]
    for offset in days:
        vault.clock.set(offset)
        for session in sessions:
            read_when_possible(session, subject)
    for session in sessions:
        session.close()
    vault.clock.set(0)
    months = {row["month"] for row in vault.sql("SELECT DISTINCT date_trunc('month', accessed_at) AS month FROM identity.pii_access_log")}
    assert len(months) == len(set(days)), "the clock did not jump"
    before = {row["lane"]: row for row in vault.sql(NEWEST)}
    vault.cluster.restart()
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=dict_row)
    sessions = [vault.connect(role) for _ in range(12)]
    for session in sessions:
        read(session, subject)
    for session in sessions:
        session.close()
    after = {row["lane"]: row["seq"] for row in vault.sql(NEWEST)}
    gone_on = [lane for lane, row in before.items() if after[lane] > row["seq"]]
    assert len(gone_on) >= 4, "no lane was used before and after"
    vault.verify("clock")  # and nothing else


def test_many_records_that_wait_for_their_month_hold_up_nobody(timed):
    vault, subject = timed, timed.subject()
    recorder = vault.sql(RECORDER)
    readers = [vault.gateway() for _ in range(20)]
    waiting = [vault.gateway() for _ in range(5)]
    with vault.cluster.connect() as admin, admin.transaction():
        admin.execute("LOCK TABLE identity.pii_access_log IN SHARE UPDATE EXCLUSIVE MODE")  # no partition can be attached
        vault.clock.set(300)
        for conn in waiting:
            for n in range(100):
                with pytest.raises(psycopg.Error) as caught:
                    conn.execute("SELECT identity.pii_resolve(%s, 't.all', '{name}', %s)", (subject.id, f"trace-{n}"))
                assert reason_of(caught.value)[1] == "audit_unwritable"
        vault.clock.set(0)
        for conn in readers:
            with conn.transaction(force_rollback=True):
                read(conn, subject)
        for conn in readers:
            vault.leaves(conn, rolled_back=1)
        queue = vault.sql("SELECT state FROM identity.identity_status() WHERE item = 'recorder queue'")[0]["state"]
        assert ", 500 of them set aside" in queue
    for conn in waiting:
        vault.leaves(conn, timeout=60, denied=100)
    assert vault.sql(RECORDER) == recorder, "the recorder ended"
    for conn in [*readers, *waiting]:
        conn.close()
    vault.verify()


@pytest.mark.parametrize("ahead", [1, 40])
def test_clock_that_steps_back_widens_nothing(timed, ahead):
    """A purpose was narrowed while the clock was ahead: that holds when it is right again, and is what the next version is measured against."""
    vault, gateway = timed, timed.gateway()
    now, later = (vault.purpose(fields=["name", "ssn"], daily_volume_cap=100) for _ in range(2))
    with vault.connect(vault.dba) as dba:
        update(dba, later, f"{NARROW}, effective_at = now() + interval '{ahead * 24 - 1} hours'")
        vault.clock.set(ahead)
        update(dba, now, NARROW)
        for token in (now, later):
            assert opens(vault, gateway, token) == "field_not_allowed"
        vault.clock.set(0)
        assert opens(vault, gateway, now) == "field_not_allowed" and opens(vault, gateway, later) is None  # that one is still to come
        for token in (now, later):
            update(dba, token, f"{WIDE}, effective_at = NULL, description = 'again'")
            assert waits(vault, token)
        assert opens(vault, gateway, now) == "field_not_allowed"
        vault.clock.set(ahead)
        assert opens(vault, gateway, later) == "field_not_allowed"
        vault.clock.set(0)
    gateway.close()
    vault.verify("clock")
