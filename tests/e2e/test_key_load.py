"""Keys come from the worker, sealed to one run of one database; nothing else opens."""

import os
import subprocess
import sys
import uuid

import psycopg
import pytest

from cluster import Cluster, wait_until
from independent import VERIFY
from unlock import ENROL, LOAD, Worker, check_value, events, installed, seal, well
from vault import Vault, read, reason_of, refused, refused_read


@pytest.fixture(scope="module")
def worker():
    return Worker()


@pytest.fixture(scope="module")
def own(request, worker):
    cluster = Cluster("u", worker.settings())
    request.addfinalizer(cluster.destroy)
    return installed(cluster.start(), worker)


def wipe(own) -> None:
    own.sql("SELECT identity.key_wipe_all()")


def locked(own) -> bool:
    return not own.sql("SELECT true FROM identity.metrics() WHERE name = 'identity_keys_unlocked' AND value = 1")


def refused_load(own, worker, sealed, sqlstate="28000", reason="signature", kind="dek", version=1) -> None:
    """It is refused, nothing is unlocked by it, and the refusal is on record once there is a key to chain with."""
    error = refused(worker.conn, LOAD, (kind, version, sealed), sqlstate, reason)
    assert not sealed or sealed.hex() not in str(error)


def test_a_vault_is_unlocked_by_the_worker_and_reads(own, worker):
    subject = own.subject()
    with own.gateway() as gateway:
        read(gateway, subject)
    assert worker.states() == {("chain", 1): "active", ("dek", 1): "active"}
    assert own.sql("SELECT DISTINCT provider FROM identity.key_status()") == [{"provider": "vault"}]
    assert "DEVELOPMENT" not in str(own.sql("SELECT * FROM identity.identity_status() WHERE item = 'key provider'"))
    with own.connect(own.worker) as sealer:
        sealer.execute("SELECT identity.ledger_seal()")
        assert "DEVELOPMENT" not in sealer.execute("SELECT identity.ledger_checkpoint()").fetchone()[0]
    own.verify()


def test_first_keys_and_default_purposes_are_recorded_at_the_first_unlock(own, worker):
    assert [(row["kind"], row["version"]) for row in events(own, "key_enrol")][:2] == [("chain", 1), ("dek", 1)]
    kinds = [row["accessor_kind"] for row in own.sql("SELECT accessor_kind FROM identity.pii_access_log WHERE seq < 60 ORDER BY accessed_at, access_id LIMIT 4")]
    assert kinds[0] == "key_unlock" and "key_enrol" in kinds
    defaults = own.sql("SELECT count(*) AS n FROM identity.purpose_definitions WHERE purpose_token NOT LIKE 't.%'")[0]["n"]
    recorded = own.sql("SELECT count(DISTINCT purpose_token) AS n FROM identity.pii_access_log WHERE accessor_kind = 'purpose_change' AND purpose_token NOT LIKE 't.%'")[0]["n"]
    assert defaults == recorded > 0


def test_wiped_keys_are_brought_again(own, worker):
    subject = own.subject()
    wipe(own)
    with own.gateway() as gateway:
        refused_read(gateway, subject, "55000", "locked")
        worker.load("dek", 1)
        refused_read(gateway, subject, "55000", "locked")  # one of two is not enough
        assert own.sql("SELECT kind FROM identity.key_status() WHERE loaded") == [{"kind": "dek"}]
        worker.load("chain", 1)
        read(gateway, subject)
        own.leaves(gateway, committed=1, denied=2)
    own.verify()


def test_captured_blob_is_worthless_after_a_wipe(own, worker):
    captured = {kind: worker.sealed(kind, 1) for kind in ("dek", "chain")}
    epoch = worker.challenge()[1]
    wipe(own)
    assert worker.challenge()[1] != epoch
    for kind, sealed in captured.items():
        refused_load(own, worker, sealed, kind=kind)
    assert locked(own)
    worker.unlock()
    own.verify()


def test_captured_blob_is_worthless_after_a_restart_and_a_crash(own, worker):
    for end in (lambda: own.cluster.restart(), lambda: (own.cluster.kill(), own.cluster.start())):
        captured, before = worker.sealed("dek", 1), worker.challenge()
        end()
        worker.connect(own.cluster)
        own.admin = own.cluster.connect(row_factory=psycopg.rows.dict_row)
        after = worker.challenge()
        assert before[0] != after[0] and before[1] != after[1] and before[2] == after[2]
        refused_load(own, worker, captured)
        worker.unlock()
        well(own.cluster)
    own.verify()


def test_captured_blob_is_worthless_in_another_database(own, worker, fresh):
    """Another server of the same worker, with the same keyring: another system, epoch and key pair."""
    other = fresh(worker.settings(), install=False)
    there = Worker()
    there.secret, there.keys = worker.secret, dict(worker.keys)
    with other.connect() as admin:
        admin.execute("CREATE EXTENSION identity_pgx")
        admin.execute("SELECT identity.initialize()")
        admin.execute("CREATE ROLE t_worker LOGIN IN ROLE identity_worker")
    there.know(other).connect(other)
    for kind in ("dek", "chain"):
        there.enrol(kind, key=worker.keys[kind, 1])
    refused_load(own, there, worker.sealed("dek", 1))
    # Sealed to the right pair, but for another installation, another system: the pair alone is not what binds it.
    refused_load(own, there, there.sealed("dek", 1, installation=worker.installation))
    public, epoch, system = there.challenge()
    refused_load(own, there, there.sealed("dek", 1, challenge=(public, epoch, str(int(system) + 1))))
    refused_load(own, there, there.sealed("dek", 1, challenge=(public, uuid.uuid4(), system)))
    there.unlock()
    well(other)


def test_as_another_kind_or_version_it_does_not_open(own, worker):
    wipe(own)
    key = worker.keys["dek", 1]
    refused_load(own, worker, worker.sealed("chain", 1, key=key))
    refused_load(own, worker, worker.sealed("dek", 2, key=key))
    refused_load(own, worker, worker.sealed("dek", 1), kind="chain")
    for kind, version in (("dek", 2), ("dek", 0), ("dek", -1), ("index", 1), ("kek", 1), ("", 1), ("DEK", 1)):
        refused(worker.conn, LOAD, (kind, version, b"x" * 80), "22023", "bad_argument")
    assert locked(own)
    worker.unlock()


def test_truncated_and_flipped_bytes_do_not_open(own, worker):
    wipe(own)
    sealed = worker.sealed("dek", 1)
    assert len(sealed) == 80
    for size in (0, 1, 31, 32, 64, 79):
        refused_load(own, worker, sealed[:size])
    refused_load(own, worker, sealed + b"\0")
    for at in range(0, 80, 3):
        flipped = bytearray(sealed)
        flipped[at] ^= 1 << at % 8
        # The top bit of an X25519 point is ignored by the curve, but is part of what is hashed.
        refused_load(own, worker, bytes(flipped))
    for point in (bytes(32), b"\1" + bytes(31), b"\xff" * 32):
        refused_load(own, worker, point + sealed[32:])
    worker.load("dek", 1)
    worker.load("chain", 1)
    assert not locked(own)


def test_another_worker_is_not_believed(own, worker):
    wipe(own)
    refused_load(own, worker, worker.sealed("dek", 1, secret=os.urandom(32)))
    assert locked(own)
    worker.unlock()


def test_without_authentication_it_does_not_open(own, worker):
    """HPKE in Base mode: sealed by somebody who knows only the server's public key."""
    import sealing

    wipe(own)
    public, epoch, system = worker.challenge()
    info = sealing.info(worker.installation, system, epoch.bytes, "dek", 1)
    enc, context = sealing.SUITE.create_sender_context(sealing.public_key(bytes(public)), info=info)
    refused_load(own, worker, enc + context.seal(worker.keys["dek", 1]))
    assert locked(own)
    worker.unlock()


def test_wrong_key_is_refused_whoever_sealed_it(own, worker):
    wipe(own)
    refused_load(own, worker, worker.sealed("dek", 1, key=os.urandom(32)), "XX001", "key_check")
    refused_load(own, worker, worker.sealed("dek", 1, key=worker.keys["chain", 1]), "XX001", "key_check")
    assert own.sql("SELECT count(*) AS n FROM identity.key_status() WHERE loaded")[0]["n"] == 0
    worker.unlock()
    wait_until(lambda: own.rows(worker.conn.info.user, "denial = 'key_check'"), "the row of the refusal")


def test_refusals_while_unlocked_are_recorded_at_once(own, worker):
    role = own.login("identity_worker")
    with own.connect(role) as conn:
        refused(conn, LOAD, ("dek", 1, b"x" * 80), "28000", "signature")
        own.leaves(role, denied=1)
    assert not locked(own)


def test_rolled_back_unlock_unlocks_nothing(own, worker):
    wipe(own)
    worker.load("dek", 1)
    with worker.conn.transaction(force_rollback=True):
        worker.load("chain", 1)
    assert locked(own)
    with worker.conn.transaction():
        with worker.conn.transaction(force_rollback=True):
            worker.load("chain", 1)
    assert locked(own)
    # It is there all the same, sealed or not: what was missing is the record.
    worker.load("chain", 1)
    assert not locked(own)
    own.verify()


def test_wipe_in_the_unlocking_transaction_wins(own, worker):
    wipe(own)
    with worker.conn.transaction():
        worker.unlock()
        worker.conn.execute("SELECT identity.key_wipe_all()")
    assert locked(own)
    worker.unlock()
    own.verify()


def test_wipe_by_another_while_the_unlocking_transaction_is_open_wins(own, worker):
    wipe(own)
    with worker.conn.transaction():
        worker.unlock()
        wipe(own)
    assert locked(own)
    worker.unlock()
    own.verify()


def test_key_that_may_never_be_in_the_keyring_is_not_loaded(own, worker):
    key = os.urandom(32)
    with pytest.raises(psycopg.Error) as caught, worker.conn.transaction():
        worker.conn.execute(ENROL, ("dek", 2, b"w", "vault:k", check_value("dek", 2, key)))
        worker.conn.execute(LOAD, ("dek", 2, worker.sealed("dek", 2, key=key)))
    assert reason_of(caught.value) == ("42501", "role_conflict")
    assert ("dek", 2) not in worker.states()


def test_without_a_worker_nobody_brings_keys(fresh):
    cluster = fresh()
    vault = Vault(cluster)
    with vault.connect(vault.worker) as conn:
        refused(conn, "SELECT * FROM identity.key_challenge()", (), "28000", "signature")
        refused(conn, LOAD, ("dek", 1, b"x" * 80), "28000", "signature")
    cluster.configure({"identity_pgx.worker_public_key": "'" + "0g" * 32 + "'"})
    cluster.restart()
    with vault.connect(vault.worker) as conn:
        refused(conn, "SELECT * FROM identity.key_challenge()", (), "28000", "signature")


def test_setting_is_the_servers_alone(own):
    for conn in (own.admin, own.connect(own.worker)):
        for scope in ("SET", "SET LOCAL", "ALTER DATABASE identity SET"):
            with pytest.raises(psycopg.Error):
                conn.execute(f"{scope} identity_pgx.worker_public_key = '{'00' * 32}'")


def test_development_keys_never_mix(own, worker, fresh):
    with pytest.raises(psycopg.Error) as caught:
        own.sql("SELECT identity.dev_unlock()")
    assert reason_of(caught.value) == ("42501", "role_conflict")
    other = fresh({"identity_pgx.worker_public_key": f"'{worker.public}'"})
    vault = Vault(other)
    with vault.connect(vault.worker) as conn:
        for kind, version in (("dek", 2), ("dek", 1), ("index", 1)):
            refused(conn, ENROL, (kind, version, b"w", "vault:k", bytes(32)), "42501", "role_conflict")
        challenge = conn.execute("SELECT public_key, epoch, system_identifier FROM identity.key_challenge()").fetchone()
        installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes
        from test_keys import key

        sealed = seal(worker.secret, challenge, installation, "dek", 1, key("dek"))
        refused(conn, LOAD, ("dek", 1, sealed), "22023", "bad_argument")


def test_allowed_development_keys_do_not_replace_those_of_a_key_service(worker, fresh):
    other = fresh({**worker.settings(), "identity_pgx.allow_dev_keys": "on"}, install=False)
    mine = Worker()
    mine.secret = worker.secret
    vault = installed(other, mine)
    refused(vault.admin, "SELECT identity.dev_unlock()", (), "42501", "role_conflict")
    vault.sql("SELECT identity.key_wipe_all()")
    refused(vault.admin, "SELECT identity.dev_unlock()", (), "42501", "role_conflict")
    mine.unlock()
    vault.verify()


FUNCTIONS = ["key_challenge()", "key_load('dek', 1, '\\x00')", "key_enrol('dek', 2, '\\x00', 'vault:k', '\\x00')", "key_rotate('dek')", "reencrypt(1)"]
ROLES = ["identity_gateway", "identity_dba", "identity_approver", "identity_reviewer", "identity_legal", "identity_auditor", "identity_zone_onbox"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_the_worker_may(own, function):
    for group in [*ROLES, None]:
        with own.connect(own.login(*filter(None, [group]))) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"SELECT identity.{function}")


def test_only_the_worker_sees_what_is_wrapped(own):
    for group in [*ROLES, None]:
        with own.connect(own.login(*filter(None, [group]))) as conn:
            for query in ("SELECT wrapped FROM identity.keyring", "UPDATE identity.keyring SET state = 'retired'", "DELETE FROM identity.key_history"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(query)
    with own.connect(own.worker) as conn:
        assert conn.execute("SELECT count(wrapped) FROM identity.keyring").fetchone()[0] >= 2
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("UPDATE identity.keyring SET wrapped = NULL")
    with own.connect(own.auditor) as conn:
        assert conn.execute("SELECT count(check_value) FROM identity.keyring").fetchone()[0] >= 2


def test_nulls_are_refused_on_record(own, worker):
    role = own.login("identity_worker")
    with own.connect(role) as conn:
        calls = [(LOAD, ["dek", 1, b"x"]), (ENROL, ["dek", 2, b"w", "vault:k", bytes(32)])]
        for query, params in calls:
            for at in range(len(params)):
                refused(conn, query, [None if n == at else value for n, value in enumerate(params)], "22004", "null_argument")
        refused(conn, "SELECT identity.key_rotate(NULL)", (), "22004", "null_argument")
        refused(conn, "SELECT identity.key_rotate('dek', NULL)", (), "22004", "null_argument")
        refused(conn, "SELECT identity.reencrypt(NULL)", (), "22004", "null_argument")
        own.leaves(role, denied=11)


def test_hostile_session_changes_nothing(own, worker):
    """Operators, functions and tables of the caller's own, in front of everything; a role that was set; row security off."""
    role = own.login("identity_worker", "identity_dba")
    own.sql(f"CREATE SCHEMA hostile AUTHORIZATION {role}")
    own.sql(f"GRANT {role} TO t_worker")
    with own.connect(role) as conn:
        conn.execute("CREATE TABLE hostile.keyring (LIKE identity.keyring)")
        conn.execute("CREATE FUNCTION hostile.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT '\\x00'::bytea$$")
        conn.execute("CREATE FUNCTION hostile.never(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT false$$")
        conn.execute("CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.never)")
    wipe(own)
    with own.connect(role) as conn:
        conn.execute("SET search_path = hostile, pg_catalog")
        conn.execute("SET row_security = off")
        hostile = Worker()
        hostile.secret, hostile.keys, hostile.installation, hostile.conn = worker.secret, worker.keys, worker.installation, conn
        for kind in ("dek", "chain"):
            hostile.load(kind, 1)
    assert not locked(own)
    own.verify()
    with own.connect(own.login("identity_gateway")) as conn:
        for target in ("identity_worker", "identity_keeper", "identity_owner"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"SET ROLE {target}")
    own.sql("DROP SCHEMA hostile CASCADE")


def test_frozen_vectors_agree():
    done = subprocess.run([sys.executable, VERIFY.with_name("sealing.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
