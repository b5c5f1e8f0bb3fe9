"""Sealing: everything that is committed goes into the tree exactly once, whatever happens to the sealer."""

import os
import signal
import tempfile
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from clock import Clock
from cluster import root_dir, wait_until
from ledger import SEAL, TABLES, Watched, again, check, checkpoint, contents, in_the_middle, many_rows, result, seal, some_rows, unsealed
from ledger_tree import Checkpoint, root
from test_durability import unflushed_commits
from vault import Vault, read, refused


def test_seals_take_in_every_row_once(sealed):
    sizes = []
    for n in (1, 3, 300):
        some_rows(sealed, n)
        sizes.append(seal(sealed)[0])
        assert unsealed(sealed) == 0
        check(sealed)
    assert sizes == sorted(set(sizes))


def test_nothing_new_is_no_seal(sealed):
    some_rows(sealed)
    first, before = seal(sealed), contents(sealed)
    assert seal(sealed) == first and contents(sealed) == before


def test_an_empty_tree_has_the_empty_root(fresh):
    vault = Vault(fresh())
    installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"]
    assert checkpoint(vault) == Checkpoint(f"identity_pgx/DEVELOPMENT/{installation}", 0, root([]))


def test_months_turn_gives_each_month_its_batch(fresh, monkeypatch):
    """The rows of one cut, of one lane even, lie in two months, and in the third one older than both after the clock was set back."""
    clock = Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)
    vault = Vault(fresh())
    days = (datetime.now(timezone.utc).replace(day=28) - datetime.now(timezone.utc)).days + 10
    subject = vault.subject()
    with vault.gateway() as gateway:
        for offset in (0, days, 0, days):
            clock.set(offset)
            with gateway.transaction():
                for _ in range(3):
                    read(gateway, subject)
            vault.purpose()
    seal(vault)
    months = vault.sql("SELECT partition, batch_rows FROM identity.ledger_seals ORDER BY leaf_index")
    assert len(months) == 2 and all(month["batch_rows"] >= 6 for month in months)
    with vault.gateway() as gateway:
        read(gateway, subject)
        seal(vault)
        assert len(vault.sql("SELECT 1 FROM identity.ledger_seals")) == 3
    check(vault)


def test_what_an_open_transaction_did_is_sealed_after_its_commit(sealed):
    subject = sealed.subject()
    with sealed.gateway() as one, sealed.gateway() as two:
        one.execute("BEGIN")
        waiting = read(one, subject)
        committed = read(two, subject)
        seal(sealed)
        taken = "SELECT EXISTS (SELECT FROM identity.ledger_tiles WHERE %s = ANY (access_ids)) AS taken"
        assert sealed.sql(taken, (committed,))[0]["taken"] and not sealed.sql(taken, (waiting,))[0]["taken"]
        one.execute("COMMIT")
        seal(sealed)
        assert sealed.sql(taken, (waiting,))[0]["taken"]


def test_a_row_that_no_writer_wrote_is_not_sealed(sealed):
    ids, before = some_rows(sealed), contents(sealed)
    (partition,) = sealed.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log WHERE access_id = %s", (ids[2],))
    for good, bad in (("outcome = 'committed'", "outcome = 'x'"), ("lane = lane - 1", "lane = lane + 1"), ("chain_version = 1", "chain_version = 7")):
        change = f"ALTER TABLE {partition['name']} DISABLE TRIGGER ALL; UPDATE {partition['name']} SET %s WHERE access_id = {ids[2]}; ALTER TABLE {partition['name']} ENABLE ALWAYS TRIGGER append_only"
        sealed.sql(change % bad)
        with sealed.connect(sealed.worker) as worker:
            refused(worker, SEAL, None, "XX001", "chain")
        assert contents(sealed) == before
        sealed.sql(change % good)
    seal(sealed)


# -- when it does not end well ------------------------------------------------------------
@pytest.mark.parametrize("how", ["ROLLBACK", "ROLLBACK TO a"])
def test_a_seal_that_is_rolled_back_never_was(sealed, how):
    some_rows(sealed)
    before = contents(sealed)
    with sealed.connect(sealed.worker) as worker:
        worker.execute("BEGIN; SAVEPOINT a")
        undone = worker.execute(SEAL).fetchone()
        worker.execute(how)
        if "TO" in how:
            assert worker.execute(SEAL).fetchone()[0] == undone[0]
            worker.execute("ROLLBACK TO a; COMMIT")
    assert contents(sealed) == before
    assert seal(sealed)[0] == undone[0]


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
@pytest.mark.parametrize("table", TABLES)
def test_cancelled_in_the_middle_it_leaves_nothing(sealed, table, end):
    some_rows(sealed)
    before = contents(sealed)
    with in_the_middle(sealed, table) as (sealer, pid):
        sealed.sql(f"SELECT {end}(%s)", (pid,))
        assert result(sealer) in ("57014", "57P01")
    assert contents(sealed) == before and unsealed(sealed) > 0
    seal(sealed)
    assert unsealed(sealed) == 0


@pytest.mark.parametrize("table", TABLES)
def test_killed_in_the_middle_it_leaves_nothing(sealed, table):
    some_rows(sealed)
    before, ready = contents(sealed), "database system is ready to accept connections"
    starts = sealed.cluster.log.read_text().count(ready)
    with in_the_middle(sealed, table) as (_, pid):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: sealed.cluster.log.read_text().count(ready) > starts, "the server to come back", timeout=30)
    again(sealed)
    assert contents(sealed) == before
    seal(sealed)


def test_a_seal_that_committed_survives_the_end_of_the_server(sealed):
    """With WAL that is written every ten seconds only: what is there was flushed by the commit."""
    some_rows(sealed)
    before = seal(sealed, options="-c synchronous_commit=off")
    sealed.cluster.kill()
    sealed.cluster.start()
    again(sealed)
    now = checkpoint(sealed)
    assert (now.size, now.root) == before


def test_a_seal_is_flushed_whatever_its_session_wishes(sealed):
    with sealed.connect(sealed.worker) as worker, sealed.gateway() as gateway:
        worker.execute("SET synchronous_commit = off")
        subject = sealed.subject()
        for _ in range(20):
            read(gateway, subject)
            assert unflushed_commits(worker, SEAL, (), 1) == 0


def test_a_seal_waits_for_the_standby_that_is_configured(sealed):
    some_rows(sealed)
    done = threading.Event()
    conn = sealed.connect(sealed.worker)
    conn.execute("SET synchronous_commit = off; BEGIN; SELECT identity.ledger_seal()")
    try:
        sealed.name_a_standby_that_is_not_there()

        def commit():
            conn.execute("COMMIT")
            done.set()

        threading.Thread(target=commit, daemon=True).start()
        sealed.wait_backend(sealed.worker, "wait_event = 'SyncRep'")
        assert not done.wait(0.3), "COMMIT returned without the standby"
    finally:
        sealed.name_no_standby()
    assert done.wait(10)
    conn.close()


def test_a_seal_cannot_be_prepared(sealed):
    some_rows(sealed)
    before = contents(sealed)
    with sealed.connect(sealed.worker) as worker:
        worker.execute("BEGIN; SELECT identity.ledger_seal()")
        refused(worker, "PREPARE TRANSACTION 'kept'", None, "55000", "prepared_transaction")
    assert contents(sealed) == before


@pytest.mark.long
def test_a_million_rows_take_no_more_memory_than_ten_thousand(fresh):
    vault = Vault(fresh())
    growth = {}
    for n in (10_000, 100_000, 1_000_000):
        many_rows(vault, n)
        assert unsealed(vault) >= n
        growth[n] = Watched(vault).growth()
    assert growth[1_000_000] < growth[10_000] + 8_000, growth
