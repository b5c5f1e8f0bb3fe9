"""max_anchor_lag: nobody's data is given out while what is recorded of it could be rewritten unseen for longer than was allowed."""

import base64
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from clock import Clock
from cluster import root_dir, wait_until
from ledger import checkpoint, seal
from ledger_tree import recomputed, root
from liar import anchor, signer_of
from vault import ONBOX, Vault, read, reason_of, refused, refused_read

STALE = ("55000", "anchor_stale")
MANY = "SELECT status FROM identity.pii_resolve_many(%s::uuid[], 't.all', '{name}')"
UPDATE = "SELECT identity.pii_update(%s, 't.all', '{\"name\": \"New\"}')"


@pytest.fixture
def clock(monkeypatch):
    return Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)


@pytest.fixture
def vault(clock, fresh):
    """With the setting as it is by default: 24 hours."""
    vault = Vault(fresh({"identity_pgx.max_anchor_lag": None}))
    vault.clock, vault.signer, vault.kept = clock, signer_of(vault), vault.subject()
    return vault


@pytest.fixture
def reader(vault):
    with vault.gateway() as conn:
        yield conn


def anchored(vault) -> None:
    """All that is there; what is written late has come."""
    time.sleep(1.5)
    seal(vault)
    anchor(vault, vault.signer)


def looked_again() -> None:
    """The maintenance process has gone its rounds."""
    time.sleep(2.5)


def days_later(vault, days: float) -> None:
    vault.clock.set(days)
    looked_again()


def gauge(vault) -> float:
    return vault.sql("SELECT value FROM identity.metrics() WHERE name = 'identity_ledger_anchor_stale'")[0]["value"]


def back(vault) -> None:
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=dict_row)


def test_every_way_to_somebodys_data_is_refused(vault, reader):
    subject = vault.kept
    read(reader, subject)
    cursor = vault.gateway()
    cursor.execute("BEGIN")
    cursor.execute("DECLARE c CURSOR FOR SELECT (identity.pii_resolve(%s, 't.all', '{name}')).pii FROM generate_series(1, 3)", (subject.id,))
    assert cursor.execute("FETCH 1 FROM c").fetchone()
    old = vault.gateway()
    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    read(old, subject)
    vault.clock.set(1.1)
    refused(cursor, "FETCH 1 FROM c", None, *STALE)
    refused_read(old, subject, *STALE)
    refused_read(reader, subject, *STALE)
    refused(reader, MANY, ([subject.id, uuid.uuid4()],), *STALE)
    refused(reader, UPDATE, (subject.id,), *STALE)
    with pytest.raises(psycopg.Error) as caught:
        reader.execute("DO $$BEGIN PERFORM * FROM identity.pii_resolve('%s', 't.all', '{name}'); EXCEPTION WHEN others THEN RAISE; END$$" % subject.id)
    assert reason_of(caught.value) == STALE
    assert vault.sql("SELECT generation FROM identity.subject_generations(ARRAY[%s])", (subject.id,)) == [{"generation": 0}], "it was not changed"
    rows = vault.leaves(reader, committed=1, denied=4)
    assert {row["denial"] for row in rows if row["outcome"] == "denied"} == {"anchor_stale"}
    for conn in (cursor, old):
        conn.close()
    # What returns no personal data goes on.
    assert reader.execute("SELECT identity.pii_register('t.all', '{\"name\": \"A\"}')").fetchone()[0]
    assert reader.execute("SELECT vertical FROM identity.pii_vertical(%s)", (subject.id,)).fetchone()
    assert reader.execute("SELECT identity.erasure_request(%s, 'candidate_request')", (subject.id,)).fetchone()


def test_an_anchor_lifts_it_at_once(vault, reader):
    read(reader, vault.kept)
    vault.clock.set(1.1)
    refused_read(reader, vault.kept, *STALE)
    looked_again()
    refused_read(reader, vault.kept, *STALE)
    status = vault.sql("SELECT state, hint FROM identity.identity_status() WHERE item = 'anchor age'")[0]
    assert "refused" in status["hint"] and gauge(vault) == 1
    anchored(vault)
    read(reader, vault.kept)
    assert gauge(vault) == 0
    assert vault.sql("SELECT hint FROM identity.identity_status() WHERE item = 'anchor age'")[0]["hint"] is None
    days_later(vault, 2)
    read(reader, vault.kept)
    days_later(vault, 2.2)
    refused_read(reader, vault.kept, *STALE)
    vault.verify()


def test_a_seal_alone_does_not_lift_it(vault, reader):
    vault.clock.set(1.1)
    looked_again()
    seal(vault)
    looked_again()
    refused_read(reader, vault.kept, *STALE)


def test_an_anchor_of_an_older_tree_lifts_it_no_further_than_it_reaches(vault, reader):
    read(reader, vault.kept)
    seal(vault)
    note = vault.signer.sign(checkpoint(vault).text())
    vault.clock.set(0.5)
    read(reader, vault.kept)
    seal(vault)
    vault.clock.set(1.1)
    refused_read(reader, vault.kept, *STALE)
    record(vault, note)
    read(reader, vault.kept)
    days_later(vault, 1.6)
    refused_read(reader, vault.kept, *STALE)


def record(vault, note: str) -> None:
    with vault.connect(vault.worker) as worker:
        worker.execute("SELECT identity.anchor_record(%s, 's3://a', 'v', now())", (note,))


def test_an_anchor_of_half_a_cut_does_not_cover_it(vault, reader):
    """A cut of two months has two seals. What the anchor reaches between them says nothing of the second month."""
    anchored(vault)
    read(reader, vault.kept)
    vault.clock.set(35)
    vault.sql("SELECT identity._make_partitions()")
    # Refused, and so recorded, in the other month.
    refused_read(reader, vault.kept, *STALE)
    vault.leaves(reader, committed=1, denied=1)
    seal(vault)
    seals = vault.sql("SELECT leaf_index FROM identity.ledger_seals WHERE cut = (SELECT max(cut) FROM identity.ledger_seals) ORDER BY 1")
    assert len(seals) == 2
    size = seals[0]["leaf_index"] + 1
    tree = checkpoint(vault)
    half = f"{tree.origin}\n{size}\n{base64.b64encode(root(recomputed(vault)[:size])).decode()}\n"
    record(vault, vault.signer.sign(half))
    refused_read(reader, vault.kept, *STALE)
    looked_again()
    refused_read(reader, vault.kept, *STALE)
    anchored(vault)
    read(reader, vault.kept)


@pytest.mark.parametrize("how", ["transaction", "savepoint", "inside", "with an unlock", "error"])
def test_an_anchor_that_is_rolled_back_lifts_nothing(vault, reader, how):
    vault.clock.set(1.1)
    looked_again()
    refused_read(reader, vault.kept, *STALE)
    seal(vault)
    note = vault.signer.sign(checkpoint(vault).text())
    both = vault.login("identity_worker", *ONBOX)
    with vault.connect(both) as conn:
        conn.execute("BEGIN")
        if how == "savepoint":
            conn.execute("SAVEPOINT a")
        conn.execute("SELECT identity.anchor_record(%s, 's3://a', 'v', now())", (note,))
        if how == "inside":
            refused_read(conn, vault.kept, *STALE)
        if how == "with an unlock":
            conn.execute("SELECT identity.dev_unlock()")
            refused_read(reader, vault.kept, *STALE)
        if how == "savepoint":
            conn.execute("ROLLBACK TO a")
            conn.execute("COMMIT")
        elif how == "error":
            with pytest.raises(psycopg.errors.DivisionByZero):
                conn.execute("SELECT 1 / 0")
            conn.execute("COMMIT")
        else:
            conn.execute("ROLLBACK")
    for _ in range(3):
        refused_read(reader, vault.kept, *STALE)
        time.sleep(1.2)
    assert vault.sql("SELECT count(*) AS n FROM identity.anchor_commits")[0]["n"] == 0
    record(vault, note)
    read(reader, vault.kept)


@pytest.mark.parametrize("how", ["restart", "crash", "wipe"])
def test_it_is_not_forgotten(vault, how):
    with vault.gateway() as reader:
        vault.clock.set(1.1)
        refused_read(reader, vault.kept, *STALE)
    if how == "wipe":
        vault.sql("SELECT identity.key_wipe_all()")
    elif how == "crash":
        vault.cluster.kill()
        vault.cluster.start()
    else:
        vault.cluster.restart()
    back(vault)
    with vault.gateway() as reader:
        for _ in range(3):
            refused_read(reader, vault.kept, *STALE)
            time.sleep(1)
        anchored(vault)
        read(reader, vault.kept)
        vault.cluster.restart()
        back(vault)
    with vault.gateway() as reader:
        read(reader, vault.kept)


def test_where_nothing_waits_nothing_is_refused_however_long_ago_the_last_anchor_was(vault, reader):
    read(reader, vault.kept)
    anchored(vault)
    for days in (0.9, 1.8, 5, 25):
        days_later(vault, days)
        assert gauge(vault) == 0
    assert vault.sql("SELECT since FROM identity.identity_status() WHERE item = 'anchor age'")[0]["since"] is None
    read(reader, vault.kept)


def test_a_row_that_is_only_now_committed_counts_from_when_it_was_read(vault, reader):
    read(reader, vault.kept)
    with vault.gateway() as long:
        long.execute("BEGIN")
        read(long, vault.kept)
        vault.clock.set(0.9)
        anchored(vault)
        read(reader, vault.kept)
        long.execute("COMMIT")
    vault.clock.set(1.1)
    wait_until(lambda: gauge(vault) == 1, "the next look", timeout=20)
    refused_read(reader, vault.kept, *STALE)


def test_who_seals_is_told_while_reads_are_refused(vault, reader):
    """Otherwise one who commits what was read a day ago would have everybody wait for the next ten minutes to be over."""
    anchored(vault)
    with vault.connect(vault.worker) as worker, vault.gateway() as long:
        worker.execute("LISTEN identity_seal_due")
        long.execute("BEGIN")
        read(long, vault.kept)
        vault.clock.set(1.1)
        looked_again()
        read(reader, vault.kept)
        list(worker.notifies(timeout=2.5))
        long.execute("COMMIT")
        assert [notify.channel for notify in worker.notifies(timeout=15, stop_after=1)] == ["identity_seal_due"]
        refused_read(reader, vault.kept, *STALE)
        anchored(vault)
        read(reader, vault.kept)
        assert not list(worker.notifies(timeout=1)) and not list(worker.notifies(timeout=12))


def test_rows_that_the_recorder_wrote_count(vault, reader):
    anchored(vault)
    with reader.transaction(force_rollback=True):
        read(reader, vault.kept)
    vault.leaves(reader, rolled_back=1)
    days_later(vault, 1.1)
    refused_read(reader, vault.kept, *STALE)


@pytest.mark.parametrize("who", ["a gateway", "the worker", "a superuser"])
def test_no_session_sets_it(vault, who):
    role = {"a gateway": vault.login(*ONBOX), "the worker": vault.login("identity_worker", *ONBOX), "a superuser": vault.login(*ONBOX)}[who]
    if who == "a superuser":
        vault.sql(f"ALTER ROLE {role} SUPERUSER")
    vault.clock.set(1.1)
    with vault.connect(role) as conn:
        for attempt in (
            "SET identity_pgx.max_anchor_lag = 0",
            "SET LOCAL identity_pgx.max_anchor_lag = '3d'",
            "SELECT set_config('identity_pgx.max_anchor_lag', '0', false)",
            f"ALTER ROLE {role} SET identity_pgx.max_anchor_lag = 0",
            "ALTER DATABASE identity SET identity_pgx.max_anchor_lag = 0",
            "UPDATE pg_settings SET setting = 0 WHERE name = 'identity_pgx.max_anchor_lag'",
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET identity_pgx.max_anchor_lag = 0 AS 'SELECT 1'",
        ):
            with pytest.raises((psycopg.errors.CantChangeRuntimeParam, psycopg.errors.InsufficientPrivilege)):
                conn.execute(attempt)
        refused_read(conn, vault.kept, *STALE)
    with pytest.raises(psycopg.OperationalError):
        vault.connect(role, options="-c identity_pgx.max_anchor_lag=0")
    if who != "a superuser":
        with vault.connect(role) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("ALTER SYSTEM SET identity_pgx.max_anchor_lag = 0")


def configured(vault, value: str) -> None:
    before = vault.sql("SELECT count(*) AS n FROM identity.settings_history")[0]["n"]
    vault.sql(f"ALTER SYSTEM SET identity_pgx.max_anchor_lag = '{value}'")
    vault.cluster.reload()
    wait_until(lambda: vault.sql("SELECT count(*) AS n FROM identity.settings_history")[0]["n"] > before, "the setting to be recorded")


def test_a_reload_changes_it_and_weakening_it_is_told(vault, reader):
    def warned() -> int:
        return Path(vault.cluster.log).read_text().count("max_anchor_lag is")

    wait_until(lambda: vault.sql("SELECT FROM identity.settings_history"), "the settings of the start to be recorded")
    read(reader, vault.kept)
    vault.clock.set(1.1)
    refused_read(reader, vault.kept, *STALE)
    for number, weaker in enumerate(("3d", "0"), 1):
        configured(vault, weaker)
        wait_until(lambda: warned() == number, "the warning")
        read(reader, vault.kept)
    lag = vault.sql("SELECT state FROM identity.identity_status() WHERE item = 'anchor lag'")[0]
    assert lag["state"] == "off"
    configured(vault, "1h")
    looked_again()
    refused_read(reader, vault.kept, *STALE)
    assert warned() == 2, "a shorter one is no weakening"
    assert vault.sql("SELECT settings ->> 'max_anchor_lag' AS lag FROM identity.settings_history ORDER BY recorded_at DESC LIMIT 1")[0]["lag"] == "60min"
    anchored(vault)
    vault.verify()


def test_rows_from_a_clock_that_was_ahead(vault, reader):
    """By less than is allowed: it passes. By more: how long they wait nobody knows, and they are anchored first."""
    anchored(vault)
    vault.clock.set(0.5)
    read(reader, vault.kept)
    days_later(vault, 0)
    read(reader, vault.kept)
    anchored(vault)
    with vault.gateway() as ahead:
        days_later(vault, 20)
        read(ahead, vault.kept)
    days_later(vault, 0)
    refused_read(reader, vault.kept, *STALE)
    anchored(vault)
    read(reader, vault.kept)


def test_a_look_at_a_long_log_takes_no_longer(vault, reader):
    """A hundred thousand rows without an anchor, in one lane and in the recorder's."""
    ids = [vault.subject().id for _ in range(20)] * 50
    with vault.gateway() as many:
        for _ in range(100):
            many.execute(MANY, (ids,)).fetchall()
        with many.transaction(force_rollback=True):
            for _ in range(5):
                many.execute(MANY, (ids,)).fetchall()
    start = time.monotonic()
    vault.sql("SELECT * FROM identity.metrics()")
    before = time.monotonic() - start
    vault.sql("SELECT identity.key_wipe_all()")
    vault.cluster.unlock()
    start = time.monotonic()
    vault.sql("SELECT * FROM identity.metrics()")
    assert max(before, time.monotonic() - start) < 3
    read(reader, vault.kept)
    days_later(vault, 1.1)
    refused_read(reader, vault.kept, *STALE)
