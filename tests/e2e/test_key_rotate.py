"""From the commit of a rotation on the newest key is used; the ones before open and verify. Nothing else ever changes a key."""

import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

import tombstone
from audited import audit, audit_login
from clock import Clock
from cluster import Cluster, root_dir
from erasure import erase
from identityctl import ends
from ledger import check, checkpoint, seal
from test_round_trip import counts, restored
from unlock import ENROL, ROTATE, Worker, check_value, events, installed, well
from vault import REGISTER, Vault, read, reason_of, refused


@pytest.fixture(scope="module")
def worker():
    return Worker()


@pytest.fixture(scope="module")
def own(request, worker):
    cluster = Cluster("o", worker.settings())
    request.addfinalizer(cluster.destroy)
    return installed(cluster.start(), worker)


@pytest.fixture(autouse=True)
def sound(own, worker):
    """Whatever a test did, log, tree and keyring are what was recorded."""
    yield
    seal(own)
    own.verify()
    check(own, {version: key for (kind, version), key in worker.keys.items() if kind == "chain"})


def versions(own, role: str) -> tuple[int, int]:
    """Of the newest row that a login left: the keys it was encrypted and chained with."""
    row = own.rows(role)[-1]
    return row["key_version"], row["chain_version"]


def active(worker) -> dict:
    return {kind: version for (kind, version), state in worker.states().items() if state == "active"}


def test_rotated_keys_are_used_from_the_commit_on(own, worker):
    before = own.subject()
    with own.gateway() as gateway:
        read(gateway, before)
        old = versions(own, gateway.info.user)
        for kind in ("dek", "chain"):
            worker.rotate(kind)
        after = own.subject()
        for subject in (before, after):
            read(gateway, subject)
            assert versions(own, gateway.info.user) == (old[0] + 1, old[1] + 1)
    stored = {str(row["candidate_id"]): row["dek_version"] for row in own.sql("SELECT candidate_id, dek_version FROM identity.subjects")}
    assert (stored[str(before.id)], stored[str(after.id)]) == old[:1] + (old[0] + 1,)


def test_tombstones_are_of_the_first_chain_key_whichever_is_in_use(own, worker):
    """A backup from before the rotation has no other."""
    first, erased = worker.keys["chain", 1], []
    for _ in range(2):
        worker.rotate("chain")
        erased.append(own.subject())
        erase(own, erased[-1])
    installation = own.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes
    key = tombstone.tombstones.key(first, installation)
    expected = {tombstone.tombstones.subject(key, subject.id.bytes) for subject in erased}
    assert expected <= {row["tombstone"] for row in own.sql("SELECT tombstone FROM identity.tombstones")}


def test_rotation_is_recorded_with_both_check_values_operator_reason_and_witness(own, worker):
    version = worker.rotate("chain", "cred_loss", "Grace Hopper")
    row = own.sql("SELECT * FROM identity.key_rotations ORDER BY recorded_at DESC LIMIT 1")[0]
    old, new = (check_value("chain", v, worker.keys["chain", v]) for v in (version - 1, version))
    assert (bytes(row["old_check_value"]), bytes(row["new_check_value"])) == (old, new)
    assert (row["kind"], row["old_version"], row["new_version"]) == ("chain", version - 1, version)
    assert (row["operator"], row["reason"], row["witness"]) == ("t_worker", "cred_loss", "Grace Hopper")
    logged = own.sql("SELECT * FROM identity.pii_access_log WHERE access_id = %s", (row["access_id"],))[0]
    assert (logged["accessor_kind"], logged["chain_kind"], logged["accessor_role"]) == ("key_rotation", "merkle", "t_worker")
    # The row that ends a chain key's use is the last that it chains.
    assert logged["chain_version"] == version - 1
    with own.connect(own.auditor) as auditor:
        assert auditor.execute("SELECT count(*) FROM identity.key_rotations").fetchone()[0] >= 1


def test_rolled_back_rotation_changes_nothing(own, worker):
    subject, before = own.subject(), active(worker)
    for kind in ("dek", "chain"):
        worker.enrol(kind, before[kind] + 1)
        worker.load(kind, before[kind] + 1)
    with own.gateway() as gateway:
        for kind in ("dek", "chain"):
            with worker.conn.transaction(force_rollback=True):
                worker.conn.execute(ROTATE, (kind, "scheduled", None))
                own.subject()
            with worker.conn.transaction():
                with worker.conn.transaction(force_rollback=True):
                    worker.conn.execute(ROTATE, (kind, "scheduled", None))
            with contextlib.suppress(psycopg.errors.DivisionByZero), worker.conn.transaction():
                worker.conn.execute(ROTATE, (kind, "scheduled", None))
                worker.conn.execute("SELECT 1 / 0")
            read(gateway, subject)
            assert versions(own, gateway.info.user) == (before["dek"], before["chain"])
        assert active(worker) == before
        # The other way round: the savepoint is kept, and so is the rotation.
        with worker.conn.transaction(), worker.conn.transaction():
            worker.conn.execute(ROTATE, ("dek", "scheduled", None))
            read(gateway, subject)
            assert versions(own, gateway.info.user)[0] == before["dek"], "not before the commit"
        read(gateway, subject)
        assert versions(own, gateway.info.user) == (before["dek"] + 1, before["chain"])
        worker.conn.execute(ROTATE, ("chain", "scheduled", None))


def test_rotation_that_is_cut_off_changes_nothing(own, worker):
    before = active(worker)
    worker.enrol("dek", before["dek"] + 1)
    worker.load("dek", before["dek"] + 1)
    conn = own.connect("t_worker")
    conn.execute("BEGIN")
    conn.execute(ROTATE, ("dek", "scheduled", None))
    own.sql("SELECT pg_terminate_backend(%s, 5000)", (conn.info.backend_pid,))
    assert active(worker) == before
    subject = own.subject()
    with own.gateway() as gateway:
        read(gateway, subject)
        assert versions(own, gateway.info.user)[0] == before["dek"]
    worker.conn.execute(ROTATE, ("dek", "scheduled", None))


def test_rotation_under_load_fails_no_read_and_breaks_no_chain(own, worker):
    """Registrations, reads, updates and rolled-back reads go on in five sessions while keys are rotated, fields re-encrypted and the log sealed."""
    stop, troubles, done = threading.Event(), [], [0] * 5

    def work(n: int) -> None:
        try:
            with own.gateway() as conn:
                mine = known[n]
                while not stop.is_set():
                    read(conn, mine)
                    candidate = conn.execute(REGISTER, ("t.all", '{"name": "x", "ssn": "1"}', "{}", None)).fetchone()[0]
                    assert candidate
                    with conn.transaction(force_rollback=n == 2):
                        read(conn, mine, fields=("name", "ssn"))
                        conn.execute("SELECT identity.pii_update(%s, 't.all', %s)", (mine.id, Jsonb({"phone": "555"})))
                    done[n] += 1
        except Exception as error:  # noqa: BLE001
            troubles.append(repr(error))

    known = [own.subject() for _ in range(5)]
    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            for kind in ("dek", "chain"):
                worker.rotate(kind)
                time.sleep(0.05)
            worker.reencrypt(50)
            seal(own)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not troubles and all(done), (troubles, done)
    rows = own.sql("SELECT DISTINCT chain_version FROM identity.pii_access_log WHERE accessor_kind = 'gateway_lookup'")
    assert len(rows) >= 6, "the chain keys were used in their turn"
    with own.gateway() as gateway:
        for subject in known:
            assert read(gateway, subject)


def test_ledger_over_chain_keys_verifies_from_outside(own, worker):
    """Rows, seals and proofs on both sides of a rotation, with the command line that shares only the core with the extension."""
    subject = own.subject()
    with own.gateway() as gateway:
        ids = [read(gateway, subject)]
        seal(own)
        before = checkpoint(own)
        worker.rotate("chain")
        ids.append(read(gateway, subject))
        seal(own)
        worker.rotate("chain")
        ids.append(read(gateway, subject))
        seal(own)
    for access_id in ids:
        assert own.sql("SELECT identity.ledger_proof(%s) AS proof", (access_id,))[0]["proof"]
    assert own.sql("SELECT cardinality(identity.ledger_consistency(%s, %s)) AS n", (before.size, checkpoint(own).size))[0]["n"] > 0
    audit_login(own)
    ends(0, audit(own))


def test_only_what_is_enrolled_and_brought_is_rotated_to(own, worker):
    current = active(worker)["dek"]
    refused(worker.conn, ROTATE, ("dek", "scheduled", None), "22023", "bad_argument")
    key = worker.enrol("dek", current + 1)
    refused(worker.conn, ROTATE, ("dek", "scheduled", None), "55000", "locked")
    for kind, reason, witness in (("kek", "scheduled", None), ("dek", "boredom", None), ("dek", "scheduled", ""), ("dek", "scheduled", "x" * 201)):
        refused(worker.conn, ROTATE, (kind, reason, witness), "22023", "bad_argument")
    assert active(worker)["dek"] == current
    worker.load("dek", current + 1, key=key)
    assert worker.conn.execute("SELECT identity.key_rotate('dek')").fetchone()[0] == current + 1


def test_enrolment_takes_the_next_version_only(own, worker):
    current = active(worker)["dek"]
    for version in (-1, 0, current + 2, 2**31 - 1):
        refused(worker.conn, ENROL, ("dek", version, b"w", "vault:k", bytes(32)), "22023", "bad_argument")
    # A version that is there keeps its key, and while one waits there is no other.
    refused(worker.conn, ENROL, ("dek", current, b"w", "vault:k", os.urandom(32)), "22023", "bad_argument")
    refused(worker.conn, ENROL, ("dek", 1, b"w", "vault:k", os.urandom(32)), "22023", "bad_argument")
    worker.enrol("dek", current + 1)
    refused(worker.conn, ENROL, ("dek", current + 2, b"w", "vault:k", os.urandom(32)), "22023", "bad_argument")
    refused(worker.conn, ENROL, ("dek", current + 1, b"w", "vault:k", os.urandom(32)), "22023", "bad_argument")
    for wrapped, uri, value in ((b"", "vault:k", bytes(32)), (b"w" * 9000, "vault:k", bytes(32)), (b"w", "development:k", bytes(32)), (b"w", "k", bytes(32)),
                                (b"w", "vault:" + "k" * 3000, bytes(32)), (b"w", "vault:\n", bytes(32)), (b"w", "vault:k", bytes(31))):
        refused(worker.conn, ENROL, ("index", 1, wrapped, uri, value), "22023", "bad_argument")
    worker.load("dek", current + 1)
    worker.conn.execute(ROTATE, ("dek", "scheduled", None))


def test_enrolling_twice_at_once_makes_one_key(own, worker):
    version = active(worker)["dek"] + 1
    keys, outcomes = [os.urandom(32) for _ in range(2)], []

    def enrol(key: bytes) -> None:
        with own.connect("t_worker") as conn:
            try:
                conn.execute(ENROL, ("dek", version, b"w", "vault:k", check_value("dek", version, key)))
                outcomes.append(key)
            except psycopg.Error as error:
                assert reason_of(error) == ("22023", "bad_argument")

    threads = [threading.Thread(target=enrol, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (worker.keys["dek", version],) = outcomes
    worker.load("dek", version)
    worker.conn.execute(ROTATE, ("dek", "scheduled", None))


def test_rewrap_touches_no_row_and_no_key(own, worker):
    subject, key = own.subject(), worker.keys["dek", 1]
    rows = "SELECT count(*) AS n, max(xmin::text::bigint) AS newest FROM identity.subjects"
    before = own.sql(rows)
    worker.conn.execute(ENROL, ("dek", 1, b"wrapped anew", "aws:arn:aws:kms:eu-central-1:1:key/2", check_value("dek", 1, key)))
    again = len(events(own, "key_rewrap"))
    worker.conn.execute(ENROL, ("dek", 1, b"wrapped anew", "aws:arn:aws:kms:eu-central-1:1:key/2", check_value("dek", 1, key)))
    assert len(events(own, "key_rewrap")) == again, "what is so already is no event"
    kept = own.sql("SELECT provider, kek_uri, wrapped FROM identity.keyring WHERE kind = 'dek' AND version = 1")[0]
    assert (kept["provider"], kept["kek_uri"], bytes(kept["wrapped"])) == ("aws", "aws:arn:aws:kms:eu-central-1:1:key/2", b"wrapped anew")
    assert own.sql(rows) == before
    with own.gateway() as gateway:
        read(gateway, subject)
    assert own.sql("SELECT chain_kind FROM identity.pii_access_log WHERE accessor_kind = 'key_rewrap' AND outcome = 'committed'")[-1] == {"chain_kind": "merkle"}


def test_rewrap_that_the_chain_could_not_say_is_refused(own, worker):
    """While locked there is no key to chain with; what is recorded of a key must go on being what the keyring says."""
    version, key = active(worker)["chain"], os.urandom(32)
    number = version + 1
    own.sql("SELECT identity.key_wipe_all()")
    again = (b"wrapped while locked", "vault:other", check_value("chain", version, worker.keys["chain", version]))
    refused(worker.conn, ENROL, ("chain", version, *again), "55000", "locked")
    # What nobody has recorded yet may still change: the unlocking records it as it is then.
    worker.enrol("chain", number, key)
    worker.conn.execute(ENROL, ("chain", number, b"wrapped anew", "vault:k", check_value("chain", number, key)))
    worker.unlock()
    worker.conn.execute(ENROL, ("chain", version, *again))
    worker.conn.execute(ROTATE, ("chain", "scheduled", None))
    own.verify()


def test_kinds_for_later_are_brought_and_rotated(own, worker):
    for kind in ("index", "signing"):
        worker.enrol(kind)
        worker.load(kind, 1)
        assert worker.rotate(kind) == 2
        assert worker.states()[kind, 1] == "verify_only"
    own.sql("SELECT identity.key_wipe_all()")
    worker.unlock()


def test_every_key_in_use_is_needed_to_unlock(own, worker):
    own.sql("SELECT identity.key_wipe_all()")
    needed = [(kind, version) for kind, version in sorted(worker.keys) if (kind, version) in worker.states()]
    retired = {(row["kind"], row["version"]) for row in own.sql("SELECT kind, version FROM identity.keyring WHERE state = 'retired'")}
    needed = [key for key in needed if key not in retired]
    for kind, version in needed[1:]:
        worker.load(kind, version)
    with own.gateway() as gateway:
        refused(gateway, "SELECT identity.identity_health()", (), "55000", "locked")
    worker.load(*needed[0])
    well(own.cluster)


def test_rotation_while_keys_are_wiped(own, worker):
    """The rotation commits, the memory is empty: the next unlocking goes by the keyring."""
    version = active(worker)["dek"] + 1
    worker.enrol("dek", version)
    worker.load("dek", version)
    with worker.conn.transaction():
        worker.conn.execute(ROTATE, ("dek", "compromise", None))
        own.sql("SELECT identity.key_wipe_all()")
    worker.unlock()
    assert active(worker)["dek"] == version
    subject = own.subject()
    with own.gateway() as gateway:
        read(gateway, subject)
        assert versions(own, gateway.info.user)[0] == version


def test_a_clock_that_is_set_back_makes_no_findings(fresh, monkeypatch):
    """What became of a key is told by its events, in whatever order their moments are."""
    clock = Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)
    worker = Worker()
    own = installed(fresh(worker.settings(), install=False), worker)
    for kind, behind in (("dek", 0.01), ("chain", 0.02), ("dek", 0.03), ("chain", 0.04)):
        version = active(worker)[kind] + 1
        worker.enrol(kind, version)
        clock.set(-behind)
        worker.load(kind, version)
        worker.conn.execute(ROTATE, (kind, "scheduled", None))
    assert [row["kind"] for row in events(own, "key_rotation")] == ["chain", "dek", "chain", "dek"]
    assert not [row for row in own.findings() if row["check_name"] == "keys" and not row["ok"]]


def test_no_more_keys_are_enrolled_than_can_be_brought(fresh):
    """One key too many would be brought in the place of one that is needed, and the vault would stay locked for ever."""
    worker = Worker()
    own = installed(fresh(worker.settings(), install=False), worker)
    worker.enrol("signing")
    worker.load("signing", 1)
    for version in range(2, 255):
        assert worker.rotate("signing") == version
    for kind in ("chain", "dek", "index"):
        version = max((v for k, v in worker.keys if k == kind), default=0) + 1
        refused(worker.conn, ENROL, (kind, version, b"w", "vault:k", bytes(32)), "22023", "too_many")
    own.sql("SELECT identity.key_wipe_all()")
    worker.unlock()
    well(own.cluster)
    own.verify()


def test_restart_after_rotations_unlocks_to_what_was_active(own, worker):
    before, subject = active(worker), own.subject()
    own.cluster.restart()
    own.admin = own.cluster.connect(row_factory=psycopg.rows.dict_row)
    worker.connect(own)
    worker.unlock()
    well(own.cluster)
    assert active(worker) == before
    with own.gateway() as gateway:
        read(gateway, subject)
        assert versions(own, gateway.info.user) == (before["dek"], before["chain"])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE identity.keyring SET check_value = sha256('x') WHERE kind = 'chain' AND version = 1",
        "UPDATE identity.keyring SET state = 'active' WHERE kind = 'chain' AND version = 1",
        "UPDATE identity.keyring SET state = 'enrolled' WHERE kind = 'chain' AND state = 'active'",
        "UPDATE identity.keyring SET provider = 'development' WHERE version = 1",
        "UPDATE identity.keyring SET version = 99 WHERE kind = 'chain' AND version = 1",
        "DELETE FROM identity.keyring",
        "TRUNCATE identity.keyring",
        "UPDATE identity.key_history SET witness = 'somebody'",
        "DELETE FROM identity.key_history",
    ],
)
def test_guards_hold_against_the_superuser_until_they_are_taken_away(own, change):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        own.sql(change)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("keyring", "UPDATE identity.keyring SET check_value = sha256('x') WHERE kind = 'chain' AND version = 1"),
        ("keyring", "UPDATE identity.keyring SET wrapped = 'x' WHERE kind = 'chain' AND version = 1"),
        ("keyring", "UPDATE identity.keyring SET state = 'retired' WHERE kind = 'chain' AND version = 1"),
        ("keyring", "DELETE FROM identity.keyring WHERE kind = 'chain' AND version = 1"),
        ("keyring", "INSERT INTO identity.keyring (kind, version, state, provider, check_value, created_at) VALUES ('dek', 77, 'enrolled', 'vault', sha256('x'), now())"),
        ("key_history", "UPDATE identity.key_history SET witness = 'somebody' WHERE event = 'key_rotation'"),
        ("key_history", "DELETE FROM identity.key_history WHERE event = 'key_rotation'"),
    ],
)
def test_what_was_changed_past_the_guards_is_found(own, table, change):
    with own.cluster.connect(autocommit=False) as admin:
        admin.execute(f"ALTER TABLE identity.{table} DISABLE TRIGGER ALL")
        admin.execute(change)
        admin.execute(f"ALTER TABLE identity.{table} ENABLE ALWAYS TRIGGER append_only")
        if table == "keyring":
            admin.execute("ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER forward_only")
        found = {row[0] for row in admin.execute("SELECT check_name FROM identity.ledger_verify(true) WHERE NOT ok")}
        admin.rollback()
    assert found == {"keys"}


def test_due_keys_show(own, worker):
    with own.connect(own.auditor) as auditor:
        item = "SELECT state FROM identity.identity_status() WHERE item = 'key rotation'"
        assert auditor.execute(item).fetchone()[0] == "not due"
        due = auditor.execute("SELECT bool_and(due_at = created_at + interval '90 days') FROM identity.key_status() WHERE state <> 'retired'").fetchone()[0]
        assert due
        ages = auditor.execute("SELECT labels ->> 'kind' FROM identity.metrics() WHERE name = 'identity_key_age_seconds'").fetchall()
        assert {"dek", "chain"} <= {row[0] for row in ages}


def test_keys_survive_dump_and_restore_and_a_vault_without_its_keyring_gets_no_new_one(own, worker, fresh):
    subject = own.subject()
    target = restored(own, fresh)
    assert counts(target) == counts(own.cluster)
    target.configure(worker.settings())
    target.restart()
    there = Worker()
    there.secret, there.keys = worker.secret, worker.keys
    there.know(target).connect(target)
    there.unlock()
    well(target)
    vault = Vault.__new__(Vault)
    vault.cluster, vault.admin = target, target.connect(row_factory=psycopg.rows.dict_row)
    role = own.login("identity_gateway", "identity_zone_onbox")
    vault.sql(f"CREATE ROLE {role} LOGIN")
    vault.sql(f"GRANT identity_gateway, identity_zone_onbox TO {role}")
    with target.connect(user=role) as gateway:
        read(gateway, subject)
    assert [row for row in vault.findings() if not row["ok"] and row["check_name"] not in ("unsealed",)] == []
    # The same dump, but without the keyring: whatever is enrolled now would be another key.
    vault.sql("SELECT identity.key_wipe_all()")
    vault.sql("ALTER TABLE identity.keyring DISABLE TRIGGER ALL")
    vault.sql("DELETE FROM identity.keyring")
    vault.sql("ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER append_only, ENABLE ALWAYS TRIGGER forward_only")
    for kind in ("dek", "chain", "index"):
        refused(there.conn, ENROL, (kind, 1, b"w", "vault:k", os.urandom(32)), "42501", "role_conflict")
