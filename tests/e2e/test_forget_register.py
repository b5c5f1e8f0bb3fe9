"""Only a DBA who owns a table puts it on the register; only what can be cleaned gets there; and what became of it is on the chain."""

import psycopg
import pytest

from cluster import wait_until
from erasure import AUTHORISE
from forget import REGISTER, UNREGISTER, App
from test_round_trip import restored
from vault import Vault, refused

REGISTERED = "SELECT relation::oid AS oid, subject_column, action, columns, registered_by, access_id FROM identity.forget_tables"
BAD = ("22023", "bad_argument")
NOT_YOURS = ("42501", "role_conflict")


@pytest.fixture
def subject(app):
    return app.vault.subject()


def refuses(app, arguments, answer, conn=None):
    """Refused in the contract's words, with a row, and nothing is on the register."""
    conn = conn or app.conn

    def denied() -> int:
        # Not all that the role leaves: the maintenance process writes as a superuser, too.
        return app.vault.outcomes(conn.info.user).get("denied", 0)

    before, rows = app.vault.sql(REGISTERED), denied()
    refused(conn, REGISTER, arguments, *answer)
    assert app.vault.sql(REGISTERED) == before
    wait_until(lambda: denied() == rows + 1, "the refusal's row")


def test_registration_and_its_end_are_events_of_the_chain(app):
    app.table(action="null_columns", columns=["note"])
    row = app.vault.sql(REGISTERED)[0]
    assert (row["subject_column"], row["action"], row["columns"], row["registered_by"]) == ("subject", "null_columns", ["note"], app.owner)
    app.unregister()
    assert app.vault.sql(REGISTERED) == []
    events = app.vault.sql(
        "SELECT h.access_id, h.registration, h.relation, l.accessor_kind, l.chain_kind, l.outcome, l.accessor_role FROM identity.forget_history h"
        " JOIN identity.pii_access_log l USING (access_id) WHERE h.registration = %s ORDER BY h.access_id",
        (row["access_id"],),
    )
    assert [(e["relation"], e["accessor_kind"], e["chain_kind"], e["outcome"], e["accessor_role"]) for e in events] == [
        (f"{app.schema}.notes", kind, "merkle", "committed", app.owner) for kind in ("forget_register", "forget_unregister")
    ]
    app.vault.verify()


def test_what_is_rolled_back_is_not_on_the_register(app):
    app.table(register=False)
    with app.conn.transaction(force_rollback=True):
        app.register()
    assert app.vault.sql(REGISTERED) == []


def test_a_member_of_the_owner_registers(app, subject):
    team, member = app.vault.login(), app.vault.login("identity_dba")
    app.vault.sql(f"GRANT {team} TO {member}")
    app.table(register=False)
    app.fill(subject)
    app.vault.sql(f"GRANT USAGE ON SCHEMA {app.schema} TO {team}, {member}; ALTER TABLE {app.schema}.notes OWNER TO {team}")
    with app.vault.connect(member) as conn:
        app.register(conn=conn)
        assert app.erase(subject) == {f"{app.schema}.notes": 3}
        app.unregister(conn=conn)


def test_nobody_else_registers_or_unregisters(app):
    """Not another DBA, not the owner who is none, not a superuser, and nobody by SET ROLE."""
    vault = app.vault
    app.table(register=False)
    stranger, plain = vault.login("identity_dba"), vault.login()
    vault.sql(f"GRANT USAGE ON SCHEMA {app.schema} TO PUBLIC; CREATE TABLE {app.schema}.plain (subject uuid); ALTER TABLE {app.schema}.plain OWNER TO {plain}")
    vault.sql(f"GRANT ALL ON {app.schema}.notes TO {stranger}")
    name = f"{app.schema}.notes"
    # A superuser that is granted the owner's role, and no DBA.
    member = vault.login(plain)
    vault.sql(f"ALTER ROLE {member} SUPERUSER")
    with vault.connect(member) as conn:
        refuses(app, (f"{app.schema}.plain", "subject", "delete", None), NOT_YOURS, conn)
    vault.sql(f"ALTER ROLE {member} NOSUPERUSER")
    with vault.connect(stranger) as other, vault.cluster.connect() as superuser, vault.connect(plain) as owner:
        for conn in (other, superuser):
            refuses(app, (name, "subject", "delete", None), NOT_YOURS, conn)
        # A superuser that has become the owner is still a superuser's session.
        superuser.execute(f"SET ROLE {app.owner}")
        refuses(app, (name, "subject", "delete", None), NOT_YOURS, superuser)
        superuser.execute("RESET ROLE")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute(REGISTER, (f"{app.schema}.plain", "subject", "delete", None))
        app.register()
        for conn in (other, superuser):
            refused(conn, UNREGISTER, (name,), *NOT_YOURS)
        assert len(vault.sql(REGISTERED)) == 1
    app.unregister()


@pytest.mark.parametrize(
    "group", ["gateway", "zone_onbox", "zone_cloud", "approver", "reviewer", "legal", "worker", "auditor", None]
)
def test_no_other_role_can_call_them(app, group):
    role = app.vault.login(*([f"identity_{group}"] if group else []))
    app.vault.sql(f"GRANT USAGE ON SCHEMA {app.schema} TO {role}; CREATE TABLE {app.schema}.mine (subject uuid); ALTER TABLE {app.schema}.mine OWNER TO {role}")
    with app.vault.connect(role) as conn:
        for query, params in ((REGISTER, (f"{app.schema}.mine", "subject", "delete", None)), (UNREGISTER, (f"{app.schema}.mine",))):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(query, params)
        for statement in ("DELETE FROM identity.forget_tables", "INSERT INTO identity.forget_tables SELECT * FROM identity.forget_tables"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


def test_a_dba_cannot_write_the_register(app):
    app.table()
    for statement in ("DELETE FROM identity.forget_tables", "UPDATE identity.forget_tables SET subject_column = 'x'", "TRUNCATE identity.forget_tables", "DELETE FROM identity.forget_history"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.conn.execute(statement)
    assert app.conn.execute("SELECT subject_column FROM identity.forget_tables").fetchall() == [{"subject_column": "subject"}]


def test_twice_is_refused(app):
    app.table()
    refuses(app, (f"{app.schema}.notes", "subject", "delete", None), BAD)
    refuses(app, (f"{app.schema}.notes", "subject", "null_columns", ["note"]), BAD)
    app.unregister()
    app.register()
    app.unregister()
    refused(app.conn, UNREGISTER, (f"{app.schema}.notes",), *BAD)


@pytest.mark.parametrize(
    "column, action, columns, answer",
    [
        (None, "delete", None, ("22004", "null_argument")),
        ("subject", None, None, ("22004", "null_argument")),
        ("subject", "truncate", None, BAD),
        ("subject", "delete", ["note"], BAD),
        ("subject", "delete", [], None),
        ("subject", "null_columns", None, BAD),
        ("subject", "null_columns", [], BAD),
        ("subject", "null_columns", ["note", None], ("22004", "null_argument")),
        ("subject", "null_columns", ["note", "note"], BAD),
        ("subject", "null_columns", ["subject"], BAD),
        ("subject", "null_columns", ["nothing"], BAD),
        ("subject", "null_columns", ["gone"], BAD),
        ("subject", "null_columns", ["ctid"], BAD),
        ("subject", "null_columns", ["needed"], BAD),
        ("subject", "null_columns", ["id"], BAD),
        ("subject", "null_columns", ["computed"], BAD),
        ("subject", "null_columns", ["counted"], BAD),
        ("subject", "null_columns", ["sure"], BAD),
        ("subject", "null_columns", ["referred"], BAD),
        ("subject", "null_columns", ["c%d" % n for n in range(101)], ("22023", "too_many")),
        ("nothing", "delete", None, BAD),
        ("note", "delete", None, BAD),
        ("worded", "delete", None, BAD),
        ("listed", "delete", None, BAD),
        ("derived", "delete", None, BAD),
        ("gone", "delete", None, BAD),
        ("tableoid", "delete", None, BAD),
    ],
)
def test_arguments_that_do_not_fit_the_table(app, column, action, columns, answer):
    app.sql("CREATE DOMAIN app.id AS uuid")
    app.sql("CREATE DOMAIN app.sure AS text NOT NULL")
    app.sql(
        "CREATE TABLE app.notes (id int PRIMARY KEY, subject uuid, note text, needed text NOT NULL, computed text GENERATED ALWAYS AS (note || '!') STORED,"
        " counted int GENERATED ALWAYS AS IDENTITY, sure app.sure, referred int UNIQUE, worded app.id, listed uuid[], derived uuid GENERATED ALWAYS AS (subject) STORED, gone uuid)"
    )
    app.sql("CREATE TABLE app.refers (id int REFERENCES app.notes (referred))")
    app.sql("ALTER TABLE app.notes DROP COLUMN gone")
    arguments = (f"{app.schema}.notes", column, action, columns)
    if answer:
        refuses(app, arguments, answer)
    else:
        app.conn.execute(REGISTER, arguments)


def test_a_null_relation_and_one_that_is_not_there(app):
    refuses(app, (None, "subject", "delete", None), ("22004", "null_argument"))
    refuses(app, ("4000000000", "subject", "delete", None), BAD)
    refused(app.conn, UNREGISTER, (None,), "22004", "null_argument")
    refused(app.conn, UNREGISTER, ("4000000000",), *BAD)


def test_what_parts_rows_into_partitions_is_not_cleared(app):
    app.sql("CREATE TABLE app.notes (subject uuid, note text, day int) PARTITION BY RANGE (day)")
    app.sql("CREATE TABLE app.notes_1 PARTITION OF app.notes DEFAULT PARTITION BY LIST (note)")
    app.sql("CREATE TABLE app.notes_2 PARTITION OF app.notes_1 DEFAULT")
    for column in ("day", "note"):
        refuses(app, (f"{app.schema}.notes", "subject", "null_columns", [column]), BAD)
    app.register()


UNFIT = {
    "view": "CREATE VIEW app.thing AS SELECT * FROM app.base",
    "materialized view": "CREATE MATERIALIZED VIEW app.thing AS SELECT * FROM app.base",
    "sequence": "CREATE SEQUENCE app.thing",
    "composite type": "CREATE TYPE app.thing AS (subject uuid)",
    "index": "CREATE INDEX thing ON app.base (subject)",
    "rule": "CREATE TABLE app.thing (subject uuid); CREATE RULE r AS ON DELETE TO app.thing DO INSTEAD NOTHING",
    "rule that is also": "CREATE TABLE app.thing (subject uuid); CREATE RULE r AS ON INSERT TO app.thing DO ALSO SELECT 1",
    "partition with a rule": "CREATE TABLE app.thing (subject uuid) PARTITION BY LIST (subject); CREATE TABLE app.part PARTITION OF app.thing DEFAULT;"
    " CREATE RULE r AS ON DELETE TO app.part DO INSTEAD NOTHING",
    "trigger at the commit": "CREATE TABLE app.thing (subject uuid); CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL;END'; "
    "CREATE CONSTRAINT TRIGGER t AFTER DELETE ON app.thing DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.f()",
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_cannot_be_cleaned_is_refused(app, what):
    app.sql("CREATE TABLE app.base (subject uuid)")
    for statement in UNFIT[what].split("; "):
        app.sql(statement)
    refuses(app, (f"{app.schema}.thing", "subject", "delete", None), BAD)


def test_temporary_tables_are_refused(app):
    app.conn.execute("CREATE TEMP TABLE thing (subject uuid)")
    refuses(app, ("pg_temp.thing", "subject", "delete", None), BAD)


FOREIGN = """CREATE FOREIGN DATA WRAPPER {s}_w; CREATE SERVER {s}_s FOREIGN DATA WRAPPER {s}_w; GRANT USAGE ON FOREIGN SERVER {s}_s TO {o}"""


@pytest.fixture
def foreign(app):
    """A server that foreign tables of the owner's can be on."""
    app.vault.sql(FOREIGN.format(s=app.schema, o=app.owner))
    yield f"{app.schema}_s"
    app.vault.sql(f"DROP FOREIGN DATA WRAPPER {app.schema}_w CASCADE")


@pytest.mark.parametrize("what", ["itself", "partition", "child"])
def test_foreign_tables_are_refused_and_fail_the_erasure_when_they_come_later(app, subject, foreign, what):
    if what == "itself":
        app.sql(f"CREATE FOREIGN TABLE app.notes (subject uuid) SERVER {foreign}")
        return refuses(app, (f"{app.schema}.notes", "subject", "delete", None), BAD)
    app.sql("CREATE TABLE app.notes (subject uuid) " + ("PARTITION BY HASH (subject)" if what == "partition" else ""))
    app.register()
    app.erase(app.vault.subject())
    app.sql(
        f"CREATE FOREIGN TABLE app.far PARTITION OF app.notes FOR VALUES WITH (MODULUS 2, REMAINDER 0) SERVER {foreign}"
        if what == "partition"
        else f"CREATE FOREIGN TABLE app.far () INHERITS (app.notes) SERVER {foreign}"
    )
    app.fails(subject, "55000")
    app.unregister()
    refuses(app, (f"{app.schema}.notes", "subject", "delete", None), BAD)


@pytest.mark.parametrize(
    "relation, column",
    [
        ("identity.subjects", "candidate_id"),
        ("identity.subject_texts", "candidate_id"),
        ("identity.consent_history", "candidate_id"),
        ("identity.forget_tables", "relation"),
        ("pg_catalog.pg_class", "oid"),
        ("information_schema.sql_features", "feature_id"),
    ],
)
def test_tables_of_the_vault_and_of_postgresql_are_refused(app, relation, column):
    """To a DBA, and to a superuser who is one."""
    admin = app.vault.login("identity_dba")
    app.vault.sql(f"ALTER ROLE {admin} SUPERUSER")
    with app.vault.connect(admin) as superuser:
        for conn in (app.conn, superuser):
            refuses(app, (relation, column, "delete", None), NOT_YOURS, conn)
    app.vault.sql(f"ALTER ROLE {admin} NOSUPERUSER")
    # The bootstrap superuser owns some of them, and may be made a DBA.
    app.vault.sql("GRANT identity_dba TO postgres")
    try:
        with app.vault.cluster.connect() as bootstrap:
            refuses(app, (relation, column, "delete", None), NOT_YOURS if relation.startswith("identity.") else BAD, bootstrap)
    finally:
        app.vault.sql("REVOKE identity_dba FROM postgres")


def test_a_superuser_s_table_is_refused_and_fails_the_erasure_when_it_becomes_one(app, subject):
    """Who may put a trigger on it would have it run as a superuser."""
    admin, mallory = app.vault.login("identity_dba"), app.vault.login()
    app.vault.sql(f"ALTER ROLE {admin} SUPERUSER; CREATE TABLE {app.schema}.risky (subject uuid); ALTER TABLE {app.schema}.risky OWNER TO {admin}")
    with app.vault.connect(admin) as superuser:
        refuses(app, (f"{app.schema}.risky", "subject", "delete", None), BAD, superuser)
    app.vault.sql(f"ALTER ROLE {admin} NOSUPERUSER")
    app.table()
    app.fill(subject, 1)
    app.vault.sql(
        f"GRANT USAGE, CREATE ON SCHEMA {app.schema} TO {mallory}; GRANT TRIGGER ON {app.schema}.notes TO {mallory}; ALTER TABLE {app.schema}.notes OWNER TO postgres;"
        f"GRANT TRIGGER ON {app.schema}.notes TO {mallory}"
    )
    with app.vault.connect(mallory) as conn:
        conn.execute(f"CREATE FUNCTION {app.schema}.up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE {mallory} SUPERUSER'; RETURN OLD; END $$")
        conn.execute(f"CREATE TRIGGER up BEFORE DELETE ON {app.schema}.notes FOR EACH ROW EXECUTE FUNCTION {app.schema}.up()")
    app.fails(subject, "55000")
    assert app.vault.sql("SELECT rolsuper FROM pg_roles WHERE rolname = %s", (mallory,)) == [{"rolsuper": False}]


LATER = {
    "dropped": "DROP TABLE app.notes",
    "dropped and made again": "DROP TABLE app.notes; CREATE TABLE app.notes (subject uuid, note text)",
    "column dropped": "ALTER TABLE app.notes DROP COLUMN subject",
    "column dropped and made again": "ALTER TABLE app.notes DROP COLUMN subject; ALTER TABLE app.notes ADD COLUMN subject text",
    "column renamed": "ALTER TABLE app.notes RENAME COLUMN subject TO person",
    "column retyped": "ALTER TABLE app.notes ALTER COLUMN subject TYPE text",
    "column to clear gone": "ALTER TABLE app.notes DROP COLUMN note",
    "column to clear needed": "ALTER TABLE app.notes ALTER COLUMN note SET NOT NULL",
    "rule": "CREATE RULE r AS ON UPDATE TO app.notes DO INSTEAD NOTHING",
    "made a view": "DROP TABLE app.notes; CREATE TABLE app.real (subject uuid, note text); CREATE VIEW app.notes AS SELECT * FROM app.real",
    "child of somebody else": "CREATE TABLE app.child () INHERITS (app.notes)",
    "temporary child": "CREATE TEMP TABLE child () INHERITS (app.notes)",
    "generated child": "ALTER TABLE app.notes DROP COLUMN note; ALTER TABLE app.notes ADD COLUMN note text GENERATED ALWAYS AS ('x') STORED",
}


@pytest.mark.parametrize("what", LATER)
def test_a_table_that_changed_since_fails_the_erasure_until_it_is_off_the_register(app, subject, what):
    app.table(action="null_columns", columns=["note"])
    oid = app.vault.sql(REGISTERED)[0]["oid"]
    for statement in LATER[what].split("; "):
        app.sql(statement)
    if what == "child of somebody else":
        app.vault.sql(f"ALTER TABLE {app.schema}.child OWNER TO {app.vault.login()}")
    assert status(app) == "1 registered, 1 cannot be cleaned"
    assert "it is gone, or not a table any more that can be cleaned" in app.fails(subject, "55000")
    app.vault.verify()
    app.conn.execute("SELECT identity.forget_unregister(%s::oid::regclass)", (oid,))
    assert status(app) == "0 registered, 0 cannot be cleaned"
    assert app.erase(subject) == {}


def status(app) -> str:
    with app.vault.connect(app.vault.auditor) as auditor:
        state, hint = auditor.execute("SELECT state, hint FROM identity.identity_status() WHERE item = 'registered tables'").fetchone()
    assert (hint is None) == state.endswith(" 0 cannot be cleaned")
    return state


def test_a_table_whose_owner_is_gone_fails_the_erasure(app, subject):
    """PostgreSQL drops no role that owns something; a superuser's hand in the catalog does."""
    ghost = app.vault.login()
    app.table()
    app.fill(subject, 1)
    with app.vault.cluster.connect() as superuser:
        superuser.execute("SET allow_system_table_mods = on")
        before = superuser.execute("SELECT relowner FROM pg_class WHERE oid = %s::regclass", (f"{app.schema}.notes",)).fetchone()[0]
        change = "UPDATE pg_class SET relowner = %s WHERE oid = %s::regclass"
        superuser.execute(change, (4000000001, f"{app.schema}.notes"))
        app.fails(subject, "55000")
        superuser.execute(change, (before, f"{app.schema}.notes"))
    app.vault.sql(f"DROP ROLE {ghost}")
    app.erase(subject)


# -- the register and its events ------------------------------------------------
@pytest.fixture
def rewritten(app):
    """Runs a statement with the guards off, verifies, and takes everything back."""
    app.table()
    app.table("calls", action="null_columns", columns=["note"])
    app.table("former")
    app.unregister("former")

    def rewrite(statement: str) -> set[str]:
        with app.vault.admin.transaction(force_rollback=True):
            for table in ("forget_tables", "forget_history"):
                app.vault.sql(f"ALTER TABLE identity.{table} DISABLE TRIGGER append_only")
            app.vault.sql(statement.replace("app.", f"{app.schema}."))
            for table in ("forget_tables", "forget_history"):
                app.vault.sql(f"ALTER TABLE identity.{table} ENABLE ALWAYS TRIGGER append_only")
            return {row["check_name"] for row in app.vault.findings() if not row["ok"]}

    return rewrite


def test_nothing_is_found_where_nothing_was_done(rewritten):
    assert rewritten("SELECT 1") == set()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM identity.forget_tables WHERE relation = 'app.notes'::regclass",
        "UPDATE identity.forget_tables SET relation = 'app.former'::regclass WHERE relation = 'app.notes'::regclass",
        "UPDATE identity.forget_tables SET subject_column = 'x' WHERE relation = 'app.notes'::regclass",
        "UPDATE identity.forget_tables SET columns = '{subject}' WHERE relation = 'app.calls'::regclass",
        "UPDATE identity.forget_tables SET action = 'delete', columns = NULL WHERE relation = 'app.calls'::regclass",
        "UPDATE identity.forget_tables SET registered_by = 'x' WHERE relation = 'app.notes'::regclass",
        "UPDATE identity.forget_tables SET registered_at = registered_at + interval '1 microsecond' WHERE relation = 'app.notes'::regclass",
        "UPDATE identity.forget_tables SET access_id = access_id + 1000000 WHERE relation = 'app.notes'::regclass",
        "INSERT INTO identity.forget_tables VALUES ('app.former'::regclass, 'subject', 'delete', NULL, 'x', now(), 1)",
        "INSERT INTO identity.forget_tables SELECT 'app.former'::regclass, subject_column, action, columns, changed_by, changed_at, access_id"
        " FROM identity.forget_history WHERE relation = 'app.former' AND registration = access_id",
        "DELETE FROM identity.forget_history WHERE relation = 'app.former' AND registration <> access_id",
        "DELETE FROM identity.forget_history WHERE relation = 'app.notes'",
        "UPDATE identity.forget_history SET relation = 'app.former', relation_oid = 'app.former'::regclass WHERE relation = 'app.notes'",
        "UPDATE identity.forget_history SET relation_oid = 1 WHERE relation = 'app.notes'",
        "UPDATE identity.forget_history SET changed_by = 'x' WHERE relation = 'app.former'",
        "UPDATE identity.forget_history SET registration = access_id WHERE relation = 'app.former'",
        "INSERT INTO identity.forget_history SELECT access_id + 1000000, access_id, relation, relation_oid, subject_column, action, columns, changed_by, changed_at"
        " FROM identity.forget_history WHERE relation = 'app.notes'; DELETE FROM identity.forget_tables WHERE relation = 'app.notes'::regclass",
    ],
)
def test_a_register_that_somebody_rewrote_is_found(rewritten, statement):
    assert rewritten(statement) == {"forget_tables"}


def test_a_renamed_table_and_one_that_is_gone_are_no_finding(app):
    app.table()
    app.table("calls")
    app.sql("ALTER TABLE app.notes RENAME TO remarks")
    app.sql("DROP TABLE app.calls")
    app.vault.verify()


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
def test_the_register_is_not_changed_even_by_a_superuser(app, replication_role):
    app.table()
    with app.vault.cluster.connect() as superuser:
        superuser.execute(f"SET session_replication_role = {replication_role}")
        for attempt in (
            "UPDATE identity.forget_tables SET columns = columns",
            "TRUNCATE identity.forget_tables",
            "UPDATE identity.forget_history SET action = action",
            "DELETE FROM identity.forget_history",
            "TRUNCATE identity.forget_history",
        ):
            with pytest.raises(psycopg.Error, match="append-only"):
                superuser.execute(attempt)
    assert len(app.vault.sql(REGISTERED)) == 1


def test_the_register_comes_back_with_a_restore(fresh):
    """By name, whatever the oids are there; but for a table that was gone."""
    vault = Vault(fresh())
    app, subject = App(vault), vault.subject()
    app.table(action="null_columns", columns=["note"])
    for name in ("calls", "gone", "late"):
        app.table(name)
    app.sql("ALTER TABLE app.calls RENAME TO remarks")
    app.sql("DROP TABLE app.gone")
    app.fill(subject, 2)
    app.fill(subject, 3, "remarks")
    request = app.request(subject)
    vault.verify()
    target = restored(vault, fresh)
    target.unlock()
    with target.connect() as admin, target.connect(user=app.owner) as owner, target.connect(user=vault.worker) as worker:
        on_it = "SELECT relation::text, action, columns FROM identity.forget_tables ORDER BY 1"
        assert admin.execute(on_it).fetchall() == [
            (f"{app.schema}.late", "delete", None), (f"{app.schema}.notes", "null_columns", ["note"]), (f"{app.schema}.remarks", "delete", None)
        ]
        receipt = worker.execute(AUTHORISE, (request, app.schedule)).fetchone()[0]
        done = admin.execute("SELECT forgotten FROM identity.erasure_requests WHERE request_id = %s", (receipt["request_id"],)).fetchone()[0]
        assert set(done.split(",")) == {f"{app.schema}.late=0", f"{app.schema}.notes=2", f"{app.schema}.remarks=3"}
        # The one that has another name and another oid now.
        wrong = "SELECT detail FROM identity.ledger_verify(true) WHERE check_name = 'forget_tables' AND NOT ok"
        assert [app.schema + ".remarks" in detail for (detail,) in admin.execute(wrong)] in ([True], [])
        owner.execute(UNREGISTER, (f"{app.schema}.remarks",))
        app.register("remarks", conn=owner)
        assert admin.execute(wrong).fetchall() == []
