"""Whoever can still see an erased row is named, nothing is claimed meanwhile, and when it has ended the scrub goes through."""

import contextlib

import psycopg
import pytest

from cluster import Cluster, wait_until
from scrub import Past, checkpoint, erase, live_on, may_erase, people, scrub, scrub_all, unscrubbed
from test_standby import standby_of
from vault import Vault, reason_of


@pytest.fixture(scope="module")
def home():
    settings = {"max_prepared_transactions": "5", "wal_level": "logical", "autovacuum": "off"}
    cluster = Cluster("b", settings)
    try:
        yield Vault(cluster.start().install())
    finally:
        cluster.destroy()


@pytest.fixture(scope="module")
def authority(home):
    return may_erase(home)


@pytest.fixture
def erased(home, authority):
    """erased(): erases somebody with a past; what is left of them is in the files until the scrub has gone through."""
    past = Past()
    with home.cluster.connect() as admin:
        ids = people(admin, 3)
        live_on(admin, ids[:2], past)

    def erase_them() -> Past:
        erase(home, ids[:2], authority)
        return past

    return erase_them


def blocked(home, past: Past) -> list[dict]:
    """The scrub says that it cannot begin, and by whom; it claims nothing, and the bytes are there still."""
    answers = []

    def is_blocked() -> bool:
        answers.append(scrub(conn))
        return answers[-1]["state"] == "blocked" and bool(answers[-1]["blocked_by"])

    with home.cluster.connect() as conn:
        wait_until(is_blocked, f"the scrub to name somebody: {answers[-1:]}")
    assert unscrubbed(home) == 2 and answers[-1]["scrubbed"] == 0
    checkpoint(home)
    assert past.found(home.cluster.data)
    return answers[-1]["blocked_by"]


def goes_through(home, past: Past) -> None:
    with home.cluster.connect() as conn:
        assert scrub_all(conn)["scrubbed"] == 2
    checkpoint(home)
    assert not unscrubbed(home) and past.found(home.cluster.data) == set()
    with home.cluster.connect() as conn:
        assert scrub(conn)["state"] == "idle"


def of_kind(holders, kind) -> list[dict]:
    return [holder for holder in holders if holder["kind"] == kind]


@pytest.mark.parametrize(
    "begin",
    [
        ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM pg_class"],
        ["BEGIN", "DECLARE c CURSOR FOR SELECT * FROM identity.subjects", "FETCH 1 FROM c"],
        ["BEGIN", "CREATE TABLE not_yet ()"],
    ],
    ids=["snapshot", "cursor", "writer"],
)
def test_a_transaction_is_named_by_its_pid(home, erased, begin):
    with home.cluster.connect() as other:
        for statement in begin:
            other.execute(statement)
        past = erased()
        holders = blocked(home, past)
        assert [holder["pid"] for holder in of_kind(holders, "transaction")] == [other.info.backend_pid], holders
        assert of_kind(holders, "transaction")[0]["since"]
        other.execute("ROLLBACK")
    goes_through(home, past)


def test_a_prepared_transaction_is_named_by_its_gid(home, erased):
    with home.cluster.connect() as other:
        other.execute("BEGIN")
        other.execute("CREATE TABLE not_yet ()")
        other.execute("PREPARE TRANSACTION 'forgotten \"one\"'")
        try:
            past = erased()
            holders = blocked(home, past)
            assert [holder["gid"] for holder in of_kind(holders, "prepared_transaction")] == ['forgotten "one"'], holders
        finally:
            other.execute("ROLLBACK PREPARED 'forgotten \"one\"'")
    goes_through(home, past)


@pytest.mark.parametrize("slot", ["behind", None], ids=["slot", "no slot"])
def test_a_standby_that_reads_is_named(home, erased, slot):
    standby = Cluster("sb")
    standby_of(home.cluster, standby)
    settings = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "'1s'", "cluster_name": "'reader'"}
    if slot:
        home.sql("SELECT pg_create_physical_replication_slot('behind')")
        settings["primary_slot_name"] = "'behind'"
    standby.configure(settings)
    standby.start()
    try:
        with standby.connect() as reader:
            reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM pg_class")
            held = "SELECT xmin FROM pg_replication_slots WHERE xmin IS NOT NULL" if slot else "SELECT 1 FROM pg_stat_replication WHERE backend_xmin IS NOT NULL"
            wait_until(lambda: home.sql(held), "the standby's feedback")
            past = erased()
            holders = blocked(home, past)
            if slot:
                assert [holder["slot"] for holder in of_kind(holders, "replication_slot")] == ["behind"], holders
            else:
                assert [holder["standby"] for holder in of_kind(holders, "standby_feedback")] == ["reader"], holders
            reader.execute("ROLLBACK")
        goes_through(home, past)
    finally:
        standby.destroy()
        if slot:
            wait_until(lambda: not home.sql("SELECT 1 FROM pg_replication_slots WHERE active"), "the slot to be free")
            home.sql("SELECT pg_drop_replication_slot('behind')")


def test_a_logical_slot_is_named_while_its_snapshot_is_held_and_holds_no_page_afterwards(home, erased):
    with contextlib.ExitStack() as stack:
        other = psycopg.pq.PGconn.connect(f"host={home.cluster.dir} port={home.cluster.port} user=postgres dbname=identity replication=database".encode())
        stack.callback(other.finish)
        made = other.exec_(b"CREATE_REPLICATION_SLOT reading LOGICAL pgoutput (SNAPSHOT 'export')")
        assert made.status == psycopg.pq.ExecStatus.TUPLES_OK, other.error_message
        past = erased()
        holders = blocked(home, past)
        assert other.backend_pid in [holder.get("pid") for holder in holders] or [holder["slot"] for holder in of_kind(holders, "replication_slot")] == ["reading"], holders
        other.exec_(b"IDENTIFY_SYSTEM")
        # The slot stays, and with it the log; no page does.
        goes_through(home, past)
    wait_until(lambda: not home.sql("SELECT 1 FROM pg_replication_slots WHERE active"), "the slot to be free")
    home.sql("SELECT pg_drop_replication_slot('reading')")


def test_the_callers_own_transaction_is_named(home, erased):
    with home.cluster.connect() as own:
        own.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        own.execute("SELECT count(*) FROM pg_class")
        past = erased()
        answer = scrub(own)
        assert answer["state"] == "blocked" and [holder["kind"] for holder in answer["blocked_by"]] == ["own_transaction"], answer
        own.execute("COMMIT")
    goes_through(home, past)


def test_whoever_reads_another_database_holds_nothing(home, erased):
    with home.cluster.connect(dbname="postgres") as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM pg_class")
        goes_through(home, erased())


def test_who_may_scrub(home):
    for groups in (("identity_gateway",), ("identity_dba",), ("identity_auditor",), ()):
        with home.connect(home.login(*groups)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            scrub(conn)
    with home.connect(home.worker) as worker:
        assert scrub(worker)["state"] == "idle"
        for pages, refused in ((None, ("22004", "null_argument")), (0, ("22023", "bad_argument")), (-1, ("22023", "bad_argument"))):
            with pytest.raises(psycopg.Error) as caught:
                scrub(worker, pages)
            assert reason_of(caught.value) == refused
        worker.execute("BEGIN READ ONLY")
        with pytest.raises(psycopg.Error) as caught:
            scrub(worker)
        assert reason_of(caught.value) == ("25006", "read_only")
