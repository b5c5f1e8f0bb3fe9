"""Path, hash and classifications pass through as bind parameters; then what the server told about them is searched."""

import hashlib
import os

import psycopg
import pytest
from psycopg.types.json import Jsonb

from biometric import ATTACH, CLASSIFY, ERASE, Uploads, consenting, waiting
from cluster import wait_until
from test_canary import CHATTY, COMMON, files_of, found_in, marked, pg_has_statements


@pytest.fixture
def chatty():
    settings = COMMON | CHATTY | {"identity_pgx.biometric_classifications": "on"}
    if not pg_has_statements():
        settings.pop("shared_preload_libraries")
    made = Uploads(**settings)
    yield made
    made.cluster.destroy()


def exercise(server) -> tuple[dict, dict]:
    """Texts that lie in the tables, and classifications, which lie nowhere."""
    vault, texts, classified = server.vault, {}, {}

    def secret(store: dict, label: str) -> str:
        value = marked(label)
        store[label] = value.encode()
        return value

    with vault.gateway() as gateway, vault.connect(vault.worker) as worker:
        for round in range(6):  # past the switch to a generic plan
            subject = consenting(vault, gateway)
            path = server.path(subject, secret(texts, f"path-{round}"))
            hash = hashlib.sha256(os.urandom(8)).hexdigest()
            texts[f"hash-{round}"] = hash.encode()
            classify = (subject.id, Jsonb({secret(classified, f"key-{round}"): secret(classified, f"value-{round}")}))
            attempts = [
                (ATTACH, (subject.id, secret(texts, f"bad-{round}"), "x")),
                (ATTACH, (subject.id, secret(texts, f"long-{round}") * 1000, hash)),
                (ATTACH, (subject.id, str(server.directory / secret(texts, f"outside-{round}")), hash)),
                (ATTACH, (None, str(path), hash)),
                (CLASSIFY, classify),
                (CLASSIFY, (subject.id, Jsonb({"x": secret(classified, f"long-{round}") * 1000}))),
                (CLASSIFY, (subject.id, Jsonb([secret(classified, f"array-{round}")]))),
                ("SELECT 1 / 0 FROM identity.biometric_attach(%s::uuid, %s::text, %s::text)", (subject.id, str(path), hash)),
                (ERASE, (subject.id, secret(texts, f"reason-{round}"))),
            ]
            for query, params in attempts:
                with pytest.raises(psycopg.Error) as caught:
                    (worker if query == ERASE else gateway).execute(query, params)
                told = caught.value.diag  # CONTEXT is PostgreSQL's, for whoever sent the parameters: a setting of CHATTY asks for it
                said = f"{told.message_primary}{told.message_detail}{told.message_hint}"
                assert not found_in(said.encode(), texts | classified)
            server.write(path)
            gateway.execute(ATTACH, (subject.id, str(path), hash))
            with pytest.raises(psycopg.Error):
                gateway.execute(ATTACH, (subject.id, str(path), hash))
            gateway.execute(CLASSIFY, classify)
            with gateway.transaction(force_rollback=True):
                gateway.execute(CLASSIFY, (subject.id, Jsonb({"x": secret(classified, f"rolled-back-{round}")})))
            if round % 3 == 0:
                continue
            if round % 3 == 1:
                path.chmod(0o400)
            worker.execute(ERASE, (subject.id, "candidate_request"))
    wait_until(lambda: len([row for row in waiting(vault) if row["trouble"]]) == len(waiting(vault)) == 2, "two files to be stuck, and the others gone")
    return texts, classified


def test_nothing_is_told(chatty):
    vault = chatty.vault
    vault.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    vault.sql("SELECT pg_create_logical_replication_slot('canary', 'test_decoding')")
    texts, classified = exercise(chatty)
    everything = texts | classified
    log = chatty.cluster.log.read_text().encode()
    assert b"is not destroyed yet" in log and b"duration:" in log
    assert not found_in(log, everything)
    vault.sql("ANALYZE")
    views = "\n".join(
        str(vault.sql(query))
        for query in (
            "SELECT * FROM pg_stat_statements",
            "SELECT * FROM pg_stat_activity",
            "SELECT * FROM identity.pii_access_log",
            "SELECT * FROM identity.biometric_history",
            "SELECT * FROM identity.settings_history",
            "SELECT * FROM identity.notifications",
            "SELECT * FROM identity.identity_status()",
            "SELECT * FROM identity.ledger_verify(true)",
            "SELECT * FROM identity.metrics()",
            "SELECT * FROM identity.biometrics_due",
        )
    ).encode()
    assert b"biometric_attach" in views
    assert not found_in(views, everything)
    decoded = str(vault.sql("SELECT data FROM pg_logical_slot_get_changes('canary', NULL, NULL)")).encode()
    # Path and hash lie in clear in the subject's row, and so in WAL: docs/limits.md says so. Classifications do not.
    assert found_in(decoded, texts) and not found_in(decoded, classified)
    for moment in ("running", "stopped"):
        leaks = {(path, leak) for path, data in files_of(chatty.cluster).items() for leak in found_in(data, classified)}
        assert not leaks, (moment, leaks)
        if moment == "running":
            chatty.cluster.stop()
