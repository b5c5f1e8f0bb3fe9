"""Who was erased and comes back with a backup is found and erased again; nobody else is."""

import os

import psycopg
import pytest

import biometric
import erasure
import tombstone
from cluster import Cluster
from erasure import RECEIPT, asked, authorise, row
from forget import App
from vault import Vault, read, refused, refused_read
from worker import Anchoring


@pytest.fixture(scope="module")
def own():
    """A vault of this file's own: what others erase is not among what is counted here."""
    cluster = Cluster("t")
    try:
        vault = Vault(cluster.start().install())
        yield vault
        vault.verify()
    finally:
        cluster.destroy()


@pytest.fixture
def worker(own):
    with own.connect(own.worker) as worker:
        yield worker


def kept(vault, access_id: int) -> list[tuple]:
    rows = vault.sql("SELECT kind, tombstone FROM identity.tombstones WHERE access_id = %s", (access_id,))
    return [(row["kind"], row["tombstone"]) for row in rows]


def collected(vault):
    """A subject with biometrics, and when they were collected."""
    biometric.policy(vault)
    with vault.gateway() as gateway:
        subject = biometric.consenting(vault, gateway)
        biometric.attach(gateway, subject)
    return subject, biometric.collected(vault, subject)["biometric_collected_at"]


def test_an_erasure_leaves_a_tombstone_that_other_code_makes_too(own):
    subject = own.subject()
    receipt = erasure.erase(own, subject)
    assert kept(own, int(receipt["access_id"])) == [("subject", tombstone.of_subject(own, subject))]


def test_so_do_biometrics_that_are_erased_alone_and_with_their_subject(own):
    alone, at = collected(own)
    erased = biometric.erase(own, alone)
    assert kept(own, int(erased["access_id"])) == [("biometric", tombstone.of_biometrics(own, alone, at))]
    both, at = collected(own)
    erasure.erase(own, both)
    (event,) = erasure.events(own, both, "biometric_erase")
    assert kept(own, event["access_id"]) == [("biometric", tombstone.of_biometrics(own, both, at))]


def test_a_sweep_leaves_one_for_each(own, worker):
    subjects = [own.subject() for _ in range(5)]
    erasure.schedule(own)
    ids = [subject.id for subject in subjects]
    own.sql("UPDATE identity.subjects SET created_at = now() - interval '9 years', last_interaction = NULL WHERE candidate_id = ANY (%s)", (ids,))
    worker.execute("SELECT identity.retention_sweep(1000)")
    for subject in subjects:
        (event,) = erasure.events(own, subject)
        assert kept(own, event["access_id"]) == [("subject", tombstone.of_subject(own, subject))]


def test_they_are_given_in_the_order_of_their_leaves_and_only_once_sealed(own, worker):
    subjects = [own.subject() for _ in range(3)]
    before = worker.execute("SELECT tree_size FROM identity.ledger_seal()").fetchone()[0]
    for subject in subjects:
        erasure.erase(own, subject)
    assert worker.execute(tombstone.GIVEN, (before, 2**62)).fetchall() == []
    size = worker.execute("SELECT tree_size FROM identity.ledger_seal()").fetchone()[0]
    given = worker.execute(tombstone.GIVEN, (before, size)).fetchall()
    assert {hash_ for _, _, hash_ in given} == {tombstone.of_subject(own, subject) for subject in subjects}
    leaves = [leaf for leaf, _, _ in given]
    assert leaves == sorted(leaves)
    access_ids = own.sql("SELECT access_id FROM identity.ledger_leaves WHERE leaf_index = ANY (%s) ORDER BY leaf_index", (leaves,))
    assert [kept(own, each["access_id"])[0][1] for each in access_ids] == [hash_ for _, _, hash_ in given]
    # A range ends before its end.
    assert worker.execute(tombstone.GIVEN, (leaves[0], leaves[1])).fetchall() == given[:1]
    assert worker.execute(tombstone.GIVEN, (size, size)).fetchall() == []


def test_nobody_but_the_worker_asks_and_nobody_reads_or_writes_the_table(own, worker):
    for role in (own.login("identity_gateway"), own.login("identity_auditor"), own.login("identity_legal"), own.login("identity_dba"), own.login()):
        with own.connect(role) as conn:
            for query, arguments in ((tombstone.GIVEN, (0, 1)), (tombstone.FIND, ([bytes(32)],)), (tombstone.ERASE, ([bytes(32)],))):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(query, arguments)
    for statement in (
        "SELECT * FROM identity.tombstones",
        "INSERT INTO identity.tombstones VALUES (1, 'subject', decode(repeat('00', 32), 'hex'))",
        "DELETE FROM identity.tombstones",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute(statement)
    # Not even their owner changes any.
    for statement in ("UPDATE identity.tombstones SET kind = kind", "DELETE FROM identity.tombstones", "TRUNCATE identity.tombstones"):
        refused(own.admin, statement, None, "42501", "append_only")


def test_wrong_arguments_are_refused(worker):
    for arguments in ((None, 1), (0, None)):
        refused(worker, tombstone.GIVEN, arguments, "22004", "null_argument")
    for arguments in ((-1, 1), (2, 1)):
        refused(worker, tombstone.GIVEN, arguments, "22023", "bad_argument")
    for function in (tombstone.FIND, tombstone.ERASE):
        for hashes, code, reason in (
            (None, "22004", "null_argument"),
            ([None], "22004", "null_argument"),
            ([b""], "22023", "bad_argument"),
            ([bytes(31)], "22023", "bad_argument"),
            ([bytes(33)], "22023", "bad_argument"),
            ([bytes(32)] * 10_001, "22023", "too_many"),
        ):
            refused(worker, function, (hashes,), code, reason)
        refused(worker, function.replace("%s", "%s::bytea[]"), ([[bytes(32)], [bytes(32)]],), "22023", "bad_argument")


def test_who_was_not_erased_has_no_tombstone_that_anybody_can_come_by(own, worker):
    """All that the worker's functions answer with is tried, and all that can be made of an id without the key."""
    subject, at = collected(own)
    erasure.schedule(own, "general")
    installation = own.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes
    tries = [tombstone.formats.sha256(subject.id.bytes), subject.id.bytes * 2, tombstone.formats.subject_digest(installation, subject.id.bytes)]
    tries += [tombstone.of_biometrics(own, subject, at.replace(year=2001)), os.urandom(32)]
    salts = worker.execute("SELECT identity.ledger_salts(%s, 1)", (list(range(50)),)).fetchone()[0]
    tries += [first + second for first, second in zip(salts, salts[1:])]
    other = own.subject()
    erasure.erase(own, other)
    tries.append(tombstone.of_subject(own, other))
    assert tombstone.find(own, tries) == set()
    assert tombstone.erase(own, tries) == {"subjects": 0, "biometrics": 0, "busy": 0, "failed": 0}
    with own.gateway() as gateway:
        erasure.untouched(own, gateway, subject)
    assert biometric.collected(own, subject)["biometric_collected_at"] == at
    # The true ones, which this test can make, would do it: so the tries had a chance.
    hashes = [tombstone.of_subject(own, subject), tombstone.of_biometrics(own, subject, at)]
    assert tombstone.find(own, hashes[1:]) == {(subject.id, "biometric")}
    assert tombstone.find(own, hashes) == {(subject.id, "subject")}


def test_an_erasure_that_is_rolled_back_gives_its_tombstone_to_nobody(own, worker):
    subject = own.subject()
    request = asked(own, subject)
    authority = erasure.schedule(own)
    before = worker.execute("SELECT tree_size FROM identity.ledger_seal()").fetchone()[0]
    with worker.transaction(force_rollback=True):
        worker.execute(erasure.AUTHORISE, (request, authority))
        worker.execute("SELECT identity.ledger_seal()")
        with pytest.raises(Exception) as caught, worker.transaction():
            worker.execute(tombstone.GIVEN, (0, 2**62)).fetchall()
    assert caught.value.sqlstate == "55000"
    worker.execute("SELECT identity.ledger_seal()")
    given = worker.execute(tombstone.GIVEN, (before, 2**62)).fetchall()
    assert tombstone.of_subject(own, subject) not in [hash_ for _, _, hash_ in given]
    with own.gateway() as gateway:
        erasure.untouched(own, gateway, subject)
    authorise(own, request, authority)


def test_biometrics_that_are_collected_anew_are_others(own):
    subject, at = collected(own)
    biometric.erase(own, subject)
    with own.gateway() as gateway:
        biometric.attach(gateway, subject)
    now = biometric.collected(own, subject)
    old = [tombstone.of_biometrics(own, subject, at)]
    assert tombstone.find(own, old) == set()
    assert tombstone.erase(own, old)["biometrics"] == 0
    assert biometric.collected(own, subject) == now


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM identity.tombstones WHERE access_id = {a}",
        "UPDATE identity.tombstones SET tombstone = decode(repeat('00', 32), 'hex') WHERE access_id = {a}",
        "UPDATE identity.tombstones SET kind = 'biometric' WHERE access_id = {a}",
        "INSERT INTO identity.tombstones VALUES (1, 'subject', decode(repeat('00', 32), 'hex'))",
    ],
)
def test_the_verifier_says_which_erasure_has_not_its_tombstone(own, change):
    subject = own.subject()
    receipt = erasure.erase(own, subject)
    with own.admin.transaction(force_rollback=True):
        own.sql("ALTER TABLE identity.tombstones DISABLE TRIGGER ALL")
        own.sql(change.format(a=receipt["access_id"]))
        own.sql("ALTER TABLE identity.tombstones ENABLE ALWAYS TRIGGER append_only")
        assert {finding["check_name"] for finding in own.findings() if not finding["ok"]} == {"tombstones"}


def test_who_comes_back_with_a_backup_is_found_and_erased_again(fresh, tmp_path):
    vault = Vault(fresh())
    app = App(vault)
    app.table()
    anchoring = Anchoring(vault, tmp_path)
    ada, eve = vault.subject(name="Ada"), vault.subject(name="Eve")
    bob, at = collected(vault)
    for subject in (ada, eve):
        app.fill(subject)
    anchoring.once()
    assert tombstone.lists(anchoring) == []
    backup = tombstone.Backup(vault)

    erasure.erase(vault, ada)
    biometric.erase(vault, bob)
    anchoring.once()
    hashes = [("s", tombstone.of_subject(vault, ada)), ("b", tombstone.of_biometrics(vault, bob, at))]
    assert tombstone.published(anchoring) == hashes
    key = tombstone.vkey(anchoring)
    nobody = tombstone.check(anchoring, key=key)
    assert nobody["exit"] == 0, nobody

    backup.restore()
    with vault.gateway() as gateway:
        assert read(gateway, ada)
    # Its log is shorter than what is anchored: nothing is signed, and nothing is published.
    anchoring.once(exit_code=1)
    assert tombstone.published(anchoring) == hashes
    back = tombstone.check(anchoring, key=key)
    told = [line["detail"] for line in back["checks"] if line["state"] == "bad"]
    assert back["exit"] == 1 and len(told) == 2
    assert any(str(ada.id) in line and "subject" in line for line in told)
    assert any(str(bob.id) in line and "biometrics" in line for line in told)
    with vault.gateway() as gateway:
        assert read(gateway, ada)

    again = tombstone.check(anchoring, "--erase", key=key)
    assert again["exit"] == 0, again
    with vault.gateway() as gateway:
        refused_read(gateway, ada, *erasure.GONE)
        assert read(gateway, bob) and read(gateway, eve)
        receipt = gateway.execute(RECEIPT, (ada.id,)).fetchone()[0]
    assert (receipt["reason"], receipt["authority"]) == ("restored", "tombstone")
    assert not erasure.there(vault, ada) and biometric.collected(vault, bob) == biometric.NOTHING
    assert app.rows(ada) == [] and len(app.rows(eve)) == 3
    (request,) = erasure.requests(vault, ada)
    assert request["state"] == "done" and request["authorised_by"] == vault.worker
    before = row(vault, ada)
    assert tombstone.check(anchoring, "--erase", key=key)["exit"] == 0
    assert row(vault, ada) == before
    vault.verify()


def test_one_whom_a_table_does_not_let_go_holds_nobody_else_up(fresh, tmp_path):
    vault = Vault(fresh())
    app = App(vault)
    app.table()
    anchoring = Anchoring(vault, tmp_path)
    stays, goes = vault.subject(), vault.subject()
    app.fill(stays)
    backup = tombstone.Backup(vault)
    for subject in (stays, goes):
        erasure.erase(vault, subject)
    anchoring.once()
    key = tombstone.vkey(anchoring)
    backup.restore()
    vault.sql(
        f"""CREATE FUNCTION {app.schema}.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END';
            CREATE TRIGGER no BEFORE DELETE ON {app.schema}.notes FOR EACH ROW EXECUTE FUNCTION {app.schema}.no()"""
    )
    answer = tombstone.check(anchoring, "--erase", key=key)
    assert answer["exit"] == 1
    told = [line["detail"] for line in answer["checks"] if line["state"] == "bad"]
    assert any("registered table" in line for line in told)
    assert any(str(stays.id) in line for line in told) and not any(str(goes.id) in line for line in told)
    assert erasure.there(vault, stays) and not erasure.there(vault, goes)
