"""Months of the log are dropped when their time is over, sealed and anchored; what was in them stays provable."""

import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from clock import Clock
from cluster import root_dir
from ledger import again, seal
from ledger_tree import proven
from liar import anchor, signer_of
from vault import Vault, read, refused

EXPIRE = "SELECT identity.ledger_expire()"
MONTHS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'identity.pii_access_log'::regclass ORDER BY 1"


@pytest.fixture
def old(fresh, monkeypatch):
    """A vault whose first month is sealed, and will be long over."""
    clock = Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)
    vault = Vault(fresh({"identity_pgx.log_retention": "'1d'"}))
    vault.clock, vault.signer = clock, signer_of(vault)
    vault.kept = vault.subject()
    vault.lane = vault.login("identity_gateway", "identity_zone_onbox")
    with vault.connect(vault.lane) as gateway:
        vault.ids = [read(gateway, vault.kept) for _ in range(5)]
        with gateway.transaction(force_rollback=True):
            read(gateway, vault.kept)
    vault.leaves(vault.lane, committed=5, rolled_back=1)
    vault.then = vault.sql("SELECT to_char(max(accessed_at) AT TIME ZONE 'UTC', 'YYYY-MM') AS month FROM identity.pii_access_log")[0]["month"]
    seal(vault)
    vault.row = vault.rows(vault.lane)[0]
    return vault


def now(vault) -> None:
    """The rest of the time passes; somebody reads."""
    vault.clock.set(100)
    vault.sql("SELECT identity._make_partitions()")
    with vault.gateway() as gateway:
        read(gateway, vault.kept)
    seal(vault)


def expire(vault) -> dict[str, dict]:
    with vault.connect(vault.worker) as worker:
        return {month["partition"]: month for month in worker.execute(EXPIRE).fetchone()[0]["months"]}


def test_a_month_whose_time_is_over_is_dropped_and_everything_verifies(old):
    now(old)
    anchor(old, old.signer)
    before, rows = old.sql(MONTHS), old.sql("SELECT count(*) AS n FROM identity.pii_access_log")[0]["n"]
    done = expire(old)
    assert set(done[old.then]) == {"partition", "access_id"}
    assert len(old.sql(MONTHS)) == len(before) - 1
    record = old.sql("SELECT * FROM identity.ledger_expired")
    assert [row["partition"] for row in record] == [old.then] and record[0]["access_id"] == int(done[old.then]["access_id"])
    event = old.sql("SELECT accessor_kind, chain_kind, outcome FROM identity.pii_access_log WHERE access_id = %s", (record[0]["access_id"],))
    assert event == [{"accessor_kind": "log_expire", "chain_kind": "merkle", "outcome": "committed"}]
    assert rows - old.sql("SELECT count(*) AS n FROM identity.pii_access_log")[0]["n"] == record[0]["rows"] - 1
    old.verify()
    seal(old)
    old.verify()
    assert expire(old).get(old.then) is None


def test_who_kept_a_row_of_a_dropped_month_can_prove_it(old):
    now(old)
    anchor(old, old.signer)
    expire(old)
    with old.connect(old.auditor) as auditor:
        proof = auditor.execute("SELECT identity.ledger_proof(%s)", (old.row["access_id"],)).fetchone()[0]
    assert proven(proof, old.row)
    assert not proven(proof, old.row | {"purpose_token": "x"})


def test_lanes_go_on_where_they_were_though_their_rows_are_gone(old):
    now(old)
    anchor(old, old.signer)
    ends = {row["lane"]: row["seq"] for row in old.sql("SELECT lane, max(seq) AS seq FROM identity.ledger_heads GROUP BY 1")}
    expire(old)
    old.cluster.restart()
    again(old)
    sessions = [old.gateway() for _ in range(8)]
    ids = [read(session, old.kept) for session in sessions]
    for session in sessions:
        session.close()
    assert all(id & 0xFFFFFFFFFFFF > ends.get(id >> 48, 0) for id in ids)
    left = {row["lane"] for row in old.sql("SELECT DISTINCT lane FROM identity.pii_access_log WHERE seq = 1")}
    assert any(id >> 48 in ends and id >> 48 not in left for id in ids), "no lane lost all of its rows"
    old.verify()
    seal(old)
    old.verify()


@pytest.mark.parametrize("why", ["unsealed", "unanchored", "young"])
def test_a_month_that_may_not_go_stays(old, why):
    if why == "unsealed":
        old.clock.set(0.01)
        with old.gateway() as gateway:
            read(gateway, old.kept)
        anchor(old, old.signer)
        old.clock.set(100)
    else:
        now(old)
    if why == "young":
        anchor(old, old.signer)
        old.sql("ALTER SYSTEM SET identity_pgx.log_retention = '365d'")
        old.cluster.reload()
        time.sleep(0.5)
    before = old.sql(MONTHS)
    done = expire(old)
    assert done.get(old.then) == (None if why == "young" else {"partition": old.then, "kept": why})
    assert old.sql(MONTHS) == before and old.sql("SELECT 1 FROM identity.ledger_expired") == []


def test_nobody_waits_for_a_drop_and_a_drop_waits_for_nobody(old):
    now(old)
    anchor(old, old.signer)
    with old.cluster.connect() as reader, old.cluster.connect() as other:
        reader.execute("BEGIN; LOCK TABLE identity.pii_access_log IN ACCESS SHARE MODE")
        worker = old.connect(old.worker)
        worker.pgconn.send_query(EXPIRE.encode())
        began = time.monotonic()
        while worker.pgconn.is_busy():
            other.execute("SET lock_timeout = '200ms'")
            other.execute("SELECT count(*) FROM identity.pii_access_log")
            worker.pgconn.consume_input()
        assert time.monotonic() - began < 10
        answer = worker.pgconn.get_result()
        assert b'"in use"' in answer.get_value(0, 0)
        worker.close()
    assert "access_id" in expire(old)[old.then]


def test_a_drop_that_is_rolled_back_was_none(old):
    now(old)
    anchor(old, old.signer)
    before = old.sql(MONTHS)
    with old.connect(old.worker) as worker, worker.transaction(force_rollback=True):
        assert "access_id" in str(worker.execute(EXPIRE).fetchone()[0])
    assert old.sql(MONTHS) == before
    old.verify()


def test_a_month_dropped_by_hand_is_missing_whatever_is_written_down_about_it(old):
    now(old)
    anchor(old, old.signer)
    name = old.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log WHERE access_id = %s", (old.ids[0],))[0]["name"]
    with old.admin.transaction(force_rollback=True):
        old.sql(f"DROP TABLE {name}")
        old.sql("INSERT INTO identity.ledger_expired SELECT %s, 1, 10, 1, max(leaf_index) + 1, now() FROM identity.ledger_leaves", (old.then,))
        wrong = [row["detail"] for row in old.findings() if row["check_name"] == "seals" and not row["ok"]]
        assert any("that it expired is not what was recorded" in detail for detail in wrong)
        assert any("missing: it was sealed" in detail and f"access_id {old.ids[0]}" in detail for detail in wrong)


def test_a_dropped_month_excuses_no_other_row(old):
    now(old)
    anchor(old, old.signer)
    expire(old)
    log = old.sql("SELECT tableoid::regclass::text AS name, access_id FROM identity.pii_access_log WHERE outcome = 'committed' AND chain_kind = 'hmac' ORDER BY accessed_at DESC LIMIT 1")[0]
    with old.admin.transaction(force_rollback=True):
        old.sql(f"ALTER TABLE {log['name']} DISABLE TRIGGER append_only")
        old.sql(f"DELETE FROM {log['name']} WHERE access_id = %s", (log["access_id"],))
        old.sql(f"ALTER TABLE {log['name']} ENABLE ALWAYS TRIGGER append_only")
        assert any("missing" in row["detail"] for row in old.findings() if row["check_name"] == "seals" and not row["ok"])
    with old.admin.transaction(force_rollback=True):
        old.sql("ALTER TABLE identity.ledger_expired DISABLE TRIGGER append_only")
        old.sql("DELETE FROM identity.ledger_expired")
        old.sql("ALTER TABLE identity.ledger_expired ENABLE ALWAYS TRIGGER append_only")
        wrong = {row["detail"] for row in old.findings() if not row["ok"]}
        assert any("a recorded expiry that is not there" in detail for detail in wrong)
        assert any("missing: it was sealed" in detail for detail in wrong)


def test_only_the_worker_drops(old):
    for role in (old.auditor, old.dba, old.lane):
        with old.connect(role) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(EXPIRE)


def test_a_drop_needs_keys_and_a_transaction_that_can_write(old):
    with old.connect(old.worker) as worker:
        worker.execute("BEGIN READ ONLY")
        refused(worker, EXPIRE, None, "25006", "read_only")
        worker.execute("ROLLBACK")
        old.sql("SELECT identity.key_wipe_all()")
        refused(worker, EXPIRE, None, "55000", "locked")
