"""Locks, cancels, and a storm of refusals by many."""
import psycopg
import pytest

from test_recorder import Stopped, attempt, small  # noqa: F401
from vault import read


def test_advisory_locks_of_a_session_hold_no_reader_up(vault, gateway):
    """Whoever may take advisory locks, which is everybody, could otherwise lock every bucket."""
    subject = vault.subject()
    with vault.connect(vault.login()) as stranger:
        stranger.execute("SELECT count(pg_advisory_lock(n, 0)), count(pg_advisory_lock(n::bigint << 32)) FROM generate_series(0, 1023) n")
        gateway.execute("SET lock_timeout = '1s'")
        read(gateway, subject)


def test_refusals_of_many_callers_leave_room_for_reads(small):  # noqa: F811
    subject, withdrawn = small.subject(), small.subject(consent="withdrawn")
    callers = [small.gateway() for _ in range(12)]
    with small.gateway() as other:
        with Stopped(small):
            for caller in callers:
                for number in range(10):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        caller.execute("SELECT * FROM identity.pii_resolve(%s, 't.all', '{name}', %s)", (withdrawn.id, f"trace-{number}"))
            assert [attempt(other, subject) for _ in range(3)] == ["ok"] * 3
        small.leaves(other, committed=3)
    for caller in callers:
        small.leaves(caller, denied=10)
        caller.close()
    small.verify()


def test_cancelled_recorder_is_the_same_afterwards(small):  # noqa: F811
    pid = Stopped(small).pid
    for _ in range(5):
        small.sql("SELECT pg_cancel_backend(%s)", (pid,))
    with small.gateway() as gateway:
        with gateway.transaction(force_rollback=True):
            read(gateway, small.subject())
        small.leaves(gateway, rolled_back=1)
    assert Stopped(small).pid == pid
