"""Where the parts of erasing meet: sweeps with biometrics, registers that change before the scrub, tables that refuse, timeouts, keys that are locked."""

import os
import threading
import time

import psycopg
import pytest

from cluster import Cluster, wait_until
from erasure import asked, authorise
from retention import aged, erased, night_is_over, policy, sweep
from scrub import Past, checkpoint, erase, may_erase, people, scrub_all
from vault import RESOLVE, Vault


@pytest.fixture(scope="module")
def own():
    """A vault that writes every temporary file into its log, where no VACUUM runs by itself."""
    cluster = Cluster("e", {"max_connections": "60", "autovacuum": "off", "log_temp_files": "0"})
    try:
        vault = Vault(cluster.start().install())
        night_is_over(vault)
        yield vault
    finally:
        cluster.destroy()


@pytest.fixture
def worker(own):
    with own.connect(own.worker) as conn:
        yield conn
    with own.connect(own.dba) as dba:
        dba.execute("DELETE FROM identity.retention_policies")
    own.sql("UPDATE identity.subjects SET created_at = now() WHERE erased_at IS NULL")


@pytest.fixture
def application(own):
    """A registered table, and what its trigger does."""
    owner = own.login("identity_dba")
    own.sql(f"CREATE SCHEMA app AUTHORIZATION {owner}")
    with own.connect(owner) as conn:
        conn.execute("CREATE TABLE app.notes (subject uuid, note text); CREATE TABLE app.kept (subject uuid PRIMARY KEY)")
        conn.execute("SELECT identity.forget_register('app.notes', 'subject', 'delete')")

        def does(body: str) -> None:
            conn.execute(
                f"CREATE OR REPLACE FUNCTION app.keep() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {body}; RETURN OLD; END $f$;"
                "CREATE OR REPLACE TRIGGER keep BEFORE DELETE ON app.notes FOR EACH ROW EXECUTE FUNCTION app.keep()"
            )

        conn.does = does
        yield conn
        for row in own.sql("SELECT relation::oid AS oid FROM identity.forget_tables"):
            conn.execute("SELECT identity.forget_unregister(%s::oid::regclass)", (row["oid"],))
    own.sql("DROP SCHEMA app CASCADE")


def since(vault, mark: int) -> str:
    with open(vault.cluster.log, encoding="utf-8", errors="replace") as log:
        log.seek(mark)
        return log.read()


# -- sweeps and tables that refuse ---------------------------------------------------
def test_some_who_cannot_be_erased_at_the_front_hold_nobody_up_for_good(own, worker, application):
    """They are the oldest, so each pass comes to them first; whoever comes after must have its turn some night."""
    application.does("IF EXISTS (SELECT FROM app.kept k WHERE k.subject = OLD.subject) THEN RAISE 'no'; END IF")
    policy(own, "general", 30)
    subjects = [aged(own, 31) for _ in range(120)]
    for subject in subjects:
        application.execute("INSERT INTO app.notes VALUES (%s, 'x')", (subject.id,))
    for subject in subjects[:20]:
        application.execute("INSERT INTO app.kept VALUES (%s)", (subject.id,))
    for _ in range(4):
        sweep(worker)
    assert erased(own, *subjects).count(True) == 100


def test_statement_timeout_ends_a_sweep(own, worker, application):
    application.does("PERFORM pg_sleep(4)")
    policy(own, "general", 30)
    subjects = [aged(own, 31) for _ in range(4)]
    for subject in subjects:
        application.execute("INSERT INTO app.notes VALUES (%s, 'x')", (subject.id,))
    worker.execute("SET statement_timeout = '1s'")
    began = time.monotonic()
    try:
        sweep(worker)
    except psycopg.Error:
        pass
    assert time.monotonic() - began < 3


def test_reads_go_on_while_a_sweep_tries_one_by_one(own, worker, application):
    """Who was cleared in the first half is read again as soon as the answer is there, not when the second half has been tried."""
    application.does("PERFORM pg_sleep(3); IF EXISTS (SELECT FROM app.kept k WHERE k.subject = OLD.subject) THEN RAISE 'no'; END IF")
    policy(own, "general", 30)
    subjects = [aged(own, 31) for _ in range(2)]
    for subject in subjects[1:]:
        application.execute("INSERT INTO app.notes VALUES (%s, 'x')", (subject.id,))
        application.execute("INSERT INTO app.kept VALUES (%s)", (subject.id,))
    gateway = own.gateway()
    thread = threading.Thread(target=sweep, args=(worker,))
    thread.start()
    longest = 0.0
    try:
        while thread.is_alive():
            began = time.monotonic()
            try:
                gateway.execute(RESOLVE, (subjects[0].id, "t.all", ["name"])).fetchone()
            except psycopg.Error:
                pass
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.05)
    finally:
        thread.join()
        gateway.close()
    assert erased(own, *subjects) == [True, False] and longest < 1.5, longest


# -- temporary files ---------------------------------------------------------------
def rich(vault, count: int, days: int = 31) -> list:
    """Subjects of an age, with long values."""
    ids = people(vault.admin, count)
    vault.sql(
        "SELECT count(identity._import_subject(candidate_id, jsonb_build_object('name', repeat('n', 900), 'email', repeat('e', 900), 'address', repeat('a', 900), 'phone', repeat('p', 900)), 'general', 'given'))"
        " FROM identity.subjects WHERE candidate_id = ANY (%s)",
        (ids,),
    )
    vault.sql("UPDATE identity.subjects SET created_at = now() - make_interval(days => %s) WHERE candidate_id = ANY (%s)", (days, ids))
    return ids


def temporary(vault, mark: int) -> list[str]:
    vault.sql("SELECT pg_sleep(0.1)")
    return [line for line in since(vault, mark).splitlines() if "temporary file" in line]


def collect(vault, ids) -> None:
    vault.sql(
        "UPDATE identity.subjects SET biometric_data_path = 's3://x/' || candidate_id, biometric_template_hash = repeat('0', 64), biometric_collected_at = now(),"
        " biometric_retention_until = now() - interval '1 day' WHERE candidate_id = ANY (%s)",
        (ids,),
    )


@pytest.mark.parametrize("what", ["erase", "biometrics", "consents"])
def test_no_sweep_writes_rows_of_subjects_to_a_temporary_file(own, worker, what):
    ids = rich(own, 2000)
    if what == "erase":
        collect(own, ids)
        policy(own, "general", 30)
    elif what == "biometrics":
        collect(own, ids)
    else:
        own.sql("UPDATE identity.subjects SET consent_valid_until = now() - interval '1 day' WHERE candidate_id = ANY (%s)", (ids,))
    mark = own.cluster.log.stat().st_size
    answer = sweep(worker, {"erase": "retention", "biometrics": "biometric", "consents": "consent"}[what], 10_000)
    assert answer["done"] >= 2000
    assert temporary(own, mark) == []


# -- the register and the scrub --------------------------------------------------
def test_table_that_was_cleaned_is_scrubbed_though_it_left_the_register(own, worker, application):
    authority = may_erase(own)
    past = Past()
    application.execute("INSERT INTO app.notes SELECT gen_random_uuid(), 'another' FROM generate_series(1, 50)")  # no page is given back
    ids = people(own.admin, 5)
    for id in ids:
        note = os.urandom(60).hex()
        past.add_bytes(note.encode())
        application.execute("INSERT INTO app.notes VALUES (%s, %s)", (id, note))
    erase(own, ids, authority)
    application.execute("SELECT identity.forget_unregister('app.notes')")
    own.sql("VACUUM")
    checkpoint(own)
    answer = scrub_all(worker)
    assert answer["state"] == "done", answer
    checkpoint(own)
    assert past.found(own.cluster.data) == set()


# -- who did it --------------------------------------------------------------------
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE identity.retention_policies SET days = 1",
        "DELETE FROM identity.retention_policies",
        "INSERT INTO identity.consent_versions (version, kind, template_hash, template_path) VALUES ('trap', 'general', repeat('0', 64), 'x')",
        "INSERT INTO identity.vertical_patterns (pattern, kind) VALUES ('zzz', 'keyword')",
        "UPDATE identity.purpose_definitions SET description = 'trap' WHERE purpose_token = 't.contact'",
    ],
)
def test_owner_of_a_registered_table_writes_no_policy_in_the_name_of_the_worker(own, worker, application, statement):
    policy(own, "general", 30)
    subject = aged(own, 1)
    application.execute("INSERT INTO app.notes VALUES (%s, 'x')", (subject.id,))
    application.does(f"BEGIN {statement}; EXCEPTION WHEN OTHERS THEN NULL; END")
    request = asked(own, subject)
    before = own.sql("SELECT count(*) AS n FROM identity.pii_access_log WHERE accessor_role = %s AND outcome = 'committed' AND accessor_kind <> 'erasure'", (own.worker,))
    schedule = own.sql("SELECT schedule_version FROM identity.retention_policies WHERE vertical = 'general' AND kind = 'general'")[0]["schedule_version"]
    authorise(own, request, schedule)
    assert before == own.sql("SELECT count(*) AS n FROM identity.pii_access_log WHERE accessor_role = %s AND outcome = 'committed' AND accessor_kind <> 'erasure'", (own.worker,))


# -- rights of the server's own roles ----------------------------------------------
@pytest.mark.parametrize("group", ["pg_read_all_data", "pg_write_all_data"])
def test_predefined_roles_see_and_change_nothing_of_erasing(own, group):
    role = own.login(group)
    subject = aged(own, 1)
    collect(own, [subject.id])
    asked(own, subject)
    tables = [row["t"] for row in own.sql("SELECT oid::regclass::text AS t FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p', 'v')")]
    tables.remove("identity.erasure_queue")  # which requests wait, without whose they are
    seen = {}
    with own.connect(role) as conn:
        for table in tables:
            for statement in (f"SELECT count(*) FROM {table}", f"DELETE FROM {table}"):
                try:
                    done = conn.execute(statement)
                    n = done.fetchone()[0] if done.description else done.rowcount
                    if n:
                        seen[statement] = n
                except psycopg.Error:
                    pass
    own.sql("UPDATE identity.subjects SET biometric_data_path = NULL, biometric_template_hash = NULL, biometric_collected_at = NULL, biometric_retention_until = NULL WHERE candidate_id = %s", (subject.id,))
    assert seen == {}


# -- policies while keys are locked --------------------------------------------------
def test_policy_that_is_on_no_record_erases_nobody(fresh):
    """A superuser's change while keys are locked is a restore's: nothing is derived from it, and so nothing may follow from it."""
    vault = Vault(fresh())
    night_is_over(vault)
    policy(vault, "general", 3650)
    subject = aged(vault, 31)
    with vault.connect(vault.worker) as worker:
        worker.execute("SELECT identity.key_wipe_all()")
        vault.sql("UPDATE identity.retention_policies SET days = 30")
        vault.cluster.unlock()
        sweep(worker)
    assert vault.sql("SELECT erased_at FROM identity.subjects WHERE candidate_id = %s", (subject.id,)) == [{"erased_at": None}]


# -- the maintenance process -----------------------------------------------------------
def test_locks_of_an_owners_code_do_not_stay_in_the_maintenance_process(own, worker, application):
    """It lives as long as the server: what is piled up in it night by night would take the room of everybody's locks."""
    application.does("PERFORM pg_advisory_lock(n) FROM generate_series(1, 500) n")
    policy(own, "general", 30)
    subject = aged(own, 31)
    application.execute("INSERT INTO app.notes VALUES (%s, 'x')", (subject.id,))
    own.sql("UPDATE identity.sweep_progress SET ended_at = now() - interval '2 days', began_at = now() - interval '2 days'")
    own.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'identity_pgx maintenance'")
    wait_until(lambda: erased(own, subject) == [True], "the sweep of the night", timeout=60)
    night_is_over(own)
    held = "SELECT count(*) AS n FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'identity_pgx maintenance' AND l.locktype = 'advisory'"
    assert own.sql(held) == [{"n": 0}]


def test_status_says_where_to_look_when_a_scrub_does_not_come(own, worker):
    authority = may_erase(own)
    ids = people(own.admin, 1)
    erase(own, ids, authority)

    def hint() -> str | None:
        return next(row["hint"] for row in own.sql("SELECT * FROM identity.identity_status()") if row["item"] == "unscrubbed erasures")

    assert hint() is None
    with own.admin.transaction(force_rollback=True):
        own.sql("UPDATE identity.scrub_waits SET since = now() - interval '25 hours'")
        assert "erasure_scrub" in hint()
