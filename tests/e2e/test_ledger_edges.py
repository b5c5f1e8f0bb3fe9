"""What a superuser could hide at the edges of the ledger: rows with impossible numbers, rows between two pages, numbers that stop a verifier."""

import tempfile
from pathlib import Path

import pytest

from audited import audit as outside, audit_login
from clock import Clock
from cluster import Cluster, root_dir
from ledger import again, many_rows, seal
from liar import Liar, Marks, anchor
from test_expire import expire, now, old  # noqa: F401 (a fixture)
from vault import Vault, read

LAST = (1 << 48) - 1
INSERT = """INSERT INTO {log} SELECT (jsonb_populate_record(l, jsonb_build_object('access_id', {id}, 'lane', {id} >> 48, 'seq', {id} & 281474976710655))).*
              FROM {log} l ORDER BY access_id LIMIT 1"""


@pytest.fixture(scope="module")
def told():
    """Lies are told in transactions that are rolled back."""
    cluster = Cluster("e")
    try:
        vault = Vault(cluster.start().install())
        subject = vault.subject()
        with vault.gateway() as gateway:
            vault.first = read(gateway, subject)
        vault.purpose()
        seal(vault)
        yield vault
    finally:
        cluster.destroy()


def liar(vault) -> Liar:
    first = vault.sql("SELECT access_id FROM identity.pii_access_log ORDER BY access_id LIMIT 1")[0]["access_id"]
    return Liar(vault, Marks([first], [], 0, 0, ""))


def found(vault, *statements: str) -> set[str]:
    with vault.admin.transaction(force_rollback=True):
        intruder = liar(vault)
        with intruder.unguarded():
            for statement in statements:
                vault.sql(statement.replace("{log}", intruder.log))
        vault.sql("SET LOCAL statement_timeout = '30s'")
        return {row["check_name"] for row in vault.findings() if not row["ok"]}


@pytest.mark.parametrize("lane", [None, 999], ids=["a lane in use", "another lane"])
@pytest.mark.parametrize("seq", [0, LAST], ids=["first", "last"])
def test_a_row_with_an_impossible_number_is_found(told, lane, seq):
    access_id = ((told.first >> 48 if lane is None else lane) << 48) | seq
    assert "chain" in found(told, INSERT.replace("{id}", str(access_id)))


def test_a_row_of_the_last_lane_stops_nobody(told):
    with told.admin.transaction(force_rollback=True):
        intruder = liar(told)
        with intruder.unguarded():
            told.sql(INSERT.replace("{log}", intruder.log).replace("{id}", str((32767 << 48) | 1)))
        told.sql("SET LOCAL statement_timeout = '20s'")
        for statement in ("identity_status()", "metrics()", "ledger_seal()", "ledger_verify(true)"):
            assert told.sql(f"SELECT count(*) AS n FROM identity.{statement}")[0]["n"] > 0


@pytest.mark.parametrize("statement, check", [
    ("INSERT INTO identity.ledger_leaves VALUES (9223372036854775807, 5)", "tree"),
    ("UPDATE identity.ledger_tiles SET access_ids = ARRAY[NULL::bigint] || access_ids[2:] WHERE level = 0", "seals"),
], ids=["leaf beyond all", "tile with a null"])
def test_a_hostile_number_is_a_finding_and_no_end_of_verification(told, statement, check):
    assert check in found(told, statement)


@pytest.mark.parametrize("policy", [
    "CREATE POLICY hide ON {log} AS RESTRICTIVE FOR SELECT TO identity_keeper USING (true)",
    "CREATE POLICY hide ON identity.pii_access_log AS RESTRICTIVE FOR SELECT TO identity_keeper USING (true)",
    "ALTER POLICY keeper_reads ON {log} USING (accessor_kind <> 'gateway_lookup')",
], ids=["a month", "the log", "a policy changed"])
def test_a_policy_that_hides_rows_from_verification_is_found(told, policy):
    assert "guards" in found(told, policy)


def test_a_second_row_of_one_number_is_found_wherever_a_page_ends(fresh):
    vault = Vault(fresh())
    many_rows(vault, 6000)
    seal(vault)
    lane = vault.sql("SELECT access_id >> 48 AS lane FROM identity.pii_access_log GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")[0]["lane"]
    assert not found(vault)
    for seq in (4999, 5000, 5001):
        assert "chain" in found(vault, f"""
            INSERT INTO identity.pii_access_log SELECT (jsonb_populate_record(l, jsonb_build_object('accessed_at', l.accessed_at + interval '1 month'))).*
              FROM identity.pii_access_log l WHERE access_id = {(lane << 48) | seq}"""), seq


def test_a_turn_of_the_month_that_lanes_see_in_another_order_is_good_outside(fresh, monkeypatch):
    clock = Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)
    vault = Vault(fresh())
    audit_login(vault)
    subject = vault.subject()
    one, other = vault.gateway(), vault.gateway()
    lanes = {read(conn, subject) >> 48: conn for conn in (one, other)}
    seal(vault)
    read(lanes[max(lanes)], subject)
    clock.set(35)
    vault.sql("SELECT identity._make_partitions()")
    read(lanes[min(lanes)], subject)
    seal(vault)
    order = vault.sql("SELECT partition FROM identity.ledger_seals WHERE cut = 2 ORDER BY batch")
    assert order != sorted(order, key=lambda row: row["partition"]), "the later month came first"
    vault.verify()
    assert outside(vault)["result"] == "good"


def test_the_first_row_after_a_dropped_month_cannot_be_altered(old):  # noqa: F811
    now(old)
    anchor(old, old.signer)
    assert "access_id" in expire(old)[old.then]
    seal(old)
    old.cluster.restart()
    again(old)
    # Lanes whose rows are all gone are used again.
    gateways = [old.gateway() for _ in range(8)]
    for gateway in [*gateways, *gateways]:
        read(gateway, old.kept)
    old.verify()
    lanes = old.sql("""SELECT min(access_id) AS id FROM identity.pii_access_log l GROUP BY lane
                       HAVING min(seq) > 1 AND NOT EXISTS (SELECT FROM identity.ledger_heads h WHERE h.lane = l.lane AND h.seq >= min(l.seq))""")
    assert lanes
    intruder = Liar(old, Marks([lanes[0]["id"]], [], 0, 0, ""))
    with intruder.unguarded():
        old.sql(f"UPDATE {intruder.log} SET repeats = repeats + 1 WHERE access_id = %s", (lanes[0]["id"],))
    assert "chain" in {row["check_name"] for row in old.findings() if not row["ok"]}
