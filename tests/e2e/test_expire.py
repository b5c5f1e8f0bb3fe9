"""Months of the log are dropped when their time is over, sealed and anchored; what was in them stays provable."""

import pytest

from expire import MONTHS, EXPIRE, expire, month_over, now
from ledger import again, seal
from ledger_tree import proven
from liar import anchor
from vault import read


@pytest.fixture
def old(fresh, monkeypatch):
    return month_over(fresh, monkeypatch)


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


@pytest.mark.parametrize("change", ["rows = rows - 1", "last_batch = last_batch + 1", "tree_size = tree_size + 1", "expired_at = expired_at + interval '1 second'", "partition = '2020-01'"])
def test_what_was_recorded_of_a_drop_is_bound_to_its_event(old, change):
    """Else the record of one month could be made to excuse another, or batches that came after it."""
    now(old)
    anchor(old, old.signer)
    expire(old)
    old.verify()
    with old.admin.transaction(force_rollback=True):
        old.sql("ALTER TABLE identity.ledger_expired DISABLE TRIGGER append_only")
        old.sql(f"UPDATE identity.ledger_expired SET {change}")
        old.sql("ALTER TABLE identity.ledger_expired ENABLE ALWAYS TRIGGER append_only")
        wrong = [row["detail"] for row in old.findings() if row["check_name"] == "seals" and not row["ok"]]
        assert any("that it expired is not what was recorded" in detail for detail in wrong)
        assert any("missing: it was sealed" in detail for detail in wrong), "and excuses nothing"
    old.verify()


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
