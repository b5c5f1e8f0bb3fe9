"""Who approves, and what an approval opens; what is written past it by hand is found."""

import psycopg
import pytest

from approval import APPROVE, LATER, NARROW, UPDATE, WIDE, opens, update, waits
from cluster import wait_until
from vault import FIELDS, ONBOX, Vault, read, refused, refused_read, said


# -- who approves ----------------------------------------------------------------------
def test_author_cannot_approve(vault, gateway, dba, narrow):
    """Not as a DBA, not with both roles, not after the DBA role is taken away, not as a colleague, and not through another login that becomes the author."""
    author = dba.info.user
    update(dba, narrow, WIDE)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # no right to execute
        dba.execute(APPROVE, (narrow, 2))
    vault.sql(f"GRANT identity_approver TO {author}")
    refused(dba, APPROVE, (narrow, 2), "42501", "role_conflict")
    vault.sql(f"REVOKE identity_dba FROM {author}")
    refused(dba, APPROVE, (narrow, 2), "42501", "role_conflict")
    colleague, other = vault.login("identity_approver"), vault.login("identity_approver")
    vault.sql(f"GRANT {colleague} TO {author}; GRANT {author} TO {other}")
    dba.execute(f"SET ROLE {colleague}")
    refused(dba, APPROVE, (narrow, 2), "42501", "role_conflict")
    with vault.connect(other) as conn:
        conn.execute(f"SET ROLE {author}")
        refused(conn, APPROVE, (narrow, 2), "42501", "role_conflict")
        assert waits(vault, narrow) and opens(vault, gateway, narrow) == "field_not_allowed"
        conn.execute("RESET ROLE")
        conn.execute(APPROVE, (narrow, 2))
    assert opens(vault, gateway, narrow) is None


@pytest.mark.parametrize("session, outer", [("identity_dba", "identity_approver"), ("identity_approver", "identity_dba")])
def test_dba_cannot_approve_by_set_role(vault, dba, narrow, session, outer):
    """Nor an approver as a DBA: which of the two somebody is may not depend on what he types."""
    update(dba, narrow, WIDE)
    login = vault.login(session)
    vault.sql(f"ALTER ROLE {login} NOINHERIT; GRANT {outer} TO {login}")
    with vault.connect(login) as conn:
        for role in ("identity_approver", "identity_dba", login):
            conn.execute(f"SET ROLE {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(APPROVE, (narrow, 2))
    assert waits(vault, narrow)


def test_approver_who_sets_a_dbas_role_is_none(vault, dba, narrow):
    update(dba, narrow, WIDE)
    login, other_dba = vault.login("identity_approver"), vault.login("identity_dba", "identity_approver")
    vault.sql(f"ALTER ROLE {login} NOINHERIT")
    group = vault.login()
    vault.sql(f"ALTER ROLE {login} INHERIT; ALTER ROLE {group} NOLOGIN; GRANT {group} TO {login}; GRANT EXECUTE ON FUNCTION identity.purpose_approve TO {group}")
    with vault.connect(login) as conn:
        conn.execute(f"SET ROLE {group}")  # the session user is an approver, the outer user is none
        refused(conn, APPROVE, (narrow, 2), "42501", "role_conflict")
    with vault.connect(other_dba) as conn:
        refused(conn, APPROVE, (narrow, 2), "42501", "role_conflict")
    assert waits(vault, narrow)


def test_superuser_is_no_approver(vault, dba, narrow):
    update(dba, narrow, WIDE)
    with vault.cluster.connect() as admin:
        refused(admin, APPROVE, (narrow, 2), "42501", "role_conflict")
    assert waits(vault, narrow)


@pytest.mark.parametrize("group", ["identity_dba", "identity_gateway", "identity_legal", "identity_auditor", "identity_reviewer", "identity_worker"])
def test_nobody_but_approvers_approves(vault, dba, narrow, group):
    update(dba, narrow, WIDE)
    with vault.connect(vault.login(group)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        conn.execute(APPROVE, (narrow, 2))
    assert "permission denied" in said(caught.value) and waits(vault, narrow)


def test_approval_that_is_not_committed_opens_nothing(vault, dba, narrow):
    update(dba, narrow, WIDE)
    with vault.connect(vault.login("identity_approver", *ONBOX)) as both:
        subject = vault.subject()
        both.execute("BEGIN")
        both.execute(APPROVE, (narrow, 2))
        both.execute("SAVEPOINT a")
        refused_read(both, subject, "42501", "field_not_allowed", narrow, ["ssn"])
        both.execute("ROLLBACK TO a")
        assert opens(vault, both, narrow, "name") is None
        both.execute("ROLLBACK")
        assert waits(vault, narrow)
        refused_read(both, subject, "42501", "field_not_allowed", narrow, ["ssn"])
        both.execute(APPROVE, (narrow, 2))
        read(both, subject, narrow, ["ssn"])


@pytest.mark.parametrize("arguments, state, reason", [
    ((None, 2), "22004", "null_argument"),
    (("{narrow}", None), "22004", "null_argument"),
    (("{narrow}", 3), "22023", "bad_argument"),
    (("{narrow}", 0), "22023", "bad_argument"),
    (("{narrow}", -1), "22023", "bad_argument"),
    (("{narrow}", 1), "22023", "bad_argument"),
    (("t.nosuch", 1), "22023", "unknown_purpose"),
    (("Not a token", 1), "22023", "unknown_purpose"),
])
def test_approving_what_does_not_wait_is_refused(vault, dba, approver, narrow, arguments, state, reason):
    update(dba, narrow, WIDE)
    arguments = tuple(a.format(narrow=narrow) if isinstance(a, str) else a for a in arguments)
    refused(approver, APPROVE, arguments, state, reason)
    row = vault.leaves(approver, denied=1)[0]
    assert (row["accessor_kind"], row["denial"]) == ("purpose_approve", reason) and "Not a token" not in str(row)
    assert waits(vault, narrow)


def test_version_is_approved_once(vault, dba, approver, narrow):
    update(dba, narrow, WIDE)
    approver.execute(APPROVE, (narrow, 2))
    refused(approver, APPROVE, (narrow, 2), "22023", "bad_argument")
    with vault.connect(vault.login("identity_approver")) as other:
        refused(other, APPROVE, (narrow, 2), "22023", "bad_argument")
    row = vault.leaves(approver, committed=1, denied=1)[0]
    assert (row["accessor_kind"], row["chain_kind"], row["purpose_token"], row["purpose_version"], row["fields_accessed"]) == (
        "purpose_approve", "merkle", narrow, 2, ["name", "ssn"])
    stored = vault.sql("SELECT approved_by, approved_at IS NOT NULL AS at FROM identity.purpose_versions WHERE purpose_token = %s AND version = 2", (narrow,))
    assert stored == [{"approved_by": approver.info.user, "at": True}]
    vault.verify()


def test_two_versions_wait_and_the_older_is_approved(vault, gateway, dba, approver, narrow):
    """What opens is what was approved, no more; and the younger can still be."""
    update(dba, narrow, WIDE, "allowed_fields = '{name,ssn,dob}'")
    approver.execute(APPROVE, (narrow, 2))
    assert opens(vault, gateway, narrow) is None and opens(vault, gateway, narrow, "dob") == "field_not_allowed"
    approver.execute(APPROVE, (narrow, 3))
    assert opens(vault, gateway, narrow, "dob") is None
    refused(approver, APPROVE, (narrow, 2), "22023", "bad_argument")


def test_version_that_was_overtaken_cannot_be_approved(vault, gateway, dba, approver, narrow):
    update(dba, narrow, WIDE, "allowed_fields = '{name}', description = 'no, after all'")
    refused(approver, APPROVE, (narrow, 2), "22023", "bad_argument")
    assert opens(vault, gateway, narrow) == "field_not_allowed"


def test_revoked_version_cannot_be_approved(vault, gateway, dba, approver, narrow):
    update(dba, narrow, WIDE)
    vault.revoke(narrow)
    refused(approver, APPROVE, (narrow, 2), "42501", "purpose_revoked")
    update(dba, narrow, "description = 'reviewed'")
    approver.execute(APPROVE, (narrow, 3))
    assert opens(vault, gateway, narrow) is None


def test_revocation_during_approval_wins(vault, gateway, dba, approver, narrow):
    update(dba, narrow, WIDE)
    approver.execute("BEGIN")
    approver.execute(APPROVE, (narrow, 2))
    vault.revoke(narrow)
    approver.execute("COMMIT")
    assert opens(vault, gateway, narrow, "name") == "purpose_revoked"


def test_superseded_at_is_when_the_successor_took_effect(vault, dba, narrow):
    ends = "SELECT version, superseded_at IS NULL AS open, superseded_at > now() AS later FROM identity.purpose_versions WHERE purpose_token = %s ORDER BY 1"
    update(dba, narrow, WIDE)
    assert [row["open"] for row in vault.sql(ends, (narrow,))] == [True, True]
    vault.approve(narrow)
    assert [row["open"] for row in vault.sql(ends, (narrow,))] == [False, True]
    update(dba, narrow, f"{NARROW}, effective_at = {LATER}")
    assert [tuple(row.values())[1:] for row in vault.sql(ends, (narrow,))] == [(False, False), (False, True), (True, None)]


# -- what a superuser does by hand ------------------------------------------------------
@pytest.mark.parametrize("attempt", [
    "UPDATE identity.purpose_versions SET approved_by = 'nobody' WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET approved_by = 'nobody', approved_at = now(), allowed_fields = '{{dob}}' WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET approved_by = 'nobody', approved_at = now(), superseded_at = now() WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET approved_by = 'nobody', approved_at = now() WHERE purpose_token = '{t}' AND version = 1",
    "UPDATE identity.purpose_versions SET needs_approval = false WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET revocations_seen = 9 WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET effective_at = now() WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET superseded_at = superseded_at WHERE purpose_token = '{t}'",
    "UPDATE identity.purpose_versions SET approved_by = changed_by, approved_at = now() WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET approved_by = NULL, approved_at = NULL WHERE purpose_token = 't.all'",
    "UPDATE identity.purpose_versions SET approved_by = 'nobody', approved_at = now() WHERE purpose_token = 't.all'",
])
def test_version_lets_two_changes_through_and_no_other(vault, dba, narrow, attempt):
    update(dba, narrow, WIDE)
    with vault.cluster.connect() as admin, pytest.raises(psycopg.Error) as caught:
        admin.execute(attempt.format(t=narrow))
    assert caught.value.sqlstate in ("42501", "23514")
    assert waits(vault, narrow)


@pytest.mark.parametrize("forgery", [
    "UPDATE identity.purpose_versions SET approved_by = 'nobody', approved_at = now() WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET needs_approval = false WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET effective_at = effective_at + interval '1 day' WHERE purpose_token = '{t}' AND version = 2",
    "UPDATE identity.purpose_versions SET revocations_seen = 7 WHERE purpose_token = '{t}' AND version = 1",
    "UPDATE identity.purpose_versions SET approved_by = NULL, approved_at = NULL WHERE purpose_token = 't.all'",
    "UPDATE identity.purpose_versions SET approved_by = 'somebody' WHERE purpose_token = 't.all'",
])
def test_approval_forged_past_the_guards_is_found(vault, dba, narrow, forgery):
    update(dba, narrow, WIDE)
    with vault.admin.transaction(force_rollback=True):
        vault.sql("ALTER TABLE identity.purpose_versions DISABLE TRIGGER supersede_only")
        vault.sql(forgery.format(t=narrow))
        vault.sql("ALTER TABLE identity.purpose_versions ENABLE ALWAYS TRIGGER supersede_only")
        assert {row["check_name"] for row in vault.findings() if not row["ok"]} == {"purposes"}
    vault.verify()


def test_superuser_restore_opens_nothing(vault, fresh):
    """While keys are locked a superuser's writes derive nothing, as in a restore: what they say opens nothing afterwards either."""
    own = Vault(fresh())
    token = own.purpose(fields=["name"], daily_volume_cap=100)
    own.sql("SELECT identity.key_wipe_all()")
    own.sql(UPDATE.format(WIDE), (token,))
    own.cluster.unlock()
    with own.gateway() as gateway:
        assert opens(own, gateway, token) == "field_not_allowed"
        with own.connect(own.dba) as dba:
            update(dba, token, "description = 'touched'")
        assert waits(own, token) and opens(own, gateway, token) == "field_not_allowed"


# -- the settings ----------------------------------------------------------------------
def test_settings_decide_and_a_weakening_is_an_alarm(fresh):
    cluster = fresh({"identity_pgx.purpose_approval": "all", "identity_pgx.service_daily_ceiling": "50"})
    own = Vault(cluster)
    gateway = own.gateway()
    own.settings_recorded()

    def made(token: str, **columns) -> bool:
        with own.connect(own.dba) as dba:
            dba.execute("""INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, daily_volume_cap)
                           VALUES (%s, 'x', %s, '{identity_gateway}', %s)""", (token, columns.get("fields", ["name"]), columns.get("cap", 50)))
        return waits(own, token)

    def becomes(**settings) -> None:
        cluster.configure({f"identity_pgx.{name}": value for name, value in settings.items()})
        cluster.reload()
        wait_until(lambda: all(own.sql(f"SHOW identity_pgx.{name}")[0][f"identity_pgx.{name}"] == value for name, value in settings.items()), "settings")
        recorded = "SELECT settings FROM identity.settings_history ORDER BY recorded_at DESC LIMIT 1"
        wait_until(lambda: any(settings.items() <= row["settings"].items() for row in own.sql(recorded)), "the settings to be recorded")

    assert made("t.one") and made("t.two", fields=["ssn"])
    with own.connect(own.dba) as dba:
        own.approve("t.one")
        update(dba, "t.one", "allowed_fields = '{}'")  # narrower is at once
        assert not waits(own, "t.one")
    becomes(purpose_approval="sensitive")
    assert not made("t.three") and made("t.four", cap=51) and made("t.five", fields=["dob"])
    becomes(service_daily_ceiling="60")
    assert not made("t.six", cap=51)
    becomes(purpose_approval="none")
    assert not made("t.seven", fields=FIELDS, cap=None) and opens(own, gateway, "t.seven") is None
    assert opens(own, gateway, "t.five", "dob") == "purpose_unapproved"  # what waits goes on to wait
    becomes(purpose_approval="sensitive", service_daily_ceiling="10")
    assert made("t.eight", fields=["ssn"])
    log = cluster.log.read_text()
    for weakened in ("purpose_approval is sensitive", "purpose_approval is none", "service_daily_ceiling is 60"):
        assert log.count(f"identity_pgx.{weakened}, which weakens protection") == 1, weakened
    assert "service_daily_ceiling is 10," not in log
    gateway.close()
