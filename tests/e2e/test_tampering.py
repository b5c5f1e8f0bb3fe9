"""Whoever owns the database can rewrite it; the verifier says where."""

import psycopg
import pytest

from vault import RESOLVE, read


@pytest.fixture
def rewritten(vault, gateway):
    """Runs statements with the guards off, verifies, and takes everything back."""
    subject = vault.subject()
    ids = [read(gateway, subject) for _ in range(5)]
    partition = vault.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log WHERE access_id = %s", (ids[2],))[0]["name"]

    def rewrite(statement: str) -> list[dict]:
        with vault.admin.transaction(force_rollback=True):
            vault.sql(f"ALTER TABLE {partition} DISABLE TRIGGER ALL")
            vault.sql(statement.format(log=partition, id=ids[2], first=ids[0], last=ids[-1]))
            # Put back, as a careful intruder would: otherwise the missing guard is a finding, whatever was done to the rows.
            vault.sql(f"ALTER TABLE {partition} ENABLE ALWAYS TRIGGER append_only")
            return [row for row in vault.findings() if not row["ok"]]

    yield rewrite
    vault.verify()


@pytest.mark.parametrize(
    "change",
    [
        "candidate_id = gen_random_uuid()",
        "accessed_at = accessed_at + interval '1 microsecond'",
        "accessor_kind = 'register'",
        "accessor_id = 'x'",
        "accessor_role = 'x'",
        "accessor_outer = 'x'",
        "cert_fingerprint = '\\x00'",
        "application_name = 'y'",
        "purpose_token = 'x'",
        "purpose_version = purpose_version + 1",
        "fields_accessed = '{{email}}'",
        "phi_fields = '{{name}}'",
        "request_trace_id = 'x'",
        "chain_kind = 'merkle'",
        "is_legal_tier_event = true",
        "outcome = 'rolled_back'",
        "denial = 'consent'",
        "repeats = 2",
        "consent_status = 'withdrawn'",
        "vertical = 'other'",
        "zone = 'cloud'",
        "generation = generation + 1",
        "key_version = 2",
        "chain_version = 2",
        "event_digest = '\\x00'",
        "integrity_hash = sha256(integrity_hash)",
        "access_id = access_id + (1::bigint << 47)",
        "lane = lane + 100000",
        "seq = seq + 1000000",
    ],
)
def test_any_changed_column_is_found(rewritten, change):
    assert rewritten("UPDATE {log} SET " + change + " WHERE access_id = {id}")


def test_a_deleted_row_is_found(rewritten):
    assert rewritten("DELETE FROM {log} WHERE access_id = {id}")


def test_a_repeated_row_is_found(rewritten):
    assert rewritten("""ALTER TABLE {log} DROP CONSTRAINT IF EXISTS doomed; DO $$ BEGIN
        EXECUTE (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint WHERE conrelid = '{log}'::regclass AND contype = 'p'); END $$;
        INSERT INTO {log} SELECT * FROM {log} WHERE access_id = {id}""")


def test_the_end_of_a_lane_cut_off_is_found(rewritten):
    """The head in shared memory is newer than what is left."""
    assert rewritten("DELETE FROM {log} WHERE access_id = {last}")


def test_exchanged_rows_are_found(rewritten):
    assert rewritten("""UPDATE {log} AS l SET candidate_id = '00000000-0000-7000-8000-000000000000', integrity_hash = o.integrity_hash
                        FROM {log} AS o WHERE l.access_id = {id} AND o.access_id = {first}""")


def test_a_refused_verification_is_an_error_not_an_all_clear(vault, gateway):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute("SELECT * FROM identity.ledger_verify(true)")


def test_reads_go_on_after_the_attempts(vault, gateway):
    gateway.execute(RESOLVE, (vault.subject().id, "t.all", ["name"]))
    vault.verify()
