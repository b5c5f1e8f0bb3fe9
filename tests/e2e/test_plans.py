"""How a statement is planned, explained or spread over processes changes neither what is answered nor what is recorded."""

import json

import psycopg
import pytest

from vault import read, reason_of

SELECTED = "SELECT (identity.pii_resolve('{id}', 't.all', '{{name}}')).pii"
JOINED = "SELECT pii FROM identity.pii_resolve('{id}', 't.all', '{{name}}')"
PREPARED = "EXECUTE mine"


@pytest.mark.parametrize("query", [SELECTED, JOINED, PREPARED], ids=["selected", "joined", "prepared"])
@pytest.mark.parametrize(
    "options", ["VERBOSE", "FORMAT JSON, VERBOSE", "FORMAT XML", "FORMAT YAML, SETTINGS, SUMMARY", "COSTS OFF, VERBOSE"]
)
def test_explain_without_analyze_reads_nobody(vault, gateway, query, options):
    subject = vault.subject()
    gateway.execute(f"PREPARE mine AS {SELECTED.format(id=subject.id)}")
    for mode in ("force_generic_plan", "force_custom_plan"):
        gateway.execute(f"SET plan_cache_mode = {mode}")
        plan = gateway.execute(f"EXPLAIN ({options}) {query.format(id=subject.id)}").fetchall()
        assert subject.pii["name"] not in str(plan)
    vault.leaves(gateway)


@pytest.mark.parametrize("query", [SELECTED, JOINED, PREPARED], ids=["selected", "joined", "prepared"])
@pytest.mark.parametrize(
    "options",
    ["VERBOSE", "FORMAT JSON, VERBOSE", "FORMAT XML, BUFFERS", "FORMAT YAML, WAL", "TIMING OFF, COSTS OFF"],
)
def test_explain_analyze_in_every_form_leaves_a_row_and_shows_no_value(vault, gateway, query, options):
    subject = vault.subject()
    gateway.execute(f"PREPARE mine AS {SELECTED.format(id=subject.id)}")
    plan = gateway.execute(f"EXPLAIN (ANALYZE, {options}) {query.format(id=subject.id)}").fetchall()
    assert subject.pii["name"] not in str(plan)
    with gateway.transaction(force_rollback=True):
        gateway.execute(f"EXPLAIN (ANALYZE, {options}) {query.format(id=subject.id)}")
    vault.leaves(gateway, committed=1, rolled_back=1)


def test_explain_analyze_of_a_statement_that_keeps_the_answer_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute(f"EXPLAIN (ANALYZE, VERBOSE) CREATE TEMP TABLE kept AS {SELECTED.format(id=subject.id)}")
    vault.leaves(gateway, committed=1)


def test_a_constant_call_in_a_plan_that_is_kept_is_made_anew_each_time(vault, gateway):
    """An answer that was kept with its plan would outlive a revocation, and leave no row."""
    subject, purpose = vault.subject(), vault.purpose(fields=["name"])
    gateway.execute("SET plan_cache_mode = force_generic_plan")
    gateway.execute(f"PREPARE mine AS {SELECTED.format(id=subject.id).replace('t.all', purpose)}")
    for _ in range(3):
        assert gateway.execute("EXECUTE mine").fetchone()[0] == {"name": subject.pii["name"]}
    vault.revoke(purpose)
    with pytest.raises(psycopg.Error) as caught:
        gateway.execute("EXECUTE mine")
    assert reason_of(caught.value) == ("42501", "purpose_revoked")
    vault.leaves(gateway, committed=3, denied=1)


def test_a_constant_registration_is_made_when_it_runs_and_only_then(vault, gateway):
    """Were it folded into the plan, EXPLAIN would register somebody, and a kept plan would register nobody more."""
    register = "SELECT identity.pii_register('t.all', '{\"name\": \"Ada\"}')"
    gateway.execute("SET plan_cache_mode = force_generic_plan")
    gateway.execute(f"PREPARE mine AS {register}")
    for explained in (register, "EXECUTE mine"):
        gateway.execute(f"EXPLAIN (VERBOSE) {explained}")
    vault.leaves(gateway)
    made = {gateway.execute("EXECUTE mine").fetchone()[0] for _ in range(3)}
    assert len(made) == 3
    vault.leaves(gateway, committed=3)


# -- parallel workers ------------------------------------------------------------------
@pytest.fixture
def parallel(vault, gateway):
    """A session whose every plan is parallel that may be."""
    table = f"public.many_{gateway.info.user}"
    subject = vault.subject()
    vault.sql(f"CREATE TABLE {table} AS SELECT '{subject.id}'::uuid AS id FROM generate_series(1, 2000)")
    vault.sql(f"ANALYZE {table}")
    vault.sql(f"GRANT SELECT ON {table} TO {gateway.info.user}")
    force = "debug_parallel_query" if gateway.info.server_version >= 160000 else "force_parallel_mode"
    gateway.execute(f"SET {force} = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
    assert workers(gateway, f"SELECT md5(id::text) FROM {table}") > 0, "nothing is parallel here"
    yield gateway, table, subject
    vault.sql(f"DROP TABLE {table}")


def workers(conn, query: str) -> int:
    """Workers launched, in all of the plan."""
    plan = json.dumps(conn.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}").fetchone()[0])
    return sum(int(part.split(",")[0].split("}")[0]) for part in plan.split('"Workers Launched": ')[1:])


def test_no_call_is_made_in_a_parallel_worker(vault, parallel):
    conn, table, subject = parallel
    calls = f"SELECT (identity.pii_resolve(id, 't.all', '{{name}}')).pii->>'name' FROM {table}"
    assert workers(conn, calls) == 0
    assert conn.execute(f"SELECT count(*), min(name) FROM ({calls}) AS answers (name)").fetchone() == (2000, subject.pii["name"])
    vault.leaves(conn, committed=4000)
    vault.verify()


@pytest.mark.parametrize("marked", ["SAFE", "RESTRICTED"])
def test_calls_in_parallel_mode_are_refused_whatever_the_function_is_marked(vault, parallel, marked):
    """As a superuser could mark it: a row cannot be written there, so nothing is read."""
    conn, table, subject = parallel
    signature = "identity.pii_resolve(uuid, text, text[], text)"
    vault.sql(f"ALTER FUNCTION {signature} PARALLEL {marked}")
    try:
        with pytest.raises(psycopg.Error) as caught:
            conn.execute(f"SELECT (identity.pii_resolve(id, 't.all', '{{name}}')).pii FROM {table}").fetchall()
    finally:
        vault.sql(f"ALTER FUNCTION {signature} PARALLEL UNSAFE")
    assert reason_of(caught.value) == ("25006", "read_only")
    assert vault.rows(conn.info.user, "outcome <> 'denied'") == []
    read(conn, subject)
    vault.verify()
