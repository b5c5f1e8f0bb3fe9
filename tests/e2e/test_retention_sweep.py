"""retention_sweep erases who is due and nobody else, a batch at a time, whoever interferes."""

import threading
import time

import psycopg
import pytest

from cluster import wait_until
from retention import BAD, age, aged, erased, no_policies, policy, schedule, sweep, sweeping, whole
from test_install import GROUPS
from vault import read, reason_of, refused, refused_read


@pytest.fixture
def worker(vault):
    with sweeping(vault) as conn:
        yield conn


# -- who is due -----------------------------------------------------------------


def test_who_is_due_is_erased_under_the_policys_schedule(vault, worker, gateway):
    version = policy(vault, "general", 30)
    due, young = aged(vault, 31), aged(vault, 29)
    read(gateway, due)
    assert sweep(worker) == {"sweep": "retention", "dry_run": False, "due": 1, "done": 1, "busy": 0, "failed": 0, "more": False}
    assert erased(vault, due, young) == [True, False]
    refused_read(gateway, due, "P0002", "subject_erased")
    read(gateway, young)
    row = vault.sql("SELECT * FROM identity.pii_access_log WHERE candidate_id = %s AND accessor_kind = 'erasure'", (due.id,))[0]
    assert (row["accessor_role"], row["purpose_token"], row["chain_kind"]) == (vault.worker, "retention_expired", "merkle")
    request = vault.sql("SELECT * FROM identity.erasure_requests WHERE candidate_id = %s", (due.id,))[0]
    assert (request["state"], request["reason"], request["authority"], request["access_id"]) == ("done", "retention_expired", version, row["access_id"])


def test_without_a_policy_nobody_is_due_however_old(vault, worker):
    old = [aged(vault, 36_000, vertical, period=36_500) for vertical in ("general", "finance", "unknown", "healthcare", "other")]
    short = aged(vault, 5000, "other", period=30)  # its own period is over, and nobody said that that counts
    assert sweep(worker)["due"] == 0
    policy(vault, "finance", 36_499)
    assert sweep(worker)["due"] == 0 and erased(vault, *old) == [False] * 5
    policy(vault, "finance", 30)
    assert sweep(worker)["done"] == 1 and erased(vault, *old, short) == [False, True, False, False, False, False]


def test_only_a_general_policy_erases(vault, worker):
    old = aged(vault, 5000)
    policy(vault, "general", 1, kind="biometric")
    assert sweep(worker)["due"] == 0 and erased(vault, old) == [False]


@pytest.mark.parametrize(
    "days, period, interaction, due",
    [
        (31, 36500, None, True),  # the policy is shorter than the subject's own period
        (31, 10, None, True),
        (20, 10, None, True),  # its own period is the shorter
        (20, 36500, None, False),
        (9, 10, None, False),
        (31, 36500, 29, False),  # counted from the last interaction
        (400, 36500, 30.01, True),
        (400, 5, 5.01, True),
        (400, 5, 4.99, False),
    ],
)
def test_the_shorter_of_period_and_policy_counts_from_the_last_interaction(vault, worker, days, period, interaction, due):
    policy(vault, "general", 30)
    subject = aged(vault, days, period=period, interaction=interaction)
    assert sweep(worker, dry_run=True)["due"] == int(due)
    assert sweep(worker)["done"] == int(due) and erased(vault, subject) == [due]


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati", "UTC"])
def test_a_day_is_24_hours_in_every_time_zone(vault, worker, zone):
    policy(vault, "general", 36_000)
    due, young = aged(vault, 36_000.001, period=36_500), aged(vault, 35_999.999, period=36_500)
    worker.execute(f"SET TimeZone = '{zone}'")
    assert sweep(worker)["done"] == 1 and erased(vault, due, young) == [True, False]


def test_a_policy_shortened_lengthened_and_removed_binds_the_next_batch(vault, worker):
    policy(vault, "general", 100)
    subject, other = aged(vault, 50), aged(vault, 60)
    assert sweep(worker)["due"] == 0
    policy(vault, "general", 55)
    assert sweep(worker)["done"] == 1 and erased(vault, subject, other) == [False, True]
    policy(vault, "general", 100)
    assert sweep(worker)["due"] == 0
    policy(vault, "general", 10)
    no_policies(vault)
    assert sweep(worker)["due"] == 0 and erased(vault, subject) == [False]


def test_a_schedule_that_is_not_in_effect_yet_or_any_more_erases_nobody(vault, worker):
    subject = aged(vault, 50)
    now = schedule(vault)
    later = schedule(vault, effective_at="2100-01-01")
    policy(vault, "general", 30, schedule_version=later)
    assert sweep(worker)["due"] == 0
    policy(vault, "general", 30, schedule_version=now)
    assert sweep(worker, dry_run=True)["due"] == 1
    schedule(vault)  # supersedes the one that the policy names
    assert sweep(worker)["due"] == 0 and erased(vault, subject) == [False]


def test_an_open_request_is_fulfilled_by_the_sweep(vault, worker, gateway):
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    request = gateway.execute("SELECT identity.erasure_request(%s, 'rtbf_request')", (subject.id,)).fetchone()[0]
    assert sweep(worker)["done"] == 1
    row = vault.sql("SELECT * FROM identity.erasure_requests WHERE candidate_id = %s", (subject.id,))
    assert [(r["request_id"], r["state"], r["reason"]) for r in row] == [(request, "done", "rtbf_request")]


# -- arguments and callers ---------------------------------------------------------


@pytest.mark.parametrize("name", ["retention", "consent", "biometric"])
@pytest.mark.parametrize("most, wrong", [(None, ("22004", "null_argument")), (0, BAD), (-1, BAD), (-(2**31), BAD), (10_001, ("22023", "too_many")), (2**31 - 1, ("22023", "too_many"))])
def test_a_batch_has_between_one_and_ten_thousand_subjects(vault, worker, name, most, wrong):
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    refused(worker, f"SELECT identity.{name}_sweep(%s::int)", (most,), *wrong)
    refused(worker, f"SELECT identity.{name}_sweep(%s::int, true)", (most,), *wrong)
    refused(worker, f"SELECT identity.{name}_sweep(10, NULL)", None, "22004", "null_argument")
    assert erased(vault, subject) == [False]
    assert sweep(worker, most=10_000)["done"] == 1


@pytest.mark.parametrize("name", ["retention", "consent", "biometric"])
@pytest.mark.parametrize("group", [group for group in GROUPS if group != "identity_worker"] + ["nobody"])
def test_no_other_role_sweeps(vault, worker, name, group):
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    with vault.connect(vault.login(*([] if group == "nobody" else [group]))) as conn:
        for dry_run in ("false", "true"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"SELECT identity.{name}_sweep(10, {dry_run})")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT * FROM identity.sweep_progress")
    assert erased(vault, subject) == [False]


def test_a_revoked_worker_sweeps_nothing(vault, worker):
    policy(vault, "general", 30)
    subject, role = aged(vault, 31), vault.login("identity_worker")
    with vault.connect(vault.dba) as dba, vault.connect(role) as conn:
        dba.execute("SELECT identity.caller_revoke(%s, 'a test')", (role,))
        refused(conn, "SELECT identity.retention_sweep()", None, "42501", "caller_revoked")
    assert erased(vault, subject) == [False]


def test_a_read_only_transaction_sweeps_nothing(vault, worker):
    with worker.transaction():
        worker.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            sweep(worker)


# -- batches ----------------------------------------------------------------------


def test_a_pass_goes_through_everybody_once_in_batches(vault, worker):
    policy(vault, "general", 30)
    subjects = [aged(vault, 40) for _ in range(7)]
    answers = [sweep(worker, most=3) for _ in range(3)]
    assert [(a["done"], a["more"]) for a in answers] == [(3, True), (3, True), (1, False)]
    assert all(erased(vault, *subjects)) and sweep(worker)["due"] == 0


def test_exactly_as_many_as_a_batch_takes_is_the_end(vault, worker):
    policy(vault, "general", 30)
    subjects = [aged(vault, 40) for _ in range(3)]
    assert (lambda a: (a["done"], a["more"]))(sweep(worker, most=3)) == (3, False) and all(erased(vault, *subjects))


def test_a_pass_under_other_policies_begins_anew(vault, worker):
    policy(vault, "general", 100)
    first, *rest = sorted((aged(vault, 50), aged(vault, 200), aged(vault, 200)), key=lambda s: s.id)
    age(vault, [first], 50)
    age(vault, rest, 200)
    assert sweep(worker, most=1)["more"]
    policy(vault, "general", 30)  # the first one, whom the pass is past, is due now
    assert sweep(worker, most=1)["done"] == 1 and erased(vault, first, *rest) == [True, True, False]
    assert whole(worker)["done"] == 1


def test_a_dry_run_says_what_the_run_does_and_does_nothing(vault, worker, gateway):
    policy(vault, "general", 30)
    subjects = [aged(vault, 40) for _ in range(5)]
    before = vault.sql("SELECT count(*) FROM identity.pii_access_log"), vault.sql("SELECT * FROM identity.sweep_progress ORDER BY 1")
    rehearsed = sweep(worker, most=3, dry_run=True)
    assert rehearsed == sweep(worker, most=3, dry_run=True) == rehearsed | {"dry_run": True, "done": 0, "due": 3, "more": True}
    assert not any(erased(vault, *subjects))
    assert (vault.sql("SELECT count(*) FROM identity.pii_access_log"), vault.sql("SELECT * FROM identity.sweep_progress ORDER BY 1")) == before
    with worker.transaction():  # it holds nothing: not even until the end of its transaction
        sweep(worker, dry_run=True)
        gateway.execute("SET lock_timeout = '1s'")
        gateway.execute("SELECT identity.interaction_record(%s)", (subjects[0].id,))
        with vault.connect(vault.worker) as other:
            other.execute("SET lock_timeout = '1s'")
            done = sweep(other, most=3)
    assert (done["due"], done["more"]) == (3, True)


# -- concurrency -------------------------------------------------------------------


def test_an_interaction_just_before_keeps_a_subject(vault, worker, gateway):
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    assert sweep(worker, dry_run=True)["due"] == 1
    gateway.execute("SELECT identity.interaction_record(%s)", (subject.id,))
    assert sweep(worker)["due"] == 0 and erased(vault, subject) == [False]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_an_interaction_after_the_sweepers_snapshot_keeps_a_subject(vault, worker, gateway, isolation):
    policy(vault, "general", 30)
    subject, other = aged(vault, 31), aged(vault, 31)
    with worker.transaction():
        worker.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        worker.execute("SELECT 1")
        gateway.execute("SELECT identity.interaction_record(%s)", (subject.id,))
        assert sweep(worker)["done"] == 1
    assert erased(vault, subject, other) == [False, True]


def test_an_interaction_in_an_open_transaction_keeps_its_subject_whatever_the_moment(vault, worker, gateway):
    """Between looking who is due and locking: the sweep must look again once it has the lock."""
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    with gateway.transaction():
        gateway.execute("SELECT identity.interaction_record(%s)", (subject.id,))
        assert sweep(worker) | {"more": False} == {"sweep": "retention", "dry_run": False, "due": 1, "done": 0, "busy": 1, "failed": 0, "more": False}
        assert sweep(worker, dry_run=True)["busy"] == 1
    assert sweep(worker)["due"] == 0 and erased(vault, subject) == [False]


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_subject_that_a_client_holds_is_left_and_done_later(vault, worker, gateway, ending):
    policy(vault, "general", 30)
    held, free = aged(vault, 31), aged(vault, 31)
    gateway.execute("BEGIN")
    gateway.execute("SELECT identity.pii_update(%s, 't.all', '{\"name\": \"Another\"}')", (held.id,))
    worker.execute("SET lock_timeout = '2s'")
    answer = sweep(worker)
    assert (answer["done"], answer["busy"]) == (1, 1) and erased(vault, held, free) == [False, True]
    gateway.execute(ending)
    assert sweep(worker)["done"] == 1 and erased(vault, held) == [True]


def test_two_sweeps_at_once_miss_nobody_and_do_nobody_twice(vault, worker):
    policy(vault, "general", 30)
    subjects = [aged(vault, 31) for _ in range(40)]
    done = []

    def go():
        with vault.connect(vault.worker) as conn:
            done.append(whole(conn, most=3)["done"])

    threads = [threading.Thread(target=go) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(done) == 40 and all(erased(vault, *subjects))


def test_a_sweep_waits_for_a_policy_that_is_being_changed(vault, worker):
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    with vault.connect(vault.dba) as dba:
        dba.execute("BEGIN; DELETE FROM identity.retention_policies")
        worker.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            sweep(worker)
        assert erased(vault, subject) == [False]
        dba.execute("COMMIT")
    assert sweep(worker)["due"] == 0 and erased(vault, subject) == [False]


def test_no_policy_changes_under_a_sweep(vault, worker):
    policy(vault, "general", 30)
    aged(vault, 31)
    with vault.connect(vault.dba) as dba, worker.transaction():
        assert sweep(worker)["done"] == 1
        dba.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            dba.execute("UPDATE identity.retention_policies SET days = 40")


def test_a_rolled_back_sweep_has_done_nothing_and_the_next_begins_where_it_did(vault, worker, gateway):
    policy(vault, "general", 30)
    subjects = [aged(vault, 31) for _ in range(4)]
    sweep(worker, most=1)
    before = vault.sql("SELECT * FROM identity.sweep_progress ORDER BY 1")
    with worker.transaction(force_rollback=True):
        assert sweep(worker, most=2)["done"] == 2
    assert sum(erased(vault, *subjects)) == 1 and vault.sql("SELECT * FROM identity.sweep_progress ORDER BY 1") == before
    with worker.transaction():
        worker.execute("SAVEPOINT s")
        sweep(worker, most=2)
        worker.execute("ROLLBACK TO SAVEPOINT s")
    assert sum(erased(vault, *subjects)) == 1
    assert whole(worker)["done"] == 3 and all(erased(vault, *subjects))


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_callers_of_stricter_isolation_sweep_too(vault, worker, isolation):
    policy(vault, "general", 30)
    subjects = [aged(vault, 31) for _ in range(4)]
    worker.execute(f"SET default_transaction_isolation = '{isolation.lower()}'")
    assert whole(worker, most=3)["done"] == 4 and all(erased(vault, *subjects))


def test_a_sweep_cannot_be_prepared(vault, worker):
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    with pytest.raises(psycopg.Error) as caught:
        worker.execute("BEGIN")
        sweep(worker)
        worker.execute("PREPARE TRANSACTION 'sweep'")
    assert reason_of(caught.value)[1] == "prepared_transaction"
    worker.execute("ROLLBACK")
    assert erased(vault, subject) == [False] and sweep(worker)["done"] == 1


def test_a_terminated_sweep_resumes(vault, worker):
    policy(vault, "general", 30)
    subjects = [aged(vault, 31) for _ in range(10)]
    sweep(worker, most=3)
    with vault.connect(vault.worker) as victim:
        victim.execute("BEGIN")
        assert sweep(victim, most=3)["done"] == 3
        vault.sql("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            victim.execute("COMMIT")
        victim.close()
    wait_until(lambda: sum(erased(vault, *subjects)) == 3, "the rollback")
    assert whole(worker, most=3)["done"] == 7 and all(erased(vault, *subjects))


def test_resolves_of_others_go_on_while_a_sweep_is_open(vault, worker, gateway):
    """Reads of erased subjects' buckets wait for the end; those of other buckets do not."""
    policy(vault, "general", 30)
    subject = aged(vault, 31)
    others = [vault.subject() for _ in range(20)]
    bucket = lambda s: int.from_bytes(s.id.bytes[12:], "big") % 1024  # noqa: E731
    with worker.transaction():
        assert sweep(worker)["done"] == 1
        gateway.execute("SET lock_timeout = '500ms'")
        for other in others:
            if bucket(other) != bucket(subject):
                read(gateway, other)


# -- registered tables that refuse ----------------------------------------------------


@pytest.fixture
def application(vault):
    """A registered table of an application; refuse(subject) makes it keep a subject's rows."""
    owner = vault.login("identity_dba")
    vault.sql(f"CREATE SCHEMA IF NOT EXISTS app; GRANT ALL ON SCHEMA app TO {owner}")
    with vault.connect(owner) as conn:
        conn.execute("CREATE TABLE app.notes (subject uuid, note text)")
        conn.execute("CREATE TABLE app.kept (subject uuid)")
        conn.execute(
            """CREATE FUNCTION app.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF EXISTS (SELECT FROM app.kept k WHERE k.subject = OLD.subject) THEN RAISE 'no'; END IF; RETURN OLD; END $$"""
        )
        conn.execute("CREATE TRIGGER keep BEFORE DELETE ON app.notes FOR EACH ROW EXECUTE FUNCTION app.keep()")
        conn.execute("SELECT identity.forget_register('app.notes', 'subject', 'delete')")
        yield conn
        conn.execute("SELECT identity.forget_unregister('app.notes')")
        conn.execute("DROP TABLE app.notes, app.kept; DROP FUNCTION app.keep")


def test_one_row_that_refuses_holds_nobody_else_up(vault, worker, application):
    policy(vault, "general", 30)
    subjects = [aged(vault, 31) for _ in range(30)]
    bad = subjects[7], subjects[20]
    for subject in subjects:
        application.execute("INSERT INTO app.notes VALUES (%s, 'x')", (subject.id,))
    for subject in bad:
        application.execute("INSERT INTO app.kept VALUES (%s)", (subject.id,))
    answer = sweep(worker)
    assert (answer["due"], answer["done"], answer["failed"], answer["more"]) == (30, 28, 2, False)
    assert [s for s, gone in zip(subjects, erased(vault, *subjects)) if not gone] == list(bad)
    assert {row[0] for row in application.execute("SELECT subject FROM app.notes")} == {s.id for s in bad}
    rows = vault.sql("SELECT candidate_id, accessor_kind FROM identity.pii_access_log WHERE outcome = 'denied' AND denial = 'forget_failed' AND accessor_role = %s", (vault.worker,))
    assert {(row["candidate_id"], row["accessor_kind"]) for row in rows} >= {(s.id, "erasure") for s in bad}
    assert vault.sql("SELECT failed FROM identity.sweep_progress WHERE sweep = 'retention'") == [{"failed": 2}]
    application.execute("TRUNCATE app.kept")
    assert sweep(worker)["done"] == 2 and all(erased(vault, *subjects))


def test_a_table_that_refuses_everybody_is_given_up_soon(vault, worker, application):
    policy(vault, "general", 30)
    subjects = [aged(vault, 31) for _ in range(200)]
    application.execute("CREATE RULE nothing AS ON DELETE TO app.notes DO INSTEAD NOTHING")
    began = time.monotonic()
    answer = sweep(worker)
    assert (answer["done"], answer["failed"]) == (0, 200) and time.monotonic() - began < 30
    assert not any(erased(vault, *subjects))
    left = vault.sql("SELECT count(*) AS rows, sum(repeats)::int AS n FROM identity.pii_access_log WHERE denial = 'forget_failed' AND accessed_at > now() - interval '1 minute' AND accessor_role = %s", (vault.worker,))[0]
    assert left["rows"] < 100 and left["n"] >= 200
    application.execute("DROP RULE nothing ON app.notes")
    assert whole(worker)["done"] == 200


def test_a_table_that_somebody_locks_is_given_up_soon(vault, worker, application):
    policy(vault, "general", 30)
    subjects = [aged(vault, 31) for _ in range(50)]
    with vault.cluster.connect() as admin:
        admin.execute("BEGIN; LOCK app.notes IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        answer = sweep(worker)
        assert (answer["done"], answer["failed"]) == (0, 50) and time.monotonic() - began < 60
    assert whole(worker)["done"] == 50 and all(erased(vault, *subjects))


# -- large ones ----------------------------------------------------------------------


def test_one_batch_takes_a_thousand_and_more(vault, worker):
    policy(vault, "general", 30)
    vault.sql("SELECT count(identity._import_subject(gen_random_uuid(), '{\"name\": \"Many\"}', 'finance', 'given')) FROM generate_series(1, 1000)")
    ids = [row["candidate_id"] for row in vault.sql("SELECT candidate_id FROM identity.subjects WHERE vertical = 'finance' AND erased_at IS NULL")]
    assert len(ids) >= 1000
    policy(vault, "finance", 30)
    vault.sql("UPDATE identity.subjects SET created_at = now() - interval '40 days' WHERE vertical = 'finance' AND erased_at IS NULL")
    answer = sweep(worker, most=10_000)
    assert answer["done"] == len(ids) and not answer["more"]
