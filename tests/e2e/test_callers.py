"""A revoked login is shut out of its next call, wherever it is; it cannot let itself in again."""

import threading
import time

import psycopg
import pytest

from vault import ONBOX, REGISTER, RESOLVE, reason_of, read, refused, refused_read

REVOKE = "SELECT identity.caller_revoke(%s::name, %s::text)"
REINSTATE = "SELECT identity.caller_reinstate(%s::name)"
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def legal(vault):
    with vault.connect(vault.login("identity_legal")) as conn:
        yield conn


def shut_out(conn, subject) -> None:
    refused_read(conn, subject, "42501", "caller_revoked")


@pytest.mark.parametrize("level", LEVELS)
def test_revoked_caller_is_refused_inside_an_open_transaction(vault, gateway, dba, level):
    subject = vault.subject()
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    read(gateway, subject)
    dba.execute(REVOKE, (gateway.info.user, "left"))
    shut_out(gateway, subject)
    gateway.execute("ROLLBACK")
    shut_out(gateway, subject)
    rows = vault.leaves(gateway, rolled_back=1, denied=2)
    assert {row["denial"] for row in rows if row["outcome"] == "denied"} == {"caller_revoked"}
    dba.execute(REINSTATE, (gateway.info.user,))
    read(gateway, subject)
    vault.verify()


def test_revoked_caller_is_refused_in_every_function(vault, gateway, dba):
    subject, me = vault.subject(), gateway.info.user
    vault.sql(f"GRANT identity_dba, identity_legal TO {me}")
    dba.execute(REVOKE, (me, "x"))
    calls = [
        (RESOLVE, (subject.id, "t.all", ["name"])),
        (REGISTER, ("t.all", '{"name": "x"}', "{}", None)),
        ("SELECT * FROM identity.pii_vertical(%s)", (subject.id,)),
        ("SELECT * FROM identity.pii_vertical_many(%s)", ([subject.id],)),
        ("SELECT identity.purpose_revoke('t.all', 'x')", None),
        (REVOKE, (dba.info.user, "x")),
        (REINSTATE, (me,)),
        ("INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles) VALUES ('t.revoked.author', 'x', '{name}', '{}') RETURNING 1", None),
    ]
    for query, parameters in calls:
        refused(gateway, query, parameters, "42501", "caller_revoked")
    vault.leaves(gateway, denied=len(calls))
    refused(gateway, "SELECT * FROM identity.my_purposes()", None, "42501", "caller_revoked")
    assert not vault.sql("SELECT 1 FROM identity.purpose_versions WHERE purpose_token = 't.revoked.author'")


def test_revocation_of_a_caller_binds_a_long_single_statement(vault, gateway, dba):
    subject, outcome = vault.subject(), {}

    def long_statement():
        try:
            gateway.execute("SELECT (identity.pii_resolve(%s, 't.all', '{name}')).pii, pg_sleep(0.05) FROM generate_series(1, 200)", (subject.id,)).fetchall()
        except psycopg.Error as error:
            outcome["error"] = error

    thread = threading.Thread(target=long_statement, daemon=True)
    thread.start()
    vault.wait_backend(gateway.info.user, "state = 'active' AND wait_event = 'PgSleep'")
    time.sleep(0.3)
    dba.execute(REVOKE, (gateway.info.user, "x"))
    thread.join(5)
    assert not thread.is_alive(), "the statement goes on after the revocation"
    assert reason_of(outcome["error"]) == ("42501", "caller_revoked")


def test_revocation_of_a_caller_binds_an_open_cursor(vault, gateway, dba):
    subject = vault.subject()
    gateway.execute("BEGIN")
    gateway.execute(f"DECLARE c CURSOR FOR SELECT (identity.pii_resolve('{subject.id}', 't.all', '{{name}}')).pii FROM generate_series(1, 10)")
    assert gateway.execute("FETCH c").fetchone()[0] == {"name": subject.pii["name"]}
    dba.execute(REVOKE, (gateway.info.user, "x"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        gateway.execute("FETCH ALL FROM c").fetchall()
    assert reason_of(caught.value) == ("42501", "caller_revoked")
    gateway.execute("ROLLBACK")
    vault.leaves(gateway, rolled_back=1, denied=1)


def test_revocation_of_a_caller_binds_a_prepared_statement(vault, gateway, dba):
    subject = vault.subject()
    for _ in range(6):  # past the point where a plan is kept
        gateway.execute(RESOLVE, (subject.id, "t.all", ["name"]), prepare=True)
    dba.execute(REVOKE, (gateway.info.user, "x"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        gateway.execute(RESOLVE, (subject.id, "t.all", ["name"]), prepare=True)
    assert reason_of(caught.value) == ("42501", "caller_revoked")


def test_set_role_is_no_way_out_of_a_revocation_and_none_around_one(vault, gateway, dba):
    """The session user stays who it is; and nobody becomes a login that is shut out."""
    subject, other = vault.subject(), vault.login(*ONBOX)
    vault.sql(f"GRANT {other} TO {gateway.info.user}")
    dba.execute(REVOKE, (other, "x"))
    read(gateway, subject)
    gateway.execute(f"SET ROLE {other}")
    shut_out(gateway, subject)
    gateway.execute("RESET ROLE")
    dba.execute(REINSTATE, (other,))
    dba.execute(REVOKE, (gateway.info.user, "x"))
    gateway.execute(f"SET ROLE {other}")
    shut_out(gateway, subject)


# -- letting in again ------------------------------------------------------------------
def test_revoked_caller_cannot_reinstate_itself(vault, legal):
    subject = vault.subject()
    with vault.connect(vault.login("identity_dba", *ONBOX)) as own:
        me = own.info.user
        helper = vault.login("identity_dba")
        vault.sql(f"GRANT {helper} TO {me}")
        legal.execute(REVOKE, (me, "x"))
        refused(own, REINSTATE, (me,), "42501", "caller_revoked")
        own.execute(f"SET ROLE {helper}")
        refused(own, REINSTATE, (me,), "42501", "caller_revoked")
        own.execute("RESET ROLE")
        with pytest.raises(psycopg.Error):
            own.execute("DELETE FROM identity.caller_revocations WHERE role = %s", (me,))
        with pytest.raises(psycopg.Error):
            own.execute("INSERT INTO identity.caller_revocations SELECT role, revocation, true, access_id, now(), changed_by, NULL FROM identity.caller_revocations WHERE role = %s", (me,))
        shut_out(own, subject)
        legal.execute(REINSTATE, (me,))
        read(own, subject)


def test_caller_that_reinstates_itself_ahead_is_shut_out_all_the_same(vault, legal):
    """A reinstatement undoes what its author saw: one that is prepared in an open transaction undoes no later revocation."""
    subject = vault.subject()
    with vault.connect(vault.login("identity_dba", *ONBOX)) as own:
        me = own.info.user
        own.execute("BEGIN")
        own.execute(REVOKE, (me, "own"))
        own.execute(REINSTATE, (me,))
        read(own, subject)
        legal.execute(REVOKE, (me, "x"))  # and does not wait for the open transaction
        shut_out(own, subject)
        own.execute("ROLLBACK")
        shut_out(own, subject)
        own.execute("BEGIN")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute(REINSTATE, (me,))
        own.execute("ROLLBACK")
        shut_out(own, subject)


def test_reinstatement_undoes_no_revocation_that_it_did_not_see(vault, gateway, dba, legal):
    subject, role = vault.subject(), gateway.info.user
    dba.execute(REVOKE, (role, "one"))
    dba.execute("BEGIN")
    dba.execute(REINSTATE, (role,))
    legal.execute(REVOKE, (role, "two"))
    dba.execute("COMMIT")
    shut_out(gateway, subject)
    dba.execute(REINSTATE, (role,))
    read(gateway, subject)
    vault.verify()


def test_what_is_not_committed_shuts_out_nobody_and_lets_nobody_in(vault, gateway, dba):
    subject, role = vault.subject(), gateway.info.user
    with dba.transaction(force_rollback=True):
        dba.execute(REVOKE, (role, "maybe"))
        read(gateway, subject)
    read(gateway, subject)
    dba.execute(REVOKE, (role, "x"))
    with dba.transaction(force_rollback=True):
        dba.execute(REINSTATE, (role,))
        shut_out(gateway, subject)
    shut_out(gateway, subject)
    vault.leaves(dba, committed=1)


def test_two_revocations_of_one_caller_do_not_wait_for_each_other(vault, gateway, dba, legal):
    subject, role = vault.subject(), gateway.info.user
    dba.execute("BEGIN")
    dba.execute(REVOKE, (role, "open"))
    legal.execute("SET lock_timeout = '1s'")
    legal.execute(REVOKE, (role, "at once"))
    shut_out(gateway, subject)
    dba.execute("COMMIT")
    legal.execute(REINSTATE, (role,))  # both
    read(gateway, subject)
    with pytest.raises(psycopg.Error) as caught:
        legal.execute(REINSTATE, (role,))
    assert reason_of(caught.value) == ("22023", "bad_argument")
    vault.verify()


def test_two_reinstatements_at_once_make_one(vault, gateway, dba, legal):
    subject, role, outcome = vault.subject(), gateway.info.user, {}
    dba.execute(REVOKE, (role, "x"))
    dba.execute("BEGIN")
    dba.execute(REINSTATE, (role,))

    def second():
        try:
            legal.execute(REINSTATE, (role,))
        except psycopg.Error as error:
            outcome["error"] = error

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    vault.wait_backend(legal.info.user, "wait_event_type = 'Lock'")
    dba.execute("COMMIT")
    thread.join(10)
    assert reason_of(outcome["error"]) == ("22023", "bad_argument")
    read(gateway, subject)
    vault.leaves(legal, denied=1)
    vault.verify()


# -- who, whom ---------------------------------------------------------------------------
@pytest.mark.parametrize("group", ["identity_gateway", "identity_approver", "identity_reviewer", "identity_worker", "identity_auditor"])
def test_only_dba_and_legal_revoke_and_reinstate(vault, gateway, group):
    with vault.connect(vault.login(group)) as conn:
        for query, parameters in ((REVOKE, (gateway.info.user, "x")), (REINSTATE, (gateway.info.user,))):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(query, parameters)
    read(gateway, vault.subject())


@pytest.mark.parametrize("query, parameters, state, reason", [
    (REVOKE, (None, "x"), "22004", "null_argument"),
    (REVOKE, ("{role}", None), "22004", "null_argument"),
    (REVOKE, ("{role}", ""), "22023", "bad_argument"),
    (REVOKE, ("{role}", "x" * 1001), "22023", "bad_argument"),
    (REVOKE, ("identity_gateway", "a group"), "22023", "bad_argument"),
    (REVOKE, ("no_such_login", "x"), "22023", "bad_argument"),
    (REINSTATE, (None,), "22004", "null_argument"),
    (REINSTATE, ("{role}",), "22023", "bad_argument"),
    (REINSTATE, ("no_such_login",), "22023", "bad_argument"),
])
def test_what_cannot_be_revoked_or_reinstated(vault, gateway, dba, query, parameters, state, reason):
    parameters = tuple(p.format(role=gateway.info.user) if p else p for p in parameters)
    refused(dba, query, parameters, state, reason)
    vault.leaves(dba, denied=1)
    read(gateway, vault.subject())


def test_revocation_and_reinstatement_are_on_record(vault, gateway, dba, legal):
    role = gateway.info.user
    legal.execute(REVOKE, (role, "laptop lost"))
    dba.execute(REINSTATE, (role,))
    rows = vault.leaves(legal, committed=1) + vault.leaves(dba, committed=1)
    assert [(row["accessor_kind"], row["chain_kind"]) for row in rows] == [("caller_revoke", "merkle"), ("caller_reinstate", "merkle")]
    assert "laptop" not in str(rows)
    stored = dba.execute("SELECT reinstated, access_id, changed_by, reason FROM identity.caller_revocations WHERE role = %s ORDER BY reinstated", (role,))
    assert stored.fetchall() == [(False, rows[0]["access_id"], legal.info.user, "laptop lost"), (True, rows[1]["access_id"], dba.info.user, None)]


def test_login_that_is_dropped_and_made_again_stays_shut_out(vault, dba):
    subject, role = vault.subject(), vault.login(*ONBOX)
    dba.execute(REVOKE, (role, "x"))
    vault.sql(f"DROP ROLE {role}")
    vault.login(*ONBOX, name=role)
    with vault.connect(role) as conn:
        shut_out(conn, subject)
    vault.sql(f"DROP ROLE {role}")
    dba.execute(REINSTATE, (role,))  # a login that is gone can still be let in
    vault.login(*ONBOX, name=role)
    with vault.connect(role) as conn:
        read(conn, subject)


def test_revoked_worker_still_brings_the_keys(vault, dba):
    """Otherwise a revocation and a restart could leave a vault that nobody can unlock, and so nobody can reinstate."""
    worker = vault.login("identity_worker")
    dba.execute(REVOKE, (worker, "x"))
    with vault.connect(worker) as conn:
        conn.execute("SELECT identity.dev_unlock()")


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
@pytest.mark.parametrize("attempt", ["DELETE FROM {t}", "TRUNCATE {t}", "UPDATE {t} SET reinstated = true, reason = NULL"])
def test_revocations_of_callers_are_append_only(vault, gateway, dba, attempt, replication_role):
    dba.execute(REVOKE, (gateway.info.user, "x"))
    with vault.cluster.connect() as admin:
        admin.execute(f"SET session_replication_role = {replication_role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            admin.execute(attempt.format(t="identity.caller_revocations"))
        assert caught.value.diag.message_detail.startswith("reason: append_only")
    shut_out(gateway, vault.subject())


@pytest.mark.parametrize("forgery", [
    "DELETE FROM identity.caller_revocations WHERE role = '{role}'",
    "UPDATE identity.caller_revocations SET role = 'somebody_else' WHERE role = '{role}'",
    "UPDATE identity.caller_revocations SET reason = 'another' WHERE role = '{role}'",
    "UPDATE identity.caller_revocations SET changed_by = 'another' WHERE role = '{role}'",
    "INSERT INTO identity.caller_revocations SELECT role, revocation, true, access_id + 1, now(), changed_by, NULL FROM identity.caller_revocations WHERE role = '{role}'",
], ids=["deleted", "role", "reason", "by", "reinstated"])
def test_revocation_forged_past_the_guards_is_found(vault, gateway, dba, forgery):
    dba.execute(REVOKE, (gateway.info.user, "x"))
    with vault.admin.transaction(force_rollback=True):
        vault.sql("ALTER TABLE identity.caller_revocations DISABLE TRIGGER append_only")
        vault.sql(forgery.format(role=gateway.info.user))
        vault.sql("ALTER TABLE identity.caller_revocations ENABLE ALWAYS TRIGGER append_only")
        assert {row["check_name"] for row in vault.findings() if not row["ok"]} == {"callers"}
    vault.verify()
