"""A DBA manages purposes with ordinary migrations; every version and every revocation is on the record."""

import psycopg
import pytest

from vault import read, refused_read

UPSERT = """INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, auth_tier, allowed_roles, daily_volume_cap)
            VALUES (%s, %s, %s, 'service', '{identity_gateway}', 1000)
            ON CONFLICT (purpose_token) DO UPDATE SET description = excluded.description, allowed_fields = excluded.allowed_fields"""


def versions(vault, token: str) -> list[tuple]:
    rows = vault.sql(
        "SELECT version, allowed_fields, superseded_at IS NULL AS open, changed_by FROM identity.purpose_versions WHERE purpose_token = %s ORDER BY 1",
        (token,),
    )
    return [tuple(row.values()) for row in rows]


def test_upsert_makes_a_version_only_when_content_changes(vault, dba):
    me = dba.info.user
    dba.execute(UPSERT, ("t.upsert", "one", ["name"]))
    assert versions(vault, "t.upsert") == [(1, ["name"], True, me)]
    dba.execute(UPSERT, ("t.upsert", "one", ["name"]))
    dba.execute("UPDATE identity.purpose_definitions SET description = description WHERE purpose_token = 't.upsert'")
    assert versions(vault, "t.upsert") == [(1, ["name"], True, me)]
    dba.execute(UPSERT, ("t.upsert", "one", ["name", "email"]))
    assert [row[:3] for row in versions(vault, "t.upsert")] == [(1, ["name"], False), (2, ["name", "email"], True)]
    dba.execute(UPSERT, ("t.upsert", "two", ["name", "email"]))
    assert len(versions(vault, "t.upsert")) == 3


def test_each_version_is_a_merkle_row(vault, dba):
    dba.execute(UPSERT, ("t.recorded", "one", ["name"]))
    dba.execute(UPSERT, ("t.recorded", "one", ["name", "email"]))
    dba.execute("SELECT identity.purpose_revoke('t.recorded', 'no longer')")
    rows = vault.leaves(dba, committed=3)
    assert [(row["accessor_kind"], row["chain_kind"], row["purpose_token"], row["purpose_version"]) for row in rows] == [
        ("purpose_change", "merkle", "t.recorded", 1),
        ("purpose_change", "merkle", "t.recorded", 2),
        ("purpose_revoke", "merkle", "t.recorded", 2),
    ]
    assert len({bytes(row["event_digest"]) for row in rows}) == 3
    assert "no longer" not in str(rows)


def test_migration_that_is_rolled_back_leaves_no_version(vault, dba, gateway):
    with dba.transaction(force_rollback=True):
        dba.execute(UPSERT, ("t.never", "one", ["name"]))
    assert versions(vault, "t.never") == []
    refused_read(gateway, vault.subject(), "22023", "unknown_purpose", "t.never")


def test_purpose_that_is_not_committed_allows_nothing(vault):
    """Otherwise one session could make a purpose, read under it and roll back: the record would name a version that never was."""
    subject = vault.subject()
    with vault.connect(vault.login("identity_dba", "identity_gateway", "identity_zone_onbox")) as both:
        both.execute(UPSERT, ("t.widened", "one", ["name"]))
        both.execute("BEGIN")
        both.execute(UPSERT, ("t.own", "one", ["name"]))
        both.execute(UPSERT, ("t.widened", "one", ["name", "ssn"]))
        both.execute("SAVEPOINT a")
        refused_read(both, subject, "22023", "unknown_purpose", "t.own")
        both.execute("ROLLBACK TO a")
        refused_read(both, subject, "42501", "field_not_allowed", "t.widened", ["ssn"])
        both.execute("ROLLBACK TO a")
        both.execute("COMMIT")
        read(both, subject, "t.own")
        refused_read(both, subject, "42501", "field_not_allowed", "t.widened", ["ssn"])
        vault.approve("t.widened")
        read(both, subject, "t.widened", ["ssn"])


def test_own_revocation_binds_before_it_is_committed(vault):
    subject = vault.subject()
    purpose = vault.purpose()
    with vault.connect(vault.login("identity_dba", "identity_gateway", "identity_zone_onbox")) as both:
        both.execute("BEGIN")
        both.execute("SELECT identity.purpose_revoke(%s, 'x')", (purpose,))
        refused_read(both, subject, "42501", "purpose_revoked", purpose)
        both.execute("ROLLBACK")
        read(both, subject, purpose)


def test_revoked_purpose_is_reinstated_by_a_later_version_only(vault, dba, gateway):
    subject = vault.subject()
    dba.execute(UPSERT, ("t.again", "one", ["name"]))
    read(gateway, subject, "t.again")
    dba.execute("SELECT identity.purpose_revoke('t.again', 'x')")
    refused_read(gateway, subject, "42501", "purpose_revoked", "t.again")
    dba.execute(UPSERT, ("t.again", "one", ["name"]))  # nothing new
    refused_read(gateway, subject, "42501", "purpose_revoked", "t.again")
    dba.execute(UPSERT, ("t.again", "reviewed", ["name"]))
    read(gateway, subject, "t.again")
    dba.execute("SELECT identity.purpose_revoke('t.again', 'again')")
    refused_read(gateway, subject, "42501", "purpose_revoked", "t.again")
    vault.leaves(gateway, committed=2, denied=3)


def test_row_of_a_read_names_the_version_it_was_allowed_by(vault, dba, gateway):
    subject = vault.subject()
    for fields in (["name"], ["name", "email"], ["name"]):
        dba.execute(UPSERT, ("t.versions", "x", fields))
        read(gateway, subject, "t.versions")
    assert [row["purpose_version"] for row in vault.leaves(gateway, committed=3)] == [1, 2, 3]


def test_purpose_without_roles_is_open_to_nobody(vault, gateway):
    refused_read(gateway, vault.subject(), "42501", "purpose_role", vault.purpose(allowed_roles=[]))


def test_default_purposes_are_there(vault, gateway):
    tokens = {row["purpose_token"]: row for row in vault.sql("SELECT * FROM identity.purpose_definitions")}
    assert {
        "fill_validation",
        "audit_subject_response",
        "biometric_collection",
        "biometric_erasure",
        "retention_expired",
        "rtbf_request",
    } <= set(tokens)
    assert tokens["fill_validation"]["allowed_fields"] == ["name"] and tokens["audit_subject_response"]["auth_tier"] == "legal"
    assert tokens["rtbf_request"]["allowed_fields"] == [] == tokens["rtbf_request"]["allowed_roles"]
    read(gateway, vault.subject(), "fill_validation")


def test_only_dba_approver_and_legal_revoke(vault):
    purpose = vault.purpose()
    for group in ("identity_gateway", "identity_auditor", "identity_worker", "identity_reviewer"):
        with vault.connect(vault.login(group)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT identity.purpose_revoke(%s, 'x')", (purpose,))
    for group in ("identity_dba", "identity_approver", "identity_legal"):
        with vault.connect(vault.login(group)) as conn:
            conn.execute("SELECT identity.purpose_revoke(%s, 'x')", (vault.purpose(),))


def test_dba_cannot_delete_or_rename_a_purpose(vault, dba):
    purpose = vault.purpose()
    with pytest.raises(psycopg.Error):
        dba.execute("DELETE FROM identity.purpose_definitions WHERE purpose_token = %s", (purpose,))
    with pytest.raises(psycopg.Error):
        dba.execute("UPDATE identity.purpose_definitions SET purpose_token = 't.renamed' WHERE purpose_token = %s", (purpose,))
    with pytest.raises(psycopg.Error):
        dba.execute("UPDATE identity.purpose_versions SET allowed_fields = '{ssn}' WHERE purpose_token = %s", (purpose,))


def test_dba_alone_reads_nobody(vault, dba):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        dba.execute("SELECT * FROM identity.pii_resolve(%s, 't.all', '{name}')", (vault.subject().id,))
