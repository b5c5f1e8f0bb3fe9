"""What older keys encrypted follows the rotation, a batch at a time; a key is retired when nothing can refer to it any more, and not before."""

import threading
import time

import psycopg
import pytest
from psycopg.types.json import Jsonb

import biometric
from cluster import Cluster, wait_until
from erasure import AUTHORISE, erase, request, schedule
from ledger import seal
from unlock import Worker, events, installed, well
from vault import FIELDS, ONBOX, REGISTER, RESOLVE, read, refused

COLUMNS = "name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, biometric_classifications_ct"


@pytest.fixture(scope="module")
def worker():
    return Worker()


@pytest.fixture(scope="module")
def own(request, worker):
    cluster = Cluster("r", worker.settings() | {"identity_pgx.biometric_classifications": "on", "wal_level": "logical"})
    request.addfinalizer(cluster.destroy)
    return installed(cluster.start(), worker)


@pytest.fixture(autouse=True)
def sound(own):
    yield
    seal(own)
    own.verify()


def newest(worker) -> int:
    return max(version for (kind, version), state in worker.states().items() if kind == "dek" and state == "active")


def under(own, subject) -> set[int]:
    """The keys that a subject's ciphertexts name, and the one its row does."""
    row = own.sql(f"SELECT dek_version, {COLUMNS} FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]
    version = row.pop("dek_version")
    found = {int.from_bytes(bytes(ct)[2:6], "big") for ct in row.values() if ct}
    assert not found or version == min(found) or version < min(found)
    return found


def standing(own, subject) -> dict:
    return own.sql("SELECT generation, erasure_generation, updated_at, consent_status FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]


def test_every_value_is_encrypted_anew_and_nothing_else_changes(own, worker):
    pii = {name: f"value of {name}" for name in FIELDS}
    subjects = [own.subject(**pii) for _ in range(3)] + [own.subject()]
    worker.rotate("dek")
    before = [standing(own, subject) for subject in subjects]
    log = own.sql("SELECT count(*) AS n FROM identity.pii_access_log")
    pending = own.sql("SELECT count(*) AS n FROM identity.subject_changes_pending")
    answer = worker.reencrypt()
    assert (answer["version"], answer["left"], answer["failed"], answer["retired"]) == (newest(worker), 0, 0, [])
    assert answer["done"] >= len(subjects)
    assert own.sql("SELECT count(*) AS n FROM identity.pii_access_log") == log, "no value was shown to anybody"
    assert own.sql("SELECT count(*) AS n FROM identity.subject_changes_pending") == pending, "no cache need ask"
    assert [standing(own, subject) for subject in subjects] == before
    for subject in subjects:
        assert under(own, subject) == {newest(worker)}
    with own.gateway() as gateway:
        assert gateway.execute(RESOLVE, (subjects[0].id, "t.all", FIELDS)).fetchone()[0] == pii
        read(gateway, subjects[-1], fields=("name", "phone"))


def test_old_key_is_retired_and_forgotten_when_nothing_refers_to_it(own, worker):
    subject, old = own.subject(), newest(worker)
    worker.rotate("dek")
    assert worker.states()["dek", old] == "verify_only"
    worker.reencrypt_all()
    assert worker.states()["dek", old] == "retired"
    assert not own.sql("SELECT loaded FROM identity.key_status() WHERE kind = 'dek' AND version = %s", (old,))[0]["loaded"]
    assert events(own, "key_retire")[-1]["version"] == old
    with own.gateway() as gateway:
        read(gateway, subject)
    # It is not needed to unlock, and not taken any more.
    own.sql("SELECT identity.key_wipe_all()")
    worker.unlock()
    well(own.cluster)
    assert not [key for key in own.sql("SELECT kind, version FROM identity.key_status() WHERE loaded") if key == {"kind": "dek", "version": old}]
    refused(worker.conn, "SELECT identity.key_load('dek', %s, %s)", (old, worker.sealed("dek", old)), "22023", "bad_argument")


def test_field_that_was_updated_alone_does_not_hide_the_others(own, worker):
    """After a rotation one field is new, the others are not: the row keeps the oldest."""
    subject, old = own.subject(), newest(worker)
    worker.rotate("dek")
    with own.gateway() as gateway:
        gateway.execute("SELECT identity.pii_update(%s, 't.all', %s)", (subject.id, Jsonb({"name": "changed"})))
    own.change(subject.id, {"phone": "555"})
    assert under(own, subject) == {old, old + 1}
    worker.reencrypt_all()
    assert under(own, subject) == {old + 1}
    with own.gateway() as gateway:
        assert gateway.execute(RESOLVE, (subject.id, "t.all", ["name", "ssn"])).fetchone()[0] == {"name": "changed", "ssn": subject.pii["ssn"]}


def test_classifications_follow_too(own, worker):
    biometric.policy(own)
    with own.gateway() as gateway:
        subject = biometric.consenting(own, gateway)
        biometric.attach(gateway, subject)
        biometric.classify(gateway, subject, age_band="30-39")
        old = newest(worker)
        worker.rotate("dek")
        assert under(own, subject) == {old}
        worker.reencrypt_all()
        assert under(own, subject) == {old + 1}
        # One that is written after a rotation into a row that is not yet done.
        worker.rotate("dek")
        biometric.classify(gateway, subject, age_band="40-49")
        worker.reencrypt_all()
        assert under(own, subject) == {old + 2}
        read(gateway, subject)


def test_interrupted_work_is_resumed(own, worker):
    subjects = [own.subject() for _ in range(20)]
    old = newest(worker)
    worker.rotate("dek")
    waiting = own.sql("SELECT count(*) AS n FROM identity.subjects WHERE dek_version <= %s AND erased_at IS NULL", (old,))[0]["n"]
    first = worker.reencrypt(7)
    assert (first["done"], first["left"], first["retired"]) == (7, waiting - 7, [])
    assert own.sql("SELECT value FROM identity.metrics() WHERE name = 'identity_reencrypt_waiting'")[0]["value"] == waiting - 7
    with worker.conn.transaction(force_rollback=True):
        assert worker.reencrypt(5)["done"] == 5
    with own.cluster.connect() as other:
        other.execute("SET statement_timeout = '1ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            for _ in range(100):
                other.execute("SELECT identity.reencrypt(10), pg_sleep(0.01)")
    wipe_and_unlock(own, worker)
    left = own.sql("SELECT value FROM identity.metrics() WHERE name = 'identity_reencrypt_waiting'")[0]["value"]
    assert 0 < left <= waiting - 7
    assert worker.states()["dek", old] == "verify_only"
    own.cluster.kill()
    own.cluster.start()
    own.admin = own.cluster.connect(row_factory=psycopg.rows.dict_row)
    worker.connect(own)
    worker.unlock()
    well(own.cluster)
    worker.reencrypt_all()
    assert worker.states()["dek", old] == "retired"
    with own.gateway() as gateway:
        for subject in subjects:
            read(gateway, subject)


def wipe_and_unlock(own, worker) -> None:
    own.sql("SELECT identity.key_wipe_all()")
    worker.unlock()


def test_erasure_and_update_in_flight_are_left_alone_and_win(own, worker):
    subjects = [own.subject() for _ in range(6)]
    old = newest(worker)
    worker.rotate("dek")
    erase(own, subjects[0])
    with own.gateway() as updating:
        updating.execute("BEGIN")
        updating.execute("SELECT identity.pii_update(%s, 't.all', %s)", (subjects[1].id, Jsonb({"name": "in flight"})))
        answer = worker.reencrypt()  # does not wait for it
        assert answer["left"] >= 1 and answer["retired"] == []
        assert under(own, subjects[1]) == {old}
        updating.execute("COMMIT")
    worker.reencrypt_all()
    assert under(own, subjects[1]) == {old + 1}
    with own.gateway() as gateway:
        assert gateway.execute(RESOLVE, (subjects[1].id, "t.all", ["name"])).fetchone()[0] == {"name": "in flight"}
        refused(gateway, RESOLVE, (subjects[0].id, "t.all", ["name"]), "P0002", "subject_erased")
    assert under(own, subjects[0]) == set()
    # And the other way round: an erasure waits for the batch that holds the subject, and then takes what it wrote.
    worker.rotate("dek")
    done = []
    own.login_for_erasing, own.schedule = own.login(*ONBOX), schedule(own)
    with worker.conn.transaction():
        worker.reencrypt()
        thread = threading.Thread(target=lambda: done.append(erase_alone(own, subjects[2])))
        thread.start()
        time.sleep(0.3)
        assert not done
    thread.join()
    assert done and under(own, subjects[2]) == set()


def erase_alone(own, subject) -> bool:
    """Through connections of its own: it runs beside the test."""
    with own.connect(own.login_for_erasing) as gateway:
        request_id = request(gateway, subject)
    with own.connect(own.worker) as conn:
        conn.execute(AUTHORISE, (request_id, own.schedule))
    return True


def test_key_is_kept_while_a_registration_under_it_may_still_commit(own, worker):
    """It took its key before the rotation and commits after everything else was re-encrypted."""
    old = newest(worker)
    with own.gateway() as registering:
        registering.execute("BEGIN")
        candidate = registering.execute(REGISTER, ("t.all", '{"name": "late"}', "{}", None)).fetchone()[0]
        worker.rotate("dek")
        for _ in range(4):
            answer = worker.reencrypt()
            own.sql("SELECT pg_current_xact_id()")
        assert (answer["left"], answer["done"], answer["retired"]) == (0, 0, [])
        assert worker.states()["dek", old] == "verify_only"
        registering.execute("COMMIT")
    worker.reencrypt_all()
    assert worker.states()["dek", old] == "retired"
    with own.gateway() as gateway:
        own.change(candidate, vertical="general", consent="given")
        assert gateway.execute(RESOLVE, (candidate, "t.all", ["name"])).fetchone()[0] == {"name": "late"}


def test_key_is_kept_while_a_read_may_still_see_what_it_encrypted(own, worker):
    """A call that has looked, and has not decrypted yet: its snapshot holds the key."""
    own.subject()
    old = newest(worker)
    with own.gateway() as reading:
        reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reading.execute("SELECT 1")
        worker.rotate("dek")
        for _ in range(4):
            answer = worker.reencrypt()
            own.sql("SELECT pg_current_xact_id()")
        assert answer["retired"] == [] and worker.states()["dek", old] == "verify_only"
        reading.execute("COMMIT")
    worker.reencrypt_all()


def test_slot_that_nobody_reads_keeps_no_key(own, worker):
    """Logical decoding holds the catalogs back for as long as its slot is there; no call runs because of it."""
    own.sql("SELECT pg_create_logical_replication_slot('forgotten', 'test_decoding')")
    try:
        own.subject()
        worker.rotate("dek")
        worker.reencrypt_all()
    finally:
        own.sql("SELECT pg_drop_replication_slot('forgotten')")


def test_rolled_back_retirement_keeps_the_key(own, worker):
    old = newest(worker)
    own.subject()
    worker.rotate("dek")
    while worker.reencrypt()["left"]:
        pass

    def retired() -> bool:
        own.sql("SELECT pg_current_xact_id()")
        with worker.conn.transaction(force_rollback=True):
            return worker.reencrypt()["retired"] == [old]

    wait_until(retired, "a retirement to roll back")
    assert worker.states()["dek", old] == "verify_only"
    assert own.sql("SELECT loaded FROM identity.key_status() WHERE kind = 'dek' AND version = %s", (old,))[0]["loaded"]
    worker.reencrypt_all()
    assert worker.states()["dek", old] == "retired"


def test_one_ciphertext_that_does_not_open_stops_no_other_and_keeps_its_key(own, worker):
    damaged, sound = own.subject(), own.subject()
    old = newest(worker)
    kept = own.sql("SELECT ssn_ct FROM identity.subjects WHERE candidate_id = %s", (damaged.id,))[0]["ssn_ct"]
    own.sql("UPDATE identity.subjects SET ssn_ct = set_byte(ssn_ct, 80, get_byte(ssn_ct, 80) # 1) WHERE candidate_id = %s", (damaged.id,))
    worker.rotate("dek")
    for _ in range(3):
        answer = worker.reencrypt()
    assert (answer["failed"], answer["left"], answer["retired"]) == (1, 1, [])
    assert (under(own, damaged), under(own, sound)) == ({old}, {old + 1})
    own.sql("UPDATE identity.subjects SET ssn_ct = %s WHERE candidate_id = %s", (kept, damaged.id))
    worker.reencrypt_all()
    assert worker.states()["dek", old] == "retired"


def test_chain_keys_never_retire(own, worker):
    worker.rotate("chain")
    worker.rotate("dek")
    worker.reencrypt_all()
    assert {state for (kind, _), state in worker.states().items() if kind == "chain"} == {"active", "verify_only"}


def test_bad_arguments_are_refused(own, worker):
    for rows in (0, -1):
        refused(worker.conn, "SELECT identity.reencrypt(%s)", (rows,), "22023", "bad_argument")
    refused(worker.conn, "SELECT identity.reencrypt(10001)", (), "22023", "too_many")
    with own.cluster.connect() as conn:
        conn.execute("SET default_transaction_read_only = on")
        refused(conn, "SELECT identity.reencrypt(1)", (), "25006", "read_only")
    with pytest.raises(psycopg.Error), worker.conn.transaction():
        worker.conn.execute("PREPARE TRANSACTION 'x'")


def test_concurrent_batches_and_reads_fail_nothing(own, worker):
    """Two workers at once, readers of every subject, updates: each subject ends under the newest key, with its values."""
    subjects = [own.subject() for _ in range(40)]
    stop, troubles = threading.Event(), []

    def reading() -> None:
        try:
            with own.gateway() as gateway:
                while not stop.is_set():
                    for subject in subjects:
                        read(gateway, subject, fields=("name", "ssn"))
        except Exception as error:  # noqa: BLE001
            troubles.append(repr(error))

    def reencrypting() -> None:
        try:
            with own.connect(own.worker) as conn:
                while not stop.is_set():
                    conn.execute("SELECT identity.reencrypt(3)")
        except Exception as error:  # noqa: BLE001
            troubles.append(repr(error))

    threads = [threading.Thread(target=work) for work in (reading, reading, reencrypting, reencrypting)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            old = newest(worker)
            worker.rotate("dek")
            wait_until(lambda: worker.states()["dek", old] == "retired" or troubles, "the key to be retired", timeout=60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not troubles
    for subject in subjects:
        assert under(own, subject) == {newest(worker)}
