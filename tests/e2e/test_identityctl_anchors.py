"""`identityctl verify anchors`: what lies in a store, against who could write there, and against who owns the database."""

import hashlib
import json
import os
import shutil

import pytest

from audited import AUDITOR, audited, intruder, url
from cluster import Cluster
from identityctl import ends, lines, report, shown
from ledger import seal, some_rows
from s3 import Store, checkpoint_key, in_days, lock_bucket
from tlog import Log, Signer, checkpoint
from vault import Vault

ORIGIN = "identity_pgx/0190a3c1-d2e4-7f50-8a9b-b1c2d3e4f506"
YEARS = 2557


@pytest.fixture(scope="module")
def log():
    log = Log(ORIGIN)
    for cut in range(3, 9):
        log._cut(cut, 3)
    return log


@pytest.fixture(scope="module")
def signer():
    return Signer(ORIGIN)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "anchors"
    root.mkdir()
    return root


@pytest.fixture
def store(root, tmp_path):
    return Store(tmp_path, kind="directory", path=str(root), prefix="vault-1/")


@pytest.fixture
def filled(store, log, signer):
    """Four anchors, each signed."""
    for size in (2, 5, 9, 12):
        store.put(size, signer.sign(log.body(size)), days=YEARS)
    return store


def verify(root, signer, *arguments) -> dict:
    return report("verify", "anchors", "--directory", root, "--prefix", "vault-1/", "--key", signer.vkey, *arguments)


def place(root, size: int):
    return root / "vault-1" / checkpoint_key(size)


def found(answer: dict, *words) -> bool:
    return any(all(word in line for word in words) for line in lines(answer, "bad"))


def change(root, size: int, body: bytes) -> None:
    """Both the file and what its lock says of it: whoever can write the one can write the other."""
    lock = place(root, size).with_name(f"{size:020}.lock")
    said = json.loads(lock.read_text()) | {"sha256": hashlib.sha256(body).hexdigest()}
    for file, content in ((place(root, size), body), (lock, json.dumps(said).encode())):
        file.chmod(0o644)
        file.write_bytes(content)


def test_a_good_directory_is_good_and_says_what_it_is_not(filled, root, signer):
    answer = verify(root, signer)
    ends(0, answer)
    assert [line["check"] for line in answer["checks"] if line["state"] == "good"] == ["versions", "signatures", "order"]
    assert f"signatures: 4 anchors of {ORIGIN}" in lines(answer, "good")
    notes = lines(answer, "note")
    assert any("NOT immutable" in note for note in notes), shown(answer)
    assert any("no database was given" in note for note in notes), shown(answer)


def test_an_empty_one_is_no_all_clear(root, signer):
    answer = verify(root, signer)
    ends(2, answer)
    assert "versions: there is no anchor" in lines(answer, "unchecked")


def test_a_place_that_is_not_there(tmp_path, signer):
    ends(2, verify(tmp_path / "nowhere", signer))


def test_another_key_proves_nothing(filled, root):
    answer = verify(root, Signer(ORIGIN, b"\x07" * 32))
    ends(2, answer)
    assert len([line for line in lines(answer, "unchecked") if line.startswith("signatures")]) == 4


@pytest.mark.parametrize(
    "name, says",
    [
        ("changed", "was changed after it was put there"),
        ("unsigned text", "not a signed note"),
        ("another size", "it is of 5 leaves"),
        ("forged", "does not verify"),
        ("no lock", "is not locked"),
        ("link", "symbolic link"),
        ("gone and a pipe", "not the plain file"),
        ("another log", "of another log"),
        ("not text", "not a signed note"),
    ],
)
def test_a_changed_anchor_is_named(filled, root, log, signer, tmp_path, name, says):
    note = signer.sign(log.body(9))
    other = Signer("identity_pgx/0190a3c1-d2e4-7f50-8a9b-000000000000")
    keys = []
    match name:
        case "changed":
            place(root, 9).chmod(0o644)
            place(root, 9).write_text(note.replace("\n9\n", "\n8\n"))
        case "unsigned text":
            change(root, 9, b"no note\n")
        case "another size":
            change(root, 9, signer.sign(log.body(5)).encode())
        case "forged":
            change(root, 9, note.replace(log.body(9), log.body(8)).encode())
        case "no lock":
            place(root, 9).with_name(f"{9:020}.lock").unlink()
        case "link":
            place(root, 9).unlink()
            place(root, 9).symlink_to(tmp_path / "x")
        case "gone and a pipe":
            place(root, 9).unlink()
            os.mkfifo(place(root, 9))
        case "another log":
            change(root, 9, other.sign(checkpoint(other.name, 9, b"\x01" * 32)).encode())
            keys = ["--key", other.vkey]
        case "not text":
            change(root, 9, b"\xff\xfe")
    answer = verify(root, signer, *keys)
    ends(1, answer)
    assert found(answer, f"{9:020}", says) or found(answer, "9 leaves", says), shown(answer)


def test_a_foreign_name_is_named(filled, root, signer):
    place(root, 0).with_name("notes").write_text("x")
    answer = verify(root, signer)
    ends(1, answer)
    assert found(answer, "checkpoints/notes", "no name of an anchor")


def test_the_workers_configuration_says_where(filled, root, signer, tmp_path):
    config = tmp_path / "worker.toml"
    store = f'[store]\nkind = "directory"\npath = "{root}"\nprefix = "vault-1/"\n'
    config.write_text(f'[database]\nurl = "postgresql://x:secret-of-the-url@h/d"\n{store}')
    ends(0, report("verify", "anchors", "--config", config, "--key", signer.vkey))
    for broken in ('[store]\nkind = "tape"\n', "[store\n", "", '[database]\nurl = "postgresql://x:secret-of-the-url@h/d\n'):
        config.write_text(broken)
        answer = report("verify", "anchors", "--config", config, "--key", signer.vkey)
        ends(2, answer)
        assert "secret-of-the-url" not in shown(answer)


# -- In S3 -------------------------------------------------------------------


@pytest.fixture(scope="module")
def owner(ceph):
    return ceph.client("owner", "owner")


@pytest.fixture
def bucket(ceph, owner, tmp_path, log, signer):
    name = lock_bucket(owner)
    store = ceph.store(tmp_path, name, "owner", "owner")
    for size in (2, 5, 9, 12):
        store.put(size, signer.sign(log.body(size)), days=20)
    return name


def in_s3(ceph, bucket, signer, *arguments) -> dict:
    place = ["--s3", bucket, "--region", ceph.region, "--endpoint", ceph.endpoint, "--prefix", "vault-1/", "--retention-days", 20]
    environment = {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "owner"}
    return report("verify", "anchors", *place, "--key", signer.vkey, *arguments, environment=environment)


def test_a_good_bucket_is_good(ceph, bucket, signer):
    answer = in_s3(ceph, bucket, signer)
    ends(0, answer)
    good = [line["check"] for line in answer["checks"] if line["state"] == "good"]
    assert good == ["store", "versions", "signatures", "order", "retention", "intervals"]


def test_what_was_put_over_an_anchor_is_named(ceph, owner, bucket, log, signer):
    name = "vault-1/" + checkpoint_key(9)
    # Signed by the right key even: it is not the first.
    shadow = owner.put_object(Bucket=bucket, Key=name, Body=signer.sign(checkpoint(ORIGIN, 9, b"\x02" * 32)).encode())["VersionId"]
    answer = in_s3(ceph, bucket, signer)
    ends(1, answer)
    assert lines(answer, "bad") == [f"versions: {checkpoint_key(9)}: version {shadow} was put over it"], shown(answer)
    assert f"signatures: 4 anchors of {ORIGIN}" in lines(answer, "good")


def test_a_delete_marker_is_named(ceph, owner, bucket, signer):
    marker = owner.delete_object(Bucket=bucket, Key="vault-1/" + checkpoint_key(12))["VersionId"]
    answer = in_s3(ceph, bucket, signer)
    ends(1, answer)
    assert lines(answer, "bad") == [f"versions: {checkpoint_key(12)}: a delete marker hides it (version {marker})"], shown(answer)


def test_an_anchor_without_a_lock_is_named(ceph, owner, bucket, log, signer):
    owner.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": in_days(30)}
    for size, each in ((14, {}), (15, lock)):
        owner.put_object(Bucket=bucket, Key="vault-1/" + checkpoint_key(size), Body=signer.sign(log.body(size)).encode(), **each)
    answer = in_s3(ceph, bucket, signer)
    ends(1, answer)
    for size in (14, 15):
        assert found(answer, checkpoint_key(size), "is not locked") and found(answer, checkpoint_key(size), "believed")
    assert any("what it is could not be asked" in note for note in lines(answer, "note"))


def test_a_lock_that_is_too_short_is_named(ceph, owner, bucket, log, signer):
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": in_days(10)}
    owner.put_object(Bucket=bucket, Key="vault-1/" + checkpoint_key(14), Body=signer.sign(log.body(14)).encode(), **lock)
    answer = in_s3(ceph, bucket, signer)
    ends(1, answer)
    assert found(answer, "retention: 14 leaves", "and not for 20 days"), shown(answer)


def test_an_anchor_that_was_slipped_in_later_is_named(ceph, owner, bucket, log, signer):
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": in_days(20)}
    owner.put_object(Bucket=bucket, Key="vault-1/" + checkpoint_key(7), Body=signer.sign(log.body(7)).encode(), **lock)
    answer = in_s3(ceph, bucket, signer)
    # Whether it is of the same history the store alone does not show.
    ends(2, answer)
    assert any("order: 7 leaves were anchored after 9 were" in line for line in lines(answer, "unchecked")), shown(answer)


def test_names_that_no_document_can_hold_do_not_hide_the_rest(ceph, owner, bucket, signer):
    owner.put_object(Bucket=bucket, Key="vault-1/checkpoints/\u0001<x>&amp;é", Body=b"x")
    answer = in_s3(ceph, bucket, signer)
    ends(1, answer)
    assert found(answer, "no name of an anchor") and len(lines(answer, "bad")) == 1
    assert f"signatures: 4 anchors of {ORIGIN}" in lines(answer, "good")


def test_a_log_in_its_second_incarnation(ceph, owner, bucket, log, signer, tmp_path):
    """Nine of twelve leaves were kept. Then somebody puts something over the declaration, hides it, and begins a third one."""
    later = Signer(ORIGIN + "/2")
    operator, counsel = Signer("operator.example", b"\x01" * 32), Signer("counsel.example", b"\x02" * 32)
    parties = tmp_path / "parties"
    parties.write_text(f"operator {operator.vkey}\ncounsel {counsel.vkey}\n")
    tree = {size: " ".join(log.body(size).split("\n")[1:3]) for size in (9, 12)}
    text = f"{ORIGIN}/incarnation\n2\n{tree[9]}\n{tree[12]}\n2026-11-22T10:00:00.000000Z\na test\n"
    note = operator.sign(text) + counsel.sign(text).split("\n\n")[1]
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": in_days(20)}

    def put(key: str, body: str, **lock) -> str:
        return owner.put_object(Bucket=bucket, Key=f"vault-1/incarnations/{key}", Body=body.encode(), **lock)["VersionId"]

    put("2/declaration", note, **lock)
    put("2/" + checkpoint_key(10), later.sign(log.body(10).replace(ORIGIN, later.name)), **lock)
    answer = in_s3(ceph, bucket, signer, "--parties", parties)
    ends(0, answer)
    assert any("lost are the leaves from 9 to 11" in line for line in lines(answer, "note")), shown(answer)
    ends(2, in_s3(ceph, bucket, signer))
    shadow = put("2/declaration", note.replace("a test", "no test"))
    marker = owner.delete_object(Bucket=bucket, Key="vault-1/incarnations/2/declaration")["VersionId"]
    answer = in_s3(ceph, bucket, signer, "--parties", parties)
    ends(1, answer)
    assert set(lines(answer, "bad")) == {
        f"versions: incarnations/2/declaration: version {shadow} was put over it",
        f"versions: incarnations/2/declaration: a delete marker hides it (version {marker})",
    }, shown(answer)
    # What was declared counts still.
    assert "incarnation: 1 were declared, each by both parties" in lines(answer, "good")
    put("3/declaration", note.replace("\n2\n", "\n3\n"), **{**lock, "ObjectLockRetainUntilDate": in_days(2)})
    answer = in_s3(ceph, bucket, signer, "--parties", parties)
    assert found(answer, "incarnations/3/declaration: the signature of the operator does not verify"), shown(answer)
    assert found(answer, "retention: incarnations/3/declaration", "and not for 20 days"), shown(answer)


def test_a_wrong_secret_is_no_all_clear(ceph, bucket, signer):
    place = ["--s3", bucket, "--region", ceph.region, "--endpoint", ceph.endpoint, "--prefix", "vault-1/", "--key", signer.vkey]
    ends(2, report("verify", "anchors", *place, environment={"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "wrong"}))
    answer = report("verify", "anchors", *place)
    ends(2, answer)
    assert any("AWS_ACCESS_KEY_ID" in line for line in lines(answer, "unchecked"))


# -- And the database --------------------------------------------------------


@pytest.fixture(scope="module")
def vault(request):
    cluster = Cluster("o")
    request.addfinalizer(cluster.destroy)
    return audited(cluster.start().install())


@pytest.fixture
def anchored(vault, root, store):
    """Three anchors of a real tree, and the database's record of them."""
    with vault.connect(vault.worker) as worker:
        for _ in range(3):
            some_rows(vault)
            vault.size, _root = seal(vault)
            body = worker.execute("SELECT identity.ledger_checkpoint()").fetchone()[0]
            vault.signer = Signer(body.split("\n", 1)[0])
            note = vault.signer.sign(body)
            stored = store.put(vault.size, note, days=YEARS)
            vault.sql(
                "INSERT INTO identity.anchor_commits "
                "(commit_id, chain_kind, checkpoint_at, root_hash, tree_size, checkpoint, s3_object_uri, version_id) "
                "VALUES ((SELECT coalesce(max(commit_id), 0) + 1 FROM identity.anchor_commits), 'merkle', now(), "
                "decode(%s, 'base64'), %s, %s, %s, %s)",
                (body.split("\n")[2], vault.size, note, stored["uri"], stored["version_id"]),
            )
    yield vault
    vault.sql("ALTER TABLE identity.anchor_commits DISABLE TRIGGER ALL")
    vault.sql("DELETE FROM identity.anchor_commits")
    vault.sql("ALTER TABLE identity.anchor_commits ENABLE ALWAYS TRIGGER append_only")


def against(vault, root, **options) -> dict:
    return verify(root, vault.signer, "--database", url(vault, **options))


def test_a_database_that_is_what_was_anchored(anchored, root):
    some_rows(anchored)
    size, _root = seal(anchored)
    answer = against(anchored, root)
    ends(0, answer)
    assert f"database: its {size} leaves grew from each of 3 anchors" in lines(answer, "good"), shown(answer)
    assert "records: 3 that the database has are in the store" in lines(answer, "good")
    assert any("DEVELOPMENT" in note for note in lines(answer, "note"))


NODES = {
    "rewritten": ("UPDATE identity.ledger_nodes SET hash = sha256('x') WHERE level = 0 AND index = 1", "rewritten: its first"),
    "rewritten near the end": (
        "UPDATE identity.ledger_nodes SET hash = sha256('x') WHERE level = 0 AND index = {size} - 1",
        "rewritten: its first {size} leaves",
    ),
    "rolled back": ("DELETE FROM identity.ledger_nodes WHERE level = 0 AND index >= {size} - 1", "rolled back"),
    "a leaf missing": ("DELETE FROM identity.ledger_nodes WHERE level = 0 AND index = 3", "its leaf 3 is missing"),
    "emptied": ("DELETE FROM identity.ledger_nodes", "rolled back: it has 0 leaves"),
    "a record that says otherwise": (
        "UPDATE identity.anchor_commits SET version_id = 'x' WHERE tree_size = {size}",
        "recorded another anchor",
    ),
    "a record that is none": (
        "INSERT INTO identity.anchor_commits SELECT commit_id + 1, chain_kind, checkpoint_at, last_access_id, root_hash, s3_object_uri, "
        "s3_lock_until, version_id, tree_size + 1, checkpoint FROM identity.anchor_commits WHERE tree_size = {size}",
        "the store has no such anchor",
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_a_database_that_is_not(anchored, root, name):
    statement, says = (text.format(size=anchored.size) for text in NODES[name])
    with intruder(anchored) as sql:
        sql(statement)
        answer = against(anchored, root)
    ends(1, answer)
    assert found(answer, says), shown(answer)
    ends(0, against(anchored, root))


def test_what_came_late_is_named_by_both(ceph, owner, vault, tmp_path):
    """A request that was given up is done after the next one's: the log grew from both. Then one that it did not grow from."""
    bucket, bodies = lock_bucket(owner), []
    store = ceph.store(tmp_path, bucket, "owner", "owner")
    with vault.connect(vault.worker) as worker:
        for _ in range(2):
            some_rows(vault)
            size, _root = seal(vault)
            bodies.append((size, worker.execute("SELECT identity.ledger_checkpoint()").fetchone()[0]))
    signer = Signer(bodies[0][1].split("\n", 1)[0])
    for size, body in reversed(bodies):
        store.put(size, signer.sign(body), days=20)

    def rows() -> dict:
        place = ["--s3", bucket, "--region", ceph.region, "--endpoint", ceph.endpoint, "--prefix", "vault-1/", "--retention-days", 20]
        environment = {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "owner"}
        return report("verify", "database", url(vault), "--anchors", *place, "--key", signer.vkey, environment=environment)

    [(first, _), (second, _)] = bodies
    answer = rows()
    ends(0, answer)
    late = f"order: {first} leaves were anchored after {second} were; the log grew from both"
    assert late in lines(answer, "note"), shown(answer)
    ends(0, in_s3(ceph, bucket, signer, "--database", url(vault)))
    store.put(first - 1, signer.sign(checkpoint(signer.name, first - 1, b"\x03" * 32)), days=20)
    answer = rows()
    ends(1, answer)
    assert found(answer, f"anchored: rewritten: the first {first - 1} leaves"), shown(answer)
    assert any(f"order: {first} leaves were anchored after {second} were; whether" in line for line in lines(answer, "unchecked")), shown(answer)


def test_a_copy_of_the_store_is_as_good(anchored, root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    ends(0, against(anchored, copy))


def test_a_record_that_was_deleted_is_told(anchored, root):
    with intruder(anchored) as sql:
        sql("DELETE FROM identity.anchor_commits")
        answer = against(anchored, root)
    ends(0, answer)
    assert any("3 anchors are not recorded" in note for note in lines(answer, "note"))


def test_another_database(anchored, root, fresh):
    elsewhere = Vault(fresh())
    answer = verify(root, anchored.signer, "--database", url(elsewhere, user="postgres"))
    ends(1, answer)
    assert found(answer, "another log than the anchors")


def test_a_login_that_sees_nothing_is_no_all_clear(anchored, root):
    anchored.sql("CREATE ROLE t_blind LOGIN")
    answer = against(anchored, root, user="t_blind")
    ends(2, answer)
    assert any("42501" in line for line in lines(answer, "unchecked"))


def test_it_changes_nothing(anchored, root):
    before = anchored.sql("SELECT count(*) AS n FROM identity.pii_access_log")
    ends(0, against(anchored, root, user=AUDITOR))
    assert anchored.sql("SELECT count(*) AS n FROM identity.pii_access_log") == before
