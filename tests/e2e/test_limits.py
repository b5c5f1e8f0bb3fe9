"""Rates and daily caps: what one caller has had of a purpose cannot be had again, whatever it does to its session."""

import threading
import time

import psycopg
import pytest

from cluster import wait_until
from limit_helpers import CAP, RATE, caller, capped, outcome, small_cluster, used_up
from vault import ONBOX, RESOLVE, Vault, read, refused, refused_read


@pytest.fixture
def subject(vault):
    return vault.subject()


# -- the cap ------------------------------------------------------------------------
def test_the_cap_is_the_last_read_of_the_day(vault, gateway, subject):
    purpose = capped(vault, 5)
    used_up(gateway, subject, purpose, 5)
    vault.leaves(gateway, committed=5, denied=2)


def test_rollback_does_not_give_the_allowance_back(vault, gateway, subject):
    purpose = capped(vault, 4)
    for _ in range(3):
        with gateway.transaction(force_rollback=True):
            read(gateway, subject, purpose)
    used_up(gateway, subject, purpose, 1)
    vault.leaves(gateway, rolled_back=3, committed=1, denied=2)


def test_savepoint_does_not_give_the_allowance_back(vault, gateway, subject):
    purpose = capped(vault, 4)
    with gateway.transaction():
        for _ in range(3):
            gateway.execute("SAVEPOINT a")
            read(gateway, subject, purpose)
            gateway.execute("ROLLBACK TO a")
    used_up(gateway, subject, purpose, 1)
    vault.leaves(gateway, rolled_back=3, committed=1, denied=2)


def test_error_after_the_read_does_not_give_the_allowance_back(vault, gateway, subject):
    purpose = capped(vault, 4)
    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            gateway.execute(
                "SELECT length(pii::text) / 0 FROM identity.pii_resolve(%s::uuid, %s::text, %s::text[])", (subject.id, purpose, ["name"])
            )
    used_up(gateway, subject, purpose, 1)


def test_set_role_does_not_multiply_the_allowance(vault, subject):
    purpose = capped(vault, 5)
    login, others = vault.login(*ONBOX), [vault.login(*ONBOX) for _ in range(3)]
    for other in others:
        vault.sql(f"GRANT {other} TO {login}")
    with vault.connect(login) as conn:
        for other in others:
            conn.execute(f"SET ROLE {other}")
            assert outcome(conn, subject, purpose) == "ok"
        conn.execute("RESET ROLE")
        used_up(conn, subject, purpose, 2)
        for other in others:
            conn.execute(f"SET ROLE {other}")
            assert outcome(conn, subject, purpose) == CAP
    with vault.connect(others[0]) as conn:
        used_up(conn, subject, purpose, 5)  # nobody else paid for it


def test_fifty_reconnects_do_not_multiply_the_allowance(vault, subject):
    purpose, login, seen = capped(vault, 10), vault.login(*ONBOX), []
    for _ in range(50):
        with vault.connect(login) as conn:
            seen.append(outcome(conn, subject, purpose))
    assert seen == ["ok"] * 10 + [CAP] * 40


def test_parallel_sessions_never_get_one_more_than_the_cap(vault, subject):
    for cap in (1, 7, 25):
        purpose, login = capped(vault, cap), vault.login(*ONBOX)
        seen: list = []
        start = threading.Barrier(12)

        def race(purpose=purpose, login=login, seen=seen, start=start):
            with vault.connect(login) as conn:
                start.wait()
                for _ in range(10):
                    result = outcome(conn, subject, purpose)
                    seen.append(result)
                    if result == "ok":
                        conn.execute("SELECT 1")

        threads = [threading.Thread(target=race) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(seen) == 120 and set(seen) == {"ok", CAP}
        assert seen.count("ok") == cap
        vault.leaves(login, committed=cap, denied=120 - cap)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "Asia/Tokyo", "America/Los_Angeles"])
def test_time_zone_of_the_session_makes_no_new_day(vault, subject, zone):
    purpose, login = capped(vault, 3), vault.login(*ONBOX)
    with vault.connect(login) as conn:
        assert [outcome(conn, subject, purpose) for _ in range(3)] == ["ok"] * 3
        conn.execute(f"SET TimeZone = '{zone}'")
        assert outcome(conn, subject, purpose) == CAP
    vault.sql(f"ALTER ROLE {login} SET TimeZone = '{zone}'")
    with vault.connect(login) as conn:
        assert conn.execute("SHOW TimeZone").fetchone()[0] == zone
        assert outcome(conn, subject, purpose) == CAP


def test_refused_reads_are_no_volume(vault, gateway, subject):
    purpose = capped(vault, 3)
    withdrawn, healthcare = vault.subject(consent="withdrawn"), vault.subject("healthcare")
    for _ in range(5):
        refused_read(gateway, withdrawn, "42501", "consent", purpose)
        refused_read(gateway, healthcare, "42501", "phi_access", purpose)
    used_up(gateway, subject, purpose, 3)


def test_caller_at_its_cap_learns_nothing_about_a_subject(vault, gateway, subject):
    purpose = capped(vault, 1)
    used_up(gateway, subject, purpose, 1)
    for other in (vault.subject(consent="withdrawn"), vault.subject("healthcare")):
        refused_read(gateway, other, *CAP, purpose)
    with pytest.raises(psycopg.Error) as caught:
        gateway.execute(RESOLVE, ("00000000-0000-7000-8000-000000000000", purpose, ["name"]))
    assert "daily_cap" in caught.value.diag.message_detail


def test_registering_is_no_disclosure(vault, gateway, subject):
    purpose = capped(vault, 2)
    used_up(gateway, subject, purpose, 2)
    for number in range(3):
        gateway.execute("SELECT identity.pii_register(%s, jsonb_build_object('name', %s::text))", (purpose, f"New {number}"))


def test_purposes_and_callers_have_allowances_of_their_own(vault, subject):
    one, other = capped(vault, 2), capped(vault, 3)
    with caller(vault) as a, caller(vault) as b:
        used_up(a, subject, one, 2)
        used_up(b, subject, one, 2)
        used_up(a, subject, other, 3)


def test_a_new_version_of_the_purpose_gives_no_new_allowance(vault, gateway, subject):
    purpose = capped(vault, 3)
    used_up(gateway, subject, purpose, 3)
    with vault.connect(vault.dba) as dba:
        dba.execute("UPDATE identity.purpose_definitions SET description = 'once more' WHERE purpose_token = %s", (purpose,))
        assert outcome(gateway, subject, purpose) == CAP
        dba.execute("UPDATE identity.purpose_definitions SET daily_volume_cap = 5 WHERE purpose_token = %s", (purpose,))
    used_up(gateway, subject, purpose, 2)


# -- no cap, and the ceiling --------------------------------------------------------
@pytest.fixture
def ceiling(vault, request):
    """The ceiling, for a while, at 6."""
    vault.sql("ALTER SYSTEM SET identity_pgx.service_daily_ceiling = 6")
    vault.cluster.reload()
    request.addfinalizer(vault.cluster.reload)
    request.addfinalizer(lambda: vault.sql("ALTER SYSTEM RESET identity_pgx.service_daily_ceiling"))
    show = "SHOW identity_pgx.service_daily_ceiling"
    wait_until(lambda: list(vault.sql(show)[0].values()) == ["6"], "the reload")
    return 6


def test_purpose_without_cap_ends_at_the_ceiling(vault, ceiling, subject):
    purpose = capped(vault, None)
    with caller(vault) as conn:
        wait_until(lambda: conn.execute("SHOW identity_pgx.service_daily_ceiling").fetchone()[0] == "6", "the reload")
        used_up(conn, subject, purpose, ceiling)


def test_a_session_cannot_raise_the_ceiling(vault, gateway):
    with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
        gateway.execute("SET identity_pgx.service_daily_ceiling = 1000000")
    with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
        vault.sql(f"ALTER ROLE {gateway.info.user} SET identity_pgx.service_daily_ceiling = 1000000")


def test_the_ceiling_stands_at_ten_thousand(vault):
    assert list(vault.sql("SHOW identity_pgx.service_daily_ceiling")[0].values()) == ["10000"]


# -- the rate -----------------------------------------------------------------------
def test_a_second_holds_as_many_calls_as_the_rate(vault, gateway, subject):
    purpose = vault.purpose(rate_limit_qps=5)
    time.sleep(1.1)
    start = time.monotonic()
    seen = []
    while time.monotonic() - start < 3:
        seen.append(outcome(gateway, subject, purpose))
    took = time.monotonic() - start
    assert set(seen) == {"ok", RATE}
    assert seen[:5] == ["ok"] * 5
    assert 5 + 5 * 2 <= seen.count("ok") <= 5 + 5 * took
    time.sleep(0.25)
    assert outcome(gateway, subject, purpose) == "ok", "a refused call takes nothing"


def test_rate_is_shared_by_sessions_roles_and_kinds_of_call(vault, subject):
    purpose, login, other = vault.purpose(rate_limit_qps=1), vault.login(*ONBOX), vault.login(*ONBOX)
    vault.sql(f"GRANT {other} TO {login}")
    with vault.connect(login) as one, vault.connect(login) as two:
        assert outcome(one, subject, purpose) == "ok"
        assert outcome(two, subject, purpose) == RATE
        two.execute(f"SET ROLE {other}")
        assert outcome(two, subject, purpose) == RATE
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            one.execute("SELECT identity.pii_register(%s, '{\"name\": \"New\"}')", (purpose,))
        with one.transaction(force_rollback=True):
            assert outcome(one, subject, purpose) == RATE
    with vault.connect(other) as conn:
        assert outcome(conn, subject, purpose) == "ok"


def test_rate_limited_calls_are_no_volume(vault, gateway, subject):
    purpose = vault.purpose(rate_limit_qps=2, daily_volume_cap=3)
    seen = [outcome(gateway, subject, purpose) for _ in range(10)]
    assert seen.count("ok") <= 3
    deadline = time.monotonic() + 10
    while CAP not in seen and time.monotonic() < deadline:
        seen.append(outcome(gateway, subject, purpose))
    assert seen.count("ok") == 3


# -- a full table -------------------------------------------------------------------
def test_who_finds_no_place_to_be_counted_is_not_served(request):
    cluster = small_cluster()
    request.addfinalizer(cluster.destroy)
    vault = Vault(cluster.start().install())
    places = int(vault.sql("SELECT value FROM identity.metrics() WHERE name = 'identity_limit_places'")[0]["value"])
    with vault.connect(vault.dba) as dba:
        dba.execute(
            """INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, daily_volume_cap)
               SELECT 't.n' || n, 'a test', '{name}', '{identity_gateway}', 1 FROM generate_series(1, %s) AS n""",
            (places + 50,),
        )
    subject, seen = vault.subject(), {}
    with caller(vault) as conn:
        for number in range(1, places + 51):
            purpose = f"t.n{number}"
            seen[purpose] = outcome(conn, subject, purpose)
        assert set(seen.values()) == {"ok", RATE}
        turned_away = [purpose for purpose, result in seen.items() if result == RATE]
        assert len(turned_away) >= 50
        # Nobody lost a place: who has had its one read has had it, who has none gets none.
        again = {purpose: outcome(conn, subject, purpose) for purpose in seen}
        assert again == {purpose: RATE if result == RATE else CAP for purpose, result in seen.items()}
    metrics = {row["name"]: row["value"] for row in vault.sql("SELECT name, value FROM identity.metrics()")}
    assert metrics["identity_limit_turned_away_total"] == 2 * len(turned_away)
    assert metrics["identity_limit_places_taken"] == places + 50 - len(turned_away)


@pytest.mark.parametrize("question", ["subject_generations(CASE WHEN n > 0 THEN %s::uuid[] END)", "subject_changes(n - n, cardinality(%s::uuid[]))"])
def test_questions_without_a_purpose_have_a_rate_too(vault, gateway, question):
    subject = vault.subject()
    query = f"SELECT count(*) FROM generate_series(1, %s) AS n, LATERAL identity.{question} AS answer"
    gateway.execute(query, (10, [subject.id]))
    refused(gateway, query, (20_000, [subject.id]), *RATE)
    assert outcome(gateway, subject, "t.all") == "ok", "reads are counted by purpose, and go on"
