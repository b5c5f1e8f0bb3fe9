"""A read that does not commit leaves its row all the same: the abort cannot take the record back."""

import psycopg
import pytest
from psycopg import sql

from vault import RESOLVE, read


def test_commit_leaves_one_committed_row(vault, gateway):
    subject = vault.subject()
    access_id = read(gateway, subject, fields=["name", "ssn"])
    (row,) = vault.leaves(gateway, committed=1)
    assert (row["access_id"], row["candidate_id"], row["fields_accessed"]) == (access_id, subject.id, ["name", "ssn"])
    assert (row["lane"], row["seq"]) == (access_id >> 48, access_id & (1 << 48) - 1)
    assert (row["purpose_token"], row["purpose_version"], row["zone"], row["chain_kind"]) == ("t.all", 1, "onbox", "hmac")
    assert (row["vertical"], row["consent_status"], row["phi_fields"]) == ("general", "given", [])


def test_rollback_leaves_a_row(vault, gateway):
    subject = vault.subject()
    with gateway.transaction(force_rollback=True):
        read(gateway, subject)
    (row,) = vault.leaves(gateway, rolled_back=1)
    assert (row["candidate_id"], row["fields_accessed"], row["purpose_token"]) == (subject.id, ["name"], "t.all")


def test_savepoint_rollback_leaves_a_row(vault, gateway):
    subject = vault.subject()
    with gateway.transaction():
        read(gateway, subject)
        with gateway.transaction(force_rollback=True):
            read(gateway, subject)
        read(gateway, subject)
    vault.leaves(gateway, committed=2, rolled_back=1)


def test_nested_savepoints_leave_a_row_each(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN")
    for depth in range(5):
        gateway.execute(f"SAVEPOINT s{depth}")
        read(gateway, subject)
    gateway.execute("RELEASE s4")  # into s3
    gateway.execute("ROLLBACK TO s2")  # takes s2, s3 and what was s4
    read(gateway, subject)
    gateway.execute("RELEASE s1")
    gateway.execute("COMMIT")
    vault.leaves(gateway, committed=3, rolled_back=3)


def test_released_savepoints_are_lost_with_their_parent_once_each(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN; SAVEPOINT a")
    read(gateway, subject)
    gateway.execute("SAVEPOINT b")
    read(gateway, subject)
    gateway.execute("RELEASE b; RELEASE a; ROLLBACK")
    vault.leaves(gateway, rolled_back=2)


def test_rolling_back_to_one_savepoint_again_and_again(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN; SAVEPOINT a")
    for _ in range(20):
        read(gateway, subject)
        gateway.execute("ROLLBACK TO a")
    gateway.execute("COMMIT")
    vault.leaves(gateway, rolled_back=20)


def test_a_thousand_reads_in_one_transaction_leave_a_row_each(vault, gateway):
    subjects = [vault.subject() for _ in range(3)]
    with gateway.transaction(force_rollback=True):
        for n in range(1000):
            read(gateway, subjects[n % 3], fields=["name"] if n % 2 else ["email"])
    rows = vault.leaves(gateway, rolled_back=1000)
    assert {row["candidate_id"] for row in rows} == {subject.id for subject in subjects}
    with gateway.transaction():
        for n in range(1000):
            read(gateway, subjects[n % 3])
    vault.leaves(gateway, committed=1000, rolled_back=1000)


@pytest.mark.parametrize("kind", ["DO", "CALL"])
def test_transactions_inside_a_procedure_leave_their_rows(vault, gateway, kind):
    """COMMIT and ROLLBACK without the client having said anything."""
    subject = vault.subject()
    body = f"""DECLARE kept jsonb; BEGIN
        FOR n IN 1 .. 10 LOOP
            SELECT pii INTO kept FROM identity.pii_resolve('{subject.id}', 't.all', '{{name}}');
            IF n % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
        END LOOP; END"""
    if kind == "CALL":
        gateway.execute(f"CREATE PROCEDURE pg_temp.work() LANGUAGE plpgsql AS $$ {body} $$")
        gateway.execute("CALL pg_temp.work()")
    else:
        gateway.execute(f"DO $$ {body} $$")
    vault.leaves(gateway, committed=5, rolled_back=5)


def test_exception_block_leaves_a_row(vault, gateway):
    subject = vault.subject()
    body = sql.SQL("""DO $$ DECLARE kept jsonb; BEGIN
        BEGIN
            SELECT pii INTO kept FROM identity.pii_resolve({id}, 't.all', '{{name}}');
            RAISE EXCEPTION 'let me forget';
        EXCEPTION WHEN raise_exception THEN
            IF kept->>'name' IS NULL THEN RAISE EXCEPTION 'the attack did not get the name'; END IF;
        END;
    END $$""").format(id=sql.Literal(subject.id))
    gateway.execute(body)
    vault.leaves(gateway, rolled_back=1)


def test_error_after_the_row_leaves_a_row(vault, gateway):
    subject = vault.subject()
    with pytest.raises(psycopg.errors.DivisionByZero):
        gateway.execute("SELECT pii, 1 / (generation - generation) FROM identity.pii_resolve(%s, 't.all', '{name}')", (subject.id,))
    vault.leaves(gateway, rolled_back=1)


def test_error_in_a_deferred_constraint_at_commit_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("CREATE TEMP TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        with gateway.transaction():
            read(gateway, subject)
            gateway.execute("INSERT INTO late VALUES (1), (1)")
    vault.leaves(gateway, rolled_back=1)


@pytest.mark.parametrize("end, outcome", [("COMMIT", "committed"), ("ROLLBACK", "rolled_back")])
def test_closed_cursor_leaves_a_row(vault, gateway, end, outcome):
    subject = vault.subject()
    gateway.execute("BEGIN")
    gateway.execute("DECLARE c CURSOR FOR SELECT pii FROM identity.pii_resolve('%s', 't.all', '{name}')" % subject.id)
    assert gateway.execute("FETCH c").fetchone()[0] == {"name": subject.pii["name"]}
    gateway.execute("CLOSE c")
    gateway.execute(end)
    vault.leaves(gateway, **{outcome: 1})


def test_cursor_in_a_rolled_back_savepoint_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN; SAVEPOINT a")
    gateway.execute("DECLARE c CURSOR FOR SELECT pii FROM identity.pii_resolve('%s', 't.all', '{name}')" % subject.id)
    assert gateway.execute("FETCH c").fetchone()
    gateway.execute("ROLLBACK TO a; COMMIT")
    vault.leaves(gateway, rolled_back=1)


def test_holdable_cursor_leaves_a_row_though_it_is_never_fetched(vault, gateway):
    subject = vault.subject()
    gateway.execute("DECLARE c CURSOR WITH HOLD FOR SELECT pii FROM identity.pii_resolve('%s', 't.all', '{name}')" % subject.id)
    vault.leaves(gateway, committed=1)


def test_explain_analyze_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("EXPLAIN SELECT identity.pii_resolve('%s', 't.all', '{name}')" % subject.id)
    vault.leaves(gateway)
    plan = gateway.execute("EXPLAIN (ANALYZE, VERBOSE) SELECT identity.pii_resolve('%s', 't.all', '{name}')" % subject.id).fetchall()
    assert subject.pii["name"] not in str(plan)
    vault.leaves(gateway, committed=1)


def test_copy_leaves_a_row(vault, gateway):
    subject = vault.subject()
    query = "COPY (SELECT pii FROM identity.pii_resolve('%s', 't.all', '{name}')) TO STDOUT" % subject.id
    with gateway.cursor().copy(query) as copy:
        assert subject.pii["name"] in b"".join(copy).decode()
    vault.leaves(gateway, committed=1)


def test_copy_that_fails_after_the_row_leaves_a_row(vault, gateway):
    subject = vault.subject()
    query = (
        "COPY (SELECT pii, 1 / (n - 2) FROM generate_series(1, 2) n, identity.pii_resolve('%s', 't.all', '{name}')) TO STDOUT" % subject.id
    )
    with pytest.raises(psycopg.errors.DivisionByZero):
        with gateway.cursor().copy(query) as copy:
            list(copy)
    vault.leaves(gateway, rolled_back=1)


def test_every_evaluation_is_a_row_of_its_own(vault, gateway):
    # (f()).* calls f once for each output column: surprising, and so recorded as often as it happened.
    subject = vault.subject()
    gateway.execute("SELECT (identity.pii_resolve('%s', 't.all', '{name}')).*" % subject.id)
    assert 1 <= vault.outcomes(gateway.info.user)["committed"] <= 3
    gateway.execute(RESOLVE.replace("FROM", "FROM generate_series(1, 3),"), (subject.id, "t.all", ["name"]))
    vault.verify()


def test_create_table_as_is_the_callers_own_copy_and_leaves_a_row(vault, gateway):
    subject = vault.subject()
    gateway.execute("CREATE TEMP TABLE mine AS SELECT pii FROM identity.pii_resolve('%s', 't.all', '{name}')" % subject.id)
    vault.leaves(gateway, committed=1)
