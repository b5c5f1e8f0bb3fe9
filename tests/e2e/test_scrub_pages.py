"""A pass comes through whatever goes on meanwhile: crashes, readers, writers, VACUUM, other scrubs, tables that come and go."""

import os
import secrets
import threading

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import BINDIR, Cluster, wait_until
from scrub import IMPORT, SEALED, Past, amcheck, checkpoint, erase, live_on, may_erase, people, pii, scrub, scrub_all, unscrubbed
from test_standby import standby_of
from vault import Vault


@pytest.fixture(scope="module")
def home():
    cluster = Cluster("p", {"autovacuum": "off", "wal_level": "replica"})
    try:
        yield Vault(cluster.start().install())
    finally:
        cluster.destroy()


@pytest.fixture(scope="module")
def authority(home):
    return may_erase(home)


@pytest.fixture
def worker(home):
    with home.connect(home.worker) as conn:
        yield conn


def erased_people(home, authority, count: int = 400) -> tuple[Past, list]:
    """Every second one of them is erased."""
    past = Past()
    with home.cluster.connect() as admin:
        ids = people(admin, count)
        live_on(admin, ids[1::2], past)
    erase(home, ids[1::2], authority)
    return past, ids[::2]


def clean(home, past: Past) -> None:
    checkpoint(home)
    assert not unscrubbed(home)
    assert past.found(home.cluster.data) == set()


def names(home, ids) -> set[str]:
    role = home.login("identity_gateway", "identity_zone_onbox")
    with home.connect(role) as gateway:
        rows = gateway.execute("SELECT pii->>'name' FROM identity.pii_resolve_many(%s, 't.all', '{name}')", (ids,)).fetchall()
    return {row[0] for row in rows}


def test_killed_in_the_middle_it_goes_on_from_where_it_was(fresh):
    home = Vault(fresh({"autovacuum": "off"}))
    past, stay = erased_people(home, may_erase(home))
    worker = home.connect(home.worker)
    wait_until(lambda: scrub(worker, 5)["state"] == "going_on", "the pass to begin")
    before = home.sql("SELECT next_block FROM identity.scrub_progress WHERE name = 'identity.subjects'")[0]["next_block"]
    assert before > 0
    worker.execute("BEGIN")
    assert scrub(worker, 20)["pages"] == 20
    home.cluster.kill()
    worker.close()
    home.cluster.start()
    home.cluster.unlock()
    home.admin = home.cluster.connect(row_factory=psycopg.rows.dict_row)
    after = home.sql("SELECT next_block FROM identity.scrub_progress WHERE name = 'identity.subjects'")[0]["next_block"]
    assert after == before and unscrubbed(home) == 200
    with home.connect(home.worker) as worker:
        answers = []
        while not answers or answers[-1]["state"] != "done":
            answers.append(scrub(worker, 7))
            assert answers[-1]["pages"] <= 7 and answers[-1]["state"] in ("going_on", "blocked", "done"), answers[-1]
    assert answers[-1]["scrubbed"] == 200 and sum(answer["pages"] for answer in answers) > 20
    clean(home, past)
    assert names(home, stay) == {pii(id, 0)["name"] for id in stay}
    amcheck(home.cluster, BINDIR)
    home.verify()


def test_a_page_that_somebody_reads_is_taken_later(home, authority, worker):
    past = Past()
    with home.cluster.connect() as admin:
        home.sql("TRUNCATE identity.subjects")  # so that the first page is theirs
        ids = people(admin, 12)
        past.add(admin, ids[1:])
    with home.cluster.connect() as old, home.cluster.connect() as reader:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM pg_class")
        erase(home, ids[1:], authority)
        # It sees none of what was erased, but has the page pinned, and found nothing to prune there yet.
        reader.execute("BEGIN")
        reader.execute("DECLARE c CURSOR FOR SELECT * FROM identity.subjects")
        reader.execute("FETCH 1 FROM c")
        old.execute("COMMIT")
        for _ in range(2):
            answer = scrub_all(worker)
            assert answer["state"] == "waiting" and answer["left"] == 1 and not answer["scrubbed"], answer
        assert unscrubbed(home) == 11
        checkpoint(home)
        assert past.found(home.cluster.data)
        reader.execute("ROLLBACK")
    assert scrub_all(worker)["scrubbed"] == 11
    clean(home, past)


def test_amid_writers_vacuum_and_another_scrub(home, authority, worker):
    past, stay = erased_people(home, authority)
    stop, faults, versions = threading.Event(), [], dict.fromkeys(stay, 0)

    def go(work):
        def run():
            try:
                with home.cluster.connect() as conn:
                    while not stop.is_set():
                        work(conn)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the test must say so
                faults.append(fault)

        return threading.Thread(target=run)

    def write(conn):
        id = secrets.choice(stay)
        versions[id] += 1
        conn.execute(IMPORT, (id, Jsonb(pii(id, versions[id])), None, None))

    states = []
    threads = [go(write), go(lambda conn: conn.execute("VACUUM identity.subjects")), go(lambda conn: states.append(scrub(conn, 3)["state"])), go(lambda conn: states.append(scrub(conn, 4)["state"]))]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: faults or not unscrubbed(home), "the requests to be scrubbed", timeout=60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults and "done" in states, faults
    clean(home, past)
    assert names(home, stay) == {pii(id, versions[id])["name"] for id in stay}
    amcheck(home.cluster, BINDIR)


def test_marking_requests_touches_nothing_but_their_pages(home, authority, worker):
    """Half of each page is left for it, and no index has to know: whatever was erased, the indexes stay as they were."""
    with home.cluster.connect() as admin:
        ids = people(admin, 2000)
    home.sql("UPDATE identity.subjects SET created_at = now() - interval '1 year' WHERE candidate_id = ANY (%s)", (ids,))
    for _ in range(2):
        worker.execute("SELECT identity.retention_sweep(1000)")
    where = "SELECT request_id, (ctid::text::point)[0] AS page FROM identity.erasure_requests WHERE candidate_id = ANY (%s) AND (scrubbed_at IS NULL) = %s ORDER BY 1"
    before = home.sql(where, (ids, True))
    assert len(before) == 2000 and scrub_all(worker)["scrubbed"] == 2000
    assert home.sql(where, (ids, False)) == before


def test_only_one_at_a_time(home, authority, worker):
    past, _ = erased_people(home, authority, 4)
    with home.cluster.connect() as other:
        other.execute("BEGIN")
        wait_until(lambda: scrub(other, 1)["state"] == "going_on", "a scrub to begin")
        assert scrub(worker)["state"] == "busy"
        other.execute("ROLLBACK")
    assert scrub_all(worker)["scrubbed"] == 2
    clean(home, past)


def test_analyze_copies_nothing_of_a_subject(home, authority, worker):
    with home.cluster.connect() as admin:
        people(admin, 50)
    home.sql("ANALYZE identity.subjects, identity.subject_texts")
    copied = home.sql("SELECT attname FROM pg_stats WHERE schemaname = 'identity' AND tablename IN ('subjects', 'subject_texts')")
    assert copied and not {row["attname"] for row in copied} & {*SEALED, "content", "salt", "lawful_basis", "transfer_mechanism", "biometric_data_path"}


def test_nobody_is_scrubbed_whose_uploaded_file_is_there(home, authority, worker):
    past = Past()
    with home.cluster.connect() as admin:
        ids = people(admin, 2)
        live_on(admin, ids, past)
    path = f"/uploads/{ids[0].hex}{secrets.token_hex(40)}"
    past.add_bytes(path[9 + 32 :].encode())
    home.sql("INSERT INTO identity.files_to_destroy (access_id, candidate_id, path, queued_at) VALUES (1, %s, %s, now())", (ids[0], path))
    erase(home, ids, authority)
    assert scrub_all(worker)["scrubbed"] == 1
    assert scrub(worker)["state"] == "idle" and unscrubbed(home) == 1
    home.sql("DELETE FROM identity.files_to_destroy")
    assert scrub_all(worker)["scrubbed"] == 1
    clean(home, past)


def remembered(past: Past, kilobytes: float = 0.1) -> str:
    text = secrets.token_urlsafe(int(kilobytes * 768))  # of hex digits eight would be found by chance
    past.add_bytes(text.encode())
    return text


@pytest.fixture
def app(home):
    """app(ddl): makes tables of an application and registers them."""
    owner = home.login("identity_dba")
    home.sql(f"CREATE SCHEMA app AUTHORIZATION {owner}")

    def make(*tables: str) -> None:
        with home.connect(owner) as conn:
            for table in tables:
                conn.execute(f"CREATE {table}")
                conn.execute("SELECT identity.forget_register(%s::regclass, 'subject', 'delete')", (table.split("(")[0].split()[-1],))

    yield make
    with home.connect(owner) as conn:
        for row in conn.execute("SELECT relation::oid FROM identity.forget_tables").fetchall():
            conn.execute("SELECT identity.forget_unregister(%s::oid::regclass)", row)
    home.sql("DROP SCHEMA app CASCADE")


def test_registered_tables_with_toast_and_partitions(home, authority, worker, app):
    app(
        "TABLE app.long (id bigint PRIMARY KEY, subject uuid, body text)",
        "TABLE app.parted (subject uuid, body text) PARTITION BY HASH (subject)",
    )
    home.sql("ALTER TABLE app.long ALTER COLUMN body SET STORAGE EXTERNAL")
    owner = "SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = 'app.parted'::regclass"
    for part in range(2):
        home.sql(f"CREATE TABLE app.parted_{part} PARTITION OF app.parted FOR VALUES WITH (MODULUS 2, REMAINDER {part})")
        home.sql(f"ALTER TABLE app.parted_{part} OWNER TO {home.sql(owner)[0]['owner']}")
    past, other = Past(), Past()
    with home.cluster.connect() as admin:
        ids = people(admin, 40)
    for number, id in enumerate(ids):
        home.sql("INSERT INTO app.long VALUES (%s, %s, %s)", (number, id, remembered(past, 12)))
        home.sql("INSERT INTO app.long VALUES (%s, gen_random_uuid(), %s)", (number + 100, remembered(other, 12)))
        home.sql("INSERT INTO app.parted VALUES (%s, %s)", (id, remembered(past)))
        home.sql("INSERT INTO app.parted VALUES (gen_random_uuid(), %s)", (remembered(other),))
        home.sql("UPDATE app.parted SET body = %s WHERE subject = %s", (remembered(past), id))
    erase(home, ids, authority)
    home.sql("VACUUM")
    checkpoint(home)
    files = {
        row["path"]
        for row in home.sql(
            "SELECT pg_relation_filepath(oid) AS path FROM pg_class WHERE oid = ANY ('{app.parted_0,app.parted_1}'::regclass[])"
            " OR oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'app.long'::regclass)"
        )
    }
    assert past.found(home.cluster.data) == files, "the VACUUM should have left bytes in all of them"
    answer = scrub_all(worker)
    assert answer["state"] == "done" and answer["scrubbed"] == 40 and not answer["await_vacuum"], answer
    clean(home, past)
    assert files <= other.found(home.cluster.data), "what lives must stay"
    amcheck(home.cluster, BINDIR)


def test_an_unlogged_table_is_written_at_once(home, authority, worker, app):
    """No checkpoint writes its pages. The file has what was on them when the server was last shut down."""
    app("UNLOGGED TABLE app.loose (subject uuid, body text)")
    past = Past()
    with home.cluster.connect() as admin:
        ids = people(admin, 20)
    for id in ids:
        home.sql("INSERT INTO app.loose VALUES (%s, %s)", (id, remembered(past)))
        home.sql("INSERT INTO app.loose VALUES (gen_random_uuid(), 'stays')")
    # Smaller than the whole of it: the pages go out of the ring, into the file.
    home.sql("INSERT INTO app.loose SELECT gen_random_uuid(), repeat('x', 900) FROM generate_series(1, 120000)")
    checkpoint(home)
    file = home.sql("SELECT pg_relation_filepath('app.loose') AS path")[0]["path"]
    assert past.found(home.cluster.data) == {file}
    home.sql("DELETE FROM app.loose WHERE body LIKE 'xxx%'")  # so that the scrub has few pages, which stay in memory
    erase(home, ids, authority)
    home.sql("VACUUM app.loose")
    assert scrub_all(worker)["scrubbed"] == 20
    clean(home, past)


def test_index_entries_of_rows_that_are_gone_wait_for_a_vacuum(home, authority, worker, app):
    app("TABLE app.notes (id bigint PRIMARY KEY, subject uuid, tag text, body text)", "TABLE app.plain (id bigint PRIMARY KEY, subject uuid, body text)")
    home.sql("CREATE INDEX notes_tag ON app.notes (tag)")
    home.sql("CREATE INDEX notes_body ON app.notes USING gin (to_tsvector('simple', body))")
    past, other = Past(), Past()
    with home.cluster.connect() as admin:
        ids = people(admin, 2)
    for number in range(20):
        home.sql("INSERT INTO app.notes VALUES (%s, %s, %s, 'x')", (number, ids[0], remembered(past)))
        home.sql("INSERT INTO app.notes VALUES (%s, %s, %s, 'x')", (number + 1000, ids[1], remembered(other)))
        home.sql("INSERT INTO app.plain VALUES (%s, %s, 'x')", (number, ids[0]))
    erase(home, ids[:1], authority)
    for _ in range(2):
        answer = scrub_all(worker)
        assert answer["state"] == "waiting" and answer["await_vacuum"] == ["app.notes"], answer
        assert sorted(answer["reindex"]) == ["app.notes_body", "app.notes_tag"] and not answer["not_scrubbed"], answer
    assert unscrubbed(home) == 1
    checkpoint(home)
    index = home.sql("SELECT pg_relation_filepath('app.notes_tag') AS path")[0]["path"]
    assert past.found(home.cluster.data) == {index}
    home.sql("VACUUM (INDEX_CLEANUP OFF) app.notes")
    assert scrub_all(worker)["await_vacuum"] == ["app.notes"]
    home.sql("VACUUM (INDEX_CLEANUP ON) app.notes")
    checkpoint(home)
    assert past.found(home.cluster.data) == {index}, "the VACUUM should have left bytes in the index's holes"
    assert scrub_all(worker)["scrubbed"] == 1
    clean(home, past)
    assert other.found(home.cluster.data), "what lives must stay"
    amcheck(home.cluster, BINDIR)


def test_a_vacuum_that_began_before_does_not_count(home, authority, worker, app):
    """It may have passed pages already in which the scrub made rows dead only now."""
    app("TABLE app.notes (subject uuid, tag text)")
    home.sql("CREATE INDEX notes_tag ON app.notes (tag)")
    past = Past()
    with home.cluster.connect() as admin:
        ids = people(admin, 1)
    for _ in range(20):
        home.sql("INSERT INTO app.notes VALUES (%s, %s)", (ids[0], remembered(past)))
    home.sql("INSERT INTO app.notes VALUES (gen_random_uuid(), 'stays')")
    erase(home, ids, authority)
    with home.cluster.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE app.notes IN SHARE UPDATE EXCLUSIVE MODE")  # as a VACUUM has it
        for _ in range(2):
            answer = scrub_all(worker)
            assert answer["state"] == "waiting" and answer["locked"] == ["app.notes"] and not answer["await_vacuum"], answer
        other.execute("COMMIT")
    assert scrub_all(worker)["await_vacuum"] == ["app.notes"]
    home.sql("VACUUM (INDEX_CLEANUP ON) app.notes")
    assert scrub_all(worker)["scrubbed"] == 1
    clean(home, past)


def test_a_b_tree_keeps_values_as_boundaries_until_it_is_built_anew(home, authority, worker, app):
    app("TABLE app.notes (subject uuid, tag text)")
    home.sql("CREATE INDEX notes_tag ON app.notes (tag)")
    past = Past()
    with home.cluster.connect() as admin:
        ids = people(admin, 1)
    for _ in range(1000):
        home.sql("INSERT INTO app.notes VALUES (%s, %s)", (ids[0], remembered(past)))
    home.sql("INSERT INTO app.notes SELECT gen_random_uuid(), md5(n::text) FROM generate_series(1, 3000) n")
    erase(home, ids, authority)
    assert scrub_all(worker)["await_vacuum"] == ["app.notes"]
    home.sql("VACUUM (INDEX_CLEANUP ON) app.notes")
    answer = scrub_all(worker)
    assert answer["scrubbed"] == 1 and answer["reindex"] == ["app.notes_tag"], answer
    checkpoint(home)
    index = home.sql("SELECT pg_relation_filepath('app.notes_tag') AS path")[0]["path"]
    assert past.found(home.cluster.data) == {index}
    home.sql("REINDEX INDEX CONCURRENTLY app.notes_tag")
    clean(home, past)


def test_relations_that_change_during_a_pass(home, authority, worker, app):
    tables = ["gone", "emptied", "anew", "moved"]
    app(*(f"TABLE app.{name} (subject uuid, body text)" for name in tables))
    past, stay = erased_people(home, authority, 40)
    for name in tables:
        for _ in range(200):
            home.sql(f"INSERT INTO app.{name} VALUES (gen_random_uuid(), %s)", (remembered(past),))
        home.sql(f"DELETE FROM app.{name}")
        home.sql(f"INSERT INTO app.{name} SELECT gen_random_uuid(), 'stays' FROM generate_series(1, 2000)")
    wait_until(lambda: scrub(worker, 1)["state"] == "going_on", "the pass to begin")
    home.sql("DROP TABLE app.gone")
    home.sql("TRUNCATE app.emptied")
    home.sql("VACUUM FULL app.anew")
    home.sql("ALTER TABLE app.moved RENAME TO renamed")
    home.sql("ALTER TABLE app.renamed ALTER COLUMN body TYPE bytea USING body::bytea")
    with home.cluster.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE app.renamed")
        answer = scrub_all(worker)
        assert answer["state"] == "waiting" and answer["locked"] == ["app.moved"], answer
        other.execute("ROLLBACK")
    assert scrub_all(worker)["scrubbed"] == 20
    clean(home, past)
    assert home.sql("SELECT count(*) AS n FROM app.renamed")[0]["n"] == 2000
    amcheck(home.cluster, BINDIR)


def test_memory_does_not_grow_with_the_pages(home, authority, worker, app):
    app("TABLE app.large (subject uuid, body text)")
    home.sql("INSERT INTO app.large SELECT gen_random_uuid(), repeat('x', 700) FROM generate_series(1, 60000)")
    home.sql("DELETE FROM app.large WHERE ctid::text LIKE '%5)'")
    with home.cluster.connect() as admin:
        erase(home, people(admin, 1), authority)

    def most() -> int:
        status = open(f"/proc/{worker.info.backend_pid}/status", encoding="ascii").read()
        return int(status.split("VmHWM:")[1].split()[0])

    wait_until(lambda: scrub(worker, 50)["state"] == "going_on", "the pass to begin")
    before = most()
    answer = scrub(worker, 100_000)
    assert answer["state"] == "done" and answer["rewritten"] > 5000, answer
    shared = 64 * 1024  # the server's buffers come to count as the process touches them
    assert most() - before < shared + 16 * 1024


def test_after_a_switchover_the_first_pass_leaves_out_no_page(fresh):
    """Where the new primary's pages are clean the old one's, now a standby, need not be: images of pages in the log come without what lies in holes."""
    home = Vault(fresh({"autovacuum": "off"}))
    standby = Cluster("sb")
    standby_of(home.cluster, standby)
    standby.start()
    try:
        past, authority = Past(), may_erase(home)
        with home.cluster.connect() as admin:
            ids = people(admin, 6)
            live_on(admin, ids[1:], past)
        erase(home, ids[1:], authority)
        home.sql("VACUUM identity.subjects")
        checkpoint(home)
        with home.cluster.connect() as admin:
            people(admin, 12)  # they come into the same pages, and take no room from anybody
        checkpoint(home)
        target = home.sql("SELECT pg_current_wal_lsn()::text AS lsn")[0]["lsn"]
        with standby.connect() as admin:
            wait_until(lambda: admin.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (target,)).fetchone()[0], "the standby to catch up")
            home.cluster.stop()
            admin.execute("SELECT pg_promote()")
            admin.execute("CHECKPOINT")
        heap = "base/" + str(next(iter(past.found(home.cluster.data)))).split("base/")[1]
        old = home.cluster
        old.configure({"primary_conninfo": f"'host={standby.dir} port={standby.port} user=postgres'", "hot_standby": "on"})
        (old.data / "standby.signal").touch()
        os.chmod(old.data / "standby.signal", 0o644)
        old.start()
        standby.unlock()
        assert heap in past.found(old.data) and heap not in past.found(standby.data)
        with standby.connect() as worker:
            assert scrub_all(worker)["scrubbed"] == 5
            worker.execute("CHECKPOINT")
            target = worker.execute("SELECT pg_current_wal_lsn()::text").fetchone()[0]
        with old.connect() as admin:
            wait_until(lambda: admin.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (target,)).fetchone()[0], "the old primary to follow")
            admin.execute("CHECKPOINT")
        assert past.found(standby.data) == set() and past.found(old.data) == set()
    finally:
        standby.destroy()
