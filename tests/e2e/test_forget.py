"""Registered tables of applications are cleaned when a subject is erased, as their owners and in the same transaction."""

import threading
import time
from pathlib import Path

import psycopg
import pytest

from erasure import AUTHORISE
from forget import REGISTER
from retention import age, whole
from vault import read, refused


@pytest.fixture
def subject(app):
    return app.vault.subject()


@pytest.fixture
def other(app):
    return app.vault.subject()


def test_rows_of_the_subject_are_deleted_and_counted(app, subject, other):
    app.table()
    app.table("calls")
    app.fill(subject, 3)
    app.fill(other, 2)
    assert app.erase(subject) == {f"{app.schema}.notes": 3, f"{app.schema}.calls": 0}
    assert app.rows(subject) == [] and len(app.rows(other)) == 2
    read(app.gateway, other)


def test_many_subjects_at_once_are_counted_apart(app):
    app.table()
    subjects = [(app.vault.subject(), n % 4) for n in range(60)]
    for subject, rows in subjects:
        app.fill(subject, rows)
    age(app.vault, [subject for subject, _ in subjects], 500)
    whole(app.worker)
    done = app.vault.sql("SELECT candidate_id, forgotten FROM identity.erasure_requests WHERE candidate_id = ANY (%s)", ([subject.id for subject, _ in subjects],))
    assert {row["candidate_id"]: row["forgotten"] for row in done} == {subject.id: f"{app.schema}.notes={rows}" for subject, rows in subjects}
    assert app.vault.sql(f"SELECT count(*) AS n FROM {app.schema}.notes") == [{"n": 0}]


def test_columns_are_cleared_and_the_rest_stays(app, subject, other):
    app.sql("CREATE TYPE app.pair AS (a int, b int)")
    app.sql("CREATE DOMAIN app.word AS text CHECK (VALUE <> '')")
    app.sql("CREATE TABLE app.notes (id int, subject uuid, note text, extra app.pair, words app.word[])")
    app.register(action="null_columns", columns=["note", "extra", "words"])
    # A composite value with a NULL in it is neither NULL nor NOT NULL.
    app.sql(
        "INSERT INTO app.notes VALUES (1, %(s)s, 'x', NULL, NULL), (2, %(s)s, NULL, ROW(1, NULL), NULL), (3, %(s)s, NULL, NULL, '{w}'),"
        " (4, %(s)s, NULL, NULL, NULL), (5, %(o)s, 'x', ROW(1, 2), '{w}')",
        {"s": subject.id, "o": other.id},
    )
    assert app.erase(subject) == {f"{app.schema}.notes": 3}
    left = app.rows(subject)
    assert sorted(row["id"] for row in left) == [1, 2, 3, 4]
    assert all(row["note"] is None and row["extra"] is None and row["words"] is None for row in left)
    assert app.rows(other)[0]["note"] == "x" and app.rows(other)[0]["words"] == "{w}"


def test_no_table_on_the_register_is_no_obstacle(app, subject):
    app.table(register=False)
    app.fill(subject)
    assert app.erase(subject) == {}
    assert len(app.rows(subject)) == 3


def test_what_was_taken_off_the_register_is_left_alone(app, subject):
    app.table()
    app.fill(subject)
    app.unregister()
    assert app.erase(subject) == {} and len(app.rows(subject)) == 3


def test_names_that_need_quotes(app, subject):
    schema, table, column, note = 'We"ird Schema', "ta'ble\"; DROP TABLE x; --", 'sub " ject', "NOTE; --"
    quoted = [psycopg.sql.Identifier(name) for name in (schema, table, column, note)]
    s, t, c, n = (name.as_string(app.conn) for name in quoted)
    app.vault.sql(f"CREATE SCHEMA {s} AUTHORIZATION {app.owner}")
    try:
        app.conn.execute(f"CREATE TABLE {s}.{t} ({c} uuid, {n} text)")
        app.conn.execute(REGISTER, (f"{s}.{t}", column, "null_columns", [note]))
        app.conn.execute(f"INSERT INTO {s}.{t} VALUES (%s, 'x')", (subject.id,))
        app.erase(subject)
        assert app.vault.sql(f"SELECT {n} AS note FROM {s}.{t}") == [{"note": None}]
    finally:
        app.vault.sql(f"DROP SCHEMA {s} CASCADE")


def test_a_renamed_table_is_still_cleaned(app, subject):
    app.table()
    app.sql("ALTER TABLE app.notes RENAME TO remarks")
    app.sql("CREATE TABLE app.notes (subject uuid, note text)")
    app.fill(subject)
    app.fill(subject, 2, "remarks")
    assert app.erase(subject) == {f"{app.schema}.remarks": 2}
    assert len(app.rows(subject)) == 3


def test_the_new_owner_cleans(app, subject):
    app.table()
    app.fill(subject)
    heir = app.vault.login()
    app.vault.sql(f"GRANT USAGE ON SCHEMA {app.schema} TO {heir}")
    app.vault.sql(f"ALTER TABLE {app.schema}.notes OWNER TO {heir}")
    app.sql("CREATE TABLE app.seen (who name)")
    app.vault.sql(f"GRANT INSERT ON {app.schema}.seen TO {heir}")
    app.vault.sql(
        f"CREATE FUNCTION {app.schema}.note_who() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN INSERT INTO {app.schema}.seen VALUES (current_user); RETURN OLD; END $$"
    )
    app.vault.sql(f"CREATE TRIGGER who AFTER DELETE ON {app.schema}.notes FOR EACH ROW EXECUTE FUNCTION {app.schema}.note_who()")
    app.erase(subject)
    assert app.rows(subject) == []
    assert {row["who"] for row in app.vault.sql(f"SELECT who FROM {app.schema}.seen")} == {heir}


def test_partitions_and_children_are_cleaned_with_their_parents(app, subject, other):
    app.sql("CREATE TABLE app.notes (subject uuid, note text, day int) PARTITION BY RANGE (day)")
    app.sql("CREATE TABLE app.notes_1 PARTITION OF app.notes FOR VALUES FROM (0) TO (10)")
    app.sql("CREATE TABLE app.notes_2 PARTITION OF app.notes FOR VALUES FROM (10) TO (20) PARTITION BY LIST (day)")
    app.sql("CREATE TABLE app.notes_3 PARTITION OF app.notes_2 DEFAULT")
    app.sql("CREATE TABLE app.old (subject uuid, note text)")
    app.sql("CREATE TABLE app.older (age int) INHERITS (app.old)")
    app.register("notes")
    app.register("old", action="null_columns", columns=["note"])
    for who in (subject, other):
        app.sql("INSERT INTO app.notes VALUES (%(s)s, 'x', 5), (%(s)s, 'x', 15)", {"s": who.id})
        app.sql("INSERT INTO app.older VALUES (%s, 'x', 1)", (who.id,))
    assert app.erase(subject) == {f"{app.schema}.notes": 2, f"{app.schema}.old": 1}
    assert app.rows(subject) == [] and app.rows(subject, "older")[0]["note"] is None
    assert len(app.rows(other)) == 2 and app.rows(other, "older")[0]["note"] == "x"


@pytest.mark.parametrize("deferred", ["", "DEFERRABLE INITIALLY DEFERRED"])
@pytest.mark.parametrize("first", ["people", "notes"])
def test_tables_that_refer_to_each_other_are_cleaned_in_their_order(app, subject, first, deferred):
    app.sql("CREATE TABLE app.people (id int PRIMARY KEY, subject uuid)")
    app.sql(f"CREATE TABLE app.notes (subject uuid, person int REFERENCES app.people {deferred})")
    for name in (first, *({"people", "notes"} - {first})):
        app.register(name)
    app.sql("INSERT INTO app.people VALUES (%s, %s)", (1, subject.id))
    app.sql("INSERT INTO app.notes VALUES (%s, 1)", (subject.id,))
    assert app.erase(subject) == {f"{app.schema}.people": 1, f"{app.schema}.notes": 1}


def test_rows_that_others_refer_to_fail_the_erasure(app, subject):
    app.sql("CREATE TABLE app.people (id int PRIMARY KEY, subject uuid)")
    app.sql("CREATE TABLE app.notes (subject uuid, person int REFERENCES app.people DEFERRABLE INITIALLY DEFERRED)")
    app.register("people")
    app.sql("INSERT INTO app.people VALUES (%s, %s)", (1, subject.id))
    app.sql("INSERT INTO app.notes VALUES (NULL, 1)")
    app.fails(subject, "23503")
    assert len(app.rows(subject, "people")) == 1


@pytest.mark.parametrize("deferred", ["", "DEFERRABLE INITIALLY DEFERRED"])
def test_rows_that_go_with_them_go(app, subject, deferred):
    app.sql("CREATE TABLE app.people (id int PRIMARY KEY, subject uuid)")
    app.sql(f"CREATE TABLE app.notes (id int PRIMARY KEY, person int REFERENCES app.people ON DELETE CASCADE {deferred})")
    app.sql(f"CREATE TABLE app.replies (note int REFERENCES app.notes ON DELETE SET NULL {deferred})")
    app.register("people")
    app.sql("INSERT INTO app.people VALUES (%s, %s)", (1, subject.id))
    app.sql("INSERT INTO app.notes VALUES (1, 1)")
    app.sql("INSERT INTO app.replies VALUES (1)")
    app.erase(subject)
    assert app.sql("SELECT * FROM app.notes") == [] and app.sql("SELECT note FROM app.replies") == [{"note": None}]


def test_an_erasure_that_is_rolled_back_leaves_the_rows(app, subject):
    app.table()
    app.fill(subject)
    request = app.request(subject)
    with app.worker.transaction(force_rollback=True):
        app.worker.execute(AUTHORISE, (request, app.schedule))
        assert app.worker.execute("SELECT 1").fetchone() == (1,)
    assert len(app.rows(subject)) == 3
    read(app.gateway, subject)
    app.erase(subject)


def test_one_table_that_fails_keeps_all_as_they_were(app, subject):
    app.table("calls")
    app.table()
    app.fill(subject, 3, "calls")
    app.fill(subject)
    app.trigger("RAISE EXCEPTION 'no'")
    app.fails(subject, "P0001")
    assert len(app.rows(subject, "calls")) == 3 and len(app.rows(subject)) == 3
    app.sql("ALTER TABLE app.notes DISABLE TRIGGER USER")
    assert app.erase(subject) == {f"{app.schema}.notes": 3, f"{app.schema}.calls": 3}


def test_a_failed_erasure_leaves_its_transaction_usable_in_a_savepoint(app, subject, other):
    app.table()
    app.fill(subject)
    app.trigger("IF OLD.subject = '%s' THEN RAISE EXCEPTION 'no'; END IF" % subject.id)
    requests = [app.request(who) for who in (subject, other)]
    with app.worker.transaction():
        with pytest.raises(psycopg.Error), app.worker.transaction():
            app.worker.execute(AUTHORISE, (requests[0], app.schedule))
        app.worker.execute(AUTHORISE, (requests[1], app.schedule))
    read(app.gateway, subject)
    refused(app.gateway, "SELECT identity.pii_update(%s, 't.all', '{\"name\": null}')", (other.id,), "P0002", "subject_erased")


@pytest.mark.parametrize("lock", ["LOCK TABLE {t}", "SELECT 1 FROM {t} WHERE subject = '{s}' FOR UPDATE", "UPDATE {t} SET note = 'later' WHERE subject = '{s}'"])
def test_a_lock_of_the_application_does_not_hold_the_erasure_for_ever(app, subject, lock):
    app.table()
    app.fill(subject)
    with app.conn.transaction(force_rollback=True):
        app.sql(lock.format(t=f"{app.schema}.notes", s=subject.id))
        began = time.monotonic()
        app.fails(subject, "55P03")
        assert 1.5 < time.monotonic() - began < 8
    assert len(app.rows(subject)) == 3
    app.erase(subject)


def test_rows_that_a_transaction_is_just_writing_are_waited_for(app, subject):
    app.table()
    app.fill(subject)
    request, done = app.request(subject), []
    with app.conn.transaction():
        app.sql("UPDATE app.notes SET note = 'later'")
        erasing = threading.Thread(target=lambda: done.append(app.worker.execute(AUTHORISE, (request, app.schedule)).fetchone()))
        erasing.start()
        app.vault.wait_backend(app.worker.info.user, "wait_event_type = 'Lock'")
    erasing.join()
    assert done and app.rows(subject) == []


def test_rows_that_come_while_it_is_cleaned_fail_the_erasure(app, subject):
    """What another transaction adds is no part of what the statement saw, and would stay."""
    app.table()
    app.fill(subject)
    app.sql("CREATE TABLE app.gate ()")
    app.vault.sql(f"GRANT ALL ON {app.schema}.gate TO PUBLIC; GRANT USAGE ON SCHEMA {app.schema} TO PUBLIC")
    app.trigger(f"LOCK TABLE {app.schema}.gate IN SHARE MODE", when="AFTER DELETE", level="STATEMENT")
    request = app.request(subject)
    failed = []

    def erase():
        try:
            app.worker.execute(AUTHORISE, (request, app.schedule))
        except psycopg.Error as error:
            failed.append(error.diag.message_detail)

    with app.conn.transaction():
        app.sql("LOCK TABLE app.gate IN EXCLUSIVE MODE")
        erasing = threading.Thread(target=erase)
        erasing.start()
        app.vault.wait_backend(app.worker.info.user, "wait_event_type = 'Lock'")
        app.vault.sql(f"INSERT INTO {app.schema}.notes VALUES (%s, 'new')", (subject.id,))
    erasing.join()
    assert failed == ["reason: forget_failed"] and len(app.rows(subject)) == 4
    app.erase(subject)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_it_cleans_what_has_committed_by_now_at_every_isolation_level(app, subject, isolation):
    app.table()
    app.fill(subject, 2)
    request = app.request(subject)
    with app.worker.transaction():
        app.worker.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        app.worker.execute("SELECT 1")
        app.fill(subject, 1)
        app.worker.execute(AUTHORISE, (request, app.schedule))
    assert app.rows(subject) == []


class Memory(threading.Thread):
    """The most private memory that a process has meanwhile, in kB."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.status, self.most, self.over = Path(f"/proc/{pid}/status"), 0, threading.Event()

    def __enter__(self):
        self.first = self.now()
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def now(self) -> int:
        return next(int(line.split()[1]) for line in self.status.read_text().splitlines() if line.startswith("RssAnon"))

    def run(self):
        while not self.over.wait(0.01):
            self.most = max(self.most, self.now())

    @property
    def grown(self) -> int:
        return self.most - self.first


def many(app, subject, other, rows: int) -> None:
    app.table()
    app.fill(other, 10)
    app.fill(subject, rows)
    app.vault.sql(f"ANALYZE {app.schema}.notes")
    app.erase(app.vault.subject())
    with Memory(app.worker.info.backend_pid) as memory:
        assert app.erase(subject) == {f"{app.schema}.notes": rows}
    assert app.rows(subject) == [] and len(app.rows(other)) == 10
    assert memory.grown < 16_000, f"{memory.grown} kB more for {rows} rows"


def test_two_hundred_thousand_rows_take_no_memory(app, subject, other):
    many(app, subject, other, 200_000)


@pytest.mark.long
def test_ten_million_rows_take_no_memory(app, subject, other):
    many(app, subject, other, 10_000_000)
