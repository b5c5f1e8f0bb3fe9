"""A session may set what it likes: names, operators, casts, domains, planner and formats change nothing."""

import psycopg
import pytest

from vault import read, refused_read

# Whatever is called in here while a role of ours is the current user leaves a mark that no ROLLBACK takes away.
HOSTILE_SCHEMA = """
CREATE SCHEMA {s};
CREATE SEQUENCE {s}.hijacked;
CREATE FUNCTION {s}.spy() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user LIKE 'identity%' THEN PERFORM nextval('{s}.hijacked'); END IF;
    RETURN true;
END $$;
CREATE FUNCTION {s}.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT {s}.spy()';
CREATE FUNCTION {s}.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT {s}.spy()';
CREATE FUNCTION {s}.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT {s}.spy()';
CREATE FUNCTION {s}.same(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT {s}.spy()';
CREATE OPERATOR {s}.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = {s}.same);
CREATE OPERATOR {s}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {s}.same);
CREATE OPERATOR {s}.= (LEFTARG = name, RIGHTARG = name, FUNCTION = {s}.same);
CREATE OPERATOR {s}.= (LEFTARG = int, RIGHTARG = int, FUNCTION = {s}.same);
CREATE FUNCTION {s}.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT CASE WHEN {s}.spy() THEN '1999-01-01'::timestamptz END $$;
CREATE FUNCTION {s}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT CASE WHEN {s}.spy() THEN '1999-01-01'::timestamptz END $$;
CREATE FUNCTION {s}.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN {s}.spy() THEN 'x' END $$;
CREATE TABLE {s}.subjects (candidate_id uuid, name_ct bytea, vertical text, consent_status text);
CREATE TABLE {s}.purpose_definitions (purpose_token text, allowed_fields text[]);
CREATE TABLE {s}.purpose_versions (purpose_token text, version int, allowed_fields text[], allowed_roles name[]);
CREATE TABLE {s}.pii_access_log (access_id bigint);
CREATE DOMAIN {s}.bigint AS pg_catalog.int8 CHECK ({s}.spy());
"""


@pytest.fixture
def hostile(vault):
    """A gateway that may create things, with a schema of traps first in its search_path."""
    role = vault.login("identity_gateway", "identity_zone_onbox")
    schema = f"trap_{role}"
    vault.sql(f"GRANT CREATE ON DATABASE identity TO {role}")
    with vault.connect(role) as conn:
        conn.execute(HOSTILE_SCHEMA.replace("{s}", schema))
        conn.execute(f"SET search_path = {schema}, pg_catalog, identity")
        yield conn, schema
        called = vault.sql(f"SELECT is_called FROM {schema}.hijacked")[0]["is_called"]
    vault.sql(f"DROP SCHEMA {schema} CASCADE")
    assert not called, "something of the caller's ran as one of our roles"


def test_search_path_and_operator_hijack(vault, hostile):
    conn, _ = hostile
    subject, other = vault.subject(), vault.subject("healthcare", "withdrawn")
    read(conn, subject)
    refused_read(conn, other, "42501", "consent")
    vault.leaves(conn, committed=1, denied=1)


def test_temp_tables_hijack(vault, hostile):
    conn, _ = hostile
    for table in (
        "subjects",
        "purpose_versions",
        "purpose_definitions",
        "purpose_revocations",
        "pii_access_log",
        "installation",
        "keyring",
    ):
        conn.execute(f"CREATE TEMP TABLE {table} (LIKE {'pg_catalog.pg_class'})")
    conn.execute("SET search_path = pg_temp, pg_catalog, identity")
    read(conn, vault.subject())
    refused_read(conn, vault.subject(consent="withdrawn"), "42501", "consent")
    vault.leaves(conn, committed=1, denied=1)


def test_register_and_vertical_under_a_hostile_search_path(vault, hostile):
    conn, _ = hostile
    candidate = conn.execute("SELECT identity.pii_register('t.all', '{\"name\": \"Ada\"}')").fetchone()[0]
    assert conn.execute("SELECT vertical FROM identity.pii_vertical(%s)", (candidate,)).fetchone() == ("unknown",)
    vault.leaves(conn, committed=2)


def test_dba_and_auditor_under_a_hostile_search_path(vault, hostile):
    conn, schema = hostile
    vault.sql(
        f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO PUBLIC; GRANT USAGE ON SEQUENCE {schema}.hijacked TO PUBLIC"
    )
    with vault.connect(vault.dba) as dba:
        dba.execute(f"SET search_path = {schema}, pg_catalog")
        dba.execute("""INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, auth_tier, allowed_roles)
                       VALUES ('t.hostile', 'x', '{name}', 'service', '{identity_gateway}') ON CONFLICT DO NOTHING""")
        dba.execute(
            "UPDATE identity.purpose_definitions SET allowed_fields = '{name,email}' WHERE purpose_token OPERATOR(pg_catalog.=) 't.hostile'"
        )
        dba.execute("SELECT identity.purpose_revoke('t.hostile', 'x')")
    with vault.connect(vault.auditor) as auditor:
        auditor.execute(f"SET search_path = {schema}, pg_catalog")
        assert all(row[0] for row in auditor.execute("SELECT ok FROM identity.ledger_verify(true)"))
        auditor.execute("SELECT * FROM identity.identity_status()")
        auditor.execute("SELECT * FROM identity.key_status()")


def test_domains_and_casts_as_arguments(vault, hostile):
    conn, schema = hostile
    subject = vault.subject()
    conn.execute(f"""
        CREATE DOMAIN {schema}.id AS uuid CHECK ({schema}.spy());
        CREATE DOMAIN {schema}.word AS text CHECK ({schema}.spy());
        CREATE TYPE {schema}.purpose AS (token text);
        CREATE FUNCTION {schema}.to_text({schema}.purpose) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN {schema}.spy() THEN ($1).token END $$;
        CREATE CAST ({schema}.purpose AS text) WITH FUNCTION {schema}.to_text({schema}.purpose) AS IMPLICIT""")
    row = conn.execute(
        f"SELECT pii FROM identity.pii_resolve(%s::{schema}.id, ROW('t.all')::{schema}.purpose, ARRAY['name'::{schema}.word])",
        (subject.id,),
    ).fetchone()
    assert row[0] == {"name": subject.pii["name"]}


def test_row_security_off_opens_nothing(vault):
    subject = vault.subject("healthcare")
    with vault.gateway("identity_gateway", "identity_zone_cloud") as cloud:
        cloud.execute("SET row_security = off")
        refused_read(cloud, subject, "P0002", "subject_unavailable")
        read(cloud, vault.subject("general"))


PLANNERS = {
    "no_index": ["enable_indexscan=off", "enable_bitmapscan=off", "enable_indexonlyscan=off"],
    "no_seqscan": ["enable_seqscan=off", "enable_tidscan=off", "enable_sort=off"],
    "generic_plans": ["plan_cache_mode=force_generic_plan"],
    "custom_plans": ["plan_cache_mode=force_custom_plan"],
    "jit": ["jit=on", "jit_above_cost=0", "jit_inline_above_cost=0", "jit_optimize_above_cost=0"],
    "parallel": ["parallel_setup_cost=0", "parallel_tuple_cost=0", "min_parallel_table_scan_size=0", "max_parallel_workers_per_gather=4"],
    "small_memory": ["work_mem='64kB'", "temp_buffers='800kB'", "maintenance_work_mem='1MB'"],
    "odd_partitions": ["enable_partition_pruning=off", "constraint_exclusion=on"],
    "odd_semantics": [
        "transform_null_equals=on",
        "array_nulls=off",
        "default_transaction_isolation=serializable",
        "quote_all_identifiers=on",
        "check_function_bodies=off",
        "session_replication_role=origin",
    ],
    "chatty": [
        "client_min_messages=debug5",
        "debug_print_plan=on",
        "debug_print_parse=on",
        "debug_print_rewritten=on",
        "debug_pretty_print=on",
    ],
}
FORMATS = {
    "german": ["DateStyle='German, DMY'", "IntervalStyle=iso_8601", "TimeZone='Asia/Kathmandu'"],
    "sql": ["DateStyle='SQL, MDY'", "IntervalStyle=sql_standard", "TimeZone='America/St_Johns'", "timezone_abbreviations='Australia'"],
    "escape": ["bytea_output=escape", "extra_float_digits=-15", "standard_conforming_strings=off", "escape_string_warning=off"],
    "posix_zone": [
        "TimeZone='<x>+13:37'",
        "DateStyle='Postgres, YMD'",
        "xmlbinary=hex",
        "lc_numeric='C'",
        "lc_time='C'",
        "lc_monetary='C'",
    ],
    "encoding": ["client_encoding=LATIN1", "default_text_search_config='pg_catalog.german'"],
}


@pytest.mark.parametrize("name", PLANNERS | FORMATS)
def test_hostile_settings_change_neither_answer_nor_record(vault, gateway, name):
    subject, hidden = vault.subject("healthcare"), vault.subject(consent="withdrawn")
    for setting in (PLANNERS | FORMATS)[name]:
        if not setting.startswith("session_replication_role"):
            gateway.execute(f"SET {setting}")
    for _ in range(8):  # past the switch to a generic plan
        read(gateway, subject, fields=["name", "ssn"])
    refused_read(gateway, hidden, "42501", "consent")
    gateway.execute("SELECT * FROM identity.pii_vertical(%s)", (subject.id,))
    gateway.execute("SELECT identity.pii_register('t.all', '{\"name\": \"Ada\"}')")
    vault.leaves(gateway, committed=10, denied=1)
    vault.verify()


def test_hostile_settings_do_not_fool_the_verifier(vault):
    with vault.connect(vault.auditor) as auditor:
        for settings in (PLANNERS | FORMATS).values():
            for setting in settings:
                if not setting.startswith(("session_replication_role", "client_min_messages")):
                    auditor.execute(f"SET {setting}")
        assert all(row[0] for row in auditor.execute("SELECT ok FROM identity.ledger_verify(true)"))


@pytest.mark.parametrize(
    "statement",
    ["DISCARD ALL", "DISCARD PLANS", "DEALLOCATE ALL", "RESET ALL", "UNLISTEN *", "CLOSE ALL", "SELECT pg_advisory_unlock_all()"],
)
def test_cleaning_up_between_calls_changes_nothing(vault, gateway, statement):
    subject = vault.subject()
    gateway.prepare_threshold = None  # psycopg's own statements are not what is tested
    for _ in range(3):
        read(gateway, subject)
        gateway.execute(statement)
        refused_read(gateway, vault.subject(consent="withdrawn"), "42501", "consent")
    vault.leaves(gateway, committed=3, denied=3)


def test_lc_messages_does_not_translate_the_reason(vault, gateway):
    vault.sql(f"ALTER ROLE {gateway.info.user} SET lc_messages = 'C.UTF-8'")
    with vault.connect(gateway.info.user) as conn:
        refused_read(conn, vault.subject(consent="withdrawn"), "42501", "consent")


def test_session_cannot_change_our_settings(vault, gateway):
    for setting in ("database", "allow_dev_keys", "recorder_slots", "require_mtls", "purpose_approval", "service_daily_ceiling", "backup_retention"):
        with pytest.raises((psycopg.errors.CantChangeRuntimeParam, psycopg.errors.InsufficientPrivilege)):
            gateway.execute(f"SET identity_pgx.{setting} = DEFAULT")
    with pytest.raises(psycopg.Error):  # the prefix is reserved
        gateway.execute("SET identity_pgx.no_such_thing = 'on'")
