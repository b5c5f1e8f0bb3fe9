"""A history that was rewritten is not signed, whoever rewrote it; and what lies in the store is believed only if our key has signed it."""

import os
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import ledger
from cluster import wait_until
from ledger_tree import Checkpoint, node
from vault import Vault
from worker import Anchoring, grow

TABLES = ledger.TABLES


@pytest.fixture
def anchoring(fresh, tmp_path):
    anchoring = Anchoring(Vault(fresh()), tmp_path)
    # From here on the log grows by what the test does.
    anchoring.vault.settings_recorded()
    grow(anchoring.vault)
    anchoring.once()
    grow(anchoring.vault)
    anchoring.once()
    yield anchoring
    anchoring.leave()


def unguarded(vault, *statements: str) -> None:
    """As a superuser can: guards off, the deed, guards on."""
    with vault.admin.transaction():
        for table in TABLES:
            vault.sql(f"ALTER TABLE identity.{table} DISABLE TRIGGER append_only")
        for statement in statements:
            vault.sql(statement)
        for table in TABLES:
            vault.sql(f"ALTER TABLE identity.{table} ENABLE ALWAYS TRIGGER append_only")


def keep(vault) -> None:
    for table in TABLES:
        vault.sql(f"CREATE TABLE public.old_{table} AS TABLE identity.{table}")


def restore(vault) -> None:
    emptied = f"TRUNCATE {', '.join(f'identity.{table}' for table in TABLES)}"
    unguarded(vault, emptied, *(f"INSERT INTO identity.{table} TABLE public.old_{table}" for table in TABLES))


def rewrite(vault, leaf: int) -> None:
    """Another leaf, and every node above it, so that the tree is one again."""
    nodes = {(row["level"], row["index"]): row["hash"] for row in vault.sql("SELECT level, index, hash FROM identity.ledger_nodes")}
    changed = {(0, leaf): os.urandom(32)}
    level, index = 0, leaf
    while (level + 1, index >> 1) in nodes:
        now = nodes | changed
        pair = index & ~1
        level, index = level + 1, index >> 1
        changed[level, index] = node(now[level - 1, pair], now[level - 1, pair + 1])
    unguarded(
        vault,
        *(f"UPDATE identity.ledger_nodes SET hash = '\\x{value.hex()}' WHERE (level, index) = ({at[0]}, {at[1]})" for at, value in changed.items()),
    )


def refused(anchoring, code: str, exit_code: int = 1) -> str:
    """Once, again, and by the daemon: nothing is signed, nothing is written."""
    store, recorded = files(anchoring), anchoring.recorded()
    said = anchoring.once(exit_code)
    assert f'"code":"{code}"' in said and '"alarm":true' in said, said
    worker = anchoring.start()
    assert worker.says("refused")["code"] == code
    grow(anchoring.vault, 1)
    wait_until(lambda: len(worker.events("refused")) >= 3, "it to go on refusing", 20)
    assert worker.stop() == 0
    assert (files(anchoring), anchoring.recorded()) == (store, recorded)
    return said


def files(anchoring) -> dict:
    return {file.name: (file.read_bytes(), file.stat().st_ino) for file in anchoring.store.rglob("*") if file.is_file()}


def test_a_tree_that_was_rewritten_is_refused(anchoring):
    rewrite(anchoring.vault, 0)
    grow(anchoring.vault, 1)
    said = refused(anchoring, "rewritten")
    # Both trees are named.
    assert f"size {anchoring.recorded()[-1]} root" in said


def test_as_large_a_tree_with_another_root_is_refused(anchoring):
    # All that is sealed is anchored, but for the row of the last anchor itself.
    ledger.seal(anchoring.vault)
    note = anchoring.opened(anchoring.notes()[anchoring.recorded()[-1]])
    now = ledger.checkpoint(anchoring.vault)
    anchoring.put(now.size, anchoring.note(Checkpoint(note.origin, now.size, os.urandom(32))))
    refused(anchoring, "different")


def test_a_history_that_was_restored_from_before_is_refused(anchoring):
    keep(anchoring.vault)
    grow(anchoring.vault, 20)
    anchoring.once()
    grow(anchoring.vault, 1)
    anchoring.once()
    restore(anchoring.vault)
    # What is sealed again is sealed otherwise, and in fewer seals.
    said = anchoring.once(1)
    assert any(code in said for code in ('"shorter"', '"different"', '"rewritten"')), said
    before = files(anchoring)
    anchoring.once(1)
    assert files(anchoring) == before


def test_a_shorter_history_is_refused(anchoring):
    note = anchoring.opened(anchoring.notes()[anchoring.recorded()[-1]])
    anchoring.put(note.size + 1000, anchoring.note(Checkpoint(note.origin, note.size + 1000, os.urandom(32))))
    refused(anchoring, "shorter")


def test_an_anchor_that_another_key_has_signed_is_refused(anchoring):
    ledger.seal(anchoring.vault)
    size, root = ledger.seal(anchoring.vault)
    origin = ledger.checkpoint(anchoring.vault).origin
    other = Ed25519PrivateKey.generate()
    anchoring.put(size + 1, anchoring.note(Checkpoint(origin, size + 1, root), other))
    refused(anchoring, "not_ours")


def test_an_anchor_of_another_log_under_our_key_is_refused(anchoring):
    size = anchoring.recorded()[-1] + 1
    anchoring.put(size, anchoring.note(Checkpoint("identity_pgx/another", size, os.urandom(32))))
    refused(anchoring, "not_ours")


def test_an_anchor_at_another_place_is_refused(anchoring):
    newest = anchoring.recorded()[-1]
    anchoring.put(newest + 1, anchoring.notes()[newest])
    refused(anchoring, "misplaced")


def test_an_object_that_was_replaced_is_refused(anchoring):
    size = anchoring.recorded()[-1]
    place = anchoring.place(size)
    body = bytearray(place.read_bytes())
    body[-5] ^= 1
    place.chmod(0o644)
    place.write_bytes(body)
    grow(anchoring.vault, 1)
    before = files(anchoring)
    said = anchoring.once(1)
    assert "was changed after it was put there" in said and '"alarm":true' in said
    assert files(anchoring) == before


def test_an_anchor_that_is_gone_is_missed_by_the_worker_that_saw_it(anchoring):
    worker = anchoring.start()
    grow(anchoring.vault, 1)
    size = wait_until(lambda: [e["size"] for e in worker.events("anchored")], "an anchor", 20)[-1]
    shutil.rmtree(anchoring.store / "checkpoints")
    grow(anchoring.vault, 1)
    assert worker.says("refused")["code"] == "gone"
    assert size and not anchoring.notes()


def test_a_former_key_is_believed_and_signs_nothing(anchoring):
    vkey = next(line for line in anchoring.command("check-config").stdout.splitlines() if line.startswith("signer: "))
    vkey = vkey.rsplit(" ", 1)[1]
    anchoring.key = Ed25519PrivateKey.generate()
    anchoring.key_file.write_text(anchoring.key.private_bytes_raw().hex())
    grow(anchoring.vault, 1)
    assert '"not_ours"' in anchoring.once(1)
    before = set(anchoring.notes())
    anchoring.configure(anchoring.text() + f'former_keys = ["{vkey}"]\n')
    anchoring.once()
    (new,) = set(anchoring.notes()) - before
    assert anchoring.opened(anchoring.notes()[new]).size == new


def test_a_log_of_another_installation_is_refused(anchoring, fresh, tmp_path):
    other = Vault(fresh())
    grow(other, 30)
    anchoring.url = anchoring.url.replace(str(anchoring.vault.cluster.dir), str(other.cluster.dir))
    anchoring.configure()
    before = files(anchoring)
    assert '"not_ours"' in anchoring.once(1)
    assert files(anchoring) == before
