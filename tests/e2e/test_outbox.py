"""Notices in the database: beside which events, for which channels, and what the worker may say of them."""

import json

import psycopg
import pytest

from cluster import wait_until
from vault import Vault

NOTICES = """SELECT n.access_id, n.payload, l.accessor_kind, encode(l.integrity_hash, 'hex') AS mac
               FROM identity.notifications n JOIN identity.pii_access_log l USING (access_id) WHERE n.payload ->> 'event_kind' = %s ORDER BY l.accessed_at"""
FUNCTIONS = {
    "serve": "SELECT identity.outbox_serve(%s::text[])",
    "take": "SELECT * FROM identity.outbox_take(%s)",
    "delivered": "SELECT identity.outbox_delivered(%s, %s::bigint[])",
    "failed": "SELECT identity.outbox_failed(%s, %s::bigint[], %s, %s)",
    "retry": "SELECT identity.outbox_retry(%s, %s)",
}


@pytest.fixture(scope="module")
def ledger(quiet_ledger):
    return quiet_ledger


@pytest.fixture
def worker(ledger):
    with ledger.connect(ledger.worker) as conn:
        yield conn
        conn.execute(FUNCTIONS["serve"], ([],))


def notices(vault: Vault, kind: str) -> list[dict]:
    return vault.sql(NOTICES, (kind,))


def deliveries(vault: Vault, channel: str) -> list[dict]:
    return vault.sql("SELECT * FROM identity.outbox_deliveries WHERE channel = %s ORDER BY queued_at", (channel,))


def call(conn, name: str, *parameters):
    return conn.execute(FUNCTIONS[name], parameters).fetchall()


def revoked(vault: Vault) -> None:
    """One event, one notice."""
    login = vault.login("identity_gateway")
    with vault.connect(vault.dba) as dba:
        dba.execute("SELECT identity.caller_revoke(%s::name, 'Ada left')", (login,))


def test_events_leave_their_notices(ledger, worker):
    call(worker, "serve", ["a", "b"])
    before = {kind: len(notices(ledger, kind)) for kind in ("purpose_revoke", "purpose_approve", "caller_revoke", "caller_reinstate")}
    ledger.revoke(ledger.purpose(fields=("name", "ssn")))
    login = ledger.login("identity_gateway")
    with ledger.connect(ledger.dba) as dba:
        dba.execute("SELECT identity.caller_revoke(%s::name, 'Ada left')", (login,))
        dba.execute("SELECT identity.caller_reinstate(%s::name)", (login,))
    for kind, count in before.items():
        found = notices(ledger, kind)
        assert len(found) == count + 1, kind
        notice = found[-1]
        payload = notice["payload"]
        assert set(payload) == {"event_kind", "timestamp", "accessor_kind", "integrity_hash"}
        assert (payload["accessor_kind"], payload["integrity_hash"]) == (notice["accessor_kind"], notice["mac"])
        assert login not in json.dumps(payload) and "Ada" not in json.dumps(payload)
        for channel in ("a", "b"):
            assert notice["access_id"] in [row["access_id"] for row in deliveries(ledger, channel)]
    ledger.verify()


def test_what_is_rolled_back_is_told_to_nobody(ledger, worker):
    token, before = ledger.purpose(), len(notices(ledger, "purpose_revoke"))
    call(worker, "serve", ["rolled"])
    with ledger.connect(ledger.dba) as dba, dba.transaction(force_rollback=True):
        dba.execute("SELECT identity.purpose_revoke(%s, 'x')", (token,))
    assert len(notices(ledger, "purpose_revoke")) == before and not deliveries(ledger, "rolled")


def test_a_channel_is_told_from_its_beginning_on(ledger, worker):
    revoked(ledger)
    call(worker, "serve", ["late"])
    assert call(worker, "take", "late") == []
    revoked(ledger)
    ((_, payload, attempts),) = call(worker, "take", "late")
    assert payload["event_kind"] == "caller_revoke" and attempts == 0


def test_a_key_rotation_and_a_weakened_setting_are_told(fresh):
    vault = Vault(fresh())
    with vault.connect(vault.worker) as worker:
        call(worker, "serve", ["x"])
        vault.sql("ALTER SYSTEM SET identity_pgx.service_daily_ceiling = 20000")
        vault.sql("SELECT pg_reload_conf()")
        wait_until(lambda: deliveries(vault, "x"), "the notice of a weakened setting")
        assert [row[1]["event_kind"] for row in call(worker, "take", "x")] == ["setting_weakened"]
        # Back again is no weakening.
        settings = "SELECT count(*) AS n FROM identity.settings_history"
        before = vault.sql(settings)[0]["n"]
        vault.sql("ALTER SYSTEM RESET identity_pgx.service_daily_ceiling")
        vault.sql("SELECT pg_reload_conf()")
        wait_until(lambda: vault.sql(settings)[0]["n"] > before, "the settings to be recorded")
        assert len(deliveries(vault, "x")) == 1
    vault.verify()


def test_the_maintenance_process_notifies_and_no_client_does(ledger, worker):
    token = ledger.purpose()
    call(worker, "serve", ["n"])
    worker.execute("LISTEN identity_outbox")
    with ledger.connect(ledger.dba) as dba:
        dba.execute("SELECT identity.purpose_revoke(%s, 'x')", (token,))
        (heard,) = worker.notifies(timeout=10, stop_after=1)
        assert (heard.channel, heard.payload) == ("identity_outbox", "") and heard.pid != dba.info.backend_pid


def test_attempts_go_on_for_about_a_day_and_then_it_is_dead(ledger, worker):
    call(worker, "serve", ["day"])
    revoked(ledger)
    ((access_id, _, _),) = call(worker, "take", "day")
    waited = 0.0
    for attempt in range(1, 17):
        assert call(worker, "failed", "day", [access_id], "unreachable", 0) == [(0,)]
        (row,) = ledger.sql("SELECT *, EXTRACT(EPOCH FROM next_at - clock_timestamp())::float AS wait FROM identity.outbox_deliveries WHERE channel = 'day'")
        assert (row["attempts"], row["last_error"], row["dead_at"]) == (attempt, "unreachable", None)
        expected = min(14400, 10 * 2 ** (attempt - 1))
        assert 0.7 * expected - 5 <= row["wait"] <= 1.25 * expected
        waited += row["wait"]
    assert call(worker, "take", "day") == []
    assert 18 * 3600 < waited < 33 * 3600
    assert call(worker, "failed", "day", [access_id], "timeout", 0) == [(1,)]
    assert deliveries(ledger, "day")[0]["dead_at"] is not None
    # What is dead is neither delivered nor tried, until somebody wants it to be.
    assert call(worker, "delivered", "day", [access_id]) == [(0,)]
    assert call(worker, "failed", "day", [access_id], "timeout", 0) == [(0,)]
    status = {row["item"]: row for row in ledger.sql("SELECT * FROM identity.identity_status()")}
    assert ", 1 are dead" in status["outbox"]["state"] and "retry" in status["outbox"]["hint"]
    metrics = {row["name"]: row["value"] for row in ledger.sql("SELECT * FROM identity.metrics() WHERE name LIKE 'identity_outbox%'")}
    assert (metrics["identity_outbox_dead"], metrics["identity_outbox_channels"]) == (1, 1)
    assert call(worker, "retry", "other", None) == [(0,)]
    assert call(worker, "retry", "day", access_id) == [(1,)]
    assert [row[0] for row in call(worker, "take", "day")] == [access_id]
    assert call(worker, "delivered", "day", [access_id]) == [(1,)]
    assert call(worker, "take", "day") == [] and call(worker, "retry", None, None) == [(0,)]


def test_a_channel_may_ask_for_more_time(ledger, worker):
    call(worker, "serve", ["slow"])
    revoked(ledger)
    ((access_id, _, _),) = call(worker, "take", "slow")
    call(worker, "failed", "slow", [access_id], "throttled", 3000)
    (row,) = ledger.sql("SELECT next_at - clock_timestamp() > '40 min' AS later FROM identity.outbox_deliveries WHERE channel = 'slow'")
    assert row["later"]


def test_what_waits_for_a_channel_that_is_gone_is_dead(ledger, worker):
    call(worker, "serve", ["gone", "stays"])
    revoked(ledger)
    call(worker, "serve", ["stays"])
    (gone,), (stays,) = deliveries(ledger, "gone"), deliveries(ledger, "stays")
    assert gone["last_error"] == "channel_gone" and gone["dead_at"] is not None and stays["dead_at"] is None
    assert call(worker, "retry", "gone", None) == [(0,)]


@pytest.mark.parametrize("name", ["", "A", "a b", "a\nb", "-a", "ä", "x" * 41, "'; DROP TABLE identity.subjects; --"])
def test_names_of_channels_are_fit_for_logs(ledger, worker, name):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        call(worker, "serve", [name])


def test_arguments_that_are_none_are_refused(ledger, worker):
    for statement, code in [
        ("SELECT identity.outbox_serve(NULL)", "22004"),
        ("SELECT identity.outbox_serve('{NULL}')", "22004"),
        ("SELECT identity.outbox_serve('{{a},{b}}')", "22023"),
        ("SELECT identity.outbox_serve(ARRAY(SELECT 'c' || g FROM generate_series(1, 17) g))", "22023"),
        ("SELECT * FROM identity.outbox_take(NULL)", "22004"),
        ("SELECT * FROM identity.outbox_take('a', 0)", "22023"),
        ("SELECT * FROM identity.outbox_take('a', 1001)", "22023"),
        ("SELECT identity.outbox_delivered('a', NULL)", "22004"),
        ("SELECT identity.outbox_delivered('a', '{NULL}')", "22004"),
        ("SELECT identity.outbox_failed('a', '{1}', 'Ada Lovelace')", "22023"),
        ("SELECT identity.outbox_failed('a', '{1}', NULL)", "22004"),
        ("SELECT identity.outbox_failed('a', '{1}', 'timeout', -1)", "22023"),
        ("SELECT identity.outbox_failed('a', '{1}', 'timeout', 86401)", "22023"),
    ]:
        with pytest.raises(psycopg.Error) as refused:
            worker.execute(statement)
        assert refused.value.sqlstate == code, statement


def test_only_the_worker_brings_notices_and_nobody_writes_the_tables(ledger, worker):
    call(worker, "serve", ["mine"])
    calls = [
        "SELECT identity.outbox_serve('{}')",
        "SELECT * FROM identity.outbox_take('mine')",
        "SELECT identity.outbox_delivered('mine', '{1}')",
        "SELECT identity.outbox_failed('mine', '{1}', 'timeout')",
        "SELECT identity.outbox_retry()",
    ]
    writes = [
        "DELETE FROM identity.outbox_channels",
        "INSERT INTO identity.outbox_channels VALUES ('x', now())",
        "UPDATE identity.outbox_deliveries SET delivered_at = now()",
        "DELETE FROM identity.outbox_deliveries",
        "INSERT INTO identity.notifications VALUES (1, '{}')",
        "DELETE FROM identity.notifications",
    ]
    for role in (ledger.dba, ledger.auditor, ledger.login("identity_gateway"), ledger.login("identity_legal"), ledger.login()):
        with ledger.connect(role) as conn:
            for statement in calls + writes:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement)
    for statement in writes:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute(statement)
    assert [row["channel"] for row in ledger.sql("SELECT channel FROM identity.outbox_channels")] == ["mine"]
    with ledger.connect(ledger.auditor) as auditor:
        auditor.execute("SELECT * FROM identity.outbox_deliveries, identity.outbox_channels")
