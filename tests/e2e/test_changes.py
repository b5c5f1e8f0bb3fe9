"""The feed of changes loses nothing, waits for nobody, and knows a cursor of a history that is not its own."""

import re
import threading
import time

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import BINDIR, Cluster, give_to_owner, run_as_owner, wait_until
from test_round_trip import restored
from vault import CLOUD, Vault, refused, uuid7

CHANGES = "SELECT cursor, candidate_id, generation FROM identity.subject_changes(%s, %s)"
GENERATIONS = "SELECT candidate_id, generation FROM identity.subject_generations(%s::uuid[])"
NUMBERED = "SELECT NOT EXISTS (SELECT FROM identity.subject_changes_pending) AS done"
TABLES = ("subject_changes", "subject_changes_pending", "change_epochs")


class Consumer:
    """Follows the feed as a cache does: a page at a time until one is not full."""

    def __init__(self, conn, page=1000):
        self.conn, self.page, self.cursor, self.known, self.seen = conn, page, 0, {}, []

    def poll(self) -> dict:
        for _ in range(1000):
            rows = self.conn.execute(CHANGES, (self.cursor, self.page)).fetchall()
            for cursor, candidate, generation in rows:
                assert cursor >= self.cursor, "a cursor went back"
                self.cursor = cursor
                self.known[candidate] = max(generation, self.known.get(candidate, 0))
                self.seen.append((candidate, generation))
            if len(rows) < self.page:
                return self.known
        raise AssertionError("the feed never ends")


def numbered(vault) -> None:
    wait_until(lambda: vault.sql(NUMBERED)[0]["done"], "changes to be numbered")


@pytest.fixture
def consumer(vault, gateway):
    consumer = Consumer(gateway)
    consumer.poll()
    consumer.seen.clear()
    return consumer


def test_change_is_told_as_soon_as_it_has_committed(vault, consumer):
    subject = vault.subject()
    assert subject.id not in consumer.poll(), "a new subject is no change"
    vault.change(subject.id, consent="withdrawn")
    assert consumer.poll()[subject.id] == 1
    numbered(vault)
    before = consumer.cursor
    assert consumer.poll()[subject.id] == 1 and consumer.cursor > before
    consumer.seen.clear()
    consumer.poll()
    assert consumer.seen == []


@pytest.mark.parametrize("how", ["update", "consent", "vertical", "by_hand"])
def test_everything_that_changes_a_generation_is_told(vault, gateway, consumer, how):
    subject = vault.subject()
    match how:
        case "update":
            gateway.execute("SELECT identity.pii_update(%s, 't.all', %s)", (subject.id, Jsonb({"name": "Grace"})))
        case "consent":
            vault.change(subject.id, consent="expired")
        case "vertical":
            vault.change(subject.id, vertical="healthcare")
        case "by_hand":
            vault.sql("SET session_replication_role = replica")
            vault.sql("UPDATE identity.subjects SET generation = generation + 1 WHERE candidate_id = %s", (subject.id,))
            vault.sql("RESET session_replication_role")
    assert consumer.poll()[subject.id] == 1


def test_statement_that_changes_no_generation_or_is_rolled_back_is_not_told(vault, gateway, consumer):
    subject = vault.subject()
    vault.sql("UPDATE identity.subjects SET last_interaction = now() WHERE candidate_id = %s", (subject.id,))
    with gateway.transaction(force_rollback=True):
        gateway.execute("SELECT identity.pii_update(%s, 't.all', %s)", (subject.id, Jsonb({"name": "Grace"})))
    assert subject.id not in consumer.poll()


def test_long_transaction_neither_stalls_the_feed_nor_is_lost(vault, consumer):
    """Numbers given in the order of statements would be seen out of the order of commits: what commits last must come last."""
    late, early = vault.subject(), [vault.subject() for _ in range(5)]
    with vault.cluster.connect(autocommit=False) as holder:
        holder.execute("SELECT identity._import_subject(%s, NULL, NULL, 'withdrawn')", (late.id,))
        for subject in early:
            began = time.monotonic()
            vault.change(subject.id, consent="withdrawn")
            assert consumer.poll()[subject.id] == 1
            assert time.monotonic() - began < 1, "the feed stalled"
        numbered(vault)
        consumer.poll()
        past = consumer.cursor
        assert late.id not in consumer.known
        holder.commit()
    assert consumer.poll()[late.id] == 1
    numbered(vault)
    consumer.poll()
    assert consumer.cursor > past


def test_nothing_is_lost_whatever_the_order_of_commits(vault):
    """Writers that commit late, early and never, a page at a time, against what the table says in the end."""
    subjects = [vault.subject() for _ in range(30)]
    def write(number):
        conn = vault.cluster.connect(autocommit=False)
        for round_ in range(25):
            for subject in subjects[number::3]:
                conn.execute("UPDATE identity.subjects SET generation = generation + 1 WHERE candidate_id = %s", (subject.id,))
                if number == 2:
                    time.sleep(0.002)
            conn.rollback() if round_ % 5 == 4 else conn.commit()
        conn.close()

    with vault.gateway() as conn:
        consumer = Consumer(conn, page=7)
        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            # Not to the end of each page run: with pages of 7 the unnumbered may be more than a page, and come again.
            rows = conn.execute(CHANGES, (consumer.cursor, 7)).fetchall()
            time.sleep(0.002)  # a login may ask a thousand times a second
            for cursor, candidate, generation in rows:
                assert cursor >= consumer.cursor
                consumer.cursor, consumer.known[candidate] = cursor, max(generation, consumer.known.get(candidate, 0))
        for thread in threads:
            thread.join()
        numbered(vault)
        consumer.poll()
        query = "SELECT candidate_id, generation FROM identity.subjects WHERE candidate_id = ANY (%s)"
        truth = vault.sql(query, ([s.id for s in subjects],))
        assert {row["candidate_id"]: row["generation"] for row in truth} == {s.id: consumer.known[s.id] for s in subjects}


def test_page_that_is_full_of_what_is_not_yet_numbered_does_not_pass_for_the_end(fresh):
    vault = Vault(fresh())
    vault.sql("SELECT identity.key_wipe_all()")  # nothing is numbered while keys are locked
    vault.sql("INSERT INTO identity.subjects (candidate_id, dek_version, consent_status, retention_period_days, created_at, updated_at) "
              "SELECT gen_random_uuid(), 1, 'given', 1, now(), now() FROM generate_series(1, 30)")
    vault.sql("UPDATE identity.subjects SET generation = 1")
    with vault.gateway() as conn:
        for _ in range(3):
            assert len(conn.execute(CHANGES, (0, 10)).fetchall()) == 10, "a client that asks until a page is not full goes on asking"
        vault.cluster.unlock()
        numbered(vault)
        consumer = Consumer(conn, page=10)
        assert len(consumer.poll()) == 30


def test_newest_change_of_a_subject_is_all_that_is_kept(vault, consumer):
    subject = vault.subject()
    for n in range(50):
        vault.change(subject.id, consent="withdrawn" if n % 2 else "given")
    numbered(vault)
    assert vault.sql("SELECT generation FROM identity.subject_changes WHERE candidate_id = %s", (subject.id,)) == [{"generation": 50}]
    assert consumer.poll()[subject.id] == 50
    with vault.gateway() as conn:
        assert Consumer(conn, page=3).poll()[subject.id] == 50, "no cursor is too old"


def test_one_statement_that_changes_many_is_told_of_each(vault, consumer):
    subjects = [vault.subject() for _ in range(300)]
    vault.sql("UPDATE identity.subjects SET generation = generation + 1 WHERE candidate_id = ANY (%s)", ([s.id for s in subjects],))
    assert {s.id for s in subjects} <= consumer.poll().keys()


def test_notification_carries_a_cursor_and_comes_from_no_clients_transaction(vault, gateway, consumer):
    gateway.execute("LISTEN identity_changed")
    subject = vault.subject()
    vault.change(subject.id, consent="withdrawn")
    (notice,) = gateway.notifies(timeout=5, stop_after=1)
    assert notice.channel == "identity_changed" and re.fullmatch("[0-9]+", notice.payload)
    maintenance = vault.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'identity_pgx maintenance'")
    assert [{"pid": notice.pid}] == maintenance
    consumer.poll()
    assert consumer.cursor >= int(notice.payload)


REFUSED = [
    (CHANGES, (None, 10), "22004", "null_argument"),
    (CHANGES, (0, None), "22004", "null_argument"),
    (CHANGES, (-1, 10), "22023", "bad_argument"),
    (CHANGES, (0, 0), "22023", "bad_argument"),
    (CHANGES, (0, 10_001), "22023", "too_many"),
    (CHANGES, (5, 10), "22023", "bad_argument"),
    (CHANGES, ((1 << 40) + (1 << 39), 10), "22023", "bad_argument"),
    (CHANGES, (1 << 62, 10), "22023", "bad_argument"),
    (GENERATIONS, (None,), "22004", "null_argument"),
    (GENERATIONS, ([None],), "22004", "null_argument"),
    (GENERATIONS, ([uuid7()] * 1001,), "22023", "too_many"),
    (GENERATIONS, ([[uuid7()], [uuid7()]],), "22023", "bad_argument"),
]


@pytest.mark.parametrize("query, arguments, sqlstate, reason", REFUSED)
def test_malformed_question_is_refused(gateway, query, arguments, sqlstate, reason):
    refused(gateway, query, arguments, sqlstate, reason)


def test_generations_come_in_the_order_given_from_every_zone_and_leave_no_row(vault):
    general, hidden, unknown = vault.subject(), vault.subject("healthcare"), uuid7()
    vault.change(hidden.id, consent="withdrawn")
    with vault.gateway(*CLOUD) as cloud:
        ids = [unknown, hidden.id, general.id, hidden.id]
        assert cloud.execute(GENERATIONS, (ids,)).fetchall() == [(unknown, None), (hidden.id, 1), (general.id, 0), (hidden.id, 1)]
        assert cloud.execute(GENERATIONS, ([],)).fetchall() == []
        vault.leaves(cloud)


def test_generations_are_those_of_now_in_an_old_snapshot(vault, gateway):
    subject = vault.subject()
    with gateway.transaction():
        gateway.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        gateway.execute("SELECT 1 FROM pg_class LIMIT 1")
        vault.change(subject.id, consent="withdrawn")
        assert gateway.execute(GENERATIONS, ([subject.id],)).fetchall() == [(subject.id, 1)]
        assert (subject.id, 1) in {row[1:] for row in gateway.execute(CHANGES, (0, 10_000)).fetchall()}


def test_revoked_login_is_told_nothing(vault, gateway):
    with vault.connect(vault.dba) as dba:
        dba.execute("SELECT identity.caller_revoke(%s, 'a test')", (gateway.info.user,))
    refused(gateway, CHANGES, (0, 10), "42501", "caller_revoked")
    refused(gateway, GENERATIONS, ([uuid7()],), "42501", "caller_revoked")


def test_gateways_cannot_read_or_write_the_tables_of_the_feed(vault, gateway):
    for table in TABLES:
        for statement in (f"SELECT * FROM identity.{table}", f"DELETE FROM identity.{table}", f"TRUNCATE identity.{table}",
                          f"INSERT INTO identity.{table} DEFAULT VALUES"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                gateway.execute(statement)


def test_restart_goes_on_with_the_same_cursors(fresh):
    cluster = fresh()
    vault = Vault(cluster)
    one, two = vault.subject(), vault.subject()
    vault.change(one.id, consent="withdrawn")
    numbered(vault)
    with vault.gateway() as conn:
        consumer = Consumer(conn)
        consumer.poll()
        role = conn.info.user
    cluster.restart("immediate")
    cluster.unlock()
    vault.admin = cluster.connect(row_factory=psycopg.rows.dict_row)
    before = consumer.cursor
    vault.change(two.id, consent="withdrawn")
    numbered(vault)
    with vault.connect(role) as conn:
        consumer.conn = conn
        consumer.seen.clear()
        consumer.poll()
    assert consumer.seen == [(two.id, 1)] and consumer.cursor == before + 1


def test_restored_copy_goes_on_above_all_cursors_and_refuses_those_it_does_not_know(fresh):
    vault = Vault(fresh())
    subject, later = vault.subject(), vault.subject()
    vault.change(subject.id, consent="withdrawn")
    numbered(vault)
    with vault.gateway() as conn:
        consumer = Consumer(conn)
        consumer.poll()
        shared, role = consumer.cursor, conn.info.user
    target = restored(vault, fresh)
    for _ in range(3):  # goes on after the dump was taken: to the copy these cursors are unknown
        vault.change(subject.id, consent="given")
        numbered(vault)
    with vault.connect(role) as conn:
        consumer.conn = conn
        consumer.poll()
    target.unlock()
    with target.connect() as admin:
        admin.execute("SELECT identity._import_subject(%s, NULL, NULL, 'withdrawn')", (later.id,))
        wait_until(lambda: admin.execute(NUMBERED).fetchone()[0], "changes to be numbered")
        for _ in range(5):
            admin.execute("SELECT identity._import_subject(%s, NULL, NULL, 'withdrawn')", (later.id,))
    with target.connect(user=role) as conn:
        refused(conn, CHANGES, (consumer.cursor, 10), "22023", "bad_argument")
        rows = conn.execute(CHANGES, (shared, 10)).fetchall()
        assert {row[1] for row in rows} == {later.id} and min(row[0] for row in rows) > consumer.cursor


def test_promoted_standby_goes_on_above_all_cursors_and_refuses_those_that_were_lost(fresh):
    vault = Vault(fresh())
    subject = vault.subject()
    vault.change(subject.id, consent="withdrawn")
    numbered(vault)
    with vault.gateway() as conn:
        consumer = Consumer(conn)
        consumer.poll()
        shared, role = consumer.cursor, conn.info.user
    standby = promote_copy(vault.cluster)
    vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)
    try:
        for _ in range(3):
            vault.change(subject.id, consent="given")
            numbered(vault)
        with vault.connect(role) as conn:
            consumer.conn = conn
            consumer.poll()
        standby.unlock()
        with standby.connect() as admin:
            # As many changes as were lost: counted on, they would have the lost ones' cursors.
            for _ in range(4):
                admin.execute("SELECT identity._import_subject(%s, NULL, NULL, 'withdrawn')", (subject.id,))
            wait_until(lambda: admin.execute(NUMBERED).fetchone()[0], "changes to be numbered")
        with standby.connect(user=role) as conn:
            refused(conn, CHANGES, (consumer.cursor, 10), "22023", "bad_argument")
            (row,) = conn.execute(CHANGES, (shared, 10)).fetchall()
            assert row[0] > consumer.cursor and row[1:] == (subject.id, 5)
    finally:
        standby.destroy()


def promote_copy(source: Cluster) -> Cluster:
    """A server that goes on from a copy of the source's files on a timeline of its own, as a promoted standby does."""
    source.stop()
    copy = Cluster("p")
    for path in copy.data.iterdir():
        if path.name not in ("postgresql.conf", "pg_hba.conf"):
            run_as_owner("rm", "-rf", path)
    run_as_owner("bash", "-c", f"cd {source.data} && cp -a $(ls | grep -v -e postgresql.conf -e pg_hba.conf) {copy.data}/")
    (copy.data / "standby.signal").touch()
    give_to_owner(copy.data / "standby.signal")
    source.start()
    source.unlock()
    copy.configure({"max_connections": "260", "max_prepared_transactions": "10"})
    copy.start()
    run_as_owner(BINDIR / "pg_ctl", "-D", copy.data, "-w", "promote")
    return copy


def test_standby_is_not_asked_how_things_stand(fresh):
    """What it knows is late by nobody knows how much."""
    source = fresh()
    vault = Vault(source)
    role = vault.login("identity_gateway")
    source.stop()
    (source.data / "standby.signal").touch()
    give_to_owner(source.data / "standby.signal")
    source.start()
    with source.connect(user=role) as conn:
        refused(conn, CHANGES, (0, 10), "25006", "read_only")
        refused(conn, GENERATIONS, ([uuid7()],), "25006", "read_only")
