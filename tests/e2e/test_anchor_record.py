"""anchor_record: the database knows of an anchor only what is true of its own tree, and anchors only grow."""

import base64
import datetime as dt
import threading

import psycopg
import pytest

from ledger import checkpoint, seal, some_rows
from ledger_tree import sha256
from liar import Signer, formats, signer_of
from vault import Vault, reason_of, refused

RECORD = "SELECT identity.anchor_record(%s::text, %s::text, %s::text, %s::timestamptz)"
UNTIL = "2033-11-21 20:00:00+00"
BAD = ("22023", "bad_argument")
CHAIN = ("XX001", "chain")


@pytest.fixture(scope="module")
def signer(quiet_ledger):
    return signer_of(quiet_ledger)


@pytest.fixture
def worker(sealed):
    """A session of a login of its own, in a ledger with something new in it."""
    some_rows(sealed)
    seal(sealed)
    with sealed.connect(sealed.login("identity_worker")) as conn:
        yield conn


def body(tree, **other) -> str:
    lines = {"origin": tree.origin, "size": str(tree.size), "root": base64.b64encode(tree.root).decode()} | other
    return "".join(f"{line}\n" for line in lines.values())


def record(conn, note: str, uri: str = "s3://anchors/checkpoints/1", version: str = "v1", until: str = UNTIL) -> int:
    return conn.execute(RECORD, (note, uri, version, until)).fetchone()[0]


def digest(vault, row: dict) -> bytes:
    """As docs/spec/events.md has it."""

    def instant(at) -> str:
        return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    pairs = [
        ("commit_id", str(row["commit_id"])),
        ("tree_size", str(row["tree_size"])),
        ("root_hash", bytes(row["root_hash"]).hex()),
        ("checkpoint", row["checkpoint"]),
        ("s3_object_uri", row["s3_object_uri"]),
        ("version_id", row["version_id"]),
        ("s3_lock_until", instant(row["s3_lock_until"])),
        ("checkpoint_at", instant(row["checkpoint_at"])),
    ]
    installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes
    return formats.event_digest(installation, "anchor", pairs)


def commits(vault) -> list[dict]:
    return vault.sql("SELECT * FROM identity.anchor_commits ORDER BY commit_id")


def test_an_anchor_is_recorded_and_sealed(sealed, worker, signer):
    tree = checkpoint(sealed)
    note = signer.sign(tree.text())
    last = sealed.sql("SELECT max(access_id) AS id FROM identity.ledger_leaves WHERE leaf_index = (SELECT max(leaf_index) FROM identity.ledger_leaves WHERE access_id IS NOT NULL)")
    id = record(worker, note)
    row = commits(sealed)[-1]
    event = sealed.leaves(worker, committed=1)[0]
    assert row == {
        "commit_id": id, "chain_kind": "merkle", "checkpoint_at": event["accessed_at"], "last_access_id": last[0]["id"], "root_hash": tree.root,
        "s3_object_uri": "s3://anchors/checkpoints/1", "s3_lock_until": sealed.sql("SELECT %s::timestamptz AS at", (UNTIL,))[0]["at"],
        "version_id": "v1", "tree_size": tree.size, "checkpoint": note,
    }  # fmt: skip
    assert (event["accessor_kind"], event["chain_kind"], event["outcome"]) == ("anchor", "merkle", "committed")
    assert bytes(event["event_digest"]) == digest(sealed, row)
    seal(sealed)
    assert sealed.sql("SELECT count(*) AS n FROM identity.ledger_leaves WHERE access_id = %s", (event["access_id"],))[0]["n"] == 1
    sealed.verify()


def test_the_same_again_is_the_same_anchor(sealed, worker, signer):
    note = signer.sign(checkpoint(sealed).text())
    id = record(worker, note)
    assert record(worker, note) == id
    # Its lock may have been made longer meanwhile.
    assert record(worker, note, until="2040-01-01") == id
    seal(sealed)
    newer = record(worker, signer.sign(checkpoint(sealed).text()), "s3://anchors/2")
    assert newer == id + 1
    assert record(worker, note) == id, "an old one that is known is known still"
    # Signed once more, or lying elsewhere too: another anchor of the same size.
    assert record(worker, signer.sign(checkpoint(sealed).text()), "s3://elsewhere/2") == newer + 1
    sealed.leaves(worker, committed=3)
    seal(sealed)
    sealed.verify()


def wrong_notes(tree, signer: Signer) -> dict[str, tuple[str, tuple]]:
    foreign = Signer("identity_pgx/DEVELOPMENT/00000000-0000-0000-0000-000000000000")
    productive = Signer(tree.origin.replace("DEVELOPMENT/", ""))
    witness = Signer("witness.example")
    good = signer.sign(tree.text())
    other_root = base64.b64encode(sha256(tree.root)).decode()
    return {
        "another origin": (foreign.sign(body(tree, origin=foreign.name)), BAD),
        "the origin it would have without development keys": (productive.sign(body(tree, origin=productive.name)), BAD),
        "unsigned": (tree.text(), BAD),
        "signed by a witness alone": (witness.sign(tree.text()), BAD),
        "larger than the tree": (signer.sign(body(tree, size=str(tree.size + 1))), CHAIN),
        "as large as a number can be": (signer.sign(body(tree, size=str(2**64 - 1))), CHAIN),
        "larger than any number": (signer.sign(body(tree, size=str(2**64))), BAD),
        "a size with a zero before it": (signer.sign(body(tree, size=f"0{tree.size}")), BAD),
        "another root": (signer.sign(body(tree, root=other_root)), CHAIN),
        "the root of the tree at another size": (signer.sign(body(tree, size=str(tree.size - 1))), CHAIN),
        "with a line more": (signer.sign(tree.text() + "more\n"), BAD),
        "an empty text": ("", BAD),
        "no newline at its end": (good.rstrip("\n"), BAD),
        "text after it": (good + "x", BAD),
        "a signature that is no base 64": (good[:-4] + "!!!\n", BAD),
        "huge": (signer.sign(body(tree, more="x" * 140_000)), BAD),
        "10 MB": ("x" * 10_000_000, BAD),
        "many signatures": (good + good.splitlines(keepends=True)[-1] * 101, BAD),
        "control characters": (signer.sign(body(tree, origin=tree.origin + "\x01")), BAD),
    }


def test_what_is_no_checkpoint_of_this_tree_is_refused(sealed, worker, signer):
    tree, before = checkpoint(sealed), commits(sealed)
    wrong = wrong_notes(tree, signer)
    for why, (note, refusal) in wrong.items():
        with pytest.raises(psycopg.Error) as caught:
            record(worker, note)
        assert reason_of(caught.value) == refusal, why
    assert commits(sealed) == before, "nothing of it is recorded"
    rows = sealed.leaves(worker, denied=len(wrong))
    assert {row["accessor_kind"] for row in rows} == {"anchor"} and {row["denial"] for row in rows} == {"bad_argument", "chain"}
    assert record(worker, signer.sign(tree.text()))


def test_an_anchor_smaller_than_the_newest_is_refused(sealed, worker, signer):
    old = checkpoint(sealed)
    seal(sealed)
    some_rows(sealed)
    seal(sealed)
    record(worker, signer.sign(checkpoint(sealed).text()))
    before = commits(sealed)
    refused(worker, RECORD, (signer.sign(old.text()), "s3://anchors/old", "v1", UNTIL), *BAD)
    refused(worker, RECORD, (signer.sign(body(old, size="0", root=base64.b64encode(sha256(b"")).decode())), "s3://anchors/0", "v1", UNTIL), *BAD)
    assert commits(sealed) == before


@pytest.mark.parametrize("number", range(4))
def test_nulls_are_refused(sealed, worker, signer, number):
    arguments = [signer.sign(checkpoint(sealed).text()), "s3://anchors/1", "v1", UNTIL]
    arguments[number] = None
    before = commits(sealed)
    refused(worker, RECORD, arguments, "22004", "null_argument")
    assert commits(sealed) == before
    sealed.leaves(worker, denied=1)


@pytest.mark.parametrize(
    ("uri", "version", "until"),
    [
        ("", "v1", UNTIL),
        ("s3://" + "x" * 3000, "v1", UNTIL),
        ("s3://a\nb", "v1", UNTIL),
        ("s3://a", "v" * 1025, UNTIL),
        ("s3://a", "v\x7f", UNTIL),
        ("s3://a", "v1", "infinity"),
        ("s3://a", "v1", "-infinity"),
    ],
)
def test_places_that_no_store_gives_are_refused(sealed, worker, signer, uri, version, until):
    before = commits(sealed)
    refused(worker, RECORD, (signer.sign(checkpoint(sealed).text()), uri, version, until), *BAD)
    assert commits(sealed) == before


def test_a_store_without_versions_and_locks(sealed, worker, signer):
    """As a directory is one. Status says what that means."""
    record(worker, signer.sign(checkpoint(sealed).text()), "file:///var/lib/anchors/1", "", "1970-01-01 00:00:00+00")
    assert "not locked" in sealed.sql("SELECT hint FROM identity.identity_status() WHERE item = 'anchor age'")[0]["hint"]
    sealed.verify()


def test_only_the_worker_records_anchors(sealed, worker, signer):
    note, before = signer.sign(checkpoint(sealed).text()), commits(sealed)
    for group in "gateway zone_onbox dba approver reviewer legal auditor".split():
        with sealed.connect(sealed.login(f"identity_{group}")) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            record(conn, note)
    with sealed.connect(sealed.login()) as nobody, pytest.raises(psycopg.errors.InsufficientPrivilege):
        record(nobody, note)
    for statement in ("INSERT INTO identity.anchor_commits SELECT 1", "UPDATE identity.anchor_commits SET tree_size = 0", "DELETE FROM identity.anchor_commits", "TRUNCATE identity.anchor_commits"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute(statement)
    assert commits(sealed) == before


def test_two_at_once_take_turns(sealed, worker, signer):
    note = signer.sign(checkpoint(sealed).text())
    before = len(commits(sealed))
    role = sealed.login("identity_worker")
    ids = []
    with sealed.connect(role, autocommit=True) as other:
        with worker.transaction():
            ids.append(record(worker, note))
            thread = threading.Thread(target=lambda: ids.append(record(other, note)))
            thread.start()
            sealed.wait_backend(role, "wait_event_type = 'Lock'")
        thread.join()
    assert ids[0] == ids[1] and len(commits(sealed)) == before + 1
    seal(sealed)
    sealed.verify()


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_does_not_hide_the_newest_anchor(sealed, worker, signer, isolation):
    old = signer.sign(checkpoint(sealed).text())
    role = sealed.login("identity_worker")
    with sealed.connect(role) as other:
        other.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        other.execute("SELECT identity.ledger_checkpoint()")
        some_rows(sealed)
        seal(sealed)
        id = record(worker, signer.sign(checkpoint(sealed).text()))
        refused(other, RECORD, (old, "s3://anchors/1", "v1", UNTIL), *BAD)
        other.execute("ROLLBACK")
    assert commits(sealed)[-1]["commit_id"] == id


def test_a_record_that_is_rolled_back_is_none_and_leaves_a_row(sealed, worker, signer):
    note, before = signer.sign(checkpoint(sealed).text()), commits(sealed)
    with worker.transaction(force_rollback=True):
        record(worker, note)
    with worker.transaction():
        with worker.transaction(force_rollback=True):
            record(worker, note)
    assert commits(sealed) == before
    sealed.leaves(worker, rolled_back=2)
    worker.execute("BEGIN")
    record(worker, note)
    refused(worker, "PREPARE TRANSACTION 'a'", None, "55000", "prepared_transaction")
    assert commits(sealed) == before
    seal(sealed)
    sealed.verify()


def test_without_keys_nothing_is_recorded(sealed, worker, signer):
    note, before = signer.sign(checkpoint(sealed).text()), commits(sealed)
    sealed.sql("SELECT identity.key_wipe_all()")
    try:
        refused(worker, RECORD, (note, "s3://anchors/1", "v1", UNTIL), "55000", "locked")
    finally:
        sealed.cluster.unlock()
    worker.execute("BEGIN READ ONLY")
    refused(worker, RECORD, (note, "s3://anchors/1", "v1", UNTIL), "25006", "read_only")
    worker.execute("ROLLBACK")
    assert commits(sealed) == before


# -- what a superuser does past the function -------------------------------------------------------
def findings(vault) -> list[str]:
    return [row["detail"] for row in vault.findings() if not row["ok"] and row["check_name"] == "anchors"]


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE identity.anchor_commits SET {set} WHERE commit_id = {id}",
        "DELETE FROM identity.anchor_commits WHERE commit_id = {id}",
        "INSERT INTO identity.anchor_commits SELECT commit_id + 1, chain_kind, checkpoint_at, last_access_id, root_hash, 's3://never', s3_lock_until, version_id, tree_size, checkpoint"
        " FROM identity.anchor_commits WHERE commit_id = {id}",
    ],
)
def test_anchors_that_are_not_what_was_recorded_are_found(sealed, worker, signer, lie):
    id = record(worker, signer.sign(checkpoint(sealed).text()))
    seal(sealed)
    sealed.verify()
    sets = ["s3_lock_until = '2099-01-01'", "s3_object_uri = 's3://mine'", "version_id = 'v2'", "version_id = NULL", "checkpoint_at = now()"] if "{set}" in lie else [""]
    for change in sets:
        with sealed.admin.transaction(force_rollback=True):
            sealed.sql("ALTER TABLE identity.anchor_commits DISABLE TRIGGER append_only")
            sealed.sql(lie.format(set=change, id=id))
            assert findings(sealed), change
    sealed.verify()


def test_ledger_functions_believe_what_was_recorded(sealed, worker, signer):
    """A proof is made under the recorded anchor; and metrics and status say how far it reaches."""
    tree = checkpoint(sealed)
    note = signer.sign(tree.text())
    record(worker, note)
    newest = sealed.sql("SELECT max(access_id) AS id FROM identity.ledger_leaves WHERE leaf_index < %s", (tree.size,))[0]["id"]
    with sealed.connect(sealed.auditor) as auditor:
        proof = auditor.execute("SELECT identity.ledger_proof(%s)", (newest,)).fetchone()[0]
    assert note in proof["proof"]
    some_rows(sealed, 2)
    metrics = {row["name"]: row["value"] for row in sealed.sql("SELECT name, value FROM identity.metrics() WHERE labels = '{}'")}
    assert metrics["identity_ledger_anchored_size"] == tree.size < checkpoint(sealed).size + 1
    assert 0 <= metrics["identity_ledger_last_anchor_seconds"] < 60 and metrics["identity_ledger_anchor_stale"] == 0
    status = sealed.sql("SELECT state, since, hint FROM identity.identity_status() WHERE item = 'anchor age'")[0]
    assert int(status["state"].split()[0]) >= 3 and status["since"] and status["hint"] is None
    lag = sealed.sql("SELECT state, hint FROM identity.identity_status() WHERE item = 'anchor lag'")[0]
    assert lag["state"] == "off" and "max_anchor_lag" in lag["hint"]


def test_after_a_restart_the_anchors_go_on(fresh):
    """Numbers and sizes come from the tables, not from memory."""
    vault = Vault(fresh())
    signer = signer_of(vault)
    seal(vault)
    with vault.connect(vault.worker) as worker:
        assert record(worker, signer.sign(checkpoint(vault).text())) == 1
    vault.cluster.restart()
    vault.cluster.unlock()
    seal(vault)
    with vault.connect(vault.worker) as worker:
        assert record(worker, signer.sign(checkpoint(vault).text())) == 2
