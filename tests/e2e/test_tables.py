"""Nobody reads a table that names a subject except through the functions, and nobody changes the past."""

import psycopg
import pytest

from test_install import GROUPS
from vault import read

ROLES = ["nobody", *GROUPS]
POLICY_TABLES = {  # no subject is named there
    "purpose_definitions",
    "purpose_versions",
    "purpose_revocations",
    "settings_history",
    "keyring",
    "key_history",
    "key_rotations",
    "consent_versions",
    "caller_revocations",
    "volume_notices",
    "notifications",
    "outbox_channels",
    "outbox_deliveries",
    "vertical_patterns",
    "vertical_pattern_changes",
    "retention_policies",
    "retention_policy_changes",
    "forget_tables",
    "forget_history",
}
QUEUES = {  # who waits for a review, and nothing else of a subject; and requests, which name nobody
    "vertical_review_queue": {"identity_reviewer", "identity_auditor"},
    "erasure_queue": {"identity_worker", "identity_auditor", "identity_legal"},
}
KEYS = {  # which keys there are, wrapped, and what became of them: the worker has them unwrapped, for this installation and no other
    "installation": {"identity_worker"},
    "keyring": {"identity_worker", "identity_auditor"},
    "key_history": {"identity_worker", "identity_auditor"},
    "key_rotations": {"identity_worker", "identity_auditor"},
}


def tables(vault) -> list[str]:
    rows = vault.sql(
        """SELECT relname FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1"""
    )
    return [row["relname"] for row in rows]


def allowed(conn, query: str) -> bool:
    conn.execute("BEGIN")
    try:
        if query.startswith("COPY") and query.endswith("STDOUT"):
            with conn.cursor().copy(query) as copy:
                list(copy)
        else:
            conn.execute(query)
        return True
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType):  # a view is neither copied nor truncated
        return False
    finally:
        conn.execute("ROLLBACK")


@pytest.mark.parametrize("group", ROLES)
def test_no_role_reads_a_table_by_select_copy_or_cursor(vault, group):
    found = tables(vault)
    assert {"subjects", "pii_access_log", "keyring"} | POLICY_TABLES <= set(found)
    with vault.connect(vault.login(*([] if group == "nobody" else [group]))) as conn:
        open_tables = set()
        for table in found:
            for query in (
                f"SELECT * FROM identity.{table}",
                f"SELECT count(*) FROM identity.{table}",
                f"TABLE identity.{table}",
                f"COPY identity.{table} TO STDOUT",
                f"COPY (SELECT * FROM identity.{table}) TO STDOUT",
                f"DECLARE c CURSOR FOR SELECT * FROM identity.{table}",
                f"SELECT FROM identity.{table} FOR KEY SHARE",
                f"CREATE TEMP VIEW v AS SELECT * FROM identity.{table}; SELECT * FROM v",
            ):
                if allowed(conn, query):
                    open_tables.add(table)
    assert open_tables <= POLICY_TABLES | {table for table, readers in (QUEUES | KEYS).items() if group in readers}
    if group in ("nobody", "identity_gateway", "identity_zone_onbox", "identity_zone_cloud"):
        assert not open_tables


@pytest.mark.parametrize("group", ROLES)
def test_no_role_writes_a_table_but_the_dba_the_definitions(vault, group):
    with vault.connect(vault.login(*([] if group == "nobody" else [group]))) as conn:
        views = {row["relname"] for row in vault.sql("SELECT relname FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind = 'v'")}
        for table in tables(vault):
            column = vault.sql("SELECT attname FROM pg_attribute WHERE attrelid = ('identity.' || %s)::regclass AND attnum = 1", (table,))[
                0
            ]["attname"]
            writable = {
                verb
                for verb, query in {
                    "insert": f"INSERT INTO identity.{table} DEFAULT VALUES",
                    "update": f"UPDATE identity.{table} SET {column} = {column}",
                    "delete": f"DELETE FROM identity.{table}",
                    "truncate": f"TRUNCATE identity.{table}",
                    "copy": f"COPY identity.{table} FROM '/dev/null'",
                    "drop": f"DROP {'VIEW' if table in views else 'TABLE'} identity.{table}",
                    "trigger": f"ALTER TABLE identity.{table} DISABLE TRIGGER ALL",
                    "lock": f"LOCK identity.{table} IN ACCESS EXCLUSIVE MODE",
                }.items()
                if tried(conn, query)
            }
            permitted = {
                ("identity_dba", "purpose_definitions"): {"insert", "update", "lock"},
                ("identity_dba", "consent_versions"): {"insert"},
                ("identity_dba", "retention_policies"): {"insert", "delete", "lock"},  # never the columns that say who changed one, and when
                ("identity_dba", "vertical_patterns"): {"insert", "delete", "lock"},  # never the columns that say who added one, and when
            }.get((group, table), set())
            assert writable <= permitted, (table, writable)


def tried(conn, query: str) -> bool:
    """Whether the privilege check lets it pass; another error (NOT NULL, say) means that it did."""
    try:
        return allowed(conn, query)
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        return " view " not in str(error)  # one made of two tables is not written by anybody
    except psycopg.Error:
        return True


@pytest.mark.parametrize("group", ROLES)
def test_no_role_creates_anything_in_the_schema(vault, group):
    with vault.connect(vault.login(*([] if group == "nobody" else [group]))) as conn:
        for query in (
            "CREATE TABLE identity.mine (n int)",
            "CREATE FUNCTION identity.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE VIEW identity.mine AS SELECT 1",
            "CREATE SEQUENCE identity.mine",
        ):
            assert not allowed(conn, query)


def test_row_security_is_forced_wherever_a_subject_is_named(vault):
    naming = vault.sql("""
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) AS owner
          FROM pg_class c WHERE c.relnamespace = 'identity'::regnamespace AND c.relkind IN ('r', 'p')
           AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'candidate_id')""")
    assert len([row for row in naming if row["relname"].startswith("pii_access_log_y")]) >= 4
    for row in naming:
        assert (row["relrowsecurity"], row["relforcerowsecurity"], row["owner"]) == (True, True, "identity_owner"), row


def test_our_roles_have_no_way_in_or_up(vault):
    rows = vault.sql(
        "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles WHERE rolname LIKE 'identity\\_%'"
    )
    assert len(rows) == 12
    assert not [row for row in rows if any(value for key, value in row.items() if key != "rolname")]
    assert not vault.sql(
        "SELECT 1 FROM pg_auth_members WHERE pg_get_userbyid(roleid) IN ('identity_owner', 'identity_reader', 'identity_keeper') OR pg_get_userbyid(member) LIKE 'identity\\_%'"
    )


def attempts(table: str) -> list[str]:
    name = f"identity.{table}"
    if table == "purpose_versions":  # its two changes are to be superseded and to be approved, each once
        return [
            f"UPDATE {name} SET allowed_fields = '{{ssn}}'",
            f"UPDATE {name} SET superseded_at = NULL WHERE superseded_at IS NOT NULL",
            f"UPDATE {name} SET version = version + 100",
            f"DELETE FROM {name}",
            f"TRUNCATE {name}",
            f"INSERT INTO {name} SELECT * FROM {name} LIMIT 1 ON CONFLICT (purpose_token, version) DO UPDATE SET changed_by = 'x'",
        ]
    return [
        f"UPDATE {name} SET access_id = access_id",
        f"DELETE FROM {name}",
        f"DELETE FROM ONLY {name}",
        f"TRUNCATE {name}",
        f"TRUNCATE {name} CASCADE",
        f"TRUNCATE ONLY {name}",
        f"WITH gone AS (DELETE FROM {name} RETURNING 1) SELECT FROM gone",
        f"UPDATE {name} SET accessed_at = accessed_at + interval '1 month'",
    ]


@pytest.mark.parametrize("replication_role", ["origin", "replica", "local"])
def test_audit_rows_cannot_be_updated_deleted_or_truncated_even_by_a_superuser(vault, gateway, replication_role):
    read(gateway, vault.subject())
    purpose = vault.purpose()
    with vault.connect(vault.dba) as dba:
        dba.execute("UPDATE identity.purpose_definitions SET description = 'second' WHERE purpose_token = %s", (purpose,))
    guarded = [table for table in tables(vault) if table.startswith("pii_access_log")] + ["purpose_versions"]
    before = {table: vault.sql(f"SELECT count(*) AS n FROM identity.{table}")[0]["n"] for table in guarded}
    with vault.cluster.connect() as admin:
        admin.execute(f"SET session_replication_role = {replication_role}")
        for table in guarded:
            for attempt in attempts(table):
                if attempt.startswith("TRUNCATE ONLY") and table == "pii_access_log":
                    continue  # not for a partitioned table
                with pytest.raises(psycopg.Error) as caught:
                    admin.execute(attempt)
                assert caught.value.sqlstate == "42501", attempt
                assert caught.value.diag.message_detail.startswith("reason: append_only"), attempt
                assert caught.value.diag.message_hint
    assert {table: vault.sql(f"SELECT count(*) AS n FROM identity.{table}")[0]["n"] for table in guarded} == before
    vault.verify()


def test_guards_are_always_on_every_partition(vault):
    rows = vault.sql("""SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'identity'::regnamespace AND c.relname LIKE 'pii\\_access\\_log%' AND relkind IN ('r', 'p')
                        AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled = 'A' AND t.tgtype & 56 = 56)""")
    assert not rows, rows


def test_partitions_are_there_three_months_ahead(vault):
    made = {table for table in tables(vault) if table.startswith("pii_access_log_y")}
    wanted = vault.sql(
        "SELECT to_char(now() AT TIME ZONE 'UTC' + make_interval(months => n), '\"pii_access_log_y\"YYYY\"m\"MM') AS name FROM generate_series(0, 3) n"
    )
    assert {row["name"] for row in wanted} <= made
