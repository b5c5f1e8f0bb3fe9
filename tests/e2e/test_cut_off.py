"""A session that is cut off in the middle has read what it read: cancel, time-out, terminate, a vanished client."""

import threading
import time

import psycopg
import pytest

from vault import read
from wire import Wire

SLOW_RESOLVE = "SELECT pii, pg_sleep(30) FROM identity.pii_resolve(%s, 't.all', '{name}')"


def in_background(work) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_cancel_leaves_a_row(vault, gateway):
    subject = vault.subject()

    def cancel():
        vault.wait_backend(gateway.info.user, "wait_event = 'PgSleep'")
        gateway.cancel()

    canceller = in_background(cancel)
    with pytest.raises(psycopg.errors.QueryCanceled):
        gateway.execute(SLOW_RESOLVE, (subject.id,))
    canceller.join()
    vault.leaves(gateway, rolled_back=1)


def test_statement_timeout_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("SET statement_timeout = '200ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        gateway.execute(SLOW_RESOLVE, (subject.id,))
    vault.leaves(gateway, rolled_back=1)


def test_idle_in_transaction_timeout_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("SET idle_in_transaction_session_timeout = '200ms'")
    gateway.execute("BEGIN")
    read(gateway, subject)
    vault.leaves(gateway, rolled_back=1)


def test_terminate_during_the_statement_leaves_a_row(vault, gateway):
    subject = vault.subject()
    role = gateway.info.user
    killer = in_background(lambda: vault.sql("SELECT pg_terminate_backend(%s)", (vault.wait_backend(role, "wait_event = 'PgSleep'"),)))
    with pytest.raises(psycopg.OperationalError):
        gateway.execute(SLOW_RESOLVE, (subject.id,))
    killer.join()
    vault.leaves(role, rolled_back=1)


def test_terminate_between_statements_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN")
    read(gateway, subject)
    vault.sql("SELECT pg_terminate_backend(%s)", (gateway.info.backend_pid,))
    vault.leaves(gateway.info.user, rolled_back=1)


def test_client_that_disappears_leaves_a_row(vault):
    subject = vault.subject()
    conn = vault.gateway()
    role = conn.info.user
    conn.execute("BEGIN")
    read(conn, subject)
    conn.close()
    vault.leaves(role, rolled_back=1)


def wire(vault) -> tuple[Wire, str]:
    role = vault.login("identity_gateway", "identity_zone_onbox")
    return Wire(vault.cluster.dir, vault.cluster.port, role, "identity"), role


def test_wire_client_that_takes_the_row_with_flush_and_hangs_up_leaves_a_row(vault):
    subject = vault.subject()
    client, role = wire(vault)
    client.parse_bind_execute(
        "SELECT pii::text FROM identity.pii_resolve($1::uuid, $2::text, $3::text[])", str(subject.id), "t.all", "{name}"
    )
    client.flush()
    assert subject.pii["name"].encode() in client.data_row()
    client.hang_up()
    vault.leaves(role, rolled_back=1)


def test_wire_client_with_a_suspended_portal_leaves_a_row(vault):
    # Execute with a row limit suspends the portal: no CommandComplete, nothing committed, yet the first row is out.
    subject = vault.subject()
    client, role = wire(vault)
    query = "SELECT (identity.pii_resolve($1::uuid, $2::text, $3::text[])).pii::text FROM generate_series(1, 3)"
    client.parse_bind_execute(query, str(subject.id), "t.all", "{name}", max_rows=1)
    client.flush()
    assert subject.pii["name"].encode() in client.data_row()
    client.hang_up()
    rows = vault.leaves(role, rolled_back=vault_counts_between(vault, role, 1, 3))
    assert {row["candidate_id"] for row in rows} == {subject.id}


def vault_counts_between(vault, role: str, low: int, high: int) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        seen = vault.outcomes(role).get("rolled_back", 0)
        if low <= seen <= high:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"rolled_back rows: {vault.outcomes(role)}")


def test_wire_client_that_fails_the_pipeline_after_the_row_leaves_a_row(vault):
    # One implicit transaction spans the pipeline: a later error takes the earlier read back.
    subject = vault.subject()
    client, role = wire(vault)
    client.parse_bind_execute(
        "SELECT pii::text FROM identity.pii_resolve($1::uuid, $2::text, $3::text[])", str(subject.id), "t.all", "{name}"
    )
    client.flush()
    assert subject.pii["name"].encode() in client.data_row()
    client.parse_bind_execute("SELECT 1 / 0")
    client.sync()
    with pytest.raises(RuntimeError, match="22012"):
        while True:
            client.receive()
    client.hang_up()
    vault.leaves(role, rolled_back=1)
