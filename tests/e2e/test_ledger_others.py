"""Sealing while others work: sealers take turns, nobody else waits, and every role may do what it may and nothing more."""

import threading

import psycopg
import pytest

from cluster import wait_until
from ledger import SEAL, TABLES, in_the_middle, result, seal, some_rows, unsealed
from vault import read, reason_of, refused


def test_two_at_once_are_one(sealed):
    """The second waits for the first, and finds nothing left to do."""
    some_rows(sealed, 50)
    cuts = sealed.sql("SELECT count(DISTINCT cut) AS n FROM identity.ledger_seals")[0]["n"]
    results = []
    with in_the_middle(sealed, "ledger_seals") as (sealer, _):
        others = [threading.Thread(target=lambda: results.append(seal(sealed))) for _ in range(3)]
        for other in others:
            other.start()
        wait_until(
            lambda: sealed.sql("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")[0]["n"] == 3, "three to wait"
        )
        sealed.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'identity.ledger_seals'::regclass AND mode = 'ShareLock'")
        assert result(sealer) is None
        for other in others:
            other.join(20)
    assert len(results) == 3 and len(set(results)) == 1
    assert sealed.sql("SELECT count(DISTINCT cut) AS n FROM identity.ledger_seals")[0]["n"] == cuts + 1


def test_the_one_that_waited_takes_what_came_meanwhile(sealed):
    some_rows(sealed)
    subject = sealed.subject()
    with sealed.connect(sealed.worker) as first, sealed.gateway() as gateway:
        first.execute("BEGIN")
        (size, _) = first.execute(SEAL).fetchone()
        read(gateway, subject)
        results = []
        other = threading.Thread(target=lambda: results.append(seal(sealed)))
        other.start()
        sealed.wait_backend(sealed.worker, "wait_event = 'advisory'")
        first.execute("COMMIT")
        other.join(20)
    assert results[0][0] == size + 1 and unsealed(sealed) == 0


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_hides_nothing_from_a_sealer(sealed, level):
    """Neither the rows nor the seals that came after it: an old head would seal the same rows again."""
    subject = sealed.subject()
    with sealed.connect(sealed.worker) as worker, sealed.gateway() as gateway:
        worker.execute(f"BEGIN ISOLATION LEVEL {level}")
        worker.execute("SELECT count(*) FROM pg_class")
        read(gateway, subject)
        size, _ = seal(sealed)
        read(gateway, subject)
        assert worker.execute(SEAL).fetchone()[0] == size + 1
        worker.execute("COMMIT")
    assert unsealed(sealed) == 0


def test_serializable_sealers_at_once_do_not_fail(sealed):
    some_rows(sealed)
    failures = []

    def work():
        try:
            seal(sealed, options="-c default_transaction_isolation=serializable")
        except psycopg.Error as error:
            failures.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        some_rows(sealed, 2)
        for thread in threads:
            thread.join(30)
    assert not failures


def calls_under_a_lock_timeout(vault, subject) -> None:
    """What clients and operators do, each refused rather than made to wait."""
    options = "-c lock_timeout=200ms"
    with vault.gateway(options=options) as gateway:
        read(gateway, subject)
        gateway.execute("SELECT * FROM identity.pii_resolve_many(%s, 't.all', '{name}')", ([subject.id],))
        gateway.execute("""SELECT identity.pii_register('t.all', '{"name": "x"}')""")
        gateway.execute("""SELECT identity.pii_update(%s, 't.all', '{"name": "y"}')""", (subject.id,))
        gateway.execute("SELECT * FROM identity.pii_vertical(%s)", (subject.id,))
        gateway.execute("SELECT identity.text_observe(%s, 'resume', 'registered nurse')", (subject.id,))
    with vault.connect(vault.dba, options=options) as dba:
        dba.execute("UPDATE identity.purpose_definitions SET description = description || '.' WHERE purpose_token = 't.contact'")
    with vault.connect(vault.auditor, options=options) as auditor:
        auditor.execute("SELECT * FROM identity.identity_status()")
        auditor.execute("SELECT * FROM identity.metrics()")
        auditor.execute("SELECT * FROM identity.ledger_verify(true)")
    with vault.cluster.connect(options=options) as admin:
        admin.execute("SELECT identity._make_partition((now() + interval '9 months')::date)")


def test_nobody_waits_for_a_sealer(sealed):
    some_rows(sealed, 20)
    subject = sealed.subject()
    with sealed.connect(sealed.worker) as worker:
        worker.execute("BEGIN; SELECT identity.ledger_seal()")
        calls_under_a_lock_timeout(sealed, subject)
        worker.execute("COMMIT")


def test_the_lock_timeout_would_notice(sealed):
    subject = sealed.subject()
    with sealed.cluster.connect() as admin:
        admin.execute("BEGIN; LOCK TABLE identity.subjects IN EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            calls_under_a_lock_timeout(sealed, subject)
        admin.execute("ROLLBACK")


# -- who may, and where ------------------------------------------------------------
FUNCTIONS = {
    "ledger_seal()": {"worker"},
    "ledger_checkpoint()": {"worker"},
    "ledger_proof(1)": {"auditor", "worker", "legal"},
    "ledger_consistency(0, 1)": {"auditor", "worker", "legal"},
    "ledger_salts('{1}', 1)": {"auditor", "worker", "legal"},
}
ROLES = ["gateway", "dba", "approver", "reviewer", "legal", "worker", "auditor", "zone_onbox", "zone_cloud"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_by_every_role(sealed, function):
    may = set()
    for role in ROLES:
        with sealed.connect(sealed.login(f"identity_{role}")) as conn:
            try:
                conn.execute(f"SELECT identity.{function}")
                may.add(role)
            except psycopg.Error as error:
                if reason_of(error)[1]:
                    may.add(role)
                else:
                    assert error.sqlstate == "42501"
    assert may == FUNCTIONS[function]


@pytest.mark.parametrize("table", [*TABLES, "anchor_commits", "ledger_expired"])
def test_nobody_writes_the_ledger_by_hand(sealed, table):
    """Superusers are stopped by the guards, whoever may write every table by row-level security."""
    some_rows(sealed, 1)
    seal(sealed)
    column = sealed.sql("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", (f"identity.{table}",))[0]["attname"]
    for statement in (f"UPDATE identity.{table} SET {column} = {column}", f"DELETE FROM identity.{table}", f"TRUNCATE identity.{table}"):
        for replica in ("origin", "replica"):
            with sealed.cluster.connect(options=f"-c session_replication_role={replica}") as admin:
                refused(admin, statement, None, "42501", "append_only")
    role = sealed.login("pg_write_all_data", "pg_read_all_data")
    before = sealed.sql(f"SELECT count(*) AS n FROM identity.{table}")
    with sealed.connect(role) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"INSERT INTO identity.{table} SELECT (r).* FROM (SELECT jsonb_populate_record(NULL::identity.{table}, %s) AS r) s", (EVERY_COLUMN,))
        assert conn.execute(f"SELECT count(*) FROM identity.{table}").fetchone()[0] == 0, "what names no subject is still nobody's to see"
    assert sealed.sql(f"SELECT count(*) AS n FROM identity.{table}") == before


EVERY_COLUMN = """{"batch": 9999, "cut": 9999, "leaf_index": 9999, "partition": "2099-01", "batch_rows": 0, "batch_root": "\\\\x00", "sealed_at": "2099-01-01", "leaf": "{}",
  "lane": 9999, "seq": 1, "mac": "\\\\x00", "level": 1, "tile": 9999, "hashes": "\\\\x00", "access_id": 9999, "index": 9999, "hash": "\\\\x00", "commit_id": 9999,
  "chain_kind": "merkle", "checkpoint_at": "2099-01-01", "root_hash": "\\\\x00", "tree_size": 1, "checkpoint": "x", "rows": 1, "last_batch": 1, "expired_at": "2099-01-01"}"""


@pytest.mark.parametrize("how", ["BEGIN READ ONLY", "SET default_transaction_read_only = on"])
def test_a_read_only_transaction_cannot_seal_but_asks(sealed, how):
    ids = some_rows(sealed)
    seal(sealed)
    with sealed.connect(sealed.worker) as worker:
        worker.execute(how)
        worker.execute("SELECT identity.ledger_checkpoint()")
        worker.execute("SELECT identity.ledger_proof(%s)", (ids[0],))
        worker.execute("SELECT identity.ledger_consistency(0, 1)")
        refused(worker, SEAL, None, "25006", "read_only")


def test_locked_keys(sealed):
    ids = some_rows(sealed)
    seal(sealed)
    sealed.sql("SELECT identity.key_wipe_all()")
    try:
        with sealed.connect(sealed.worker) as worker:
            for call in ("ledger_seal()", f"ledger_proof({ids[0]})", "ledger_salts('{1}', 1)"):
                refused(worker, f"SELECT identity.{call}", None, "55000", "locked")
            worker.execute("SELECT identity.ledger_checkpoint(), identity.ledger_consistency(0, 1)")
    finally:
        sealed.cluster.unlock()


def test_status_and_metrics_say_what_is_sealed(sealed):
    def status() -> dict:
        return {row["item"]: row for row in sealed.sql("SELECT * FROM identity.identity_status()") if row["item"] in ("last seal", "anchor age")}

    def metrics() -> dict:
        return {(row["name"], row["labels"].get("state")): row["value"] for row in sealed.sql("SELECT * FROM identity.metrics() WHERE name LIKE 'identity\\_ledger%'")}

    some_rows(sealed)
    size, _ = seal(sealed)
    now = metrics()
    rows = sealed.sql("SELECT count(*) AS n, extract(epoch FROM now() - min(accessed_at)) AS oldest FROM identity.pii_access_log")[0]
    assert now["identity_ledger_tree_size", None] == size
    assert (now["identity_ledger_rows", "sealed"], now["identity_ledger_rows", "unsealed"]) == (rows["n"], 0)
    assert now["identity_ledger_oldest_seconds", "unsealed"] == 0
    assert abs(now["identity_ledger_oldest_seconds", "unanchored"] - float(rows["oldest"])) < 5
    assert now["identity_ledger_last_seal_seconds", None] < 5
    assert status()["last seal"]["state"] == f"tree of {size} leaves, 0 rows since" and status()["last seal"]["hint"] is None
    assert status()["anchor age"]["state"] == "nothing is anchored"
    with sealed.gateway() as gateway:
        read(gateway, sealed.subject())
    after = metrics()
    assert after["identity_ledger_rows", "unsealed"] == unsealed(sealed) > 0 < after["identity_ledger_oldest_seconds", "unsealed"] < 5
