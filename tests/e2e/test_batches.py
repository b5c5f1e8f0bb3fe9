"""Many subjects in one call: each with a status and a row of its own, whatever becomes of the call."""

import threading
import time
import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import wait_until
from vault import CLOUD, Vault, read, reason_of, refused, uuid7
from wire import Wire

MANY = "SELECT candidate_id, status, pii, generation, access_id FROM identity.pii_resolve_many(%s::uuid[], %s::text, %s::text[])"
REGISTER_MANY = "SELECT ordinal, candidate_id FROM identity.pii_register_many(%s::text, %s::jsonb)"
SPILLED = "SELECT temp_files, temp_bytes FROM pg_stat_database WHERE datname = 'identity'"


def many(conn, ids, purpose="t.all", fields=("name",)):
    return conn.execute(MANY, (list(ids), purpose, list(fields))).fetchall()


def erase(vault, subject):
    vault.sql("UPDATE identity.subjects SET erased_at = now(), generation = generation + 1 WHERE candidate_id = %s", (subject.id,))


@pytest.fixture
def mixed(vault):
    """One of each: (subjects, status for an on-box caller, for a cloud caller, denial of the latter)."""
    general, finance, hidden = vault.subject(), vault.subject("finance"), vault.subject("healthcare")
    withdrawn, pending = vault.subject(consent="withdrawn"), vault.subject("unknown", consent="pending_first_contact")
    erased, unknown = vault.subject(), uuid7()
    erase(vault, erased)
    return [
        (general.id, "ok", "ok", None),
        (hidden.id, "ok", "unavailable", "subject_unavailable"),
        (general.id, "ok", "ok", None),
        (erased.id, "erased", "erased", "subject_erased"),
        (withdrawn.id, "no_consent", "no_consent", "consent"),
        (pending.id, "no_consent", "unavailable", "subject_unavailable"),
        (unknown, "unavailable", "unavailable", "subject_unavailable"),
        (finance.id, "ok", "ok", None),
    ]


def test_batch_with_duplicates_hidden_erased_withdrawn_and_unknown_ids_answers_each_in_order(vault, gateway, mixed):
    answers = many(gateway, [each[0] for each in mixed], fields=["name", "ssn"])
    assert [answer[0] for answer in answers] == [each[0] for each in mixed]
    assert [answer[1] for answer in answers] == [each[1] for each in mixed]
    for candidate, status, pii, generation, _ in answers:
        if status == "ok":
            assert pii["name"] == f"Name-{candidate.hex[-12:]}" and list(pii) == ["ssn", "name"] or set(pii) == {"name", "ssn"}
        else:
            assert pii is None
        assert (generation is None) == (status == "unavailable")
    rows = vault.leaves(gateway, committed=4, denied=4)
    assert {row["access_id"] for row in rows} == {answer[4] for answer in answers}
    assert len({row["accessed_at"] for row in rows}) == 1
    vault.verify()


def test_cloud_gateway_learns_nothing_in_a_batch_that_it_would_not_learn_singly(vault, mixed):
    with vault.gateway(*CLOUD) as cloud:
        answers = many(cloud, [each[0] for each in mixed])
        assert [answer[1] for answer in answers] == [each[2] for each in mixed]
        hidden, unknown = answers[1], answers[6]
        assert hidden[1:4] == unknown[1:4] == ("unavailable", None, None)
        rows = {row["access_id"]: row for row in vault.leaves(cloud, committed=3, denied=5)}
        for answer, each in zip(answers, mixed, strict=True):
            row = rows[answer[4]]
            assert (row["candidate_id"], row["denial"], row["zone"]) == (each[0], each[3], "cloud")
            assert row["outcome"] == ("denied" if each[3] else "committed")
            if each[3] == "subject_unavailable":
                assert row["vertical"] is None and row["generation"] is None


def test_phi_without_phi_access_is_unavailable_and_the_row_says_why(vault, gateway):
    phi = vault.subject("healthcare")
    ((_, status, pii, generation, access_id),) = many(gateway, [phi.id], purpose="t.contact")
    assert (status, pii, generation) == ("unavailable", None, None)
    (row,) = vault.leaves(gateway, denied=1)
    assert (row["access_id"], row["denial"], row["vertical"]) == (access_id, "phi_access", "healthcare")


def test_batch_counts_the_phi_it_disclosed(vault, gateway):
    many(gateway, [vault.subject("healthcare").id, vault.subject().id], fields=["name", "email"])
    assert sorted(row["phi_fields"] for row in vault.leaves(gateway, committed=2)) == [[], ["email", "name"]]


def test_empty_batch_answers_nothing_under_a_purpose_it_may_use(vault, gateway):
    assert many(gateway, []) == []
    refused(gateway, MANY, ([], "t.none", ["name"]), "22023", "unknown_purpose")
    vault.leaves(gateway, denied=1)


BAD = [
    ([None], "t.all", ["name"], "22004", "null_argument"),
    (None, "t.all", ["name"], "22004", "null_argument"),
    ([uuid7()], None, ["name"], "22004", "null_argument"),
    ([uuid7()], "t.all", None, "22004", "null_argument"),
    ([uuid7()], "t.all", [None], "22004", "null_argument"),
    ([[uuid7(), uuid7()], [uuid7(), uuid7()]], "t.all", ["name"], "22023", "bad_argument"),
    ([uuid7()] * 1001, "t.all", ["name"], "22023", "too_many"),
    ([uuid7()], "t.all", ["name", "name"], "22023", "bad_argument"),
    ([uuid7()], "t.all", [], "22023", "bad_argument"),
    ([uuid7()], "t.contact", ["name", "ssn"], "42501", "field_not_allowed"),
]


@pytest.mark.parametrize("ids, purpose, fields, sqlstate, reason", BAD)
def test_malformed_batch_is_refused_whole(vault, gateway, ids, purpose, fields, sqlstate, reason):
    refused(gateway, MANY, (ids, purpose, fields), sqlstate, reason)
    vault.leaves(gateway, denied=1)


def test_a_thousand_ids_leave_a_thousand_rows(vault, gateway):
    subjects = [vault.subject() for _ in range(3)]
    answers = many(gateway, [subjects[n % 3].id for n in range(1000)])
    assert len({answer[4] for answer in answers}) == 1000 and {answer[1] for answer in answers} == {"ok"}
    vault.leaves(gateway, committed=1000)
    vault.verify()


def test_big_answer_is_refused_before_it_would_be_written_to_a_file(vault, gateway):
    """A set that outgrows work_mem goes to a temporary file, and would be plaintext on disk."""
    pii = dict.fromkeys(["name", "email", "phone", "address", "ssn", "dob"], "x" * 1024)
    large, small = vault.subject(**pii), vault.subject(name="y")
    gateway.execute("SET work_mem = '64kB'")
    before = vault.sql(SPILLED)
    refused(gateway, MANY, ([large.id] * 4, "t.all", list(pii)), "22023", "too_many")
    refused(gateway, MANY, ([small.id] * 1000, "t.all", ["name"]), "22023", "too_many")
    assert len(many(gateway, [large.id] * 3, fields=list(pii))) == 3
    fits = fits_most(gateway, small)
    assert 100 <= fits < 1000
    # What is not answered takes room too.
    assert 100 <= fits_most(gateway, vault.subject(consent="withdrawn")) < 1000
    gateway.execute("SELECT pg_stat_force_next_flush()")
    gateway.execute("SELECT 1")
    assert vault.sql(SPILLED) == before


def fits_most(conn, subject) -> int:
    low, high = 1, 1000
    while low < high:
        middle = (low + high + 1) // 2
        try:
            many(conn, [subject.id] * middle)
            low = middle
        except psycopg.errors.InvalidParameterValue:
            high = middle - 1
    return low


def test_rolled_back_batch_leaves_a_row_per_id(vault, gateway, mixed):
    with gateway.transaction(force_rollback=True):
        many(gateway, [each[0] for each in mixed])
    rows = vault.leaves(gateway, rolled_back=4, denied=4)
    assert sorted(row["denial"] for row in rows if row["denial"]) == sorted(
        ["subject_erased", "consent", "consent", "subject_unavailable"]
    )
    assert {row["candidate_id"] for row in rows} == {each[0] for each in mixed}
    vault.verify()


def test_savepoint_rollback_of_a_batch_leaves_a_row_per_id(vault, gateway):
    subjects = [vault.subject() for _ in range(30)]
    missing = [uuid7() for _ in range(30)]
    ids = [id for pair in zip((s.id for s in subjects), missing, strict=True) for id in pair]
    with gateway.transaction():
        read(gateway, subjects[0])
        with gateway.transaction(force_rollback=True):
            many(gateway, ids)
        many(gateway, ids[:2])
    rows = vault.leaves(gateway, committed=2, rolled_back=30, denied=31)
    assert {row["candidate_id"] for row in rows if row["outcome"] == "denied"} == set(missing)
    vault.verify()


def test_cancelled_batch_leaves_a_row_per_id(vault, gateway):
    subjects = [vault.subject() for _ in range(50)]
    role = gateway.info.user

    def cancel():
        vault.wait_backend(role, "wait_event = 'PgSleep'")
        gateway.cancel()

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        gateway.execute("SELECT pii, pg_sleep(30) FROM identity.pii_resolve_many(%s, 't.all', '{name}')", ([s.id for s in subjects],))
    thread.join()
    assert {row["candidate_id"] for row in vault.leaves(gateway, rolled_back=50)} == {s.id for s in subjects}


def test_wire_client_that_takes_a_batch_and_hangs_up_leaves_a_row_per_id(vault):
    subjects = [vault.subject() for _ in range(40)]
    role = vault.login("identity_gateway", "identity_zone_onbox")
    client = Wire(vault.cluster.dir, vault.cluster.port, role, "identity")
    ids = "{" + ",".join(str(s.id) for s in subjects) + "}"
    client.parse_bind_execute("SELECT pii::text FROM identity.pii_resolve_many($1::uuid[], $2::text, $3::text[])", ids, "t.all", "{name}")
    client.flush()
    assert subjects[0].pii["name"].encode() in client.data_row()
    client.hang_up()
    vault.leaves(role, rolled_back=40)


def test_one_damaged_ciphertext_refuses_the_batch_and_names_its_subject(vault, gateway):
    good, bad = vault.subject(), vault.subject()
    vault.sql("UPDATE identity.subjects SET name_ct = set_byte(name_ct, 90, get_byte(name_ct, 90) # 1) WHERE candidate_id = %s", (bad.id,))
    refused(gateway, MANY, ([good.id, bad.id, good.id], "t.all", ["name"]), "XX001", "ciphertext", good.pii.values())
    (row,) = vault.leaves(gateway, denied=1)
    assert (row["candidate_id"], row["denial"]) == (bad.id, "ciphertext")


def test_batch_that_finds_no_room_in_the_recorder_discloses_nothing(fresh):
    vault = Vault(fresh({"identity_pgx.recorder_slots": "64"}))  # 16 a caller: 384 reads
    subject = vault.subject()
    with vault.gateway() as gateway:
        refused(gateway, MANY, ([subject.id] * 500, "t.all", ["name"]), "53000", "recorder_full")
        assert len(many(gateway, [subject.id] * 300)) == 300
        vault.leaves(gateway, committed=300, denied=1)


def test_erasure_and_a_batch_wait_for_each_other_and_never_deadlock(vault):
    """Writers take buckets in any order; a batch holds none while it waits."""
    subjects = [vault.subject() for _ in range(40)]
    ids = [s.id for s in subjects]
    stop, wrong = threading.Event(), []

    def write(order):
        conn = vault.cluster.connect(autocommit=False)
        try:
            while not stop.is_set():
                for id in order:
                    conn.execute("SELECT identity._import_subject(%s, NULL, NULL, 'given')", (id,))
                conn.commit()
        except psycopg.Error as error:
            wrong.append(error)
        conn.close()

    def batch():
        with vault.gateway() as conn:
            try:
                while not stop.is_set():
                    assert len(many(conn, ids)) == 40
            except (psycopg.Error, AssertionError) as error:
                wrong.append(error)

    # One writer, since two of opposite orders deadlock with each other whatever we do.
    threads = [threading.Thread(target=write, args=(ids[::-1],)), *(threading.Thread(target=batch) for _ in range(3))]
    for thread in threads:
        thread.start()
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def test_batch_waits_for_a_withdrawal_in_flight_and_then_honours_it(vault, gateway):
    first, second = vault.subject(), vault.subject()
    answers = []
    with vault.cluster.connect(autocommit=False) as writer:
        writer.execute("SELECT identity._import_subject(%s, NULL, NULL, 'withdrawn')", (second.id,))
        thread = threading.Thread(target=lambda: answers.extend(many(gateway, [first.id, second.id])))
        thread.start()
        vault.wait_backend(gateway.info.user, "wait_event_type = 'Lock'")
        writer.commit()
        thread.join()
    assert [answer[1] for answer in answers] == ["ok", "no_consent"]


def test_batch_reads_as_of_now_in_an_old_snapshot(vault, gateway):
    subject = vault.subject()
    with gateway.transaction():
        gateway.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        gateway.execute("SELECT 1 FROM pg_class LIMIT 1")
        vault.change(subject.id, consent="withdrawn")
        assert many(gateway, [subject.id])[0][1] == "no_consent"


# -- registering --------------------------------------------------------------------------------------------------------------------


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
