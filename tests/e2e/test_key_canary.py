"""Keys are brought, rotated, re-encrypted, retired and wiped; then everything the server has left behind is searched for them."""

import os

import psycopg
import pytest

from test_canary import CHATTY, COMMON, CONTROL, files_of, found_in, memory_of, pg_has_statements
from unlock import LOAD, ROTATE, Worker, installed
from vault import read


def exercise(vault, worker) -> None:
    subject = vault.subject()
    for kind in ("dek", "chain", "index", "signing"):
        if kind in ("index", "signing"):
            worker.enrol(kind)
            worker.load(kind, 1)
        worker.rotate(kind, "compromise", "a witness")
    worker.reencrypt_all()
    with vault.gateway() as gateway:
        read(gateway, subject)
    with worker.conn.transaction(force_rollback=True):
        worker.conn.execute("SELECT identity.key_wipe_all()")
        worker.unlock()
    for sealed in (b"", os.urandom(80), worker.sealed("dek", 2)[:-1], worker.sealed("dek", 2, key=worker.keys["chain", 2])):
        with pytest.raises(psycopg.Error):
            worker.conn.execute(LOAD, ("dek", 2, sealed))
    with pytest.raises(psycopg.Error):
        worker.conn.execute(ROTATE, ("dek", "scheduled", None))
    worker.unlock()
    worker.conn.execute("PREPARE loading (bytea) AS SELECT identity.key_load('dek', 2, $1)")
    worker.conn.execute("SELECT identity.key_wipe_all()")
    worker.conn.execute(f"EXECUTE loading ('\\x{worker.sealed('dek', 2).hex()}')")
    worker.unlock()


@pytest.mark.parametrize("name", ["default", "chatty"])
def test_no_key_is_left_behind(fresh, name):
    common = dict(COMMON)
    if not pg_has_statements():
        common.pop("shared_preload_libraries", None)
    worker = Worker()
    cluster = fresh(common | (CHATTY if name == "chatty" else {}) | worker.settings(), install=False)
    vault = installed(cluster, worker)
    vault.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    vault.sql("SELECT pg_create_logical_replication_slot('canary', 'test_decoding')")
    vault.sql("CREATE TABLE public.control (value text)")
    vault.admin.execute("INSERT INTO public.control VALUES (%s)", (CONTROL,))
    exercise(vault, worker)
    keys = {f"{kind} {version}": key for (kind, version), key in worker.keys.items()} | {"the worker's": worker.secret}
    assert len(keys) == 9
    control = {"control": CONTROL.encode()}

    recorder = vault.sql("SELECT pid FROM pg_stat_activity WHERE backend_type ILIKE '%recorder%'")[0]["pid"]
    try:
        memory = memory_of(recorder)
    except PermissionError:
        memory = None  # an ordinary user may not look, where the kernel forbids it
    if memory is not None:
        # Unlocked they are in shared memory, or the search would prove nothing; a retired one is not.
        held = found_in(memory, keys)
        assert {"dek 2", "chain 1", "chain 2", "index 2", "signing 2"} <= held
        assert not held & {"dek 1", "the worker's"}
        vault.sql("SELECT identity.key_wipe_all()")
        assert not found_in(memory_of(recorder), keys)

    views = "\n".join(
        str(vault.sql(query))
        for query in (
            "SELECT * FROM pg_stat_statements",
            "SELECT * FROM pg_stat_activity",
            "SELECT data FROM pg_logical_slot_get_changes('canary', NULL, NULL)",
            "SELECT * FROM pg_prepared_statements",
            "SELECT * FROM identity.pii_access_log",
            "SELECT * FROM identity.settings_history",
            "SELECT * FROM identity.keyring",
            "SELECT * FROM identity.key_history",
            "SELECT * FROM identity.key_status()",
            "SELECT * FROM pg_settings",
        )
    ).encode()
    assert found_in(views, control) and b"key_load" in views
    assert not found_in(views, keys)

    vault.sql("CHECKPOINT")
    vault.sql("ANALYZE")
    if name == "chatty":
        assert CONTROL in cluster.log.read_text(), "the log is not as chatty as the test believes"
    for moment in ("running", "stopped"):
        files = files_of(cluster)
        assert any(found_in(data, control) for path, data in files.items() if "/pg_wal/" in path)
        leaks = {(path, leak) for path, data in files.items() for leak in found_in(data, keys)}
        assert not leaks, (moment, leaks)
        if moment == "running":
            cluster.stop()
