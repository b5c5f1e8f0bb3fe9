"""Guards of the policy tables and of the place to install in, one attempt for each."""
import psycopg
import pytest

from cluster import wait_until
from test_install import GROUPS, OWNERS, bare, refuses_to_install  # noqa: F401
from vault import said


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
@pytest.mark.parametrize("attempt", ["DELETE FROM {t}", "TRUNCATE {t}"])
@pytest.mark.parametrize("table", ["purpose_definitions", "purpose_versions", "purpose_revocations"])
def test_policy_is_not_deleted_even_by_a_superuser(vault, table, attempt, replication_role):
    vault.revoke(vault.purpose())
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute(f"SET LOCAL session_replication_role = {replication_role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught, admin.transaction():
            admin.execute(attempt.format(t=f"identity.{table}"))
        assert caught.value.diag.message_detail.startswith("reason: append_only")


@pytest.mark.parametrize("replication_role", ["origin", "replica", "local"])
@pytest.mark.parametrize(
    "attempt", ["UPDATE {t} SET settings = '{{}}'", "UPDATE {t} SET access_id = access_id", "DELETE FROM {t}", "TRUNCATE {t}", "TRUNCATE {t} CASCADE"]
)
def test_settings_once_recorded_stay_even_for_a_superuser(vault, attempt, replication_role):
    recorded = "SELECT access_id, settings::text FROM identity.settings_history ORDER BY 1"
    wait_until(lambda: vault.sql(recorded), "the settings on the record")
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        before = admin.execute(recorded).fetchall()
        admin.execute(f"SET LOCAL session_replication_role = {replication_role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught, admin.transaction():
            admin.execute(attempt.format(t="identity.settings_history"))
        assert caught.value.diag.message_detail.startswith("reason: append_only")
        assert admin.execute(recorded).fetchall() == before


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
def test_a_superusers_change_of_a_purpose_is_a_version_like_any_other(vault, replication_role):
    purpose = vault.purpose(fields=["name"])
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute(f"SET LOCAL session_replication_role = {replication_role}")
        admin.execute("UPDATE identity.purpose_definitions SET allowed_fields = '{name,ssn}' WHERE purpose_token = %s", (purpose,))
        rows = admin.execute("SELECT version, allowed_fields FROM identity.purpose_versions WHERE purpose_token = %s ORDER BY 1", (purpose,)).fetchall()
    assert rows == [(1, ["name"]), (2, ["name", "ssn"])]


@pytest.mark.parametrize("role", OWNERS + GROUPS)
@pytest.mark.parametrize("attribute", ["CREATEDB", "REPLICATION"])
def test_role_made_beforehand_that_may_do_more_stops_the_install(bare, role, attribute):  # noqa: F811
    with bare.connect() as conn:
        conn.execute(f"BEGIN; CREATE ROLE {role} {attribute}; SAVEPOINT attack")
        refuses_to_install(conn, "42501", "reason: role_conflict")
        conn.execute("ROLLBACK")


def test_database_in_another_encoding_stops_the_install(bare):  # noqa: F811
    with bare.connect() as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with bare.connect(dbname="latin") as conn, pytest.raises(psycopg.Error) as caught:
            conn.execute("CREATE EXTENSION identity_pgx")
        assert caught.value.sqlstate == "55000" and "UTF8" in said(caught.value)
    finally:
        with bare.connect() as admin:
            admin.execute("DROP DATABASE latin WITH (FORCE)")


@pytest.mark.parametrize("session_is", ["superuser", "member"])
def test_superuser_only_means_session_user_and_role_set_alike(vault, session_is):
    """A login that may SET ROLE to a superuser is none, and a superuser that has put the role off is none either."""
    boss, plain = vault.login(), vault.login()
    vault.sql(f"ALTER ROLE {boss} SUPERUSER; GRANT {boss} TO {plain}; GRANT EXECUTE ON FUNCTION identity._import_subject TO {plain}")
    session, outer = (boss, plain) if session_is == "superuser" else (plain, boss)
    with vault.connect(session) as conn:
        conn.execute(f"SET ROLE {outer}")
        with pytest.raises(psycopg.Error) as caught:
            conn.execute("SELECT identity._import_subject(gen_random_uuid(), '{\"name\": \"x\"}', 'general', 'given')")
        assert (caught.value.sqlstate, caught.value.diag.message_detail) == ("42501", "reason: role_conflict")
