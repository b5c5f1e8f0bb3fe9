"""The worker anchors: in order, without a gap and nothing twice, whatever stops it in between."""

import random
import time

import pytest

import ledger
from cluster import wait_until
from worker import Anchoring, grow


@pytest.fixture
def anchoring(fresh_vault, tmp_path):
    anchoring = Anchoring(fresh_vault, tmp_path)
    yield anchoring
    anchoring.leave()


@pytest.fixture
def fresh_vault(fresh):
    from vault import Vault

    return Vault(fresh())


def test_anchors_appear_in_order(anchoring):
    worker = anchoring.start()
    sizes = []
    for _ in range(3):
        grow(anchoring.vault)
        sizes.append(anchoring.await_anchor((sizes or [0])[-1] + 2))
    assert worker.stop() == 0
    assert len(anchoring.notes()) >= 3
    anchoring.check()
    assert not worker.events("refused") and not worker.events("anchor")


def test_once_anchors_what_there_is_and_then_nothing(anchoring):
    grow(anchoring.vault)
    anchoring.once()
    assert len(anchoring.notes()) == 1
    # The record of an anchor is a row itself, so there is one more to seal; that is all there ever is.
    for _ in range(3):
        anchoring.once()
    anchoring.check()


def test_what_should_not_wait_is_anchored_within_seconds(anchoring):
    anchoring.every = "1h"
    anchoring.configure()
    anchoring.start()
    anchoring.await_anchor()
    time.sleep(3)  # what the anchor itself has left does not make another one due
    before = anchoring.recorded()
    assert len(before) <= 2
    started = time.monotonic()
    grow(anchoring.vault, 1)
    wait_until(lambda: len(anchoring.recorded()) > len(before), "an anchor soon after the event", 20)
    # Two to be told, two to wait for more; the rest is this machine's.
    assert time.monotonic() - started < 8
    anchoring.check()


def test_who_may_only_connect_brings_about_no_anchor(anchoring):
    """There is always something to sign: the record of the last anchor is a row of the log."""
    anchoring.every = "1h"
    anchoring.configure()
    grow(anchoring.vault)
    anchoring.start()
    anchoring.await_anchor()
    # What the test itself has recorded is anchored by then.
    time.sleep(5)
    before = anchoring.recorded()
    with anchoring.vault.connect(anchoring.vault.login()) as anybody:
        for _ in range(50):
            anybody.execute("NOTIFY identity_seal_due")
            time.sleep(0.1)
    assert anchoring.recorded() == before
    anchoring.vault.purpose()
    wait_until(lambda: len(anchoring.recorded()) > len(before), "an anchor soon after a true occasion", 20)


def test_killed_between_the_store_and_the_record_it_goes_on_where_it_was(anchoring):
    grow(anchoring.vault)
    with anchoring.vault.cluster.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE identity.anchor_commits IN SHARE ROW EXCLUSIVE MODE")
        worker = anchoring.start()
        (size,) = wait_until(anchoring.notes, "the anchor in the store", 20)
        anchoring.vault.wait_backend(anchoring.vault.worker, "wait_event_type = 'Lock'")
        worker.kill()
        holder.execute("ROLLBACK")
    wait_until(lambda: not anchoring.vault.sql("SELECT FROM pg_locks WHERE locktype = 'advisory'"), "the killed worker's session to end")
    grow(anchoring.vault)
    anchoring.once()
    assert anchoring.recorded()[0] == size
    assert len(anchoring.notes()) == 2
    anchoring.check()


def test_killed_after_sealing_it_seals_nothing_twice(anchoring):
    grow(anchoring.vault)
    with anchoring.vault.cluster.connect() as holder:
        # The seal goes through, and what it has written is not there for the next statement.
        holder.execute("BEGIN; LOCK TABLE identity.ledger_nodes IN SHARE MODE")
        worker = anchoring.start()
        anchoring.vault.wait_backend(anchoring.vault.worker, "wait_event_type = 'Lock' AND wait_event = 'relation'")
        worker.kill()
        holder.execute("ROLLBACK")
    anchoring.once()
    anchoring.check()
    ledger.check(anchoring.vault)


def test_killed_again_and_again_there_is_no_gap_and_nothing_twice(anchoring):
    chosen = random.Random(7)
    for _ in range(12):
        worker = anchoring.start()
        grow(anchoring.vault, 1)
        time.sleep(chosen.uniform(0.01, 0.7))
        worker.kill()
    grow(anchoring.vault, 1)
    wait_until(lambda: not anchoring.vault.sql("SELECT FROM pg_stat_activity WHERE application_name = 'anchor-worker'"), "killed workers' sessions to end")
    anchoring.once()
    anchoring.check()
    assert "refused" not in anchoring.logs()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_database_may_be_restarted(anchoring, mode):
    worker = anchoring.start()
    grow(anchoring.vault)
    first = anchoring.await_anchor()
    anchoring.vault.admin.close()
    anchoring.vault.cluster.stop(mode)
    worker.says("database")
    anchoring.vault.cluster.start()
    ledger.again(anchoring.vault)
    grow(anchoring.vault)
    anchoring.await_anchor(first + 2, 40)
    assert worker.process.poll() is None and not worker.events("refused")
    anchoring.check()


def test_a_locked_database_is_waited_for(anchoring):
    grow(anchoring.vault)
    anchoring.vault.sql("SELECT identity.key_wipe_all()")
    worker = anchoring.start()
    assert "locked" in worker.says("anchor")["trouble"]
    assert not anchoring.notes()
    anchoring.vault.cluster.unlock()
    anchoring.await_anchor(timeout=40)
    anchoring.check()


def test_of_two_workers_one_leads_and_the_other_takes_over(anchoring):
    first = anchoring.start()
    first.says("leads")
    second = anchoring.start()
    second.says("follows")
    grow(anchoring.vault)
    size = anchoring.await_anchor()
    assert not second.events("anchored")
    first.kill()
    second.says("leads")
    grow(anchoring.vault)
    anchoring.await_anchor(size + 2)
    assert second.events("anchored") and not second.events("refused")
    anchoring.check()


def test_once_beside_a_leader_does_nothing(anchoring):
    anchoring.start().says("leads")
    assert "another worker leads" in anchoring.once(exit_code=2)


def test_who_is_no_worker_cannot_stop_anchors_by_taking_the_lock(anchoring):
    with anchoring.vault.gateway() as gateway:
        gateway.execute("SELECT pg_advisory_lock(1768190072, 1)")
        worker = anchoring.start()
        grow(anchoring.vault)
        anchoring.await_anchor()
        assert worker.says("leads")["holder"] == gateway.info.user
    anchoring.check()


def test_a_superuser_is_no_worker_and_cannot_stop_anchors_by_taking_the_lock(anchoring):
    with anchoring.vault.cluster.connect() as superuser:
        superuser.execute("SELECT pg_advisory_lock(1768190072, 1)")
        assert superuser.execute("SELECT pg_has_role('identity_worker', 'MEMBER')").fetchone() == (True,)
        worker = anchoring.start()
        grow(anchoring.vault)
        anchoring.await_anchor()
        assert worker.says("leads")["holder"] == superuser.info.user
    anchoring.check()


def test_a_worker_by_way_of_another_role_is_one(anchoring):
    sql = anchoring.vault.sql
    sql("CREATE ROLE t_operations NOLOGIN IN ROLE identity_worker")
    sql("CREATE ROLE t_by_way LOGIN IN ROLE t_operations")
    with anchoring.vault.connect("t_by_way") as other:
        other.execute("SELECT pg_advisory_lock(1768190072, 1)")
        worker = anchoring.start()
        worker.says("follows")
        assert not worker.events("leads")
    worker.says("leads")


@pytest.mark.parametrize("holder", ["a prepared transaction", "a login that was dropped"])
def test_a_lock_that_no_login_holds_stops_no_anchors(fresh, tmp_path, holder):
    from vault import Vault

    anchoring = Anchoring(Vault(fresh({"max_prepared_transactions": "2"})), tmp_path)
    anchoring.vault.sql("CREATE ROLE t_passing LOGIN")
    try:
        with anchoring.vault.connect("t_passing") as passing:
            if holder == "a prepared transaction":
                passing.execute("BEGIN")
                passing.execute("SELECT pg_advisory_xact_lock(1768190072, 1)")
                passing.execute("PREPARE TRANSACTION 'for ever'")
            else:
                passing.execute("SELECT pg_advisory_lock(1768190072, 1)")
                anchoring.vault.sql("DROP ROLE t_passing")
            worker = anchoring.start()
            grow(anchoring.vault)
            anchoring.await_anchor()
            assert worker.says("leads")["holder"] == holder
        anchoring.check()
    finally:
        anchoring.leave()


def test_a_store_that_is_away_is_caught_up_with(anchoring):
    worker = anchoring.start()
    grow(anchoring.vault)
    size = anchoring.await_anchor()
    away = anchoring.store.with_name("away")
    anchoring.store.rename(away)
    for _ in range(3):
        grow(anchoring.vault, 1)
        time.sleep(0.5)
    worker.says("anchor")
    assert anchoring.recorded()[-1] <= anchoring.size()
    away.rename(anchoring.store)
    anchoring.await_anchor(size + 3, 60)
    anchoring.check()
    assert not worker.events("refused")


def test_sigterm_ends_it_at_once(anchoring):
    worker = anchoring.start()
    worker.says("leads")
    grow(anchoring.vault)
    anchoring.await_anchor()
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 3
    assert worker.events("stopped")


def test_sigterm_ends_it_while_it_waits_for_the_database(anchoring):
    grow(anchoring.vault)
    with anchoring.vault.cluster.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE identity.anchor_commits IN SHARE ROW EXCLUSIVE MODE")
        worker = anchoring.start()
        waits = "SELECT FROM pg_stat_activity WHERE application_name = 'anchor-worker' AND wait_event_type = 'Lock'"
        wait_until(lambda: anchoring.vault.sql(waits), "the worker to record its anchor", 20)
        worker.process.terminate()
        # The effect under way has ten seconds, and is cut off then.
        assert worker.process.wait(14) == 2
        holder.execute("ROLLBACK")
    wait_until(lambda: not anchoring.vault.sql("SELECT FROM pg_stat_activity WHERE application_name = 'anchor-worker'"), "the session to end")
    anchoring.once()
    anchoring.check()
