"""Who may not erase does not, what is not committed has erased nobody, and nothing brings back who was erased."""

import threading

import psycopg
import pytest

from cluster import wait_until
from erasure import AUTHORISE, GONE, RECEIPT, REQUEST, STATUS, asked, authorise, erase, events, lasting, request, requests, row, schedule, there, untouched
from vault import CLOUD, ONBOX, RESOLVE, read, refused, refused_read

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
MANY = "SELECT candidate_id, status, pii FROM identity.pii_resolve_many(%s, 't.all', ARRAY['name'])"
GROUPS = [
    "identity_gateway", "identity_zone_onbox", "identity_zone_cloud", "identity_dba", "identity_approver", "identity_reviewer", "identity_legal",
    "identity_worker", "identity_auditor",
]
MAY = {
    REQUEST: {"identity_gateway"},
    AUTHORISE: {"identity_worker"},
    STATUS: {"identity_gateway", "identity_auditor", "identity_legal"},
    RECEIPT: {"identity_gateway", "identity_auditor", "identity_legal"},
}


@pytest.fixture
def worker(vault):
    with vault.connect(vault.worker) as conn:
        yield conn


@pytest.mark.parametrize("group", [None, *GROUPS])
@pytest.mark.parametrize("query", MAY, ids=["request", "authorise", "status", "receipt"])
def test_every_role_may_do_its_own_and_nothing_else(vault, gateway, query, group):
    subject = vault.subject()
    params = {REQUEST: (subject.id, "rtbf_request"), AUTHORISE: (asked(vault, subject), schedule(vault))}.get(query, (subject.id,))
    with vault.connect(vault.login(*([group] if group else []))) as conn:
        if group in MAY[query]:
            conn.execute(query, params)
            return
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(query, params)
    untouched(vault, gateway, subject)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM identity.erasure_requests",
        "INSERT INTO identity.erasure_requests (request_id, candidate_id, reason, state, requested_at, requested_by, due_at) VALUES (gen_random_uuid(), '{id}', 'rtbf_request', 'requested', now(), 'x', now())",
        "UPDATE identity.erasure_requests SET state = 'refused'",
        "UPDATE identity.erasure_requests SET scrubbed_at = now(), scrubbed_lsn = '0/1'",
        "DELETE FROM identity.erasure_requests",
        "TRUNCATE identity.erasure_requests",
        "DELETE FROM identity.subject_texts WHERE candidate_id = '{id}'",
        "UPDATE identity.subjects SET erased_at = now(), name_ct = NULL WHERE candidate_id = '{id}'",
    ],
)
def test_no_role_reaches_the_tables(vault, gateway, group, statement):
    subject = vault.subject()
    request(gateway, subject)
    with vault.connect(vault.login(group)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(statement.format(id=subject.id))
    untouched(vault, gateway, subject)


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
@pytest.mark.parametrize(
    "attempt",
    [
        "DELETE FROM identity.erasure_requests",
        "TRUNCATE identity.erasure_requests",
        "UPDATE identity.erasure_requests SET reason = 'candidate_request' WHERE candidate_id = '{open}'",
        "UPDATE identity.erasure_requests SET due_at = due_at + interval '1 year' WHERE candidate_id = '{open}'",
        "UPDATE identity.erasure_requests SET candidate_id = gen_random_uuid() WHERE candidate_id = '{open}'",
        "UPDATE identity.erasure_requests SET requested_by = 'another' WHERE candidate_id = '{open}'",
        "UPDATE identity.erasure_requests SET request_access_id = NULL WHERE candidate_id = '{open}'",
        "UPDATE identity.erasure_requests SET state = 'requested', done_at = NULL, access_id = NULL WHERE candidate_id = '{done}'",
        "UPDATE identity.erasure_requests SET authority = 'another' WHERE candidate_id = '{done}'",
        "UPDATE identity.erasure_requests SET forgotten = 'app.notes=1' WHERE candidate_id = '{done}'",
        "UPDATE identity.erasure_requests SET done_at = done_at - interval '1 day' WHERE candidate_id = '{done}'",
        "UPDATE identity.erasure_requests SET scrubbed_at = now() WHERE candidate_id = '{done}'",
        "UPDATE identity.erasure_requests SET scrubbed_at = now(), scrubbed_lsn = '0/1' WHERE candidate_id = '{done}'",
        "UPDATE identity.erasure_requests SET state = state WHERE candidate_id = '{done}'",
    ],
)
def test_requests_only_go_forward_even_for_a_superuser(vault, replication_role, attempt):
    open_, done = vault.subject(), vault.subject()
    asked(vault, open_), erase(vault, done)
    before = requests(vault, open_) + requests(vault, done)
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute(f"SET LOCAL session_replication_role = {replication_role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught, admin.transaction():
            admin.execute(attempt.format(open=open_.id, done=done.id))
        assert caught.value.diag.message_detail.startswith("reason: append_only")
    assert requests(vault, open_) + requests(vault, done) == before


def test_scrub_is_told_once(vault):
    done = vault.subject()
    erase(vault, done)
    told = "UPDATE identity.erasure_requests SET scrubbed_at = now(), scrubbed_lsn = '0/1', residual_in_backups_until = now() WHERE candidate_id = %s"
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute(told, (done.id,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege), admin.transaction():
            admin.execute(told, (done.id,))


# -- transactions ------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("ending", ["rollback", "savepoint", "error", "cut off"])
def test_what_is_not_committed_has_erased_nobody(vault, gateway, level, ending):
    subject = vault.subject()
    request_id, authority = asked(vault, subject), schedule(vault)
    conn = vault.connect(vault.worker)
    conn.execute(f"BEGIN ISOLATION LEVEL {level}")
    conn.execute("SAVEPOINT before")
    receipt = conn.execute(AUTHORISE, (request_id, authority)).fetchone()[0]
    assert receipt["erased_at"]  # it was done, but for the commit
    if ending == "savepoint":
        conn.execute("ROLLBACK TO before")
        conn.execute("COMMIT")
    elif ending == "error":
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("SELECT 1/0")
    elif ending == "cut off":
        vault.sql("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
    conn.close()
    wait_until(lambda: not vault.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"), "the locks to be free")
    untouched(vault, gateway, subject)
    assert authorise(vault, request_id, authority)["request_id"] == str(request_id)
    refused_read(gateway, subject, *GONE)


@pytest.mark.parametrize("level", LEVELS)
def test_request_that_is_rolled_back_was_never_made(vault, gateway, level):
    subject = vault.subject()
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    request(gateway, subject)
    gateway.execute("ROLLBACK")
    assert not requests(vault, subject) and not events(vault, subject, "erasure_request")
    assert request(gateway, subject) == requests(vault, subject)[0]["request_id"]


@pytest.mark.parametrize("level", LEVELS)
def test_transaction_that_asked_may_go_on_to_erase(vault, gateway, level):
    """Everything in one transaction, under a snapshot that saw none of it."""
    subject, authority = vault.subject(), schedule(vault)
    role = vault.login("identity_gateway", "identity_zone_onbox", "identity_worker")
    with vault.connect(role) as conn:
        conn.execute(f"BEGIN ISOLATION LEVEL {level}")
        read(conn, subject)
        request_id = request(conn, subject)
        conn.execute(AUTHORISE, (request_id, authority))
        refused_read(conn, subject, *GONE)
        conn.execute("ROLLBACK")
        untouched(vault, gateway, subject)
        conn.execute(f"BEGIN ISOLATION LEVEL {level}")
        request_id = request(conn, subject)
        conn.execute(AUTHORISE, (request_id, authority))
        conn.execute("COMMIT")
    assert not there(vault, subject)


@pytest.mark.parametrize("level", LEVELS)
def test_erasure_binds_a_transaction_that_goes_on(vault, gateway, level):
    subject = vault.subject()
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    read(gateway, subject)
    assert gateway.execute(MANY, ([subject.id],)).fetchone()[1] == "ok"
    erase(vault, subject)
    assert gateway.execute(MANY, ([subject.id],)).fetchone() == (subject.id, "erased", None)
    refused_read(gateway, subject, *GONE)
    gateway.execute("ROLLBACK")


@pytest.mark.parametrize("level", LEVELS)
def test_worker_with_an_old_snapshot_erases_what_is_there_now(vault, gateway, level):
    subject, authority = vault.subject(), schedule(vault)
    request_id = request(gateway, subject)
    with vault.connect(vault.worker) as conn:
        conn.execute(f"BEGIN ISOLATION LEVEL {level}")
        conn.execute("SELECT 1")
        gateway.execute("SELECT identity.pii_update(%s, 't.all', '{\"phone\": \"555\"}')", (subject.id,))
        try:
            conn.execute(AUTHORISE, (request_id, authority))
            conn.execute("COMMIT")
        except psycopg.errors.SerializationFailure:
            assert level != "READ COMMITTED"
            conn.execute("ROLLBACK")
            untouched(vault, gateway, subject)
            conn.execute(AUTHORISE, (request_id, authority))
    assert not there(vault, subject)
    refused_read(gateway, subject, *GONE)


def test_prepared_transaction_does_not_keep_anybody_from_being_erased(vault, gateway, worker):
    subject = vault.subject()
    request_id = request(gateway, subject)
    for conn, query, params in (
        (worker, AUTHORISE, (request_id, schedule(vault))),
        (gateway, REQUEST, (subject.id, "rtbf_request")),  # leaves no row, and holds the subject all the same
        (gateway, "SELECT identity.interaction_record(%s)", (subject.id,)),
    ):
        conn.execute("BEGIN")
        conn.execute(query, params)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            conn.execute("PREPARE TRANSACTION 'held'")
        assert caught.value.diag.message_detail == "reason: prepared_transaction"
    assert not vault.sql("SELECT 1 FROM pg_prepared_xacts")
    untouched(vault, gateway, subject)
    worker.execute(AUTHORISE, (request_id, schedule(vault)))
    assert not there(vault, subject)


def test_read_only_transaction_erases_nobody(vault, gateway, worker):
    subject = vault.subject()
    request_id = request(gateway, subject)
    for conn, query, params in ((gateway, REQUEST, (vault.subject().id, "rtbf_request")), (worker, AUTHORISE, (request_id, schedule(vault)))):
        conn.execute("BEGIN READ ONLY")
        refused(conn, query, params, "25006", "read_only")
        conn.execute("ROLLBACK")
    untouched(vault, gateway, subject)


def test_cancelled_while_it_waits_has_erased_nobody(vault, gateway):
    subject = vault.subject()
    request_id, authority = request(gateway, subject), schedule(vault)
    gateway.execute("BEGIN")
    gateway.execute("SELECT identity.interaction_record(%s)", (subject.id,))  # holds the subject
    failed = []

    def wait():
        with vault.connect(role) as conn:
            try:
                conn.execute(AUTHORISE, (request_id, authority))
            except psycopg.errors.QueryCanceled as error:
                failed.append(error)

    role = vault.login("identity_worker")
    thread = threading.Thread(target=wait)
    thread.start()
    pid = vault.wait_backend(role, "wait_event_type = 'Lock'")
    vault.sql("SELECT pg_cancel_backend(%s)", (pid,))
    thread.join()
    gateway.execute("COMMIT")
    assert failed
    untouched(vault, gateway, subject)


def test_locked_keys_erase_nobody(fresh):
    from vault import Vault

    vault = Vault(fresh())
    subject = vault.subject()
    request_id, authority = asked(vault, subject), schedule(vault)
    with vault.connect(vault.worker) as worker, vault.gateway() as gateway:
        worker.execute("SELECT identity.key_wipe_all()")
        refused(gateway, REQUEST, (vault.sql("SELECT candidate_id AS id FROM identity.subjects")[0]["id"], "rtbf_request"), "55000", "locked")
        refused(worker, AUTHORISE, (request_id, authority), "55000", "locked")
        # How things stand can be told without keys.
        assert gateway.execute(STATUS, (subject.id,)).fetchone()[0] == "requested"
        vault.cluster.unlock()
        untouched(vault, gateway, subject)


def test_set_role_neither_lends_nor_hides(vault, gateway):
    """A worker that sets another role is refused by its rights; one that a role was granted to is named as itself."""
    subject = vault.subject()
    request_id, authority = request(gateway, subject), schedule(vault)
    role = vault.login("identity_worker", "identity_auditor")
    with vault.connect(role) as conn:
        conn.execute("SET ROLE identity_auditor")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(AUTHORISE, (request_id, authority))
        untouched(vault, gateway, subject)
        conn.execute("SET ROLE identity_worker")
        conn.execute(AUTHORISE, (request_id, authority))
    assert requests(vault, subject)[0]["authorised_by"] == role
    (event,) = events(vault, subject)
    assert (event["accessor_role"], event["accessor_outer"]) == (role, "identity_worker")


def test_session_cannot_put_its_own_tables_in_the_way(vault, gateway):
    subject = vault.subject()
    request_id, authority = request(gateway, subject), schedule(vault)
    role = vault.login("identity_worker")
    vault.sql(f"CREATE SCHEMA hijack_{role} AUTHORIZATION {role}")
    with vault.connect(role) as conn:
        conn.execute(f"SET search_path = hijack_{role}, pg_temp, identity, pg_catalog")
        for table in ("subjects", "subject_texts", "erasure_requests", "retention_policies"):
            conn.execute(f"CREATE TEMP TABLE {table} (candidate_id uuid)")
            conn.execute(f"CREATE TABLE hijack_{role}.{table} (candidate_id uuid)")
        conn.execute(f"CREATE FUNCTION hijack_{role}.unnest(uuid[]) RETURNS SETOF uuid LANGUAGE sql AS 'SELECT NULL::uuid WHERE false'")
        conn.execute("SET row_security = off")
        conn.execute("SET work_mem = '64kB'")
        conn.execute("SET enable_indexscan = off")
        conn.execute(AUTHORISE, (request_id, authority))
        assert conn.execute("SHOW work_mem").fetchone() == ("64kB",)
    assert not there(vault, subject)
    refused_read(gateway, subject, *GONE)
    vault.sql(f"DROP SCHEMA hijack_{role} CASCADE")


def test_revoked_login_erases_nobody(vault, gateway):
    subject = vault.subject()
    request_id, authority = request(gateway, subject), schedule(vault)
    role = vault.login("identity_worker")
    with vault.connect(role) as conn, vault.connect(vault.dba) as dba:
        dba.execute("SELECT identity.caller_revoke(%s, 'a test')", (role,))
        refused(conn, AUTHORISE, (request_id, authority), "42501", "caller_revoked")
    untouched(vault, gateway, subject)


def test_cloud_gateway_may_ask_for_whom_it_does_not_see(vault, gateway):
    """People ask where they are, not where their data lies."""
    subject = vault.subject("healthcare")
    with vault.gateway(*CLOUD) as cloud:
        request_id = request(cloud, subject)
        assert cloud.execute(STATUS, (subject.id,)).fetchone()[0] == "requested"
    authorise(vault, request_id, schedule(vault, "healthcare"))
    refused_read(gateway, subject, *GONE)


def test_erased_row_put_back_by_hand_opens_for_nobody(vault, gateway):
    """A ciphertext of before the erasure is of another erasure generation."""
    subject = vault.subject()
    before = row(vault, subject)
    erase(vault, subject)
    with vault.admin.transaction(force_rollback=True):
        vault.sql("UPDATE identity.subjects SET name_ct = %s, erased_at = NULL WHERE candidate_id = %s", (before["name_ct"], subject.id))
        with pytest.raises(psycopg.errors.DataCorrupted), vault.admin.transaction():
            vault.sql("SET LOCAL SESSION AUTHORIZATION " + gateway.info.user)
            vault.sql(RESOLVE, (subject.id, "t.all", ["name"]))
        assert {f["check_name"] for f in vault.findings() if not f["ok"]} == {"erasures"}


# -- at once -----------------------------------------------------------------


def test_many_erase_one_at_once_and_one_does(vault):
    subject, authority = vault.subject(), schedule(vault)
    request_id = asked(vault, subject)
    receipts, roles = [], [vault.login("identity_worker") for _ in range(8)]
    start = threading.Barrier(len(roles))

    def run(role):
        with vault.connect(role) as conn:
            start.wait()
            receipts.append(conn.execute(AUTHORISE, (request_id, authority)).fetchone()[0])

    threads = [threading.Thread(target=run, args=(role,)) for role in roles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receipts) == 8 and all(lasting(receipt) == lasting(receipts[0]) for receipt in receipts)
    assert len(events(vault, subject)) == 1 and row(vault, subject)["erasure_generation"] == 1


def test_many_ask_at_once_and_one_request_is_made(vault):
    subject, roles = vault.subject(), [vault.login(*ONBOX) for _ in range(8)]
    start, answers = threading.Barrier(len(roles)), []

    def run(role):
        with vault.connect(role) as conn:
            start.wait()
            answers.append(request(conn, subject))

    threads = [threading.Thread(target=run, args=(role,)) for role in roles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and len(set(answers)) == 1
    assert len(requests(vault, subject)) == len(events(vault, subject, "erasure_request")) == 1


def test_no_read_is_answered_after_the_commit_of_the_erasure(vault):
    """Readers as fast as they can; each notes when it began and what it got."""
    from time import monotonic

    subject, authority = vault.subject(), schedule(vault)
    request_id = asked(vault, subject)
    stop, begun_ok = threading.Event(), []

    def run(role, many):
        with vault.connect(role) as conn:
            while not stop.is_set():
                began = monotonic()
                if many:
                    ok = conn.execute(MANY, ([subject.id],)).fetchone()[1] == "ok"
                else:
                    try:
                        conn.execute(RESOLVE, (subject.id, "t.all", ["name"]))
                        ok = True
                    except psycopg.errors.NoDataFound:
                        ok = False
                if ok:
                    begun_ok.append(began)

    threads = [threading.Thread(target=run, args=(vault.login(*ONBOX), n % 2)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(begun_ok) > 100, "reads to be answered")
    authorise(vault, request_id, authority)
    committed = monotonic()
    stop.wait(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert begun_ok and max(begun_ok) < committed
    vault.verify()
