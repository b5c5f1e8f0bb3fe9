"""Marked values pass through register and resolve as bind parameters; then everything the server has left behind is searched."""

import base64
import hashlib
import os
import re

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import run_as_owner
from test_keys import key
from vault import FIELDS, REGISTER, RESOLVE, Vault

CHATTY = {
    "log_min_duration_statement": "0",
    "log_statement": "'all'",
    "log_temp_files": "0",
    "log_duration": "on",
    "log_min_messages": "debug1",
    "log_min_error_statement": "debug5",
    "log_error_verbosity": "verbose",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_lock_waits": "on",
    "log_statement_stats": "on",
    "track_activity_query_size": "16384",
}
SETTINGS = {
    "default": {},
    "durations": {"log_min_duration_statement": "0"},
    "chatty": CHATTY,
}
COMMON = {
    "wal_level": "'logical'",
    "max_replication_slots": "4",
    "shared_preload_libraries": "'identity_pgx,pg_stat_statements'",
    "pg_stat_statements.track": "'all'",
    "pg_stat_statements.track_utility": "on",
}
CONTROL = "control-" + os.urandom(8).hex()


def marked(label: str) -> str:
    return f"Canary-{label}-{os.urandom(8).hex()}"


def encodings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret)[:-4]]


def found_in(data: bytes, secrets: dict[str, bytes]) -> set[str]:
    return {name for name, secret in secrets.items() if any(form in data for form in encodings(secret))}


def exercise(vault) -> dict[str, bytes]:
    """Everything that takes or gives values, in the ways that succeed and in those that do not."""
    secrets: dict[str, bytes] = {}

    def secret(label: str) -> str:
        value = marked(label)
        secrets[label] = value.encode()
        return value

    with vault.gateway() as gateway:
        pii = {name: secret(f"registered-{name}") for name in FIELDS}
        candidate = gateway.execute(REGISTER, ("t.all", Jsonb(pii), Jsonb({}), None)).fetchone()[0]
        vault.change(candidate, vertical="general", consent="given")
        with vault.gateway() as other, other.transaction(force_rollback=True):
            other.execute(REGISTER, ("t.all", Jsonb({"name": secret("rolled-back")}), Jsonb({}), None))
        for _ in range(10):  # past the switch to a generic plan
            assert gateway.execute(RESOLVE, (candidate, "t.all", FIELDS)).fetchone()[0] == pii
        with gateway.transaction(force_rollback=True):
            gateway.execute(RESOLVE, (candidate, "t.all", FIELDS))
        attempts = [
            (REGISTER, ("t.contact", Jsonb({"ssn": secret("field-not-allowed")}), Jsonb({}), None)),
            (REGISTER, ("t.all", Jsonb({"name": secret("too-long") * 100}), Jsonb({}), None)),
            (REGISTER, ("t.all", Jsonb({secret("as-key"): "x"}), Jsonb({}), None)),
            (REGISTER, ("t.all", Jsonb([secret("array")]), Jsonb({}), None)),
            (REGISTER, ("t.all", Jsonb({"name": "x"}), Jsonb({secret("attribute"): 1}), None)),
            (REGISTER, (secret("as-purpose"), Jsonb({"name": secret("under-unknown-purpose")}), Jsonb({}), None)),
            (RESOLVE, (candidate, secret("resolve-purpose"), ["name"])),
            (RESOLVE, (candidate, "t.all", [secret("resolve-field")])),
            ("SELECT * FROM identity.pii_resolve(%s::uuid, 't.all', '{name}', %s::text)", (candidate, secret("trace id"))),
            ("SELECT 1 / (generation - generation), pii FROM identity.pii_resolve(%s::uuid, 't.all', %s::text[])", (candidate, FIELDS)),
        ]
        for query, params in attempts:
            with pytest.raises(psycopg.Error):
                gateway.execute(query, params).fetchall()
        gateway.execute("SET statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            gateway.execute("SELECT pii, pg_sleep(5) FROM identity.pii_resolve(%s::uuid, 't.all', %s::text[])", (candidate, FIELDS))
        gateway.execute("RESET statement_timeout")
        gateway.execute("SELECT * FROM identity.pii_vertical_many(%s)", ([candidate] * 1000,)).fetchall()
        gateway.execute("SET work_mem = '64kB'")  # what would spill now would lie on disk in clear
        largest = {name: secret(f"large-{name}").ljust(1024, "x") for name in FIELDS}
        vault.change(candidate, largest)
        assert gateway.execute(RESOLVE, (candidate, "t.all", FIELDS)).fetchone()[0] == largest
        vault.leaves(gateway, committed=12 + 1000, rolled_back=3, denied=9)
        imported = {"name": secret("imported")}
        vault.change(candidate, imported)
        assert gateway.execute(RESOLVE, (candidate, "t.all", ["name"])).fetchone()[0] == imported
    exercise_batches(vault, secret)
    return secrets


def exercise_batches(vault, secret) -> None:
    update = "SELECT identity.pii_update(%s, %s::text, %s::jsonb)"
    register = "SELECT candidate_id FROM identity.pii_register_many(%s::text, %s::jsonb)"
    many = "SELECT pii FROM identity.pii_resolve_many(%s::uuid[], 't.all', %s::text[])"
    with vault.gateway() as gateway:
        records = [{"pii": {name: secret(f"batch-{n}-{name}") for name in FIELDS}} for n in range(3)]
        ids = [row[0] for row in gateway.execute(register, ("t.all", Jsonb(records))).fetchall()]
        for candidate in ids:
            vault.change(candidate, vertical="general", consent="given")
        gateway.execute(update, (ids[0], "t.all", Jsonb({"name": secret("updated")})))
        with gateway.transaction(force_rollback=True):
            gateway.execute(update, (ids[0], "t.all", Jsonb({"name": secret("updated-in-vain")})))
            gateway.execute(register, ("t.all", Jsonb([{"pii": {"name": secret("batch-rolled-back")}}])))
            gateway.execute(many, (ids, FIELDS))
        assert len(gateway.execute(many, (ids * 300, FIELDS)).fetchall()) == 900
        gateway.execute("SET work_mem = '64kB'")
        attempts = [
            (many, (ids * 300, FIELDS)),
            (update, (ids[0], "t.contact", Jsonb({"ssn": secret("update-not-allowed")}))),
            (update, (ids[0], "t.all", Jsonb({secret("update-key"): "x"}))),
            (register, ("t.contact", Jsonb([{"pii": {"ssn": secret("batch-not-allowed")}}]))),
            (register, ("t.all", Jsonb([{"pii": {"name": "x"}, "request_id": secret("batch-request")}]))),
            (register, ("t.all", Jsonb([{"pii": {"name": "x"}, secret("batch-key"): {}}]))),
        ]
        for query, params in attempts:
            with pytest.raises(psycopg.Error):
                gateway.execute(query, params).fetchall()
        vault.leaves(gateway, committed=3 + 1 + 900, rolled_back=3, denied=6)


def memory_of(pid: int) -> bytes:
    """All that the process can read, shared memory with the recorder's queue included."""
    chunks = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            begin, end, mode = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if mode[0] != "r" or "[v" in line:
                continue
            try:
                memory.seek(int(begin, 16))
                chunks.append(memory.read(int(end, 16) - int(begin, 16)))
            except OSError:
                continue
    return b"".join(chunks)


def files_of(cluster) -> dict[str, bytes]:
    return {str(path.relative_to(cluster.dir)): path.read_bytes() for path in cluster.dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_value_and_no_key_is_left_behind(fresh, name):
    if not pg_has_statements():
        COMMON.pop("shared_preload_libraries", None)
    cluster = fresh(COMMON | SETTINGS[name])
    vault = Vault(cluster)
    vault.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    vault.sql("SELECT pg_create_logical_replication_slot('canary', 'test_decoding')")
    vault.sql("CREATE TABLE public.control (value text)")
    vault.admin.execute("INSERT INTO public.control VALUES (%s)", (CONTROL,))
    secrets = exercise(vault)
    keys = {kind: key(kind) for kind in ("dek", "chain")}
    control = {"control": CONTROL.encode()}

    recorder = vault.sql("SELECT pid FROM pg_stat_activity WHERE backend_type ILIKE '%recorder%'")[0]["pid"]
    try:
        memory = memory_of(recorder)
    except PermissionError:
        memory = None  # an ordinary user may not look, where the kernel forbids it
    if memory is not None:
        assert found_in(memory, control), "the search does not reach shared memory"
        assert not found_in(memory, secrets)

    views = "\n".join(
        str(vault.sql(query))
        for query in (
            "SELECT * FROM pg_stat_statements",
            "SELECT * FROM pg_stat_activity",
            "SELECT data FROM pg_logical_slot_get_changes('canary', NULL, NULL)",
            "SELECT * FROM pg_stats",
            "SELECT * FROM pg_prepared_statements",
            "SELECT * FROM identity.pii_access_log",
            "SELECT * FROM identity.settings_history",
            "SELECT * FROM identity.keyring",
            "SELECT * FROM identity.identity_status()",
            "SELECT * FROM identity.key_status()",
        )
    ).encode()
    assert found_in(views, control) and b"pii_resolve" in views and b"pii_access_log_y" in views
    assert not found_in(views, secrets | keys)

    vault.sql("CHECKPOINT")
    vault.sql("ANALYZE")
    log = cluster.log.read_text()
    assert "temporary file" not in log
    if name == "chatty":
        assert CONTROL in log, "the log is not as chatty as the test believes"
    for moment in ("running", "stopped"):
        files = files_of(cluster)
        assert any(found_in(data, control) for path, data in files.items() if "/pg_wal/" in path)
        assert any(found_in(data, control) for path, data in files.items() if "/base/" in path)
        leaks = {(path, leak) for path, data in files.items() for leak in found_in(data, secrets | keys)}
        assert not leaks, (moment, leaks)
        if moment == "running":
            cluster.stop()


def pg_has_statements() -> bool:
    from cluster import pg_config

    return (pg_config("pkglibdir") / "pg_stat_statements.so").exists()


def test_keys_used_in_the_search_are_the_real_ones(vault):
    """Otherwise the search above looks for nothing."""
    for row in vault.sql("SELECT kind, version, check_value FROM identity.keyring"):
        lp = lambda value: len(value).to_bytes(4, "big") + value  # noqa: E731
        import hmac

        message = lp(b"identity_pgx/key-check/v1") + lp(row["kind"].encode()) + row["version"].to_bytes(4, "big")
        assert hmac.new(key(row["kind"]), message, hashlib.sha256).digest() == bytes(row["check_value"])


def test_notifications_carry_nothing(vault, gateway):
    gateway.execute("LISTEN identity_changed")
    vault.change(vault.subject().id, {"name": marked("notify")})
    for note in gateway.notifies(timeout=0.3):
        assert "Canary" not in note.payload


def test_dump_holds_no_value_and_no_key(vault, gateway):
    value = marked("dump")
    gateway.execute(REGISTER, ("t.all", Jsonb({"name": value}), Jsonb({}), None))
    from cluster import BINDIR

    dump = run_as_owner(BINDIR / "pg_dump", "-h", vault.cluster.dir, "-p", vault.cluster.port, "-U", "postgres", "identity").stdout.encode()
    assert b"pii_access_log" in dump
    assert not found_in(dump, {"value": value.encode()} | {kind: key(kind) for kind in ("dek", "chain")})
