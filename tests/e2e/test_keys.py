"""Keys lie in one protected region of shared memory, or nowhere."""

import hashlib
import re
from pathlib import Path

import psycopg
import pytest

from cluster import wait_until
from vault import CLOUD, REGISTER, RESOLVE, Vault, read, reason_of, refused, refused_read


def key(kind: str) -> bytes:
    parts = (b"identity_pgx/development-key/v1", kind.encode())
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


@pytest.fixture(scope="module")
def own(request):
    from cluster import Cluster

    cluster = Cluster("k")
    request.addfinalizer(cluster.destroy)
    return Vault(cluster.start().install())


def test_key_status_shows_states_and_never_a_key(own):
    with own.connect(own.auditor) as auditor:
        rows = auditor.execute("SELECT kind, version, state, provider FROM identity.key_status()").fetchall()
        text = str(auditor.execute("SELECT * FROM identity.key_status()").fetchall())
    assert [row[:2] for row in sorted(rows)] == [("chain", 1), ("dek", 1)]
    assert "development" in text.lower()
    for kind in ("dek", "chain"):
        assert key(kind).hex() not in text


def test_status_says_development(own):
    with own.connect(own.auditor) as auditor:
        assert "DEVELOPMENT" in str(auditor.execute("SELECT * FROM identity.identity_status()").fetchall())


def test_wiped_keys_refuse_everything_until_unlocked(own):
    subject = own.subject()
    with own.gateway() as gateway, own.connect(own.worker) as worker, own.connect(own.auditor) as auditor:
        read(gateway, subject)
        worker.execute("SELECT identity.key_wipe_all()")
        try:
            refused_read(gateway, subject, "55000", "locked")
            refused(gateway, REGISTER, ("t.all", '{"name": "x"}', "{}", None), "55000", "locked")
            refused(gateway, "SELECT * FROM identity.pii_vertical(%s)", (subject.id,), "55000", "locked")
            refused(gateway, "SELECT identity.identity_health()", (), "55000", "locked")
            assert {row[0] for row in auditor.execute("SELECT state FROM identity.key_status()")} == {"locked"}
        finally:
            worker.execute("SELECT identity.dev_unlock()")
        read(gateway, subject)
        # Refusals of a locked vault wait for the chain key; identity_health leaves no row.
        own.leaves(gateway, committed=2, denied=3)
    own.verify()


def test_wipe_in_the_middle_of_transactions_loses_no_row(own):
    subject = own.subject()
    with own.gateway() as committing, own.gateway() as rolling_back, own.connect(own.worker) as worker:
        for conn in (committing, rolling_back):
            conn.execute("BEGIN")
            read(conn, subject)
        worker.execute("SELECT identity.key_wipe_all()")
        try:
            committing.execute("COMMIT")
        except psycopg.Error:
            pass
        rolling_back.execute("ROLLBACK")
        worker.execute("SELECT identity.dev_unlock()")
        own.leaves(rolling_back, rolled_back=1)
        assert sum(own.outcomes(committing.info.user).values()) == 1
    own.verify()


@pytest.mark.parametrize("function", ["dev_unlock", "key_wipe_all"])
def test_rolled_back_key_operation_leaves_a_row(own, function):
    """Either it did not happen, or it is on record: keys cannot be loaded or wiped unseen."""
    role = own.login("identity_worker")
    with own.connect(role) as worker:
        if function == "dev_unlock":
            worker.execute("SELECT identity.key_wipe_all()")
        before = sum(own.outcomes(role).values())
        with worker.transaction(force_rollback=True):
            worker.execute(f"SELECT identity.{function}()")
        with own.connect(own.auditor) as auditor:
            locked = {row[0] for row in auditor.execute("SELECT state FROM identity.key_status()")} == {"locked"}
        happened = locked == (function == "key_wipe_all")
        worker.execute("SELECT identity.dev_unlock()")
        wait_until(lambda: sum(own.outcomes(role).values()) >= before + 1 + happened, "the row of the operation that was rolled back")
    own.verify()


def test_purpose_changed_while_locked_is_not_lost(own):
    """A DBA who narrows a purpose before the keys are there is refused, or is obeyed afterwards; never silently ignored."""
    purpose, subject = own.purpose(fields=["name", "ssn"]), own.subject()
    with own.connect(own.worker) as worker, own.connect(own.dba) as dba, own.gateway() as gateway:
        worker.execute("SELECT identity.key_wipe_all()")
        try:
            dba.execute("UPDATE identity.purpose_definitions SET allowed_fields = '{name}' WHERE purpose_token = %s", (purpose,))
            obeyed = True
        except psycopg.Error as error:
            assert reason_of(error) == ("55000", "locked")
            obeyed = False
        worker.execute("SELECT identity.dev_unlock()")
        if obeyed:
            refused_read(gateway, subject, "42501", "field_not_allowed", purpose, ["ssn"])
    shown = own.sql("SELECT allowed_fields FROM identity.purpose_definitions WHERE purpose_token = %s", (purpose,))
    in_force = own.sql(
        "SELECT allowed_fields FROM identity.purpose_versions WHERE purpose_token = %s AND superseded_at IS NULL", (purpose,)
    )
    assert shown == in_force


def test_purpose_revoked_while_locked_is_not_lost(own):
    purpose, subject = own.purpose(fields=["name"]), own.subject()
    with own.connect(own.worker) as worker, own.connect(own.dba) as dba, own.gateway() as gateway:
        worker.execute("SELECT identity.key_wipe_all()")
        try:
            dba.execute("SELECT identity.purpose_revoke(%s, 'x')", (purpose,))
            expected = ("42501", "purpose_revoked")
        except psycopg.Error as error:
            assert reason_of(error) == ("55000", "locked")
            expected = None
        worker.execute("SELECT identity.dev_unlock()")
        if expected:
            refused_read(gateway, subject, *expected, purpose)


def test_unlock_and_wipe_are_recorded(own):
    own.sql("SELECT identity.key_wipe_all()")
    own.sql("SELECT identity.dev_unlock()")
    kinds = {
        row["accessor_kind"]: row["chain_kind"]
        for row in own.sql(
            "SELECT accessor_kind, chain_kind FROM identity.pii_access_log WHERE accessor_kind LIKE 'key\\_%' AND outcome = 'committed'"
        )
    }
    assert kinds == {"key_unlock": "merkle", "key_wipe": "merkle"}


@pytest.mark.parametrize(
    "function", ["dev_unlock()", "key_wipe_all()", "initialize()", "_import_subject(gen_random_uuid(), '{}', 'general', 'given')"]
)
def test_gateways_and_dbas_do_not_operate_the_vault(own, function):
    for group in ("identity_gateway", "identity_dba", "identity_auditor", "identity_legal"):
        with own.gateway(group) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"SELECT identity.{function}")


def test_import_is_for_superusers_only_whatever_is_granted(own):
    role = own.login(*CLOUD, "identity_worker", "identity_dba")
    own.sql(f"GRANT EXECUTE ON FUNCTION identity._import_subject TO {role}")
    with own.connect(role) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("SELECT identity._import_subject(gen_random_uuid(), '{\"name\": \"x\"}', 'general', 'given')")


def test_false_check_value_refuses_to_unlock(own):
    """The keyring says which key is right: another key would seal what nobody can open later."""
    with own.connect(own.worker) as worker:
        worker.execute("SELECT identity.key_wipe_all()")
        own.sql("CREATE TEMP TABLE keep AS SELECT kind, check_value FROM identity.keyring")
        own.sql("ALTER TABLE identity.keyring DISABLE TRIGGER forward_only")
        own.sql("UPDATE identity.keyring SET check_value = sha256(check_value) WHERE kind = 'dek'")
        try:
            with pytest.raises(psycopg.Error):
                worker.execute("SELECT identity.dev_unlock()")
            with own.gateway() as gateway, pytest.raises(psycopg.Error) as caught:
                gateway.execute(RESOLVE, ("0190a000-0000-7000-8000-000000000000", "t.all", ["name"]))
            assert reason_of(caught.value) == ("55000", "locked")
        finally:
            own.sql("UPDATE identity.keyring k SET check_value = keep.check_value FROM keep WHERE keep.kind = k.kind")
            own.sql("ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER forward_only")
            worker.execute("SELECT identity.dev_unlock()")


def test_backends_leave_no_core_dump(own):
    with own.gateway() as gateway:
        limits = Path(f"/proc/{gateway.info.backend_pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0\s", limits) or re.search(r"Max core file size\s+0\s", limits), limits


def memory_flags(pid: int) -> list[set[str]]:
    try:
        smaps = Path(f"/proc/{pid}/smaps").read_text()
    except PermissionError:
        pytest.skip("the process hides its memory map from this user, which is as good")
    return [set(line.split(":")[1].split()) for line in smaps.splitlines() if line.startswith("VmFlags:")]


def test_key_region_is_locked_and_out_of_core_dumps(own):
    with own.gateway() as gateway:
        inherited = memory_flags(gateway.info.backend_pid)
    assert any({"dd", "rd", "wr", "sh"} <= flags for flags in inherited), "a core dump of a backend would hold the keys"
    # A lock is not inherited, but the postmaster's keeps the shared page where it is.
    assert any({"dd", "lo", "sh"} <= flags for flags in memory_flags(own.cluster.pid())), "the key region could be swapped out"


def test_restart_locks(own):
    own.cluster.restart()
    own.admin = own.cluster.connect(row_factory=psycopg.rows.dict_row)
    with own.gateway() as gateway:
        with pytest.raises(psycopg.Error) as caught:
            gateway.execute("SELECT identity.identity_health()")
        assert reason_of(caught.value)[1] in ("locked", "recorder_down")
        own.cluster.unlock()
        read(gateway, own.subject())
    own.verify()
