"""Others in the same cluster, and the owner of the database, change what is theirs to change: it opens and stops nothing of ours."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import Cluster, wait_until
from vault import Vault, read, refused_read

VERBS = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
OPENED = """
    SELECT c.oid::regclass::text AS opened FROM pg_class c, unnest(%(verbs)s::text[]) AS verb
     WHERE c.relnamespace = 'identity'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(%(role)s, c.oid, verb)
    UNION
    SELECT c.oid::regclass::text FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) AS verb
     WHERE c.relnamespace = 'identity'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_any_column_privilege(%(role)s, c.oid, verb)
    UNION
    SELECT p.oid::regprocedure::text FROM pg_proc p
     WHERE p.pronamespace = 'identity'::regnamespace AND p.proname <> 'identity_health' AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
    UNION
    SELECT 'schema' WHERE has_schema_privilege(%(role)s, 'identity', 'CREATE')"""
FARTHEST = """SELECT relname FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relname LIKE 'pii\\_access\\_log\\_y%' AND relkind = 'r'
              ORDER BY relname DESC LIMIT 1"""
MINE = "-c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed -c role=none -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"


def one(conn, query: str, params=None):
    row = conn.execute(query, params).fetchone()
    return row and row[0]


# -- default privileges ------------------------------------------------------
@pytest.mark.parametrize("grantee", ["intruder", "PUBLIC"])
def test_default_privileges_open_nothing_now_or_later(fresh, grantee):
    cluster = fresh(install=False)
    with cluster.connect() as admin:
        admin.execute("CREATE ROLE intruder LOGIN")
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"):
            admin.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO {grantee}")
        admin.execute("CREATE TABLE public.control (n int)")
        assert one(admin, "SELECT has_table_privilege('intruder', 'public.control', 'TRUNCATE')"), "the default privileges have no effect"
    cluster.install()
    with cluster.connect() as admin:
        opened = lambda: admin.execute(OPENED, {"verbs": VERBS, "role": "intruder"}).fetchall()
        assert opened() == []
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS", "TYPES"):  # and within the schema, now that there is one
            admin.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA identity GRANT ALL ON {kind} TO {grantee}")
        assert one(admin, "SELECT identity._make_partition('2091-05-01')")
        extra = "pii_access_log_y2091m05"
        assert one(admin, FARTHEST) == extra
        admin.execute(f"DROP TABLE identity.{extra}")
        assert one(admin, "SELECT identity._make_partition('2091-06-01')")
        assert opened() == []
        # The one that the maintenance process makes.
        admin.execute("DROP TABLE identity.pii_access_log_y2091m06")
        missing = one(admin, FARTHEST)
        admin.execute(f"DROP TABLE identity.{missing}")
    cluster.restart()
    with cluster.connect() as admin:
        wait_until(lambda: one(admin, FARTHEST) == missing, "maintenance to make the partition", timeout=20)
        assert admin.execute(OPENED, {"verbs": VERBS, "role": "intruder"}).fetchall() == []
    with cluster.connect("intruder") as intruder:
        for attempt in (
            "SELECT identity.key_wipe_all()",
            "SELECT identity.dev_unlock()",
            "SELECT identity._forget()",
            "SELECT * FROM identity.pii_access_log",
            f"SELECT * FROM identity.{missing}",
            f"TRUNCATE identity.{missing}",
            f"BEGIN; LOCK TABLE identity.{missing} IN ACCESS SHARE MODE",
            f"CREATE TRIGGER t BEFORE INSERT ON identity.{missing} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE TABLE identity.mine (n int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                intruder.execute(attempt)
            intruder.rollback()


# -- a role that may write every table ---------------------------------------
def contents(vault) -> dict[str, tuple]:
    tables = vault.sql("SELECT relname FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind = 'r'")
    return {
        name: tuple(
            vault.sql(f"SELECT count(*) AS n, md5(string_agg(t::text, E'\\n' ORDER BY t::text)) AS content FROM identity.{name} t")[
                0
            ].values()
        )
        for name in (table["relname"] for table in tables)
    }


@pytest.mark.parametrize("also", ["", "pg_read_all_data"], ids=["alone", "with_read"])
def test_who_may_write_every_table_writes_none_of_ours(vault, gateway, also):
    subject = vault.subject()
    read(gateway, subject)
    revoked = vault.purpose()
    vault.revoke(revoked)
    vault.sql("CREATE TABLE IF NOT EXISTS public.written (n int)")
    vault.settings_recorded()
    before = contents(vault)
    assert {name for name, (rows, _) in before.items() if rows} >= {
        "subjects",
        "purpose_definitions",
        "purpose_versions",
        "purpose_revocations",
        "installation",
        "keyring",
        "settings_history",
    }
    role = vault.login("pg_write_all_data", *([also] if also else []))
    changed = []
    with vault.connect(role) as writer:
        writer.execute("INSERT INTO public.written VALUES (1)")  # the role does what it says
        for name in [*before, "pii_access_log"]:
            columns = [
                row["attname"]
                for row in vault.sql("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", (f"identity.{name}",))
            ]
            sample = vault.sql(f"SELECT to_jsonb(t) AS row FROM identity.{name} t LIMIT 1")
            attempts = [
                (f"UPDATE identity.{name} SET {columns[0]} = DEFAULT", None),
                (f"UPDATE identity.{name} SET {columns[-1]} = NULL", None),
                (f"DELETE FROM identity.{name}", None),
                (f"TRUNCATE identity.{name} CASCADE", None),
                (
                    f"MERGE INTO identity.{name} t USING (VALUES (1)) v (n) ON false WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING",
                    None,
                ),
            ]
            if sample:
                copied = f"SELECT * FROM jsonb_populate_record(NULL::identity.{name}, %s)"
                attempts += [(f"INSERT INTO identity.{name} {copied}", (Jsonb(sample[0]["row"]),))]
                attempts += [(f"INSERT INTO identity.{name} {copied} ON CONFLICT DO NOTHING", (Jsonb(sample[0]["row"]),))]
            for query, params in attempts:
                try:
                    done = writer.execute(query, params)
                    if done.rowcount > 0:
                        changed.append(query)
                except psycopg.errors.InsufficientPrivilege:
                    pass  # by the guards or by row-level security, not by an accident such as a duplicate key
    assert not changed
    assert contents(vault) == before
    refused_read(gateway, subject, "42501", "purpose_revoked", revoked)
    vault.verify()


# -- owner roles ---------------------------------------------------------------
def guards(vault) -> dict:
    return next(row for row in vault.sql("SELECT * FROM identity.identity_status()") if row["item"] == "guards")


@pytest.mark.parametrize("owner", ["identity_owner", "identity_reader", "identity_keeper"])
@pytest.mark.parametrize(
    "change, back",
    [
        ("GRANT {} TO t_neighbour", "REVOKE {} FROM t_neighbour"),
        ("GRANT pg_read_all_data TO {}", "REVOKE pg_read_all_data FROM {}"),
        ("ALTER ROLE {} LOGIN", "ALTER ROLE {} NOLOGIN"),
        ("ALTER ROLE {} BYPASSRLS", "ALTER ROLE {} NOBYPASSRLS"),
        ("ALTER ROLE {} CREATEROLE", "ALTER ROLE {} NOCREATEROLE"),
    ],
    ids=["member", "membership", "login", "bypassrls", "createrole"],
)
def test_an_owner_role_that_is_opened_shows(vault, request, owner, change, back):
    vault.sql("DROP ROLE IF EXISTS t_neighbour")
    vault.sql("CREATE ROLE t_neighbour LOGIN")
    request.addfinalizer(lambda: vault.sql("DROP ROLE t_neighbour"))
    assert guards(vault)["state"] == "in place"
    vault.sql(change.format(owner))
    try:
        state = guards(vault)
        wrong = [row for row in vault.findings() if not row["ok"]]
    finally:
        vault.sql(back.format(owner))
    assert state["state"] == "missing" and "ledger_verify" in state["hint"]
    assert [row["check_name"] for row in wrong] == ["guards"] and owner in wrong[0]["detail"]
    assert guards(vault)["state"] == "in place"
    vault.verify()


def test_who_makes_itself_a_member_by_createrole_shows(vault):
    """Before PostgreSQL 16 CREATEROLE is enough to become any role that is no superuser."""
    if vault.admin.info.server_version >= 160000:
        pytest.skip("from PostgreSQL 16 on CREATEROLE alone grants no role that it does not administer")
    role = vault.login()
    vault.sql(f"ALTER ROLE {role} CREATEROLE")
    with vault.connect(role) as climber:
        climber.execute(f"GRANT identity_owner TO {role}")
    try:
        assert guards(vault)["state"] == "missing"
        assert any("identity_owner" in row["detail"] for row in vault.findings() if not row["ok"])
    finally:
        vault.sql(f"REVOKE identity_owner FROM {role}")
    vault.verify()


# -- settings of the database ----------------------------------------------------
@pytest.fixture(scope="module")
def owned():
    """A cluster whose database belongs to an ordinary login, who may ALTER DATABASE … SET."""
    cluster = Cluster("n").start().install()
    with cluster.connect() as admin:
        admin.execute("CREATE ROLE owner_of_database LOGIN; CREATE ROLE powerless; GRANT powerless TO owner_of_database")
        admin.execute("ALTER DATABASE identity OWNER TO owner_of_database")
        admin.execute("CREATE ROLE gw LOGIN; GRANT identity_gateway, identity_zone_onbox TO gw")
    yield cluster
    cluster.destroy()


HOSTILE = {
    "read only": ["default_transaction_read_only = on"],
    "isolation": ["default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on"],
    "role": ["role = 'powerless'"],
    "lock_timeout": ["lock_timeout = '1ms'"],
    "statement_timeout": ["statement_timeout = '1ms'"],
    "all": [
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "role = 'powerless'",
        "lock_timeout = '1ms'",
        "statement_timeout = '1ms'",
        "search_path = 'trap'",
        "row_security = off",
        "idle_in_transaction_session_timeout = '1ms'",
        "default_tablespace = 'nowhere'",
        "default_table_access_method = 'nothing'",
        "datestyle = 'German'",
        "timezone = 'Pacific/Kiritimati'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
        "enable_indexscan = off",
        "synchronous_commit = off",
    ],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_settings_of_the_database_stop_neither_recorder_nor_maintenance(owned, monkeypatch, name):
    monkeypatch.setenv("PGOPTIONS", MINE)  # our own sessions are not what is tested
    with owned.connect("owner_of_database") as owner:
        for setting in HOSTILE[name]:
            try:
                owner.execute(f"ALTER DATABASE identity SET {setting}")
            except psycopg.Error:  # what the server does not accept is no danger
                assert name == "all", setting
    try:
        with owned.connect() as admin:
            before = one(admin, "SELECT count(*) FROM identity.settings_history")
            missing = one(admin, FARTHEST)
            admin.execute(f"DROP TABLE identity.{missing}")
        owned.restart()
        with owned.connect() as admin:
            admin.execute("SET search_path = pg_catalog")
            wait_until(lambda: healthy(admin), "unlock")
            workers = "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE backend_type LIKE 'identity%'"
            pids = one(admin, workers)
            candidate = one(admin, "SELECT gen_random_uuid()")
            admin.execute("SELECT identity._import_subject(%s, '{\"name\": \"N\"}', 'general', 'given')", (candidate,))
            counts = "SELECT count(*) FILTER (WHERE outcome = 'rolled_back'), count(*) FILTER (WHERE outcome = 'denied') FROM identity.pii_access_log WHERE candidate_id = %s"
            with owned.connect("gw") as gw:
                for _ in range(3):
                    with gw.transaction(force_rollback=True):
                        gw.execute("SELECT * FROM identity.pii_resolve(%s, 'fill_validation', '{name}')", (candidate,))
                with pytest.raises(psycopg.Error):
                    gw.execute("SELECT * FROM identity.pii_resolve(%s, 'fill_validation', '{ssn}')", (candidate,))
                # The recorder waits for a lock as long as it takes.
                with admin.transaction():
                    admin.execute("LOCK TABLE identity.pii_access_log IN SHARE MODE")
                    with pytest.raises(psycopg.Error):
                        gw.execute("SELECT * FROM identity.pii_resolve(%s, 'fill_validation', '{email}')", (candidate,))
                    admin.execute("SELECT pg_sleep(0.3)")
            wait_until(lambda: admin.execute(counts, (candidate,)).fetchone() == (3, 2), "the recorder to write", timeout=15)
            wait_until(lambda: one(admin, FARTHEST) == missing, "maintenance to make the partition", timeout=15)
            wait_until(
                lambda: one(admin, "SELECT count(*) FROM identity.settings_history") == before + 1, "the settings on the record", timeout=15
            )
            assert one(admin, workers) == pids and len(pids) == 2, "a worker ended"
            assert "set aside" not in owned.log.read_text(), "the recorder could not write at its first try"
            assert one(admin, "SELECT bool_and(ok) FROM identity.ledger_verify(true)")
    finally:
        with owned.connect(dbname="postgres") as admin:
            admin.execute("ALTER DATABASE identity RESET ALL")


def test_tables_of_the_workers_are_heaps_whatever_the_database_says(owned, monkeypatch):
    """Rows are written below SQL as a heap's are; into another kind of table they must not go."""
    monkeypatch.setenv("PGOPTIONS", MINE + " -c default_table_access_method=heap")
    with owned.connect() as admin:
        admin.execute("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler")
        with owned.connect("owner_of_database") as owner:
            owner.execute("ALTER DATABASE identity SET default_table_access_method = 'other'")
        missing = one(admin, FARTHEST)
        admin.execute(f"DROP TABLE identity.{missing}")
    try:
        owned.restart()
        with owned.connect() as admin:
            wait_until(lambda: one(admin, FARTHEST) == missing, "maintenance to make the partition", timeout=15)
            assert one(admin, f"SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE c.oid = 'identity.{missing}'::regclass") == "heap"
    finally:
        with owned.connect() as admin:
            admin.execute("ALTER DATABASE identity RESET ALL; DROP ACCESS METHOD other")


def test_operators_of_the_databases_owner_are_not_called_by_the_workers(owned, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", MINE + " -c search_path=pg_catalog")
    with owned.connect("owner_of_database") as owner:
        owner.execute("""
            CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC;
            CREATE SEQUENCE trap.hijacked; GRANT ALL ON SEQUENCE trap.hijacked TO PUBLIC;
            CREATE FUNCTION trap.caught() RETURNS boolean LANGUAGE plpgsql AS $$
              BEGIN PERFORM nextval('trap.hijacked'); RETURN true; END $$;
            CREATE FUNCTION trap.le(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT trap.caught()';
            CREATE FUNCTION trap.eq(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT trap.caught()';
            CREATE OPERATOR trap.<= (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.le);
            CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.eq);
            ALTER DATABASE identity SET search_path = trap, pg_catalog""")
    try:
        owned.restart()
        with owned.connect() as admin:
            wait_until(lambda: healthy(admin), "unlock")
            with owned.connect("gw") as gw, pytest.raises(psycopg.Error):
                gw.execute("SELECT * FROM identity.pii_resolve(gen_random_uuid(), 'fill_validation', '{ssn}')")
            denied = "SELECT count(*) FROM identity.pii_access_log WHERE accessor_role = 'gw' AND denial = 'field_not_allowed' AND accessed_at > pg_postmaster_start_time()"
            wait_until(lambda: one(admin, denied) == 1, "the recorder to write")
            assert not one(admin, "SELECT is_called FROM trap.hijacked"), "a worker ran what the database's owner wrote"
    finally:
        with owned.connect() as admin:
            admin.execute("ALTER DATABASE identity RESET ALL; DROP SCHEMA trap CASCADE")


def healthy(admin) -> bool:
    try:
        admin.execute("SELECT identity.dev_unlock()")
        admin.execute("SELECT identity.identity_health()")
        return True
    except psycopg.Error:
        return False


# -- how far a commit goes --------------------------------------------------------
def waits_for_standby(vault, subject) -> bool:
    """With a synchronous standby that does not exist, a commit at level `on` waits until somebody gives it up."""
    vault.name_a_standby_that_is_not_there()
    conn = vault.gateway(autocommit=False)
    role = conn.info.user

    def recorded() -> bool:
        # Where the database overrides the level, the recorder takes a reload in by starting anew.
        try:
            read(conn, subject)
        except psycopg.errors.ObjectNotInPrerequisiteState:
            conn.rollback()
            return False
        return True

    try:
        wait_until(recorded, "the recorder")
        conn.pgconn.send_query(b"COMMIT")
        try:
            vault.wait_backend(role, "wait_event = 'SyncRep'")
            return True
        except AssertionError:
            return False
    finally:
        vault.name_no_standby()
        conn.close()


def test_synchronous_commit_of_the_database_does_not_weaken_the_servers(fresh):
    vault = Vault(fresh())
    subject = vault.subject()
    vault.sql("ALTER DATABASE identity SET synchronous_commit = off")
    vault.cluster.restart()
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)
    assert vault.sql("SHOW synchronous_commit")[0]["synchronous_commit"] == "off"
    assert waits_for_standby(vault, subject)


def test_synchronous_commit_of_the_database_does_not_outlive_a_reload(fresh):
    """The database says what the server says; then the server's own level is raised."""
    vault = Vault(fresh({"synchronous_commit": "local"}))
    subject = vault.subject()
    vault.sql("ALTER DATABASE identity SET synchronous_commit = local")
    vault.cluster.restart()
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)
    assert not waits_for_standby(vault, subject)
    vault.sql("ALTER SYSTEM SET synchronous_commit = on")
    vault.cluster.reload()
    assert waits_for_standby(vault, subject)
