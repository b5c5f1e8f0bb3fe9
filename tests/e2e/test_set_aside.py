"""One record that its table does not take: it waits, is shown and is not lost, and nobody else waits for it."""

import time

import psycopg
import pytest
from psycopg.rows import dict_row

from cluster import wait_until
from test_changed_tables import RECORDER, current
from vault import Vault, read

TRACE = "Canary-trace-of-the-record"
RESOLVE = f"SELECT identity.pii_resolve(%s, 't.all', '{{name}}', '{TRACE}')"


@pytest.fixture
def poisoned(fresh):
    """A superuser's unique index has made one rolled-back read impossible to write."""
    vault = Vault(fresh())
    vault.known = vault.subject()
    vault.poisoner = vault.gateway()
    # The traces of other rows are NULL, and those are never equal.
    vault.sql(f"CREATE UNIQUE INDEX poison ON identity.{current(vault)} (request_trace_id)")
    with vault.poisoner.transaction(force_rollback=True):
        vault.poisoner.execute(RESOLVE, (vault.known.id,))
    vault.leaves(vault.poisoner, rolled_back=1)
    # A read that its table does not take gives no answer, and is to be recorded all the same.
    with pytest.raises(psycopg.errors.UniqueViolation):
        vault.poisoner.execute(RESOLVE, (vault.known.id,))
    wait_until(lambda: "1 of them set aside" in queue(vault)["state"], "the record to be set aside")
    vault.recorder = vault.sql(RECORDER)
    return vault


def queue(vault) -> dict:
    return vault.sql("SELECT * FROM identity.identity_status() WHERE item = 'recorder queue'")[0]


def test_a_record_that_cannot_be_written_holds_up_neither_recorder_nor_reads(poisoned):
    vault = poisoned
    until = time.monotonic() + 4
    with vault.gateway() as other:
        done = 0
        while time.monotonic() < until:  # over several tries of the record
            read(other, vault.known)  # refused it would raise
            with other.transaction(force_rollback=True):
                read(other, vault.known)
            done += 1
            time.sleep(0.1)
        vault.leaves(other, committed=done, rolled_back=done)
    vault.leaves(vault.poisoner, rolled_back=1)
    assert vault.sql(RECORDER) == vault.recorder, "the recorder ended"
    assert "1 of them set aside" in queue(vault)["state"] and "server log" in queue(vault)["hint"]
    log = vault.cluster.log.read_text()
    assert "set aside" in log and "UNIQUE_VIOLATION" in log and TRACE not in log
    vault.sql("DROP INDEX identity.poison")
    vault.leaves(vault.poisoner, timeout=40, rolled_back=2)
    assert "0 of them set aside" in queue(vault)["state"] and queue(vault)["hint"] is None
    vault.verify()


def test_a_record_that_was_set_aside_outlives_the_recorder(poisoned):
    vault = poisoned
    vault.sql("ALTER DATABASE identity SET synchronous_commit = off")  # with this a recorder ends at every reload, without any farewell
    for ending in (f"SELECT pg_terminate_backend({vault.recorder[0]['pid']})", "SELECT pg_reload_conf()"):
        before = vault.sql(RECORDER)
        vault.sql(ending)
        wait_until(lambda: vault.sql(RECORDER) not in ([], before), "the next recorder")
        vault.wait_well()
    vault.sql("DROP INDEX identity.poison")
    vault.leaves(vault.poisoner, timeout=40, rolled_back=2)
    vault.verify()


def test_a_record_that_was_set_aside_is_told_to_the_log_at_a_shutdown(poisoned):
    vault = poisoned
    with vault.gateway() as other, other.transaction(force_rollback=True):
        role = other.info.user
        read(other, vault.known)
    vault.cluster.stop()
    told = [line for line in vault.cluster.log.read_text().splitlines() if "not on the chain" in line]
    assert len(told) == 1 and f'rolled_back gateway_lookup by "{vault.poisoner.info.user}"' in told[0]
    vault.cluster.start()
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=dict_row)
    vault.leaves(role, rolled_back=1)
    vault.verify()
