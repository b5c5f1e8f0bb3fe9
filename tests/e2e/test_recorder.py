"""No recorder, no read; and nobody can fill the queue for others or lose what waits in it."""

import os
import signal
import threading
import time

import psycopg
import pytest

from cluster import Cluster, wait_until
from vault import ONBOX, RESOLVE, Vault, read, reason_of, refused_read

SLOTS = 64


@pytest.fixture(scope="module")
def small(request):
    """A vault whose queue is small enough to fill."""
    cluster = Cluster("r", {"identity_pgx.recorder_slots": SLOTS})
    request.addfinalizer(cluster.destroy)
    return Vault(cluster.start().install())


@pytest.fixture(autouse=True)
def well(small):
    """The test before may have ended the recorder."""
    small.wait_well()


def recorder(vault) -> int:
    row = wait_until(lambda: vault.sql("SELECT pid FROM pg_stat_activity WHERE backend_type ILIKE '%recorder%'"), "the recorder to run")
    return row[0]["pid"]


class Stopped:
    """The recorder stands still: what should be written waits in its queue."""

    def __init__(self, vault):
        self.pid = recorder(vault)

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def attempt(conn, subject) -> str:
    try:
        read(conn, subject)
        return "ok"
    except psycopg.Error as error:
        return reason_of(error)[1]


def test_terminated_recorder_comes_back_and_reads_refuse_until_then(small):
    subject = small.subject()
    with small.gateway() as gateway:
        read(gateway, subject)
        old = recorder(small)
        small.sql("SELECT pg_terminate_backend(%s)", (old,))
        seen = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (seen[-5:] == ["ok"] * 5 and "recorder_down" in seen):
            seen.append(attempt(gateway, subject))
            time.sleep(0.01)
        assert set(seen) == {"ok", "recorder_down"}, set(seen)
        assert seen[-1] == "ok"
        assert recorder(small) != old
        small.leaves(gateway, committed=1 + seen.count("ok"), denied=seen.count("recorder_down"))
    assert small.sql("SELECT pg_postmaster_start_time() < now() - interval '0'"), "the server itself went down"
    small.verify()


def test_terminated_recorder_keeps_what_is_queued(small):
    subject = small.subject()
    withdrawn = small.subject(consent="withdrawn")
    with small.gateway() as gateway:
        with Stopped(small) as stopped:
            for _ in range(5):
                with gateway.transaction(force_rollback=True):
                    read(gateway, subject)
                refused_read(gateway, withdrawn, "42501", "consent")
            small.sql("SELECT pg_terminate_backend(%s)", (stopped.pid,))
        small.leaves(gateway, rolled_back=5, denied=5)
    small.verify()


def test_killed_by_an_unprivileged_role_it_is_not(small):
    with small.gateway() as gateway:
        for function in ("pg_terminate_backend", "pg_cancel_backend"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                gateway.execute(f"SELECT {function}(%s)", (recorder(small),))
        read(gateway, small.subject())


def test_cancelled_recorder_goes_on_or_comes_back(small):
    small.sql("SELECT pg_cancel_backend(%s)", (recorder(small),))
    time.sleep(0.1)
    small.wait_well()
    with small.gateway() as gateway:
        with gateway.transaction(force_rollback=True):
            read(gateway, small.subject())
        small.leaves(gateway, rolled_back=1)


def test_one_caller_cannot_take_all_slots(small):
    subject = small.subject()
    with small.gateway() as greedy, small.gateway() as other:
        with Stopped(small):
            taken = fill(greedy, subject)
            assert taken >= 1
            read(other, subject)
            read(other, subject)
        small.leaves(other, committed=2)
        small.leaves(greedy, rolled_back=taken, denied=1)
        read(greedy, subject)
    small.verify()


def fill(conn, subject) -> int:
    """Reads in ever new savepoints until the queue refuses; the count of reads that got an answer."""
    conn.execute("BEGIN")
    for taken in range(100_000):
        conn.execute("SAVEPOINT s")
        try:
            conn.execute(RESOLVE, (subject.id, "t.all", ["name"]))
        except psycopg.Error as error:
            assert reason_of(error) == ("53000", "recorder_full")
            conn.execute("ROLLBACK")
            return taken
    raise AssertionError("the queue never filled")


def test_full_queue_refuses_and_drains(small):
    subject = small.subject()
    callers = [small.gateway() for _ in range(6)]
    taken = [fill_and_stay(caller, subject) for caller in callers]
    assert sum(full for _, full in taken) >= 4
    for caller, (reads, _) in zip(callers, taken):
        caller.execute("ROLLBACK")
    for caller, (reads, full) in zip(callers, taken):
        small.leaves(caller, rolled_back=reads, denied=full)
        wait_until(lambda: attempt(caller, subject) == "ok", "room in the queue")
        caller.close()
    small.verify()


def fill_and_stay(conn, subject) -> tuple[int, int]:
    conn.execute("BEGIN")
    for taken in range(2000):
        conn.execute("SAVEPOINT s")
        try:
            conn.execute(RESOLVE, (subject.id, "t.all", ["name"]))
        except psycopg.Error as error:
            assert reason_of(error) == ("53000", "recorder_full")
            conn.execute("ROLLBACK TO s")
            return taken, 1
    return 2000, 0


REFUSALS = """DO $$ BEGIN
    FOR n IN 1 .. {count} LOOP
        BEGIN PERFORM identity.pii_resolve('{id}', 't.all', '{{name}}', 'loop-' || n % {traces});
        EXCEPTION WHEN insufficient_privilege THEN NULL; END;
    END LOOP; END $$"""


@pytest.mark.parametrize("traces", [1, 1000])
def test_a_loop_of_refusals_serves_others_and_counts_all(small, traces):
    subject, withdrawn = small.subject(), small.subject(consent="withdrawn")
    looping = small.gateway()
    role = looping.info.user
    loop = threading.Thread(target=looping.execute, args=(REFUSALS.format(count=50_000, id=withdrawn.id, traces=traces),), daemon=True)
    waits = []
    with small.gateway() as other:
        loop.start()
        while loop.is_alive():
            began = time.monotonic()
            read(other, subject)  # refused it would raise
            waits.append(time.monotonic() - began)
            time.sleep(0.005)
        small.leaves(other, committed=len(waits))
    assert max(waits) < 5, "others wait for the loop"
    rows = small.leaves(role, timeout=60, denied=50_000)
    assert {row["denial"] for row in rows} == {"consent"}
    looping.close()
    small.verify()


def test_refusals_from_many_sessions_of_one_caller_are_all_counted(small):
    withdrawn, role = small.subject(consent="withdrawn"), small.login(*ONBOX)
    sessions = [small.connect(role) for _ in range(8)]
    threads = [
        threading.Thread(target=session.execute, args=(REFUSALS.format(count=2000, id=withdrawn.id, traces=10),), daemon=True)
        for session in sessions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    small.leaves(role, timeout=60, denied=16_000)
    for session in sessions:
        session.close()
    small.verify()
