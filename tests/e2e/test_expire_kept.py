"""What may not go stays; who drops it makes nobody wait, and lends nobody rights."""

import re
import subprocess
import time

import psycopg
import pytest

from cluster import pg_config, wait_until
from expire import EXPIRE, MONTHS, age_of_its_end, expire, month_over, now, retention
from ledger import again
from liar import anchor
from vault import read, refused


@pytest.fixture
def old(fresh, monkeypatch):
    return month_over(fresh, monkeypatch)


@pytest.mark.parametrize("why", ["unsealed", "unanchored", "anchored before its last seal", "young", "not old as a whole"])
def test_a_month_that_may_not_go_stays(old, why):
    if why == "unsealed":
        old.clock.set(0.01)
        with old.gateway() as gateway:
            read(gateway, old.kept)
        anchor(old, old.signer)
        old.clock.set(100)
        old.sql("SELECT identity._make_partitions()")
    elif why == "anchored before its last seal":
        anchor(old, old.signer)
        old.clock.set(0.01)
        with old.gateway() as gateway:
            read(gateway, old.kept)
        now(old)
    elif why == "unanchored":
        now(old)
    else:
        now(old)
        anchor(old, old.signer)
        # Or an hour of it is.
        retention(old, "365d" if why == "young" else f"{age_of_its_end(old) + 60}min")
    before = old.sql(MONTHS)
    done = expire(old)
    kept = {"unsealed": "unsealed", "unanchored": "unanchored", "anchored before its last seal": "unanchored"}.get(why)
    assert done.get(old.then) == (kept and {"partition": old.then, "kept": kept})
    assert old.sql(MONTHS) == before and old.sql("SELECT 1 FROM identity.ledger_expired") == []


def test_a_month_goes_as_soon_as_all_of_it_is_old_enough(old):
    now(old)
    anchor(old, old.signer)
    retention(old, f"{age_of_its_end(old) - 60}min")
    assert "access_id" in expire(old)[old.then]


@pytest.mark.parametrize("held", ["log", "month"])
def test_nobody_waits_for_a_drop_and_a_drop_waits_for_nobody(old, held):
    now(old)
    anchor(old, old.signer)
    month = "identity.pii_access_log_y" + old.then.replace("-", "m")
    with old.cluster.connect() as reader, old.cluster.connect() as other, old.gateway() as gateway:
        reader.execute(f"BEGIN; LOCK TABLE {'identity.pii_access_log' if held == 'log' else month} IN ACCESS SHARE MODE")
        other.execute("SET lock_timeout = '200ms'")
        worker = old.connect(old.worker)
        worker.pgconn.send_query(EXPIRE.encode())
        began = time.monotonic()
        while worker.pgconn.is_busy():
            other.execute("SELECT count(*) FROM identity.pii_access_log")
            read(gateway, old.kept)
            worker.pgconn.consume_input()
        assert 1 < time.monotonic() - began < 10
        answer = worker.pgconn.get_result()
        assert b'"in use"' in answer.get_value(0, 0)
        worker.close()
    assert old.sql("SELECT 1 FROM identity.ledger_expired") == []
    assert "access_id" in expire(old)[old.then]


HOOK = r"""
#include "postgres.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
PG_MODULE_MAGIC;
void _PG_init(void);
static void dropped(ObjectAccessType access, Oid class, Oid object, int column, void *arguments)
{
    if (access == OAT_DROP && class == RelationRelationId && column == 0)
        elog(LOG, "dropped by %s, %s", GetUserNameFromId(GetUserId(), false), InSecurityRestrictedOperation() ? "restricted" : "free");
}
void _PG_init(void) { object_access_hook = dropped; }
"""


def test_whatever_hangs_onto_the_drop_runs_as_the_owner_and_cannot_become_anybody_else(old):
    """Triggers on DDL and hooks are for superusers to make; what somebody made of them must not run with the rights of who calls us, or of who we are."""
    library = old.cluster.dir / "hook.so"
    include = f"-I{pg_config('includedir-server')}"
    subprocess.run(["cc", "-shared", "-fPIC", include, "-x", "c", "-", "-o", library], input=HOOK, text=True, check=True)
    library.chmod(0o755)
    old.cluster.configure({"shared_preload_libraries": f"'identity_pgx,{library}'"})
    old.cluster.restart()
    again(old)
    now(old)
    anchor(old, old.signer)
    with old.connect(old.worker) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("CREATE EVENT TRIGGER t ON sql_drop EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()")
    before = len(old.cluster.log.read_text())
    assert "access_id" in expire(old)[old.then]
    said = {line.partition("dropped by ")[2] for line in old.cluster.log.read_text()[before:].splitlines() if "dropped by " in line}
    assert said == {"identity_owner, restricted"}


def test_what_depends_on_a_month_keeps_it(old):
    """Anybody may hang a view of their own onto it: the drop says so, and takes nothing with it."""
    now(old)
    anchor(old, old.signer)
    before = old.sql(MONTHS)
    with old.connect(old.auditor) as auditor:
        auditor.execute(f"CREATE TEMP VIEW mine AS SELECT * FROM identity.pii_access_log_y{old.then.replace('-', 'm')}")
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            expire(old)
        assert old.sql(MONTHS) == before and old.sql("SELECT 1 FROM identity.ledger_expired") == []
    assert "access_id" in expire(old)[old.then]


def test_a_shorter_retention_is_alarming_and_a_longer_one_is_not(old):
    retention(old, "30d")
    retention(old, "29d")
    said = lambda: re.findall(r"WARNING: .*log_retention is (\w+), which weakens protection", old.cluster.log.read_text())
    wait_until(said, "the alarm")
    recorded = "SELECT settings ->> 'log_retention' AS kept FROM identity.settings_history ORDER BY recorded_at DESC LIMIT 1"
    assert said() == ["41760min"] and old.sql(recorded) == [{"kept": "41760min"}]


def test_only_the_worker_drops(old):
    for role in (old.auditor, old.dba, old.lane):
        with old.connect(role) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(EXPIRE)


def test_a_drop_needs_keys_and_a_transaction_that_can_write(old):
    with old.connect(old.worker) as worker:
        worker.execute("BEGIN READ ONLY")
        refused(worker, EXPIRE, None, "25006", "read_only")
        worker.execute("ROLLBACK")
        old.sql("SELECT identity.key_wipe_all()")
        refused(worker, EXPIRE, None, "55000", "locked")
