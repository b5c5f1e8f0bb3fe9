"""Whoever owns the database can rewrite what was recorded of biometrics; the verifier says where."""

import psycopg
import pytest

from biometric import attach, collected, consenting, erase, policy
from cluster import BINDIR, run_as_owner
from consent import template

TABLES = ("biometric_history", "subject_texts", "files_to_destroy")


@pytest.fixture
def rewritten(vault, gateway):
    """Runs a statement with the guards off, verifies, and takes everything back."""
    policy(vault)
    kept, erased, never = (consenting(vault, gateway) for _ in range(3))
    # Each consent superseded the text before; all three agree to the newest.
    version = template(vault, "biometric")
    for subject in (kept, erased, never):
        gateway.execute("SELECT identity.consent_record(%s, 'biometric', 'given', %s)", (subject.id, version))
    attach(gateway, kept)
    attach(gateway, erased)
    erase(vault, erased)

    def rewrite(statement: str) -> list[str]:
        with vault.admin.transaction(force_rollback=True):
            for table in TABLES:
                vault.sql(f"ALTER TABLE identity.{table} DISABLE TRIGGER ALL")
            vault.sql(statement.format(k=kept.id, e=erased.id, n=never.id))
            for table in TABLES:
                vault.sql(f"ALTER TABLE identity.{table} ENABLE ALWAYS TRIGGER append_only")
            # Where an erasure is not what was recorded it has not its tombstone, either.
            return [row["check_name"] for row in vault.findings() if not row["ok"] and row["check_name"] != "tombstones"]

    yield rewrite
    vault.verify()


def test_nothing_is_found_where_nothing_was_done(rewritten):
    assert rewritten("SELECT 1") == []


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'erase'",
        "consent_version = 'x'",
        "consent_version = NULL",
        "schedule_version = 'x'",
        "retention_until = retention_until + interval '1 day'",
        "retention_until = NULL",
        "reason = 'x'",
        "file = 'destroyed'",
        "erasure = 1",
        "generation = generation + 1",
        "recorded_by = 'somebody'",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "text_digest = sha256('x')",
        "text_digest = NULL",
        "candidate_id = '{n}'",
        "access_id = access_id + 1000000",
    ],
)
def test_changed_record_is_found(rewritten, change):
    assert "biometrics" in rewritten(f"UPDATE identity.biometric_history SET {change} WHERE candidate_id = '{{k}}'")


@pytest.mark.parametrize("change", ["file = 'waiting'", "file = NULL", "reason = 'rtbf_request'", "schedule_version = 'x'", "kind = 'classify'", "kind = 'file', erasure = 1"])
def test_changed_record_of_an_erasure_is_found(rewritten, change):
    assert "biometrics" in rewritten(f"UPDATE identity.biometric_history SET {change} WHERE candidate_id = '{{e}}' AND kind = 'erase'")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM identity.biometric_history WHERE candidate_id = '{k}'",
        "DELETE FROM identity.biometric_history WHERE candidate_id = '{e}' AND kind = 'erase'",
        "INSERT INTO identity.biometric_history (access_id, candidate_id, kind, generation, recorded_by, recorded_at) VALUES (1, '{k}', 'erase', 100, 'x', now())",
        "DELETE FROM identity.subject_texts WHERE candidate_id = '{k}' AND kind = 'biometric'",
        "UPDATE identity.subject_texts SET content = content || ' ' WHERE candidate_id = '{k}' AND kind = 'biometric'",
        "UPDATE identity.subject_texts SET content = 'no json' WHERE candidate_id = '{k}' AND kind = 'biometric'",
        "UPDATE identity.subject_texts SET salt = salt || '\\x00' WHERE candidate_id = '{k}' AND kind = 'biometric'",
        "UPDATE identity.subject_texts SET kind = 'consent' WHERE candidate_id = '{k}' AND kind = 'biometric'",
        "INSERT INTO identity.files_to_destroy (access_id, candidate_id, path, queued_at) VALUES (1, '{k}', '/etc/passwd', now())",
        "INSERT INTO identity.files_to_destroy (access_id, candidate_id, path, queued_at) SELECT access_id, '{n}', 'x', now() FROM identity.biometric_history WHERE candidate_id = '{e}' AND kind = 'erase'",
    ],
)
def test_added_and_removed_rows_are_found(rewritten, statement):
    assert "biometrics" in rewritten(statement)


@pytest.mark.parametrize(
    "change",
    [
        "biometric_data_path = 'elsewhere'",
        "biometric_data_path = NULL",
        "biometric_template_hash = repeat('b', 64)",
        "biometric_collected_at = biometric_collected_at - interval '1 microsecond'",
        "biometric_retention_until = biometric_retention_until + interval '1 year'",
        "biometric_retention_until = NULL",
        "biometric_classifications_ct = '\\x00'",
        "biometric_data_path = NULL, biometric_template_hash = NULL, biometric_collected_at = NULL, biometric_retention_until = NULL",
    ],
)
def test_changed_subject_is_found(rewritten, change):
    assert rewritten(f"UPDATE identity.subjects SET {change} WHERE candidate_id = '{{k}}'") == ["biometrics"]


@pytest.mark.parametrize("who", ["e", "n"])
@pytest.mark.parametrize("column", ["data_path = 'x'", "template_hash = 'x'", "collected_at = now()", "retention_until = now()", "classifications_ct = '\\x00'"])
def test_biometrics_that_nobody_collected_are_found(rewritten, who, column):
    assert rewritten(f"UPDATE identity.subjects SET biometric_{column} WHERE candidate_id = '{{{who}}}'") == ["biometrics"]


def test_moved_end_of_a_consent_is_found(rewritten):
    assert rewritten("UPDATE identity.subjects SET biometric_consent_valid_until = now() + interval '1 year' WHERE candidate_id = '{k}'") == ["consent"]


def test_biometrics_moved_to_another_subject_are_found(rewritten, vault):
    found = rewritten(
        """UPDATE identity.subjects s SET biometric_data_path = k.biometric_data_path, biometric_template_hash = k.biometric_template_hash,
                  biometric_collected_at = k.biometric_collected_at, biometric_retention_until = k.biometric_retention_until
             FROM identity.subjects k WHERE k.candidate_id = '{k}' AND s.candidate_id = '{n}'"""
    )
    assert found == ["biometrics"]


@pytest.mark.parametrize("table", ["biometric_history", "files_to_destroy"])
def test_missing_guard_is_found(vault, table):
    for statement in (f"ALTER TABLE identity.{table} DISABLE TRIGGER append_only", f"ALTER TABLE identity.{table} NO FORCE ROW LEVEL SECURITY"):
        with vault.admin.transaction(force_rollback=True):
            vault.sql(statement)
            assert {row["check_name"] for row in vault.findings() if not row["ok"]} == {"guards"}


@pytest.mark.parametrize("statement", ["UPDATE {t} SET generation = 0", "DELETE FROM {t}", "TRUNCATE {t}"])
@pytest.mark.parametrize("role", ["replica", "origin"])
def test_history_cannot_be_changed_even_by_a_superuser_by_accident(vault, statement, role):
    with vault.admin.transaction(force_rollback=True), pytest.raises(psycopg.errors.InsufficientPrivilege):
        vault.sql(f"SET LOCAL session_replication_role = {role}")
        vault.sql(statement.format(t="identity.biometric_history"))


def test_dump_carries_the_history(vault, gateway):
    policy(vault)
    subject = consenting(vault, gateway)
    attach(gateway, subject, "s3://dumped/1")
    assert collected(vault, subject)["biometric_data_path"] == "s3://dumped/1"
    dump = run_as_owner(BINDIR / "pg_dump", "-h", vault.cluster.dir, "-p", vault.cluster.port, "-U", "postgres", "identity").stdout
    for table in ("biometric_history", "files_to_destroy"):
        assert f"COPY identity.{table} " in dump
    assert "s3://dumped/1" in dump
