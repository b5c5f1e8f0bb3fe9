"""Whoever owns the database can rewrite what was recorded of consent; the verifier says where."""

import pytest

from consent import now, record, rfc3339, state, template
from erasure import erase
from vault import refused_read

TABLES = ("consent_versions", "consent_history", "eu_history", "subject_texts")
GUARDS = {"consent_versions": ("checked", "recorded", "append_only", "supersede_only")}


@pytest.fixture
def rewritten(vault, gateway):
    """Runs a statement with the guards off, verifies, and takes everything back."""
    first, second = template(vault, valid_for="1 year"), template(vault, valid_for="2 years")
    subject, other = vault.subject(consent="pending_first_contact"), vault.subject()
    record(gateway, subject, "given", second, {"letter": "first"})
    record(gateway, subject, "withdrawn", None, {"letter": "second"})
    biometric = template(vault, "biometric")
    record(gateway, other, "given", biometric, kind="biometric")
    gateway.execute("SELECT identity.eu_record(%s, true, 'contract')", (subject.id,))

    def rewrite(statement: str) -> list[str]:
        with vault.admin.transaction(force_rollback=True):
            for table in TABLES:
                vault.sql(f"ALTER TABLE identity.{table} DISABLE TRIGGER ALL")
            vault.sql(statement.format(v=second, old=first, s=subject.id, o=other.id))
            for table in TABLES:
                for trigger in GUARDS.get(table, ("append_only",)):
                    vault.sql(f"ALTER TABLE identity.{table} ENABLE ALWAYS TRIGGER {trigger}")
            return [row["check_name"] for row in vault.findings() if not row["ok"]]

    yield rewrite
    vault.verify()


def test_nothing_is_found_where_nothing_was_done(rewritten):
    assert rewritten("SELECT 1") == []


@pytest.mark.parametrize(
    "change",
    [
        "template_hash = repeat('b', 64)",
        "template_path = 'elsewhere'",
        "valid_for = valid_for + interval '1 day'",
        "valid_for = NULL",
        "kind = 'retention_schedule'",
        "version = 'renamed'",
        "effective_at = effective_at - interval '1 microsecond'",
        "changed_by = 'somebody'",
        "changed_at = changed_at + interval '1 microsecond'",
        "ordinal = ordinal + 1000",
        "superseded_at = now()",
    ],
)
def test_changed_version_is_found(rewritten, change):
    free = "ALTER TABLE identity.consent_versions DROP CONSTRAINT consent_versions_kind_ordinal_key; "  # of another kind the number may be taken
    assert rewritten(free + "UPDATE identity.consent_versions SET " + change + " WHERE version = '{v}'")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM identity.consent_versions WHERE version = '{v}'",
        "UPDATE identity.consent_versions SET superseded_at = NULL WHERE version = '{old}'",
        "INSERT INTO identity.consent_versions SELECT 'forged', kind, valid_for, effective_at, NULL, template_hash, template_path, ordinal + 1000, changed_by, changed_at FROM identity.consent_versions WHERE version = '{v}'",
    ],
    ids=["deleted", "revived", "forged"],
)
def test_version_deleted_revived_or_forged_is_found(rewritten, statement):
    assert set(rewritten(statement)) == {"consent"}


@pytest.mark.parametrize(
    "change",
    [
        "access_id = access_id + 1000000",
        "candidate_id = gen_random_uuid()",
        "kind = 'biometric'",
        "status = 'pending'",
        "version = 'x'",
        "valid_until = now()",
        "generation = generation + 1",
        "recorded_by = 'x'",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "evidence_digest = NULL",
        "evidence_digest = sha256(evidence_digest)",
    ],
)
def test_changed_event_is_found(rewritten, change):
    assert rewritten("UPDATE identity.consent_history SET " + change + " WHERE candidate_id = '{s}'")


@pytest.mark.parametrize(
    "change",
    ["eu_resident = false", "recorded_by = 'x'", "recorded_at = now() - interval '1 day'", "text_digest = NULL", "candidate_id = '{o}'"],
)
def test_changed_eu_event_is_found(rewritten, change):
    assert rewritten("UPDATE identity.eu_history SET " + change + " WHERE candidate_id = '{s}'")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM identity.consent_history WHERE candidate_id = '{s}' AND status = 'withdrawn'",
        "DELETE FROM identity.eu_history WHERE candidate_id = '{s}'",
        "INSERT INTO identity.consent_history SELECT access_id + 1000000, candidate_id, kind, 'given', version, valid_until, generation + 1, recorded_by, recorded_at, NULL FROM identity.consent_history WHERE candidate_id = '{s}' AND status = 'withdrawn'",
        "UPDATE identity.subject_texts SET content = '{{}}' WHERE candidate_id = '{s}'",
        "UPDATE identity.subject_texts SET salt = sha256(salt) WHERE candidate_id = '{s}'",
        "DELETE FROM identity.subject_texts WHERE candidate_id = '{s}'",
        "UPDATE identity.subject_texts SET candidate_id = '{o}' WHERE candidate_id = '{s}'",
    ],
)
def test_event_or_text_deleted_forged_or_exchanged_is_found(rewritten, statement):
    assert set(rewritten(statement)) == {"consent"}


@pytest.mark.parametrize(
    "change",
    [
        "consent_status = 'given' WHERE candidate_id = '{s}'",
        "consent_status = 'pending_first_contact' WHERE candidate_id = '{s}'",
        "consent_version = 'x' WHERE candidate_id = '{s}'",
        "consent_valid_until = now() + interval '10 years' WHERE candidate_id = '{s}'",
        "biometric_consent_status = 'given', biometric_consent_version = 'x' WHERE candidate_id = '{o}'",
        "biometric_consent_status = 'withdrawn' WHERE candidate_id = '{o}'",
        "consent_status = 'withdrawn' WHERE candidate_id = '{o}'",
    ],
)
def test_subject_whose_consent_was_set_by_hand_is_found(rewritten, change):
    assert set(rewritten("UPDATE identity.subjects SET " + change)) == {"consent"}


def test_registered_subject_given_by_hand_is_found(vault, gateway, rewritten):
    candidate = gateway.execute("SELECT identity.pii_register('t.all', '{\"name\": \"x\"}')").fetchone()[0]
    assert rewritten(f"UPDATE identity.subjects SET consent_status = 'given' WHERE candidate_id = '{candidate}'") == ["consent"]


def test_text_that_an_erasure_took_away_is_no_finding(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    record(gateway, subject, "given", version, {"letter": "signed"})
    erase(vault, subject)
    vault.verify()


def test_text_is_missed_of_who_is_only_marked_as_erased(rewritten):
    marked = "UPDATE identity.subjects SET erased_at = now() WHERE candidate_id = '{s}'; DELETE FROM identity.subject_texts WHERE candidate_id = '{s}'"
    assert set(rewritten(marked)) == {"erasures"}


def test_expired_and_imported_again_is_no_finding(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault, valid_for="1 hour")
    record(gateway, subject, "given", version, {"given_at": rfc3339(now(hours=-2))})
    refused_read(gateway, subject, "42501", "consent")
    vault.verify()
    vault.change(subject.id, {"name": "another"})
    refused_read(gateway, subject, "42501", "consent")
    vault.change(subject.id, consent="given")
    assert state(vault, subject)["consent_valid_until"] is None
    vault.verify()


@pytest.mark.parametrize("table", TABLES[1:])
@pytest.mark.parametrize("replication_role", ["origin", "replica"])
def test_histories_and_texts_are_not_changed_even_by_a_superuser(vault, gateway, table, replication_role):
    subject = vault.subject()
    record(gateway, subject, "withdrawn", None, {"a": "b"})
    gateway.execute("SELECT identity.eu_record(%s, true, 'contract')", (subject.id,))
    before = vault.sql(f"SELECT * FROM identity.{table} WHERE candidate_id = %s", (subject.id,))
    attempts = [f"UPDATE identity.{table} SET candidate_id = candidate_id", f"TRUNCATE identity.{table}"]
    if table != "subject_texts":
        attempts.append(f"DELETE FROM identity.{table}")
    with vault.cluster.connect() as admin:
        admin.execute(f"SET session_replication_role = {replication_role}")
        for attempt in attempts:
            with pytest.raises(Exception, match="append-only"):
                admin.execute(attempt)
    assert before and vault.sql(f"SELECT * FROM identity.{table} WHERE candidate_id = %s", (subject.id,)) == before
