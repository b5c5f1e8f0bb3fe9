"""A clock that moves gives nobody a second allowance for a day."""

import pytest

from limit_helpers import CAP, RATE, Clock, back, caller, capped, outcome, small_cluster, today_is, used_up
from vault import ONBOX, RESOLVE, Vault, read


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def evening(clock, fresh):
    """A vault one hour before midnight."""
    clock.set("2031-03-14 23:00:00")
    vault = Vault(fresh())
    vault.kept, vault.capped = vault.subject(), capped(vault, 3)
    vault.caller = vault.login(*ONBOX)
    today_is(vault, "2031-03-14")
    return vault


def left(vault: Vault, reads: int) -> None:
    with vault.connect(vault.caller) as conn:
        used_up(conn, vault.kept, vault.capped, reads)


def test_midnight_gives_one_allowance_however_often_it_passes(evening, clock):
    left(evening, 3)
    clock.set("2031-03-15 00:00:01")
    left(evening, 3)
    for moment in ("2031-03-14 23:59:58", "2031-03-15 00:00:01", "2031-03-13 12:00:00", "2031-03-15 00:00:01", "2031-03-15 23:59:00"):
        clock.set(moment)
        left(evening, 0)
    clock.set("2031-03-16 00:00:01")
    left(evening, 3)


def test_midnight_within_a_session_and_a_transaction(evening, clock):
    clock.set("2031-03-14 23:59:57")
    with evening.connect(evening.caller) as conn, conn.transaction():
        for _ in range(3):
            read(conn, evening.kept, evening.capped)
        clock.set("2031-03-15 00:00:01")
        for _ in range(3):
            read(conn, evening.kept, evening.capped)
    left(evening, 0)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_day_ends_at_midnight_utc_whatever_the_server_thinks(clock, fresh, zone):
    clock.set("2031-03-14 23:00:00")
    vault = Vault(fresh({"timezone": f"'{zone}'"}))
    vault.kept, vault.capped, vault.caller = vault.subject(), capped(vault, 3), vault.login(*ONBOX)
    left(vault, 3)
    clock.set("2031-03-15 00:00:01")
    left(vault, 3)
    vault.cluster.restart()
    back(vault)
    left(vault, 0)


def test_clock_ahead_by_a_day_borrows_from_that_day(evening, clock):
    left(evening, 3)
    clock.set("2031-03-15 23:00:00")
    left(evening, 3)
    clock.set("2031-03-14 23:10:00")
    left(evening, 0)
    clock.set("2031-03-15 00:00:01")
    left(evening, 0)
    clock.set("2031-03-16 00:00:01")
    left(evening, 3)


def test_restart_just_before_and_just_after_midnight(evening, clock):
    left(evening, 3)
    clock.set("2031-03-14 23:59:00")
    evening.cluster.restart()
    back(evening)
    left(evening, 0)
    clock.set("2031-03-15 00:00:01")  # what was counted at the start was of yesterday
    left(evening, 3)
    evening.cluster.restart()
    back(evening)
    left(evening, 0)


def test_restart_with_the_clock_set_back(evening, clock):
    """Yesterday's evening has not come yet, and its reads were made."""
    left(evening, 3)
    evening.cluster.stop()
    clock.set("2031-03-13 22:00:00")
    evening.cluster.start()
    back(evening)
    left(evening, 0)
    clock.set("2031-03-14 00:00:01")
    left(evening, 0)
    clock.set("2031-03-15 00:00:01")
    left(evening, 3)


def test_rolled_back_reads_of_yesterday_that_are_written_today_end_no_walk(evening, clock):
    """The recorder's lane holds today's rows before yesterday's."""
    with evening.connect(evening.caller) as early, evening.connect(evening.caller) as late:
        early.execute("BEGIN")
        early.execute(RESOLVE, (evening.kept.id, "t.all", ["name"]))
        clock.set("2031-03-15 00:00:01")
        for _ in range(3):
            with late.transaction(force_rollback=True):
                read(late, evening.kept, evening.capped)
        evening.leaves(evening.caller, rolled_back=3)
        early.execute("ROLLBACK")
        evening.leaves(evening.caller, rolled_back=4)
    evening.cluster.restart()
    back(evening)
    left(evening, 0)


def test_a_year_ahead_by_mistake_ends_at_the_next_midnight(evening, clock):
    left(evening, 3)
    clock.set("2031-05-20 12:00:00")
    left(evening, 3)
    clock.set("2031-03-14 23:10:00")
    left(evening, 0)
    clock.set("2031-03-15 00:00:01")
    left(evening, 3)


def test_caller_of_its_own_day_is_untouched_by_others_clocks(evening, clock):
    with caller(evening) as other:
        assert outcome(other, evening.kept, evening.capped) == "ok"
        clock.set("2031-03-15 00:00:01")
        left(evening, 3)
        clock.set("2031-03-14 23:30:00")
        used_up(other, evening.kept, evening.capped, 2)


def test_a_place_is_handed_on_only_after_an_idle_day(clock, request):
    """By both clocks: the one that can be set does not free the place of somebody who has had his day."""
    clock.set("2031-03-14 12:00:00")
    cluster = small_cluster()
    request.addfinalizer(cluster.destroy)
    vault = Vault(cluster.start().install())
    places = int(vault.sql("SELECT value FROM identity.metrics() WHERE name = 'identity_limit_places'")[0]["value"])
    with vault.connect(vault.dba) as dba:
        dba.execute(
            """INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, daily_volume_cap)
               SELECT 't.n' || n, 'a test', '{name}', '{identity_gateway}', 1 FROM generate_series(1, %s) AS n""",
            (places + 100,),
        )
    subject = vault.subject()
    with caller(vault) as conn:
        seen = {f"t.n{n}": outcome(conn, subject, f"t.n{n}") for n in range(1, places + 101)}
        late = [purpose for purpose, result in seen.items() if result == RATE]
        assert len(late) >= 100
        clock.set("2031-03-15 13:00:00")
        assert outcome(conn, subject, late[0]) == RATE, "the wall clock alone frees a place"
        clock.set("2031-03-14 13:00:00")
        clock.wait_idle(25 * 3600)
        assert outcome(conn, subject, late[0]) == RATE, "a day that is not over"
        clock.set("2031-03-15 13:00:00")
        assert {outcome(conn, subject, purpose) for purpose in late} == {"ok"}
        assert outcome(conn, subject, late[0]) == CAP
