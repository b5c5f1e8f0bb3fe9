"""What an owner hangs on a registered table gains nothing, hides nothing and keeps nothing."""

import psycopg
import pytest

from erasure import AUTHORISE
from vault import read

GROUPS = ["gateway", "zone_onbox", "dba", "approver", "reviewer", "legal", "worker", "auditor"]
# What a trigger tries. All of it must be answered with 42501.
BECOME = [
    "SET ROLE identity_owner",
    "SET ROLE identity_keeper",
    "SET ROLE postgres",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION postgres",
    "RESET SESSION AUTHORIZATION",
    "PERFORM set_config('role', 'postgres', true)",
    "SET session_replication_role = replica",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT identity_owner TO CURRENT_USER",
]
LATER = [
    "CREATE TEMP TABLE subjects ()",
    "EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'",
    "EXECUTE 'LISTEN later'",
]
TABLES = [
    "PERFORM 1 FROM identity.subjects",
    "PERFORM 1 FROM identity.subject_texts",
    "PERFORM 1 FROM identity.pii_access_log",
    "UPDATE identity.subjects SET vertical = 'general'",
    "DELETE FROM identity.erasure_requests",
    "DELETE FROM identity.forget_tables",
    "INSERT INTO identity.forget_tables SELECT * FROM identity.forget_tables",
    "ALTER TABLE identity.subjects DISABLE ROW LEVEL SECURITY",
    "CREATE FUNCTION identity.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    # What a DBA may write is written in the name of whoever has the session.
    "INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles) VALUES ('t.mine', 'x', '{name}', '{identity_gateway}')",
    "UPDATE identity.retention_policies SET days = 1",
    "INSERT INTO identity.consent_versions (version, kind, template_hash, template_path) VALUES ('mine', 'general', repeat('a', 64), 'x')",
]
FUNCTIONS = [
    "PERFORM identity.pii_resolve(OLD.subject, 't.all', '{name}')",
    "PERFORM identity.pii_resolve_many(ARRAY[OLD.subject], 't.all', '{name}')",
    "PERFORM identity.pii_vertical(OLD.subject)",
    "PERFORM identity.consent_record(OLD.subject, 'general', 'withdrawn', NULL)",
    "PERFORM identity.erasure_request(OLD.subject, 'candidate_request')",
    "PERFORM identity.erasure_authorise(r.request_id, 'x') FROM (VALUES (gen_random_uuid())) r (request_id)",
    "PERFORM identity.erasure_status(OLD.subject)",
    "PERFORM identity.caller_revoke('t_worker', 'x')",
    "PERFORM identity.purpose_revoke('t.all', 'x')",
    "PERFORM identity.forget_unregister(TG_RELID)",
    "PERFORM identity.key_wipe_all()",
    "PERFORM identity.ledger_seal()",
    "PERFORM identity.identity_status()",
    "PERFORM identity.subject_changes(0)",
]


@pytest.fixture
def subject(app):
    return app.vault.subject()


@pytest.fixture(params=["worker", "superuser"])
def eraser(app, request):
    """Who erases: what a trigger does, it does in this session."""
    if request.param == "worker":
        yield app.worker
    else:
        with app.vault.cluster.connect() as superuser:
            yield superuser


@pytest.fixture
def tried(app):
    """tried(attempts): runs as a trigger's body would, and notes who it was and how each attempt ended."""
    app.sql("CREATE TABLE app.tried (attempt text, state text, who name, session name)")
    app.vault.sql(f"GRANT USAGE ON SCHEMA {app.schema} TO PUBLIC; GRANT INSERT ON {app.schema}.tried TO PUBLIC")

    def body(attempts) -> str:
        once = "BEGIN %s; INSERT INTO app.tried VALUES ($a$%s$a$, 'done', current_user, session_user); EXCEPTION WHEN OTHERS THEN INSERT INTO app.tried VALUES ($a$%s$a$, SQLSTATE, current_user, session_user); END"
        return "; ".join(once % (attempt, attempt, attempt) for attempt in attempts)

    return body


def outcome(app) -> dict[str, str]:
    return {row["attempt"]: row["state"] for row in app.vault.sql(f"SELECT attempt, state FROM {app.schema}.tried")}


@pytest.mark.parametrize("attempts", [BECOME, LATER, TABLES, FUNCTIONS], ids=["become", "later", "tables", "functions"])
@pytest.mark.parametrize("when", ["BEFORE DELETE", "AFTER DELETE"])
def test_trigger_gains_nothing(app, subject, eraser, tried, attempts, when):
    """Though its owner is a member of every group: none of it is done, and the rows are gone all the same."""
    for group in GROUPS:
        app.vault.sql(f"GRANT identity_{group} TO {app.owner}")
    app.table()
    app.fill(subject, 1)
    app.trigger(tried(attempts), when=when)
    purposes = app.vault.sql("SELECT purpose_token, version FROM identity.purpose_versions")
    app.erase(subject, eraser)
    assert outcome(app) == dict.fromkeys(attempts, "42501")
    assert app.rows(subject) == []
    who = app.vault.sql(f"SELECT DISTINCT who, session FROM {app.schema}.tried")
    assert who == [{"who": app.owner, "session": eraser.info.user}]
    assert app.vault.sql("SELECT purpose_token, version FROM identity.purpose_versions") == purposes
    for group in GROUPS:
        app.vault.sql(f"REVOKE identity_{group} FROM {app.owner}")
    app.vault.wait_well()


def test_trigger_on_a_child_runs_as_the_child_s_owner_and_gains_nothing(app, subject, eraser, tried):
    mallory = app.vault.login("identity_dba")
    app.sql("CREATE TABLE app.people (id int PRIMARY KEY, subject uuid)")
    app.sql("CREATE TABLE app.notes (person int REFERENCES app.people ON DELETE CASCADE, subject uuid)")
    app.register("people")
    app.sql("INSERT INTO app.people VALUES (1, %s)", (subject.id,))
    app.sql("INSERT INTO app.notes VALUES (1, %s)", (subject.id,))
    app.trigger(tried(BECOME + TABLES))
    app.vault.sql(f"ALTER TABLE {app.schema}.notes OWNER TO {mallory}; GRANT USAGE ON SCHEMA {app.schema} TO {mallory}")
    app.erase(subject, eraser)
    assert outcome(app) == dict.fromkeys(BECOME + TABLES, "42501")
    assert {row["who"] for row in app.vault.sql(f"SELECT who FROM {app.schema}.tried")} == {mallory}


def test_definer_function_of_somebody_else_gains_nothing_either(app, subject, eraser, tried):
    """A superuser's careless SECURITY DEFINER function is restricted like all else."""
    app.table()
    app.fill(subject, 1)
    attempts = ["SET ROLE identity_owner", "CREATE TEMP TABLE subjects ()", "PERFORM identity.purpose_revoke('t.all', 'x')"]
    app.vault.sql(
        f"CREATE FUNCTION {app.schema}.careless() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$ BEGIN"
        f" {tried(attempts).replace('app.', app.schema + '.')}; END $f$"
    )
    app.trigger("PERFORM app.careless()")
    app.erase(subject, eraser)
    assert set(outcome(app).values()) == {"42501"} and len(outcome(app)) == 3


def test_settings_that_a_trigger_changes_are_taken_back(app, subject):
    app.table()
    app.fill(subject, 1)
    app.trigger(
        f"PERFORM set_config('search_path', '{app.schema}', false), set_config('lock_timeout', '0', false),"
        " set_config('app.mark', 'here', false), set_config('row_security', 'off', false)"
    )
    show = "SELECT name, setting FROM pg_settings WHERE name IN ('search_path', 'lock_timeout', 'row_security', 'session_replication_role') ORDER BY 1"
    before = app.worker.execute(show).fetchall()
    app.erase(subject)
    assert app.worker.execute(show).fetchall() == before
    assert app.worker.execute("SELECT current_setting('app.mark', true)").fetchone()[0] in (None, "")


# -- keeping rows -------------------------------------------------------------
KEEPS = {
    "swallowed": ("BEFORE DELETE", "RETURN NULL"),
    "put back": ("AFTER DELETE", "INSERT INTO app.notes VALUES (OLD.subject, OLD.note)"),
    "put back at the end": ("AFTER DELETE", "INSERT INTO app.notes SELECT subject, note FROM app.kept"),
}


@pytest.mark.parametrize("how", KEEPS)
def test_trigger_that_keeps_rows_fails_the_erasure(app, subject, how):
    when, body = KEEPS[how]
    app.table()
    app.fill(subject, 2)
    app.sql("CREATE TABLE app.kept AS SELECT * FROM app.notes")
    app.trigger(body, when=when, level="STATEMENT" if "end" in how else "ROW")
    assert "left" in app.fails(subject, "55000")
    assert len(app.rows(subject)) == 2


@pytest.mark.parametrize(
    "body",
    [
        "RETURN NULL",
        "NEW.note := OLD.note",
        "NEW.note := OLD.note; NEW.subject := NULL",
        "NEW.note := OLD.note; NEW.subject := gen_random_uuid()",
        "NEW.subject := NULL",
        "NEW.subject := gen_random_uuid()",
    ],
)
def test_trigger_that_keeps_values_fails_the_erasure(app, subject, body):
    app.table(action="null_columns", columns=["note"])
    app.fill(subject, 2)
    app.trigger(body, when="BEFORE UPDATE")
    assert "left" in app.fails(subject, "55000")
    assert [row["note"] for row in app.rows(subject)] == ["note", "note"]


@pytest.mark.parametrize("victim, writer", [("notes", "calls"), ("calls", "notes")])
def test_trigger_that_writes_to_another_registered_table_fails_the_erasure(app, subject, victim, writer):
    app.table()
    app.table("calls")
    app.fill(subject, 1, writer)
    app.trigger(f"INSERT INTO app.{victim} VALUES (OLD.subject, 'again')", when="AFTER DELETE", name=writer)
    line = app.fails(subject, "55000") if (victim, writer) == ("notes", "calls") else None
    if line is None:
        # What comes before its table's turn goes with it.
        assert app.erase(subject) == {f"{app.schema}.notes": 1, f"{app.schema}.calls": 1}
    assert app.rows(subject, victim) == []


def test_trigger_that_puts_another_table_under_the_name_fails_the_erasure(app, subject):
    app.table()
    app.table("calls")
    app.fill(subject, 2)
    app.fill(subject, 1, "calls")
    app.trigger("RETURN NULL")
    app.trigger("ALTER TABLE app.notes RENAME TO elsewhere; CREATE TABLE app.notes (subject uuid, note text)", name="calls", when="AFTER DELETE")
    assert "elsewhere" in app.fails(subject, "55000")
    assert len(app.rows(subject)) == 2


def test_policy_does_not_hide_rows(app, subject):
    app.table()
    app.fill(subject, 2)
    app.sql("CREATE POLICY none ON app.notes USING (false)")
    app.sql("ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert app.sql("SELECT * FROM app.notes") == []
    assert app.erase(subject) == {f"{app.schema}.notes": 2}
    assert app.rows(subject) == []


@pytest.mark.parametrize("then", ["", "PERFORM set_config('search_path', '%s', false);", "PERFORM set_config('row_security', 'off', false);"])
def test_policy_does_not_hide_rows_that_a_trigger_keeps(app, subject, then):
    app.table()
    app.fill(subject, 2)
    app.trigger((then % app.schema if "%" in then else then) + "RETURN NULL")
    app.sql("CREATE POLICY none ON app.notes USING (false)")
    app.sql("ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    app.fails(subject, "55000")
    assert len(app.rows(subject)) == 2


def test_policies_hold_for_what_a_trigger_does(app, subject):
    """Passing the policies of the table that is cleaned must not let its trigger pass those of others, through functions that rely on them."""
    app.table()
    app.fill(subject, 1)
    victim = app.vault.login()
    app.vault.sql(
        f"CREATE TABLE {app.schema}.secrets (word text); INSERT INTO {app.schema}.secrets VALUES ('hidden');"
        f"CREATE POLICY none ON {app.schema}.secrets USING (false);"
        f"ALTER TABLE {app.schema}.secrets OWNER TO {victim};"
        f"ALTER TABLE {app.schema}.secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        f"GRANT USAGE ON SCHEMA {app.schema} TO {victim};"
        f"CREATE FUNCTION {app.schema}.tell() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $f$ BEGIN RETURN (SELECT count(*) FROM {app.schema}.secrets); END $f$;"
        f"ALTER FUNCTION {app.schema}.tell() OWNER TO {victim}"
    )
    app.sql("CREATE TABLE app.told (n bigint)")
    for when in ("BEFORE DELETE", "AFTER DELETE"):
        app.trigger("INSERT INTO app.told VALUES (app.tell())", when=when)
    app.erase(subject)
    assert app.vault.sql(f"SELECT n FROM {app.schema}.told") == [{"n": 0}] * 2


# -- raising ------------------------------------------------------------------
@pytest.mark.parametrize("state", ["P0001", "57014", "57P01", "40P01", "XX000", "22012", "ZZ999"])
def test_trigger_that_raises_fails_the_erasure_and_tells_no_value(app, subject, state):
    app.table()
    app.fill(subject, 1, note="4111-1111")
    app.trigger(f"RAISE EXCEPTION '% %', OLD.subject, OLD.note USING ERRCODE = '{state}', DETAIL = OLD.note, HINT = OLD.note, TABLE = OLD.note")
    app.fails(subject, None if state == "ZZ999" else state, secrets=["4111-1111"])
    assert len(app.rows(subject)) == 1


def test_trigger_that_never_ends_is_ended_by_the_session_s_statement_timeout(app, subject):
    app.table()
    app.fill(subject, 1)
    app.trigger("PERFORM pg_sleep(100)")
    app.worker.execute("SET statement_timeout = '1s'")
    app.fails(subject, "57014")


def test_recursion_ends_at_once(app, subject):
    """A trigger that erases the next one, as the worker that it also is."""
    app.vault.sql(f"GRANT identity_worker TO {app.owner}")
    app.table()
    other = app.vault.subject()
    app.fill(subject, 1)
    app.fill(other, 1)
    request = app.request(other)
    app.trigger(f"PERFORM identity.erasure_authorise('{request}', '{app.schedule}')")
    app.fails(subject, "42501")
    read(app.gateway, other)
    assert len(app.rows(other)) == 1


# -- functions of theirs elsewhere --------------------------------------------
def test_functions_in_indexes_columns_and_constraints_gain_nothing(app, subject, eraser, tried):
    """Declared harmless when the table was made, and replaced afterwards."""
    app.vault.sql(f"GRANT identity_worker, identity_gateway TO {app.owner}")
    names = ["expression", "predicate", "computed", "checked", "domained", "defaulted"]
    for name in names:
        app.sql(f"CREATE FUNCTION app.{name}(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
    app.sql("CREATE DOMAIN app.word AS text CHECK (app.domained(COALESCE(VALUE, '')) IS NOT NULL)")
    app.sql(
        "CREATE TABLE app.notes (subject uuid, note text CHECK (app.checked(COALESCE(note, '')) IS NOT NULL), made text GENERATED ALWAYS AS (app.computed(note)) STORED,"
        " word app.word, other text DEFAULT app.defaulted('x'))"
    )
    app.sql("CREATE INDEX ON app.notes (app.expression(note))")
    app.sql("CREATE INDEX ON app.notes (subject) WHERE app.predicate(note) IS NULL")
    app.register(action="null_columns", columns=["note", "word", "other"])
    app.sql("INSERT INTO app.notes (subject, note, word) VALUES (%s, 'x', 'x')", (subject.id,))
    attempts = ["SET ROLE identity_owner", "RESET SESSION AUTHORIZATION", "PERFORM 1 FROM identity.subjects", "PERFORM identity.identity_status()"]
    for name in names:
        app.sql(f"CREATE OR REPLACE FUNCTION app.{name}(text) RETURNS text LANGUAGE plpgsql VOLATILE AS $f$ BEGIN {tried([a + f' /* {name} */' for a in attempts])}; RETURN $1; END $f$")
    app.erase(subject, eraser)
    seen = outcome(app)
    assert set(seen.values()) == {"42501"}
    assert {name for name in names if any(name in attempt for attempt in seen)} >= {"expression", "predicate", "computed", "checked", "domained"}
    assert {row["who"] for row in app.vault.sql(f"SELECT who FROM {app.schema}.tried")} == {app.owner}
    assert app.rows(subject)[0]["note"] is None


@pytest.mark.parametrize("schema", ["public", "app"])
def test_operators_and_functions_of_theirs_are_not_used(app, subject, schema):
    """A session whose search_path begins with theirs; none of them finds a row equal, and all of them count wrong."""
    place = app.schema if schema == "app" else "public"
    app.table()
    app.fill(subject, 2)
    app.vault.sql(
        f"CREATE FUNCTION {place}.never(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
        f"CREATE FUNCTION {place}.never(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
        f"CREATE OPERATOR {place}.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = {place}.never);"
        f"CREATE OPERATOR {place}.> (LEFTARG = int, RIGHTARG = int, FUNCTION = {place}.never);"
        f"CREATE FUNCTION {place}.num_nonnulls(VARIADIC text[]) RETURNS int LANGUAGE sql AS 'SELECT 0';"
        f"GRANT USAGE ON SCHEMA {place} TO PUBLIC"
    )
    try:
        app.worker.execute(f"SET search_path = {place}, pg_catalog")
        assert app.erase(subject) == {f"{app.schema}.notes": 2}
        assert app.rows(subject) == []
    finally:
        app.vault.sql(f"DROP OPERATOR {place}.= (uuid, uuid); DROP OPERATOR {place}.> (int, int);"
                      f"DROP FUNCTION {place}.never(uuid, uuid), {place}.never(int, int), {place}.num_nonnulls(text[])")


def test_replication_role_of_the_session_does_not_keep_what_hangs_on_a_row(app, subject):
    app.sql("CREATE TABLE app.people (id int PRIMARY KEY, subject uuid)")
    app.sql("CREATE TABLE app.notes (person int REFERENCES app.people ON DELETE CASCADE, subject uuid)")
    app.register("people")
    app.sql("INSERT INTO app.people VALUES (1, %s)", (subject.id,))
    app.sql("INSERT INTO app.notes VALUES (1, %s)", (subject.id,))
    with app.vault.cluster.connect() as superuser:
        superuser.execute("SET session_replication_role = replica")
        app.erase(subject, superuser)
        assert superuser.execute("SHOW session_replication_role").fetchone() == ("replica",)
    assert app.rows(subject) == []


# -- what waits for the commit -------------------------------------------------
def test_trigger_that_is_told_to_wait_for_the_commit_fails_the_erasure(app, subject):
    """It would run as whoever commits."""
    app.table()
    app.fill(subject, 1)
    app.sql("CREATE FUNCTION app.late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    app.sql("CREATE CONSTRAINT TRIGGER late AFTER DELETE ON app.notes DEFERRABLE FOR EACH ROW EXECUTE FUNCTION app.late()")
    request = app.request(subject)
    with pytest.raises(psycopg.Error) as caught, app.worker.transaction():
        app.worker.execute("SET CONSTRAINTS ALL DEFERRED")
        app.worker.execute(AUTHORISE, (request, app.schedule))
    assert caught.value.diag.message_detail == "reason: forget_failed"
    app.await_refusals(subject, 1)
    app.sql("DROP TRIGGER late ON app.notes")
    app.sql("CREATE CONSTRAINT TRIGGER late AFTER DELETE ON app.notes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.late()")
    app.fails(subject, "55000")
    assert len(app.rows(subject)) == 1


def test_what_the_session_left_for_its_commit_does_not_run_as_the_owner(app, subject):
    """A constraint trigger with the name of a foreign key of the table's, waiting when that key is checked at once."""
    vault, worker = app.vault, app.worker.info.user
    app.sql("CREATE TABLE app.people (id int PRIMARY KEY, subject uuid)")
    app.sql("CREATE TABLE app.notes (person int, CONSTRAINT late FOREIGN KEY (person) REFERENCES app.people DEFERRABLE INITIALLY DEFERRED)")
    app.register("people")
    app.sql("INSERT INTO app.people VALUES (1, %s)", (subject.id,))
    vault.sql(
        f"GRANT USAGE, CREATE ON SCHEMA {app.schema} TO {worker}; CREATE TABLE {app.schema}.seen (who name); GRANT INSERT ON {app.schema}.seen TO PUBLIC"
    )
    app.worker.execute(f"CREATE TABLE {app.schema}.bait ()")
    app.worker.execute(
        f"CREATE FUNCTION {app.schema}.spring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO {app.schema}.seen VALUES (current_user); RETURN NULL; END $$"
    )
    app.worker.execute(
        f"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON {app.schema}.bait DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {app.schema}.spring()"
    )
    request = app.request(subject)
    try:
        with app.worker.transaction():
            app.worker.execute(f"INSERT INTO {app.schema}.bait DEFAULT VALUES")
            app.worker.execute(AUTHORISE, (request, app.schedule))
    except psycopg.Error as error:
        assert error.diag.message_detail == "reason: forget_failed"
    assert {row["who"] for row in vault.sql(f"SELECT who FROM {app.schema}.seen")} <= {worker}
