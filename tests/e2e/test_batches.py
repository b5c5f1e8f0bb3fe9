"""Many subjects in one call: each with a status and a row of its own, whatever becomes of the call."""

import threading
import time

import psycopg
import pytest

from erasure import erase
from vault import CLOUD, Vault, read, refused, uuid7
from wire import Wire

MANY = "SELECT candidate_id, status, pii, generation, access_id FROM identity.pii_resolve_many(%s::uuid[], %s::text, %s::text[])"
SPILLED = "SELECT temp_files, temp_bytes FROM pg_stat_database WHERE datname = 'identity'"


def many(conn, ids, purpose="t.all", fields=("name",)):
    return conn.execute(MANY, (list(ids), purpose, list(fields))).fetchall()


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
