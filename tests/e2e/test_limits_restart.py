"""Counters outlive what a caller can bring about, and what happens to a server: the recorder's end, a restart, a crash, a restore."""

import os
import signal
import threading

import psycopg
import pytest

from cluster import wait_until
from limit_helpers import CAP, back, capped, outcome, used_up
from test_recorder import recorder
from test_round_trip import tool
from vault import ONBOX, Vault, read, refused_read


@pytest.fixture
def spent(fresh):
    """A vault where a caller has two reads left of seven: it read, rolled back, and was refused."""
    vault = Vault(fresh())
    vault.kept, vault.capped = vault.subject(), capped(vault, 7)
    vault.caller = vault.login(*ONBOX)
    with vault.connect(vault.caller) as conn:
        for _ in range(3):
            read(conn, vault.kept, vault.capped)
        for _ in range(2):
            with conn.transaction(force_rollback=True):
                read(conn, vault.kept, vault.capped)
        refused_read(conn, vault.subject(consent="withdrawn"), "42501", "consent", vault.capped)
    vault.leaves(vault.caller, committed=3, rolled_back=2, denied=1)
    return vault


def two_are_left(vault: Vault) -> None:
    with vault.connect(vault.caller) as conn:
        used_up(conn, vault.kept, vault.capped, 2)


def kill(cluster) -> None:
    cluster.kill()
    cluster.start()


def kill_a_backend(cluster) -> None:
    """The postmaster stays, and makes shared memory anew."""
    ready = "database system is ready to accept connections"
    starts = cluster.log.read_text().count(ready)
    with cluster.connect() as admin:
        pid = admin.execute("SELECT pg_backend_pid()").fetchone()[0]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: cluster.log.read_text().count(ready) > starts, "the server to come back", timeout=30)
        admin.close()


RESTARTS = {
    "restart": lambda cluster: cluster.restart(),
    "immediate": lambda cluster: cluster.restart("immediate"),
    "kill -9": kill,
    "backend killed": kill_a_backend,
}


@pytest.mark.parametrize("how", RESTARTS)
def test_restart_gives_no_new_allowance(spent, how):
    RESTARTS[how](spent.cluster)
    back(spent)
    two_are_left(spent)
    RESTARTS[how](spent.cluster)
    back(spent)
    with spent.connect(spent.caller) as conn:
        assert outcome(conn, spent.kept, spent.capped) == CAP
    spent.verify()


def test_recorder_that_ends_gives_no_new_allowance(spent):
    for _ in range(2):
        old = recorder(spent)
        spent.sql("SELECT pg_terminate_backend(%s)", (old,))
        wait_until(lambda: spent.sql("SELECT pid FROM pg_stat_activity WHERE pid = %s", (old,)) == [], "the recorder to end")
        spent.wait_well()
    two_are_left(spent)


def test_no_read_is_admitted_before_the_log_was_read(spent):
    """The first reads after a start race the recorder."""
    stop, seen = threading.Event(), []

    def hammer():
        while not stop.is_set():
            try:
                with spent.connect(spent.caller) as conn:
                    while not stop.is_set():
                        seen.append(outcome(conn, spent.kept, spent.capped))
            except psycopg.OperationalError:
                pass

    spent.admin.close()
    spent.cluster.stop()
    threads = [threading.Thread(target=hammer, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    spent.cluster.start()
    back(spent)
    wait_until(lambda: seen.count(CAP) > 20, "the cap")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert seen.count("ok") == 2, {result: seen.count(result) for result in seen}


def test_reads_of_many_lanes_are_all_found(fresh):
    """Each session is a lane of its own, and a lane is used by one caller after another."""
    vault = Vault(fresh())
    subject, purpose = vault.subject(), capped(vault, 100)
    callers = [vault.login(*ONBOX) for _ in range(4)]
    for _ in range(3):
        conns = [vault.connect(role) for role in callers for _ in range(5)]
        for conn in conns:
            for _ in range(5):
                read(conn, subject, purpose)
            with conn.transaction(force_rollback=True):
                read(conn, subject, purpose)
        for conn in conns:
            conn.close()
    for role in callers:
        vault.leaves(role, committed=75, rolled_back=15)
    vault.cluster.restart()
    back(vault)
    for role in callers:
        with vault.connect(role) as conn:
            used_up(conn, subject, purpose, 10)


def test_dropped_and_restored_vault_gives_no_new_allowance(spent):
    """Under a running server: counters are not in the database."""
    archive = spent.cluster.dir / "dump"
    tool(spent.cluster, "pg_dump", "-Fc", "-f", archive, "identity")
    spent.sql("SELECT identity.key_wipe_all()")
    spent.sql("DROP EXTENSION identity_pgx CASCADE")
    spent.sql("DROP SCHEMA IF EXISTS identity CASCADE")
    tool(spent.cluster, "pg_restore", "--exit-on-error", "-d", "identity", archive)
    spent.sql("SELECT identity.initialize()")
    spent.cluster.unlock()
    two_are_left(spent)


def test_restored_vault_knows_what_was_read_today(spent, fresh):
    target = fresh(install=False)
    roles = tool(spent.cluster, "pg_dumpall", "--roles-only").stdout
    roles = "\n".join(line for line in roles.splitlines() if " ROLE postgres" not in line)
    tool(target, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", input=roles)
    archive = spent.cluster.dir / "dump"
    tool(spent.cluster, "pg_dump", "-Fc", "-f", archive, "identity")
    tool(target, "pg_restore", "--exit-on-error", "-d", "identity", archive)
    target.unlock()
    with target.connect(user=spent.caller) as conn:
        used_up(conn, spent.kept, spent.capped, 2)
