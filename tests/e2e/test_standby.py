"""A standby answers nothing; promoted it is locked, and after unlocking the lanes go on."""

import psycopg
import pytest

from cluster import BINDIR, Cluster, run_as_owner, wait_until
from vault import RESOLVE, Vault, read, reason_of


def standby_of(primary: Cluster, standby: Cluster) -> None:
    run_as_owner("rm", "-rf", standby.data)
    run_as_owner(
        BINDIR / "pg_basebackup",
        "-h",
        primary.dir,
        "-p",
        primary.port,
        "-U",
        "postgres",
        "-D",
        standby.data,
        "-R",
        "-X",
        "stream",
        "-c",
        "fast",
    )
    standby.configure({"unix_socket_directories": f"'{standby.dir}'", "hot_standby": "on"})


@pytest.fixture
def pair(fresh):
    primary = Vault(fresh())
    standby = Cluster("sb")
    standby_of(primary.cluster, standby)
    standby.start()
    yield primary, standby
    standby.destroy()


def test_standby_refuses_and_goes_on_after_promotion(pair):
    primary, standby = pair
    subject = primary.subject()
    role = primary.login("identity_gateway", "identity_zone_onbox")
    with primary.connect(role) as gateway:
        seen = {read(gateway, subject) for _ in range(10)}
    target = primary.sql("SELECT pg_current_wal_lsn()::text AS lsn")[0]["lsn"]
    with standby.connect() as admin:
        wait_until(
            lambda: admin.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (target,)).fetchone()[0], "the standby to catch up"
        )
        with standby.connect(role) as gateway:
            for query in (
                f"SELECT * FROM identity.pii_resolve('{subject.id}', 't.all', '{{name}}')",
                f"SELECT * FROM identity.pii_vertical('{subject.id}')",
                "SELECT identity.pii_register('t.all', '{\"name\": \"x\"}')",
            ):
                with pytest.raises(psycopg.Error) as caught:
                    gateway.execute(query)
                assert reason_of(caught.value)[1] in ("read_only", "locked", "recorder_down")
        with pytest.raises(psycopg.Error):
            admin.execute("SELECT identity.dev_unlock()")
        primary.cluster.stop("immediate")
        admin.execute("SELECT pg_promote()")
    with standby.connect(role) as gateway:
        with pytest.raises(psycopg.Error) as caught:
            gateway.execute(RESOLVE, (subject.id, "t.all", ["name"]))
        assert reason_of(caught.value)[1] in ("locked", "recorder_down")
    standby.unlock()
    promoted = Vault.__new__(Vault)
    promoted.cluster, promoted.admin = standby, standby.connect(row_factory=psycopg.rows.dict_row)
    with standby.connect(role) as gateway:
        for _ in range(10):
            access_id = read(gateway, subject)
            assert access_id not in seen, "a lane was forked"
            seen.add(access_id)
    promoted.verify()
    assert {row["access_id"] for row in promoted.rows(role, "outcome = 'committed'")} == seen
