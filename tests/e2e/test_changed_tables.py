"""Somebody changes, drops or restores our tables under a running server: it refuses, it does not crash, and the record stays whole."""

import time

import psycopg
import pytest
from psycopg.rows import dict_row

from cluster import BINDIR, DATABASE, Cluster, run_as_owner, wait_until
from vault import ONBOX, REGISTER, Vault, read, reason_of, refused_read

CURRENT = "to_char(now() AT TIME ZONE 'UTC', '\"pii_access_log_y\"YYYY\"m\"MM')"
RECORDER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'identity_pgx recorder'"
STARTED = "SELECT pg_postmaster_start_time() AS at"


@pytest.fixture(scope="module")
def changed(request):
    """Each test puts back what it changed."""
    cluster = Cluster("t")
    request.addfinalizer(cluster.destroy)
    return Vault(cluster.start().install())


def current(vault) -> str:
    return vault.sql(f"SELECT {CURRENT} AS name")[0]["name"]


def crashed(vault) -> bool:
    return "was terminated by signal" in vault.cluster.log.read_text()


def health(vault):
    try:
        return vault.sql("SELECT identity.identity_health() AS h")[0]["h"]["status"]
    except psycopg.Error as error:
        return reason_of(error)[1]


# -- indexes ---------------------------------------------------------------------
UNFIT = {
    "expression": ("CREATE INDEX unfit ON identity.{part} (lower(accessor_id))", "DROP INDEX identity.unfit"),
    "expression on the parent": ("CREATE INDEX unfit ON identity.pii_access_log (lower(accessor_id))", "DROP INDEX identity.unfit"),
    "partial": ("CREATE INDEX unfit ON identity.{part} (accessor_role) WHERE outcome = 'denied'", "DROP INDEX identity.unfit"),
    "exclusion": (
        "ALTER TABLE identity.{part} ADD CONSTRAINT unfit EXCLUDE USING btree (access_id WITH =)",
        "ALTER TABLE identity.{part} DROP CONSTRAINT unfit",
    ),
    "deferrable": (
        "ALTER TABLE identity.{part} ADD CONSTRAINT unfit UNIQUE (access_id) DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE identity.{part} DROP CONSTRAINT unfit",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("session", ["old", "new"])
def test_an_index_that_cannot_be_kept_below_sql_refuses_reads(changed, name, session):
    vault, part = changed, current(changed)
    vault.wait_well()
    subject, started = vault.subject(), vault.sql(STARTED)
    role = vault.login(*ONBOX)
    gateway = vault.connect(role)
    read(gateway, subject)  # its partition is open and known to be good
    change, back = (statement.format(part=part) for statement in UNFIT[name])
    vault.sql(change)
    try:
        if session == "new":
            gateway.close()
            gateway = vault.connect(role)
        refused_read(gateway, subject, "53000", "audit_unwritable")
        time.sleep(1.5)  # the recorder tries, and tries again
        assert vault.outcomes(role) == {"committed": 1}
        assert gateway.execute("SELECT 1").fetchone() == (1,), "the session is gone"
    finally:
        vault.sql(back)
    vault.leaves(role, timeout=20, committed=1, denied=1)
    vault.wait_well()
    read(gateway, subject)
    gateway.close()
    assert vault.sql(STARTED) == started and not crashed(vault)
    assert [row["denial"] for row in vault.leaves(role, committed=2, denied=1) if row["denial"]] == ["audit_unwritable"]
    vault.verify()


def test_an_index_in_the_same_transaction_refuses_too(changed):
    """A superuser who is a gateway as well: the index is not committed yet."""
    vault, part = changed, current(changed)
    vault.wait_well()
    subject = vault.subject()
    role = vault.login(*ONBOX)
    vault.sql(f"ALTER ROLE {role} SUPERUSER")
    with vault.connect(role) as both:
        read(both, subject)
        both.execute("BEGIN")
        both.execute(UNFIT["partial"][0].format(part=part))
        with pytest.raises(psycopg.Error) as caught:
            read(both, subject)
        assert reason_of(caught.value)[0] in ("53000", "42501"), caught.value
        both.execute("ROLLBACK")
    vault.wait_well()
    assert not crashed(vault)
    vault.verify()


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX plain ON identity.{part} (accessor_role, accessed_at)",
        "CREATE INDEX plain ON identity.{part} (accessor_role) INCLUDE (outcome)",
        "CREATE INDEX plain ON identity.{part} USING hash (accessor_role)",
        "CREATE INDEX plain ON identity.{part} USING brin (accessed_at)",
        "CREATE INDEX plain ON identity.{part} USING gin (fields_accessed)",
        "CREATE INDEX plain ON identity.pii_access_log (accessor_role)",
    ],
    ids=["btree", "include", "hash", "brin", "gin", "parent"],
)
def test_a_plain_index_is_kept(changed, index):
    vault, part = changed, current(changed)
    vault.wait_well()
    subject = vault.subject()
    with vault.gateway() as gateway:
        read(gateway, subject)
        vault.sql(index.format(part=part))
        try:
            for _ in range(3):
                read(gateway, subject)
            with gateway.transaction(force_rollback=True):
                read(gateway, subject)
            role = gateway.info.user
            vault.leaves(role, committed=4, rolled_back=1)
            with vault.cluster.connect() as admin:
                by = {}
                for way in ("seqscan", "indexscan"):
                    admin.execute(
                        f"SET enable_seqscan = {'on' if way == 'seqscan' else 'off'}; SET enable_indexscan = {'on' if way == 'indexscan' else 'off'}"
                    )
                    admin.execute(f"SET enable_bitmapscan = {'on' if way == 'indexscan' else 'off'}")
                    by[way] = admin.execute(
                        "SELECT access_id FROM identity.pii_access_log WHERE accessor_role = %s AND fields_accessed @> '{name}' AND accessed_at > now() - interval '1 hour' ORDER BY 1",
                        (role,),
                    ).fetchall()
                assert by["seqscan"] == by["indexscan"] and len(by["seqscan"]) == 5
        finally:
            vault.sql("DROP INDEX identity.plain")
    assert not crashed(vault)
    vault.verify()


# -- partitions --------------------------------------------------------------------
def test_a_detached_partition_refuses_and_what_waits_is_written_when_it_is_back(changed):
    vault, part = changed, current(changed)
    vault.wait_well()
    recorder = vault.sql(RECORDER)
    bounds = vault.sql(f"SELECT pg_get_expr(relpartbound, oid) AS bounds FROM pg_class WHERE oid = 'identity.{part}'::regclass")[0][
        "bounds"
    ]
    subject = vault.subject()
    with vault.gateway() as gateway:
        read(gateway, subject)
        vault.sql(f"ALTER TABLE identity.pii_access_log DETACH PARTITION identity.{part}")
        try:
            refused_read(gateway, subject, "53000", "audit_unwritable")
            time.sleep(1.5)
            assert vault.sql(RECORDER) == recorder, "the recorder died of a row without a partition"
        finally:
            vault.sql(f"ALTER TABLE identity.pii_access_log ATTACH PARTITION identity.{part} {bounds}")
        vault.leaves(gateway, committed=1, denied=1)
        read(gateway, subject)
    assert vault.sql(RECORDER) == recorder
    assert not crashed(vault)
    vault.verify()


def test_a_record_of_a_month_without_a_partition_gets_one(fresh):
    """As a clock that was wrong for a moment leaves one. The month's partition is dropped before its first row, so nothing is lost with it."""
    cluster = fresh(install=False)
    with cluster.connect(row_factory=dict_row) as admin:
        admin.execute("CREATE EXTENSION identity_pgx; SELECT identity.initialize()")
        part = admin.execute(f"SELECT {CURRENT} AS name").fetchone()["name"]
        there = lambda: admin.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (f"identity.{part}",)).fetchone()["there"]
        for _ in range(20):  # maintenance makes the usual months once, soon after initialize()
            if there():
                admin.execute(f"DROP TABLE identity.{part}")
            time.sleep(2.5)
            if not there():
                break
        assert not there()
        recorder = admin.execute(RECORDER).fetchone()
        with pytest.raises(psycopg.Error) as caught:
            admin.execute("SELECT identity.dev_unlock()")
        assert reason_of(caught.value) == ("53000", "audit_unwritable")
        denied = "SELECT accessor_kind, denial FROM identity.pii_access_log WHERE outcome = 'denied'"
        row = wait_until(lambda: admin.execute(denied).fetchone(), "the row that waited", timeout=15)
        assert row == {"accessor_kind": "key_unlock", "denial": "audit_unwritable"}
        assert there()
        assert admin.execute(RECORDER).fetchone() == recorder, "the recorder died of it"
    cluster.unlock()
    vault = Vault(cluster)
    with vault.gateway() as gateway:
        read(gateway, vault.subject())
        vault.leaves(gateway, committed=1)
    vault.verify()


# -- other tables under the same server ------------------------------------------------
@pytest.fixture
def used(fresh):
    """A vault in use: subjects, a purpose, a revocation, rows of every outcome."""
    vault = Vault(fresh())
    vault.revoke(vault.purpose("t.revoked"))
    vault.old = vault.subject()
    with vault.gateway() as gateway:
        vault.gw = gateway.info.user
        read(gateway, vault.old)
        with gateway.transaction(force_rollback=True):
            read(gateway, vault.old)
        refused_read(gateway, vault.old, "42501", "purpose_revoked", "t.revoked")
        vault.leaves(gateway, committed=1, rolled_back=1, denied=1)
    return vault


def reopen(vault) -> None:
    vault.admin.close()
    vault.admin = vault.cluster.connect(row_factory=dict_row)


def unlock_and_use(vault, subject) -> None:
    vault.cluster.unlock()
    with vault.connect(vault.gw) as gateway:
        if subject:
            read(gateway, subject)
        candidate = gateway.execute(REGISTER, ("fill_validation", '{"name": "New"}', "{}", None)).fetchone()[0]
    vault.change(candidate, vertical="general", consent="given")
    for _ in range(2):  # what was sealed here opens here, after a restart too
        with vault.connect(vault.gw) as gateway:
            answer = gateway.execute("SELECT pii FROM identity.pii_resolve(%s, 'fill_validation', '{name}')", (candidate,)).fetchone()[0]
            assert answer == {"name": "New"}
        vault.verify()
        vault.cluster.restart()
        reopen(vault)
        vault.cluster.unlock()
    vault.verify()
    assert not crashed(vault)


def test_dropped_database_that_is_restored_is_locked_until_unlocked_again(used):
    vault = used
    before = vault.sql("SELECT access_id, integrity_hash FROM identity.pii_access_log ORDER BY 1")
    connection = ["-h", vault.cluster.dir, "-p", vault.cluster.port, "-U", "postgres"]
    dump = vault.cluster.dir / "dump"
    run_as_owner(BINDIR / "pg_dump", *connection, "-Fc", "-f", dump, DATABASE)
    vault.admin.close()
    with vault.cluster.connect(dbname="postgres") as admin:
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    restored = run_as_owner(BINDIR / "pg_restore", *connection, "-d", DATABASE, "--exit-on-error", dump)
    assert "error" not in restored.stderr
    reopen(vault)
    # The keys and heads that the server still holds belong to tables that are gone.
    wait_until(lambda: health(vault) == "locked", "the vault to be locked", timeout=20)
    with vault.connect(vault.gw) as gateway:
        refused_read(gateway, vault.old, "55000", "locked")
    vault.cluster.unlock()
    after = vault.sql("SELECT access_id, integrity_hash FROM identity.pii_access_log ORDER BY 1")
    assert after[: len(before)] == before or {row["access_id"] for row in before} <= {row["access_id"] for row in after}
    vault.verify()
    with vault.connect(vault.gw) as gateway:
        refused_read(gateway, vault.old, "42501", "purpose_revoked", "t.revoked")
    unlock_and_use(vault, vault.old)


@pytest.mark.parametrize("how", ["apart", "in one transaction"])
def test_extension_made_anew_is_locked_until_unlocked_again(used, how):
    vault = used
    first = vault.sql("SELECT installation_id FROM identity.installation")
    with vault.connect(vault.gw) as gateway:
        read(gateway, vault.old)  # its session has looked our tables up
        steps = ["DROP EXTENSION identity_pgx CASCADE", "CREATE EXTENSION identity_pgx", "SELECT identity.initialize()"]
        for step in steps if how == "apart" else ["; ".join(steps)]:
            vault.sql(step)
        assert vault.sql("SELECT installation_id FROM identity.installation") != first
        wait_until(lambda: health(vault) == "locked", "the vault to be locked", timeout=20)
        refused_read(gateway, vault.old, "55000", "locked", "fill_validation")
        vault.cluster.unlock()
        refused_read(gateway, vault.old, "P0002", "subject_unavailable", "fill_validation")
    unlock_and_use(vault, None)


@pytest.mark.parametrize("ending", ["ROLLBACK", "ROLLBACK TO before; COMMIT", "an error"])
def test_extension_made_anew_and_rolled_back_leaves_the_old_one_intact(used, ending):
    """The keys must not stay bound to an installation that never was: what is sealed under it would never open again."""
    vault = used
    first = vault.sql("SELECT installation_id FROM identity.installation")
    vault.sql("BEGIN")
    vault.sql("SAVEPOINT before")
    vault.sql("DROP EXTENSION identity_pgx CASCADE")
    vault.sql("CREATE EXTENSION identity_pgx")
    vault.sql("SELECT identity.initialize()")
    try:
        vault.sql("SELECT identity.dev_unlock()")
    except psycopg.Error as error:  # refusing it is as good
        assert reason_of(error)[1], error
        vault.sql("ROLLBACK")
    else:
        if ending == "an error":
            with pytest.raises(psycopg.Error):
                vault.sql("SELECT 1 / 0")
            vault.sql("ROLLBACK")
        else:
            vault.sql(ending)
    assert vault.sql("SELECT installation_id FROM identity.installation") == first
    assert health(vault) == "locked"
    with vault.connect(vault.gw) as gateway:
        refused_read(gateway, vault.old, "55000", "locked")
        with pytest.raises(psycopg.Error) as caught:
            gateway.execute(REGISTER, ("fill_validation", '{"name": "x"}', "{}", None))
        assert reason_of(caught.value) == ("55000", "locked")
    unlock_and_use(vault, vault.old)
