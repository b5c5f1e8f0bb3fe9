"""Many new subjects in one call: all or none, and each request once."""

import threading
import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import wait_until
from test_batches import many
from vault import Vault, reason_of, refused

REGISTER_MANY = "SELECT ordinal, candidate_id FROM identity.pii_register_many(%s::text, %s::jsonb)"


def record(n=0, **more):
    return {"pii": {"name": f"Person {n}", "email": f"p{n}@example.org"}} | more


def register(conn, records, purpose="t.all"):
    return conn.execute(REGISTER_MANY, (purpose, Jsonb(records))).fetchall()


def test_registered_batch_can_be_read_back_field_by_field(vault, gateway):
    answers = register(gateway, [record(n) for n in range(1000)])
    assert [ordinal for ordinal, _ in answers] == list(range(1, 1001))
    assert len({id for _, id in answers}) == 1000
    chosen = answers[123][1]
    vault.change(chosen, vertical="general", consent="given")
    assert many(gateway, [chosen], fields=["name", "email"])[0][2] == record(122 + 1)["pii"]
    rows = vault.leaves(gateway, committed=1001)
    assert {row["candidate_id"] for row in rows if row["accessor_kind"] == "register"} == {id for _, id in answers}
    (row,) = vault.sql("SELECT * FROM identity.subjects WHERE candidate_id = %s", (answers[0][1],))
    assert (row["vertical"], row["consent_status"], row["registered_by"]) == ("unknown", "pending_first_contact", gateway.info.user)
    vault.verify()


def test_each_registered_record_leaves_its_own_fields(vault, gateway):
    register(gateway, [{"pii": {"name": "A"}}, {"pii": {"name": "B", "ssn": "900-00-0001"}, "attributes": {"vertical": "healthcare"}}])
    rows = vault.leaves(gateway, committed=2)
    assert [row["fields_accessed"] for row in sorted(rows, key=lambda row: row["seq"])] == [["name"], ["name", "ssn"]]


def test_request_registered_twice_in_one_call_and_in_two_is_one_subject(vault, gateway):
    one, two = str(uuid.uuid4()), str(uuid.uuid4()).upper()
    ((_, a), (_, b), (_, c), (_, d)) = register(
        gateway, [record(1, request_id=one), record(2, request_id=two), record(3, request_id=one), record(4, request_id=None)]
    )
    assert a == c and len({a, b, d}) == 3
    assert register(gateway, [record(5, request_id=two), record(6)])[0][1] == b
    single = gateway.execute("SELECT identity.pii_register('t.all', '{\"name\": \"Z\"}', '{}', %s)", (one,)).fetchone()[0]
    assert single == a
    assert vault.sql("SELECT count(*) AS n FROM identity.subjects WHERE registered_by = %s", (gateway.info.user,)) == [{"n": 4}]
    vault.leaves(gateway, committed=7)


def test_batches_with_the_same_requests_at_once_make_each_subject_once(vault):
    role = vault.login("identity_gateway", "identity_zone_onbox")
    requests = [str(uuid.uuid4()) for _ in range(200)]
    answers, wrong = [], []
    barrier = threading.Barrier(4)

    def run(order):
        with vault.connect(role) as conn:
            barrier.wait()
            try:
                ids = register(conn, [record(n, request_id=requests[n]) for n in order])
                answers.append({requests[n]: id for n, (_, id) in zip(order, ids, strict=True)})
            except psycopg.Error as error:
                wrong.append(error)

    orders = [range(200), range(199, -1, -1), [*range(100, 200), *range(100)], range(200)]
    threads = [threading.Thread(target=run, args=(list(order),)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    assert all(answer == answers[0] for answer in answers)
    assert vault.sql("SELECT count(*) AS n FROM identity.subjects WHERE registered_by = %s", (role,)) == [{"n": 200}]
    vault.leaves(role, committed=800)


def test_batches_with_the_same_requests_crosswise_never_deadlock(vault):
    """A gate makes both wait in their middle: in the order given each would then hold what the other needs."""
    role, base = vault.login("identity_gateway", "identity_zone_onbox"), str(uuid.uuid4())[:-1]
    answers, wrong = {}, []

    def run(order):
        with vault.connect(role) as conn:
            try:
                ids = register(conn, [record(n, request_id=f"{base}{n}") for n in order])
                answers[order] = {n: id for n, (_, id) in zip(order, ids, strict=True)}
            except psycopg.Error as error:
                wrong.append(error)

    with vault.connect(role, autocommit=False) as gate:
        gate.execute("SELECT identity.pii_register('t.all', '{\"name\": \"A\"}', '{}', %s)", (f"{base}5",))
        threads = [threading.Thread(target=run, args=(order,)) for order in [(1, 5, 9), (9, 5, 1)]]
        for thread in threads:
            thread.start()
        waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
        wait_until(lambda: vault.sql(waiting, (role,)) == [{"n": 2}], "both to wait")
        gate.rollback()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    assert answers[1, 5, 9] == answers[9, 5, 1]
    assert vault.sql("SELECT count(*) AS n FROM identity.subjects WHERE registered_by = %s", (role,)) == [{"n": 3}]


def test_register_and_a_batch_with_one_request_at_once_agree(vault):
    role, request = vault.login("identity_gateway", "identity_zone_onbox"), str(uuid.uuid4())
    with vault.connect(role, autocommit=False) as first, vault.connect(role) as second:
        one = first.execute("SELECT identity.pii_register('t.all', '{\"name\": \"A\"}', '{}', %s)", (request,)).fetchone()[0]
        got = []
        thread = threading.Thread(target=lambda: got.extend(register(second, [record(1), record(2, request_id=request)])))
        thread.start()
        wait = "wait_event_type = 'Lock'"
        vault.wait_backend(role, wait)
        first.commit()
        thread.join()
        assert got[1][1] == one


BAD_RECORDS = [
    ({"pii": {"name": "A"}}, "22023", "bad_argument"),
    ("text", "22023", "bad_argument"),
    ([["nested"]], "22023", "bad_argument"),
    ([[record()]], "22023", "bad_argument"),
    ([None], "22023", "bad_argument"),
    ([{}], "22023", "bad_argument"),
    ([record(), {"pii": {}}], "22023", "bad_argument"),
    ([record(), {"pii": {"name": None}}], "22023", "bad_argument"),
    ([record(), {"pii": {"name": "x" * 1025}}], "22023", "bad_argument"),
    ([record(), {"pii": {"nickname": "x"}}], "22023", "unknown_field"),
    ([record(), record(1, attributes={"vertical": "general"})], "22023", "bad_argument"),
    ([record(), record(1, attributes=[])], "22023", "bad_argument"),
    ([record(), record(1, request_id="5f0c1c5e-0000-4000-8000-00000000d00")], "22023", "bad_argument"),
    ([record(), record(1, request_id="5f0c1c5e-0000-4000-8000-00000000dé0z")], "22023", "bad_argument"),
    ([record(), record(1, request_id=7)], "22023", "bad_argument"),
    ([record(), record(1, consent="given")], "22023", "bad_argument"),
    ([record()] * 1001, "22023", "too_many"),
]


@pytest.mark.parametrize("records, sqlstate, reason", BAD_RECORDS)
def test_one_bad_record_refuses_all(vault, gateway, records, sqlstate, reason):
    refused(gateway, REGISTER_MANY, ("t.all", Jsonb(records)), sqlstate, reason, ["Person"])
    assert vault.sql("SELECT count(*) AS n FROM identity.subjects WHERE registered_by = %s", (gateway.info.user,)) == [{"n": 0}]
    vault.leaves(gateway, denied=1)


def test_one_field_too_many_in_one_record_refuses_all(vault, gateway):
    records = [record(), {"pii": {"ssn": "900-00-0002"}}]
    refused(gateway, REGISTER_MANY, ("t.contact", Jsonb(records)), "42501", "field_not_allowed", ["900-00"])
    assert vault.sql("SELECT count(*) AS n FROM identity.subjects WHERE registered_by = %s", (gateway.info.user,)) == [{"n": 0}]
    (row,) = vault.leaves(gateway, denied=1)
    assert row["fields_accessed"] == ["email", "name", "ssn"]


def test_null_records_are_refused_and_none_are_none(vault, gateway):
    refused(gateway, REGISTER_MANY, ("t.all", None), "22004", "null_argument")
    refused(gateway, REGISTER_MANY, (None, Jsonb([])), "22004", "null_argument")
    assert register(gateway, []) == []
    vault.leaves(gateway, denied=2)


def test_plaintext_of_a_big_batch_is_in_no_temporary_file(fresh):
    """With little work_mem, what is registered passes through files as ciphertext only, and answers through none."""
    vault = Vault(fresh({"work_mem": "'64kB'", "log_temp_files": "0"}))
    with vault.gateway() as conn:
        pgsql_tmp = vault.cluster.data / "base" / "pgsql_tmp"
        seen, stop = set(), threading.Event()

        def watch():
            while not stop.is_set():
                for file in pgsql_tmp.glob("*"):
                    try:
                        seen.add(b"CanaryTemp" in file.read_bytes())
                    except OSError:
                        pass

        thread = threading.Thread(target=watch)
        thread.start()
        for _ in range(3):
            answers = register(conn, [{"pii": {"name": f"CanaryTemp{n}" * 50}} for n in range(1000)])
        with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
            many(conn, [id for _, id in answers])
        assert reason_of(caught.value)[1] == "too_many"
        stop.set()
        thread.join()
    assert True not in seen
