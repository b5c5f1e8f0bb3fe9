"""What a transaction has not committed is not its policy; what it has revoked is. And the newest version counts whatever the clock says."""

import psycopg
import pytest

from vault import FIELDS, read, refused_read

BOTH = ("identity_dba", "identity_gateway", "identity_zone_onbox")
INSERT = """INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, auth_tier, allowed_roles, phi_access, accepted_consent, daily_volume_cap)
            VALUES (%s, 'a test', %s, 'service', %s, %s, %s, 1000)"""
WIDENED = {
    "fields": (
        "UPDATE identity.purpose_definitions SET allowed_fields = '{name,ssn}' WHERE purpose_token = %s",
        {},
        "ssn",
        "field_not_allowed",
    ),
    "roles": (
        "UPDATE identity.purpose_definitions SET allowed_roles = '{identity_gateway}' WHERE purpose_token = %s",
        {"allowed_roles": ["identity_legal"]},
        "name",
        "purpose_role",
    ),
    "phi": ("UPDATE identity.purpose_definitions SET phi_access = true WHERE purpose_token = %s", {}, "name", "phi_access"),
    "consent": (
        "UPDATE identity.purpose_definitions SET accepted_consent = '{given,withdrawn}' WHERE purpose_token = %s",
        {},
        "name",
        "consent",
    ),
    "tier": (
        "UPDATE identity.purpose_definitions SET auth_tier = 'service' WHERE purpose_token = %s",
        {"auth_tier": "legal"},
        "name",
        "tier",
    ),
}


@pytest.fixture
def both(vault):
    """A login that writes purposes and reads under them."""
    with vault.connect(vault.login(*BOTH)) as conn:
        yield conn


def refused_and_goes_on(conn, subject, *expected) -> None:
    conn.execute("SAVEPOINT refusal")
    refused_read(conn, subject, *expected)
    conn.execute("ROLLBACK TO refusal")


def subject_for(vault, name: str):
    return vault.subject(vertical="healthcare" if name == "phi" else "general", consent="withdrawn" if name == "consent" else "given")


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_created_purpose_allows_nothing_before_it_is_committed(vault, both, level, ending):
    subject, token = vault.subject(), f"t.own.{level.lower().replace(' ', '_')}.{ending.lower()}"
    both.execute(f"BEGIN ISOLATION LEVEL {level}")
    both.execute(INSERT, (token, FIELDS, ["identity_gateway"], True, ["given"]))
    refused_and_goes_on(both, subject, "22023", "unknown_purpose", token)
    both.execute("SAVEPOINT a; RELEASE a")
    both.execute("UPDATE identity.purpose_definitions SET description = 'again' WHERE purpose_token = %s", (token,))
    refused_and_goes_on(both, subject, "22023", "unknown_purpose", token)
    both.execute(ending)
    if ending == "COMMIT":
        vault.approve(token)
        read(both, subject, token, ["ssn"])
        vault.leaves(both, committed=3, denied=2)
    else:
        refused_read(both, subject, "22023", "unknown_purpose", token)
        vault.leaves(both, denied=3)
    vault.verify()


@pytest.mark.parametrize("name", WIDENED)
@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_widened_purpose_allows_what_it_did_until_it_is_committed(vault, both, name, ending):
    change, columns, field, reason = WIDENED[name]
    token, subject = vault.purpose(**columns), subject_for(vault, name)
    refused_read(both, subject, "42501", reason, token, [field])
    both.execute("BEGIN")
    both.execute(change, (token,))
    refused_and_goes_on(both, subject, "42501", reason, token, [field])
    both.execute(ending)
    if ending == "COMMIT":
        vault.approve(token)
        read(both, subject, token, [field])
        assert [
            row["purpose_version"] for row in vault.rows(both.info.user, "accessor_kind = 'gateway_lookup' AND outcome = 'committed'")
        ] == [2]
    else:
        refused_read(both, subject, "42501", reason, token, [field])
    rows = vault.rows(both.info.user, "accessor_kind = 'gateway_lookup' AND outcome = 'denied'")
    assert {row["purpose_version"] for row in rows} <= {1}, "a refusal names a version that never was in force"
    vault.verify()


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_the_version_before_goes_on_to_count(vault, both, ending):
    """Read, widen, read, narrow, read: all under the version that was committed, and the rows say so."""
    subject, token = vault.subject(), vault.purpose(fields=["name", "email"])
    both.execute("BEGIN")
    read(both, subject, token)
    both.execute("UPDATE identity.purpose_definitions SET allowed_fields = '{name,ssn}' WHERE purpose_token = %s", (token,))
    read(both, subject, token, ["email"])
    both.execute("UPDATE identity.purpose_definitions SET allowed_fields = '{}' WHERE purpose_token = %s", (token,))
    read(both, subject, token)
    refused_and_goes_on(both, subject, "42501", "field_not_allowed", token, ["ssn"])
    both.execute(ending)
    if ending == "COMMIT":
        vault.leaves(both, committed=5, denied=1)  # two of them the changes
    else:
        vault.leaves(both, rolled_back=3, denied=1)
    reads = vault.rows(both.info.user, "accessor_kind = 'gateway_lookup'")
    assert {row["purpose_version"] for row in reads} == {1}
    if ending == "COMMIT":
        refused_read(both, subject, "42501", "field_not_allowed", token)
    else:
        read(both, subject, token, ["email"])
    vault.verify()


def test_purpose_from_within_one_statement_allows_nothing(vault, both):
    """A data-modifying WITH, a function and a DO block are transactions like any other."""
    subject, token = vault.subject(), vault.purpose(daily_volume_cap=100)
    one = f"""WITH wider AS (UPDATE identity.purpose_definitions SET allowed_fields = '{{name,email}}' WHERE purpose_token = '{token}' RETURNING 1)
              SELECT r.* FROM wider, LATERAL identity.pii_resolve('{subject.id}', '{token}', '{{email}}') r"""
    block = f"""DO $$ BEGIN UPDATE identity.purpose_definitions SET allowed_fields = '{{name,email}}' WHERE purpose_token = '{token}';
                PERFORM identity.pii_resolve('{subject.id}', '{token}', '{{email}}'); END $$"""
    for attempt in (one, block):
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            both.execute(attempt)
        assert caught.value.diag.message_detail.startswith("reason: field_not_allowed")
    committing = block.replace("PERFORM", "COMMIT; PERFORM")
    both.execute(committing)  # after its COMMIT it is everybody's policy
    assert [
        row["purpose_version"]
        for row in vault.leaves(both, committed=2, denied=2)
        if row["accessor_kind"] == "gateway_lookup" and row["outcome"] == "committed"
    ] == [2]


def test_own_revocation_binds_at_once(vault, both):
    subject, token = vault.subject(), vault.purpose()
    both.execute("BEGIN")
    read(both, subject, token)
    both.execute("SAVEPOINT before")
    both.execute("SELECT identity.purpose_revoke(%s, 'x')", (token,))
    refused_and_goes_on(both, subject, "42501", "purpose_revoked", token)
    both.execute("ROLLBACK TO before")  # and no longer than it is there
    read(both, subject, token)
    both.execute("SELECT identity.purpose_revoke(%s, 'x')", (token,))
    both.execute("COMMIT")
    refused_read(both, subject, "42501", "purpose_revoked", token)
    vault.leaves(both, committed=3, denied=2)
    vault.verify()


def test_own_reinstatement_counts_once_committed(vault, both):
    subject, token = vault.subject(), vault.purpose()
    both.execute("BEGIN")
    both.execute("SELECT identity.purpose_revoke(%s, 'x')", (token,))
    both.execute("UPDATE identity.purpose_definitions SET description = 'reviewed' WHERE purpose_token = %s", (token,))
    refused_and_goes_on(both, subject, "42501", "purpose_revoked", token)
    both.execute("COMMIT")
    refused_read(both, subject, "42501", "purpose_revoked", token)  # it reads everybody without a cap, and comes back through two people
    vault.approve(token)
    read(both, subject, token)
    vault.verify()


def test_revoking_one_that_is_not_committed(vault, both):
    """Revoked before anybody could use it, it stays revoked."""
    subject, token = vault.subject(), "t.revoked.unborn"
    both.execute("BEGIN")
    both.execute(INSERT, (token, ["name"], ["identity_gateway"], False, ["given"]))
    both.execute("SELECT identity.purpose_revoke(%s, 'x')", (token,))
    both.execute("COMMIT")
    refused_read(both, subject, "42501", "purpose_revoked", token)
    vault.verify()


# -- clocks ----------------------------------------------------------------------------
@pytest.fixture
def narrowed(vault):
    token = vault.purpose(fields=["name", "ssn"])
    with vault.connect(vault.dba) as dba:
        dba.execute("UPDATE identity.purpose_definitions SET allowed_fields = '{name}' WHERE purpose_token = %s", (token,))
    return token


@pytest.mark.parametrize("ahead", ["30 seconds", "1 hour", "400 days"])
def test_version_of_before_the_clock_was_set_back_still_counts(vault, moved, gateway, narrowed, ahead):
    subject = vault.subject()
    moved(narrowed, 2, f"now() + interval '{ahead}'", f"now() + interval '{ahead}'")  # both in one transaction: the same moment
    refused_read(gateway, subject, "42501", "field_not_allowed", narrowed, ["ssn"])
    read(gateway, subject, narrowed)
    assert [row["purpose_version"] for row in vault.leaves(gateway, committed=1, denied=1)] == [2, 2]


def test_version_that_is_to_hold_later_does_not_count_yet(vault, moved, gateway, narrowed):
    subject = vault.subject()
    moved(narrowed, 2, "now() + interval '1 hour'", "now()")
    read(gateway, subject, narrowed, ["ssn"])
    moved(narrowed, 2, "now() - interval '1 second'", "now() - interval '1 hour'")  # its time has come
    refused_read(gateway, subject, "42501", "field_not_allowed", narrowed, ["ssn"])
    assert [row["purpose_version"] for row in vault.leaves(gateway, committed=1, denied=1)] == [1, 2]


def test_only_version_that_is_to_hold_later_is_no_purpose_yet(vault, moved, gateway):
    token = vault.purpose()
    moved(token, 1, "now() + interval '1 hour'", "now()")
    refused_read(gateway, vault.subject(), "22023", "unknown_purpose", token)
    moved(token, 1, "now() + interval '1 hour'", "now() + interval '1 hour'")
    read(gateway, vault.subject(), token)


def test_revocation_counts_whatever_its_time(vault, moved, gateway, narrowed):
    vault.revoke(narrowed)
    vault.sql("UPDATE identity.purpose_revocations SET revoked_at = now() + interval '1 hour' WHERE purpose_token = %s", (narrowed,))
    moved(narrowed, 2, "now() + interval '1 hour'", "now() + interval '1 hour'")
    refused_read(gateway, vault.subject(), "42501", "purpose_revoked", narrowed)
