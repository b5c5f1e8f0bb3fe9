"""After erasure and scrub no file of the data directory holds a byte of what was there, on a standby neither; after the log has gone, nowhere."""

import pytest

from cluster import BINDIR, Cluster, run_as_owner, wait_until
from scrub import Past, amcheck, checkpoint, erase, live_on, may_erase, people, scrub, scrub_all, unscrubbed
from test_standby import standby_of
from vault import Vault

GONE = {"wal_recycle": "off", "min_wal_size": "'32MB'", "autovacuum": "off"}


@pytest.fixture
def pair(fresh):
    """A server with data checksums and its standby."""
    cluster = fresh(GONE, install=False)
    cluster.stop()
    run_as_owner(BINDIR / "pg_checksums", "--enable", "-D", cluster.data)
    primary = Vault(cluster.start().install())
    standby = Cluster("sb")
    standby_of(primary.cluster, standby)
    standby.start()
    yield primary, standby
    standby.destroy()


def follow(primary, standby) -> None:
    """The standby has replayed all there is, and written it to its files."""
    checkpoint(primary)
    target = primary.sql("SELECT pg_current_wal_lsn()::text AS lsn")[0]["lsn"]
    with standby.connect() as admin:
        wait_until(lambda: admin.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (target,)).fetchone()[0], "the standby to catch up")
        admin.execute("CHECKPOINT")


def test_two_thousand_subjects_are_in_no_file_here_or_on_a_standby(pair):
    primary, standby = pair
    authority = may_erase(primary)
    past, admin = Past(), primary.cluster.connect()
    ids = people(admin, 4000)
    gone = ids[:1000] + ids[1001::3][:1000]
    stay = sorted(set(ids) - set(gone), key=ids.index)
    live_on(admin, gone, past)
    erase(primary, gone, authority)
    # What is usually done leaves most of it.
    primary.sql("VACUUM identity.subjects")
    follow(primary, standby)
    heap = primary.sql("SELECT pg_relation_filepath('identity.subjects') AS path")[0]["path"]
    assert heap in past.found(primary.cluster.data) and heap in past.found(standby.data)

    with primary.connect(primary.worker) as worker:
        done = scrub_all(worker)
    assert done["state"] == "done" and done["scrubbed"] == 2000 and not unscrubbed(primary), done
    follow(primary, standby)
    assert past.found(primary.cluster.data) == set()
    assert past.found(standby.data) == set()
    assert past.found(primary.cluster.data, wal=True), "the log should still have held something"

    amcheck(primary.cluster, BINDIR)
    role = primary.login("identity_gateway", "identity_zone_onbox")
    with primary.connect(role) as gateway:
        assert gateway.execute("SELECT pii FROM identity.pii_resolve(%s, 't.all', '{name}')", (stay[7],)).fetchone()[0]["name"] == f"Name-{stay[7].hex[-8:]}-0"
    for _ in range(3):
        primary.sql("SELECT pg_switch_wal()")
        follow(primary, standby)
    assert past.found(primary.cluster.data, wal=True) == set()
    # Crash recovery brings nothing back, nor does the standby's own.
    primary.cluster.kill()
    primary.cluster.start()
    standby.stop("immediate")
    standby.start()
    assert past.found(primary.cluster.data, wal=True) == set()
    assert past.found(standby.data) == set()
    run_as_owner(BINDIR / "pg_amcheck", "-h", standby.dir, "-p", standby.port, "-U", "postgres", "--heapallindexed", "identity")
    for cluster in (primary.cluster, standby):
        cluster.stop()
        run_as_owner(BINDIR / "pg_checksums", "--check", "-D", cluster.data)
