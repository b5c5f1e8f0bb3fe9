"""What was read is on disk, and on the standby, before the client hears COMMIT, whatever the session asks for."""

import threading

import psycopg
import pytest

from cluster import wait_until
from vault import RESOLVE, Vault, read, refused

FLUSHED = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn AS flushed"


def unflushed_commits(conn, statement: str, params, rounds: int) -> int:
    """How often the WAL of a transaction was not yet flushed when its COMMIT had returned."""
    missed = 0
    for _ in range(rounds):
        conn.execute("BEGIN")
        conn.execute(statement, params)
        written = conn.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()[0]
        conn.execute("COMMIT")
        missed += not conn.execute(FLUSHED, (written,)).fetchone()[0]
    return missed


@pytest.mark.parametrize("level", ["session", "role", "transaction", "function argument", "server"])
def test_synchronous_commit_off_does_not_stop_the_flush(vault, request, level):
    role = vault.login("identity_gateway", "identity_zone_onbox")
    if level == "role":
        vault.sql(f"ALTER ROLE {role} SET synchronous_commit = off")
    if level == "server":  # whose administrator may give up the standby's wait, but not the flush
        vault.sql("ALTER SYSTEM SET synchronous_commit = off")
        vault.cluster.reload()
        wait_until(lambda: vault.sql("SHOW synchronous_commit")[0]["synchronous_commit"] == "off", "the reload")
        request.addfinalizer(vault.cluster.reload)
        request.addfinalizer(lambda: vault.sql("ALTER SYSTEM RESET synchronous_commit"))
    subject = vault.subject()
    statement = RESOLVE
    with vault.connect(role) as conn:
        if level == "session":
            conn.execute("SET synchronous_commit = off")
        if level == "transaction":
            statement = (
                "SELECT set_config('synchronous_commit', 'off', true), pii FROM identity.pii_resolve(%s::uuid, %s::text, %s::text[])"
            )
        if level == "function argument":  # set after the read, just before COMMIT
            statement = (
                "SELECT pii, set_config('synchronous_commit', 'off', true) FROM identity.pii_resolve(%s::uuid, %s::text, %s::text[])"
            )
        assert unflushed_commits(conn, statement, (subject.id, "t.all", ["name"]), 200) == 0
    vault.leaves(role, committed=200)


def test_the_flush_test_would_notice(vault):
    """The same measurement on a table of one's own: without the forced flush commits do return early."""
    with vault.gateway() as conn:
        conn.execute("SET synchronous_commit = off")
        vault.sql("CREATE TABLE IF NOT EXISTS public.plain (n int)")
        vault.sql("GRANT INSERT ON public.plain TO PUBLIC")
        assert unflushed_commits(conn, "INSERT INTO public.plain VALUES (1)", (), 200) > 0


def test_committed_read_survives_an_immediate_stop(fresh):
    vault = Vault(fresh({"wal_writer_delay": "'10s'"}))
    subject = vault.subject()
    conn = vault.gateway()
    role = conn.info.user
    conn.execute("SET synchronous_commit = off")
    ids = [read(conn, subject) for _ in range(50)]
    vault.cluster.stop("immediate")
    vault.cluster.start()
    vault.cluster.unlock()
    with vault.cluster.connect() as admin:
        kept = admin.execute(
            "SELECT access_id FROM identity.pii_access_log WHERE accessor_role = %s AND outcome = 'committed'", (role,)
        ).fetchall()
    assert {row[0] for row in kept} == set(ids)


@pytest.mark.parametrize("wish", ["off", "local"])
def test_commit_waits_for_the_configured_standby(vault, wish):
    subject = vault.subject()
    conn = vault.gateway()
    role = conn.info.user
    conn.execute(f"SET synchronous_commit = {wish}")
    conn.execute("BEGIN")
    read(conn, subject)
    done = threading.Event()
    try:
        vault.name_a_standby_that_is_not_there()

        def commit():
            conn.execute("COMMIT")
            done.set()

        threading.Thread(target=commit, daemon=True).start()
        vault.wait_backend(role, "wait_event = 'SyncRep'")
        assert not done.wait(0.3), "COMMIT returned without the standby"
    finally:
        vault.name_no_standby()
    assert done.wait(10), "COMMIT still waits"
    vault.leaves(role, committed=1)


def test_a_transaction_without_a_read_keeps_its_own_wish(vault):
    """The wait is forced for reads only: the session's setting is back for the next transaction."""
    with vault.gateway() as conn:
        conn.execute("SET synchronous_commit = off")
        read(conn, vault.subject())
        assert conn.execute("SHOW synchronous_commit").fetchone()[0] == "off"


def test_prepare_transaction_is_refused_and_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN")
    read(gateway, subject)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        gateway.execute("PREPARE TRANSACTION 'escape'")
    assert caught.value.diag.message_detail.startswith("reason: prepared_transaction")
    assert caught.value.diag.message_hint
    assert gateway.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    vault.leaves(gateway, rolled_back=1)
    assert vault.sql("SELECT count(*) AS n FROM pg_prepared_xacts")[0]["n"] == 0


def test_prepare_transaction_without_a_read_is_not_our_business(vault, gateway):
    gateway.execute("BEGIN; CREATE TABLE pg_temp.nothing_of_ours (n int); ROLLBACK")
    vault.sql("BEGIN; SET LOCAL search_path = public; CREATE TABLE two_phase (n int); PREPARE TRANSACTION 'fine'")
    vault.sql("COMMIT PREPARED 'fine'")


@pytest.mark.parametrize("how", ["BEGIN READ ONLY", "SET default_transaction_read_only = on"])
def test_read_only_transaction_is_refused(vault, gateway, how):
    subject = vault.subject()
    gateway.execute(how)
    refused(gateway, RESOLVE, (subject.id, "t.all", ["name"]), "25006", "read_only", secrets=subject.pii.values())
    vault.leaves(gateway, denied=1)


def test_going_read_only_after_the_read_changes_nothing(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN")
    read(gateway, subject)
    gateway.execute("SET TRANSACTION READ ONLY")
    refused(gateway, RESOLVE, (subject.id, "t.all", ["name"]), "25006", "read_only")
    gateway.execute("ROLLBACK")
    vault.leaves(gateway, denied=1, rolled_back=1)
