"""The install refuses a place that somebody prepared, and everything refuses before it is ready."""

import psycopg
import pytest

from cluster import wait_until
from vault import reason_of, said, uuid7

OWNERS = ["identity_owner", "identity_reader", "identity_keeper"]
GROUPS = [
    "identity_gateway",
    "identity_zone_onbox",
    "identity_zone_cloud",
    "identity_dba",
    "identity_approver",
    "identity_reviewer",
    "identity_legal",
    "identity_worker",
    "identity_auditor",
]
CALL = "SELECT * FROM identity.pii_resolve(%s, 'fill_validation', '{name}')"


@pytest.fixture(scope="module")
def bare():
    """A preloaded cluster without the extension; each test tries its attack in a transaction of its own."""
    from cluster import Cluster

    cluster = Cluster("b").start()
    yield cluster
    cluster.destroy()


def refuses_to_install(conn, sqlstate: str, words: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        conn.execute("CREATE EXTENSION identity_pgx")
    error = caught.value
    assert error.sqlstate == sqlstate and words in said(error), said(error)
    assert error.diag.message_hint
    conn.execute("ROLLBACK TO attack")
    assert conn.execute("SELECT count(*) FROM pg_extension WHERE extname = 'identity_pgx'").fetchone() == (0,)


@pytest.mark.parametrize(
    "preparation",
    [
        "CREATE SCHEMA identity",
        "CREATE ROLE squatter; CREATE SCHEMA identity AUTHORIZATION squatter",
        "CREATE SCHEMA identity; CREATE FUNCTION identity.digest(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        "CREATE SCHEMA identity; GRANT CREATE ON SCHEMA identity TO PUBLIC",
    ],
    ids=["empty", "owned_by_another", "with_objects", "others_may_create"],
)
def test_squatted_schema_stops_the_install(bare, preparation):
    with bare.connect() as conn:
        conn.execute("BEGIN")
        conn.execute(preparation)
        conn.execute("SAVEPOINT attack")
        refuses_to_install(conn, "42P06", 'schema "identity" already exists')
        conn.execute("ROLLBACK")


@pytest.mark.parametrize("role", OWNERS + GROUPS)
@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS", "LOGIN", "CREATEROLE"])
def test_role_made_beforehand_with_a_dangerous_attribute_stops_the_install(bare, role, attribute):
    with bare.connect() as conn:
        conn.execute("BEGIN")
        conn.execute(f"CREATE ROLE {role} {attribute}")
        conn.execute("SAVEPOINT attack")
        refuses_to_install(conn, "42501", "reason: role_conflict")
        conn.execute("ROLLBACK")


@pytest.mark.parametrize("role", OWNERS)
def test_owner_role_with_a_member_stops_the_install(bare, role):
    with bare.connect() as conn:
        conn.execute(f"BEGIN; CREATE ROLE {role}; CREATE ROLE intruder; GRANT {role} TO intruder")
        conn.execute("SAVEPOINT attack")
        refuses_to_install(conn, "42501", "reason: role_conflict")
        conn.execute("ROLLBACK")


@pytest.mark.parametrize("role", OWNERS + GROUPS)
def test_role_with_a_foreign_admin_stops_the_install(bare, role):
    with bare.connect() as conn:
        conn.execute(f"BEGIN; CREATE ROLE {role}; CREATE ROLE intruder; GRANT {role} TO intruder WITH ADMIN OPTION")
        conn.execute("SAVEPOINT attack")
        refuses_to_install(conn, "42501", "reason: role_conflict")
        conn.execute("ROLLBACK")


@pytest.mark.parametrize("role", GROUPS)
def test_role_with_a_member_that_no_superuser_granted_stops_the_install(bare, role):
    with bare.connect() as conn:
        conn.execute(
            f"BEGIN; CREATE ROLE intruder CREATEROLE; CREATE ROLE friend; SET LOCAL ROLE intruder; CREATE ROLE {role}; GRANT {role} TO friend; RESET ROLE"
        )
        conn.execute("SAVEPOINT attack")
        refuses_to_install(conn, "42501", "reason: role_conflict")
        conn.execute("ROLLBACK")


@pytest.mark.parametrize("role", OWNERS + GROUPS)
def test_role_that_is_itself_a_member_of_something_stops_the_install(bare, role):
    with bare.connect() as conn:
        conn.execute(f"BEGIN; CREATE ROLE {role}; GRANT pg_read_all_data TO {role}")
        conn.execute("SAVEPOINT attack")
        refuses_to_install(conn, "42501", "reason: role_conflict")
        conn.execute("ROLLBACK")


def test_roles_made_beforehand_without_anything_dangerous_are_taken(bare):
    with bare.connect() as conn:
        conn.execute("BEGIN")
        for role in OWNERS + GROUPS:
            conn.execute(f"CREATE ROLE {role} NOLOGIN")
        conn.execute("CREATE EXTENSION identity_pgx")
        conn.execute("ROLLBACK")


def test_install_under_a_hostile_search_path(bare):
    with bare.connect() as conn:
        conn.execute("""BEGIN; CREATE SCHEMA trap;
            CREATE FUNCTION trap.fail(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
            CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.fail);
            SET LOCAL search_path = trap, pg_catalog; CREATE EXTENSION identity_pgx; ROLLBACK""")


@pytest.mark.parametrize("scope", ["", "IN SCHEMA public "], ids=["global", "public"])
def test_default_privileges_set_beforehand_open_nothing(bare, scope):
    with bare.connect() as conn:
        conn.execute("BEGIN; CREATE ROLE intruder")
        for kind in ("TABLES", "FUNCTIONS", "SEQUENCES", "TYPES") + (() if scope else ("SCHEMAS",)):
            conn.execute(f"ALTER DEFAULT PRIVILEGES {scope}GRANT ALL ON {kind} TO intruder WITH GRANT OPTION")
        conn.execute("CREATE EXTENSION identity_pgx; SELECT identity.initialize()")
        opened = conn.execute("""SELECT c.oid::regclass::text FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS way
                                  WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p', 'v') AND has_table_privilege('intruder', c.oid, way)
                           UNION SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'identity'::regnamespace AND proname <> 'identity_health'
                                    AND has_function_privilege('intruder', p.oid, 'EXECUTE')
                           UNION SELECT 'CREATE in the schema' WHERE has_schema_privilege('intruder', 'identity', 'CREATE')""").fetchall()
        conn.execute("ROLLBACK")
        assert opened == []


def test_install_needs_a_superuser(bare):
    with bare.connect() as conn:
        conn.execute("BEGIN; CREATE ROLE owner; GRANT CREATE ON DATABASE identity TO owner; SET LOCAL ROLE owner")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("CREATE EXTENSION identity_pgx")
        conn.execute("ROLLBACK")


def refuses(conn, query: str, sqlstate: str, reason: str, params=None) -> None:
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(query, params)
    assert reason_of(caught.value) == (sqlstate, reason), said(caught.value)
    assert caught.value.diag.message_hint


def with_gateway(cluster) -> psycopg.Connection:
    with cluster.connect() as admin:
        admin.execute("CREATE ROLE gw LOGIN; GRANT identity_gateway, identity_zone_onbox TO gw")
    return cluster.connect("gw")


def test_without_preload_everything_refuses(fresh):
    cluster = fresh({"shared_preload_libraries": "''"}, install=False)
    with cluster.connect() as admin:
        try:
            admin.execute("CREATE EXTENSION identity_pgx")
        except psycopg.Error as error:  # refusing to install is as good
            assert reason_of(error) == ("55000", "not_preloaded")
            return
        refuses(admin, "SELECT identity.initialize()", "55000", "not_preloaded")
        refuses(admin, "SELECT identity.dev_unlock()", "55000", "not_preloaded")
        refuses(admin, "SELECT identity.identity_health()", "55000", "not_preloaded")
    with with_gateway(cluster) as gateway:
        refuses(gateway, CALL, "55000", "not_preloaded", (uuid7(),))
        refuses(gateway, "SELECT identity.pii_register('fill_validation', '{\"name\": \"x\"}')", "55000", "not_preloaded")
        refuses(gateway, "SELECT * FROM identity.pii_vertical(%s)", "55000", "not_preloaded", (uuid7(),))


def test_before_initialize_and_unlock_everything_refuses(fresh):
    cluster = fresh(install=False)
    with cluster.connect() as admin:
        admin.execute("CREATE EXTENSION identity_pgx")
        assert [
            row
            for row in admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'identity' AND tablename LIKE 'pii_access_log_%'")
        ] == []
        with with_gateway(cluster) as gateway:
            refuses(gateway, CALL, "55000", "not_initialized", (uuid7(),))
            refuses(gateway, "SELECT identity.identity_health()", "55000", "not_initialized")
            admin.execute("SELECT identity.initialize()")
            wait_until(lambda: reason_after(gateway, CALL, (uuid7(),)) == ("55000", "locked"), "the keys to be what is missing")
            refuses(gateway, "SELECT identity.identity_health()", "55000", "locked")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                gateway.execute("SELECT identity.dev_unlock()")
        installed = admin.execute("SELECT installation_id FROM identity.installation").fetchone()
        assert admin.execute("SELECT identity.initialize()").fetchone() == installed  # once; a second call changes nothing
        assert admin.execute("SELECT count(*) FROM identity.installation").fetchone() == (1,)
        admin.execute("SELECT identity.dev_unlock()")
        assert admin.execute("SELECT identity.identity_health()").fetchone() == ({"status": "ok"},)


def reason_after(conn, query: str, params):
    try:
        conn.execute(query, params)
    except psycopg.Error as error:
        return reason_of(error)
    return None


def test_other_database_refuses(fresh):
    cluster = fresh()
    with cluster.connect() as admin:
        admin.execute("CREATE DATABASE other")
    with cluster.connect(dbname="other") as other:
        try:
            other.execute("CREATE EXTENSION identity_pgx")
        except psycopg.Error as error:
            assert reason_of(error) == ("55000", "wrong_database")
            return
        for query in ("SELECT identity.initialize()", "SELECT identity.dev_unlock()", "SELECT identity.identity_health()"):
            refuses(other, query, "55000", "wrong_database")
    with with_gateway(cluster) as _, cluster.connect("gw", "other") as gateway:
        refuses(gateway, CALL, "55000", "wrong_database", (uuid7(),))


def test_dev_keys_need_the_setting(fresh):
    cluster = fresh({"identity_pgx.allow_dev_keys": "off"}, install=False)
    with cluster.connect() as admin:
        admin.execute("CREATE EXTENSION identity_pgx; SELECT identity.initialize()")
        with pytest.raises(psycopg.Error) as caught:
            admin.execute("SELECT identity.dev_unlock()")
        assert caught.value.diag.message_hint
        assert reason_after(admin, "SELECT identity.identity_health()", None) == ("55000", "locked")


def test_install_makes_no_rows_and_drop_leaves_none(bare):
    with bare.connect() as conn:
        conn.execute("BEGIN; CREATE EXTENSION identity_pgx")
        tables = conn.execute(
            "SELECT format('identity.%I', relname) FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p')"
        ).fetchall()
        assert len(tables) > 5
        for (table,) in tables:
            assert conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        conn.execute("ROLLBACK")
