"""A server that is told to stop writes what it owes first."""

import time

import psycopg
import pytest

from vault import Vault, read


@pytest.mark.parametrize("mode", ["fast"])
def test_fast_shutdown_with_open_reads_leaves_their_rows(fresh, mode):
    vault = Vault(fresh())
    subject, withdrawn = vault.subject(), vault.subject(consent="withdrawn")
    open_reads = [vault.gateway() for _ in range(20)]
    for conn in open_reads:
        conn.execute("BEGIN")
        read(conn, subject)
        conn.execute("SAVEPOINT a")
        read(conn, subject)
    refusing = vault.gateway()
    for _ in range(10):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            read(refusing, withdrawn)
    began = time.monotonic()
    vault.cluster.stop(mode)
    assert time.monotonic() - began < 30
    assert "was terminated by signal" not in vault.cluster.log.read_text()
    vault.cluster.start()
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)
    for conn in open_reads:
        vault.leaves(conn.info.user, rolled_back=2)
    vault.leaves(refusing.info.user, denied=10)
    vault.verify()
    with vault.gateway() as conn:  # the lanes go on
        read(conn, subject)
        vault.leaves(conn, committed=1)
    vault.verify()


def test_shutdown_of_a_locked_vault_is_not_held_up(fresh):
    vault = Vault(fresh())
    vault.sql("SELECT identity.key_wipe_all()")
    with vault.gateway() as conn, pytest.raises(psycopg.Error):
        read(conn, vault.subject(), "t.nothing")
    began = time.monotonic()
    vault.cluster.stop("fast")
    assert time.monotonic() - began < 30


def test_shutdown_before_the_extension_is_created(fresh):
    cluster = fresh(install=False)
    began = time.monotonic()
    cluster.restart()
    assert time.monotonic() - began < 20


def test_many_restarts_continue_the_lanes(fresh):
    vault = Vault(fresh())
    subject = vault.subject()
    seen = []
    for _ in range(4):
        with vault.gateway() as one, vault.gateway() as two:
            seen += [read(one, subject), read(two, subject), read(one, subject)]
        vault.cluster.restart()
        vault.cluster.unlock()
        vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)
        vault.verify()
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_says_that_it_is_down(fresh, mode):
    """The last line comes when the shared memory is gone already; a server that dies of it ends with a signal, and is taken for crashed."""
    cluster = fresh()
    cluster.stop(mode)
    assert "database system is shut down" in cluster.log.read_text().splitlines()[-1]


def test_roles_and_relations_that_change_do_not_end_the_maintenance_process(fresh):
    """Between its transactions it must look nothing up."""
    cluster = fresh()
    with cluster.connect() as admin:
        for n in range(300):
            admin.execute(f"CREATE SCHEMA s{n} CREATE TABLE t (a int)")
            admin.execute(f"DROP SCHEMA s{n} CASCADE")
        time.sleep(1.5)
        admin.execute("SELECT 1")
    assert "was terminated by signal" not in cluster.log.read_text()
