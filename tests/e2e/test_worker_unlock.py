"""The round that unlocks a database: from Vault's keys to a vault that reads."""

import json
import subprocess

from psycopg.rows import dict_row

from cluster import BINDIR, wait_until
from unlocking import own, setting, shared  # noqa: F401
from vault import Vault, read, refused_read
from worker import Running

KINDS = ["chain", "dek", "index", "signing"]


def test_an_empty_keyring_is_filled_and_the_vault_reads(own):
    assert own.worker("public-key")["public_key"] in own.settings["identity_pgx.worker_public_key"]
    assert own.loads() == 0
    assert own.round() == {"state": "was locked", "loaded": 4}
    assert own.loads() >= 4
    wait_until(own.health, "the vault to be well")
    assert own.round() == {"state": "unlocked"}
    ring = own.sql("SELECT kind, version, state, provider, kek_uri FROM identity.keyring ORDER BY kind")
    assert [row[0] for row in ring] == KINDS
    assert {row[1:4] for row in ring} == {(1, "active", "vault")}
    assert {row[4] for row in ring} == {f"vault:{own.service.server.address}/v1/transit/keys/identity-kek"}
    vault = Vault(own.cluster)
    subject = vault.subject()
    with vault.gateway() as gateway:
        read(gateway, subject)
    vault.verify()
    assert json.loads((own.state / "unlock.json").read_text()).keys() == {"system_identifier", "timeline"}
    assert (own.state / "unlock.json").stat().st_mode & 0o777 == 0o600


def test_a_database_that_was_restarted_or_wiped_is_unlocked_again(setting):
    subject = setting.vault.subject()
    setting.wipe()
    with setting.vault.gateway() as gateway:
        refused_read(gateway, subject, "55000", "locked")
        assert setting.round() == {"state": "was locked", "loaded": 4}
        wait_until(setting.health, "the vault to be well")
        read(gateway, subject)
    setting.cluster.restart()
    assert setting.round()["state"] == "was locked"
    wait_until(setting.health, "the vault to be well")
    setting.vault.admin = setting.cluster.connect(row_factory=dict_row)
    with setting.vault.gateway() as gateway:
        read(gateway, subject)


def test_a_new_version_is_made_brought_and_used(setting):
    before = setting.vault.subject()
    assert setting.worker("enrol", "dek", setting.url()) == {"version": 2}
    assert setting.round() == {"state": "was locked", "loaded": 1}
    assert setting.round() == {"state": "unlocked"}
    with setting.cluster.connect("t_anchor") as conn:
        assert conn.execute("SELECT identity.key_rotate('dek')").fetchone() == (2,)
    after = setting.vault.subject()
    setting.wipe()
    assert setting.round() == {"state": "was locked", "loaded": 5}
    wait_until(setting.health, "the vault to be well")
    with setting.vault.gateway() as gateway:
        read(gateway, before)
        read(gateway, after)
    setting.vault.verify()


def test_a_rewrap_changes_the_keyring_and_nothing_else(setting):
    everything = "SELECT md5(string_agg(s::text, '|' ORDER BY candidate_id)) FROM identity.subjects s"
    subject, wrapped = setting.vault.subject(), "SELECT kind, version, wrapped, check_value FROM identity.keyring ORDER BY 1, 2"
    subjects, old = setting.sql(everything), setting.sql(wrapped)
    setting.service.admin.secrets.transit.rotate_key("identity-kek")
    assert setting.worker("rewrap-all", setting.url()) == {"rewrapped": len(old)}
    new = setting.sql(wrapped)
    assert [(row[:2], row[3]) for row in new] == [(row[:2], row[3]) for row in old]
    assert all(row[2].startswith(b"vault:v2:") for row in new)
    assert setting.sql(everything) == subjects
    setting.service.admin.secrets.transit.update_key_configuration("identity-kek", min_decryption_version=2)
    setting.wipe()
    setting.round()
    wait_until(setting.health, "the vault to be well")
    with setting.vault.gateway() as gateway:
        read(gateway, subject)
    setting.vault.verify()


def test_a_running_worker_unlocks_within_seconds(setting):
    """Whatever locked the database; and while the key service is away, it waits."""
    worker = Running(setting.program_config(), setting.directory / "run.log")
    try:
        for lock in (setting.wipe, setting.cluster.restart, lambda: (setting.cluster.kill(), setting.cluster.start())):
            lock()
            wait_until(setting.health, "the vault to be unlocked", timeout=20)
        setting.service.state.sealed = True
        setting.wipe()
        wait_until(lambda: "Vault is sealed" in worker.log.read_text(), "the worker to say so", timeout=20)
        assert not setting.health()
        setting.service.state.sealed = False
        wait_until(setting.health, "the vault to be unlocked", timeout=40)
        assert worker.stop() == 0
    finally:
        worker.kill()
    assert not [word for word in setting.service.secrets() if word in worker.log.read_bytes()]
    setting.vault.admin = setting.cluster.connect(row_factory=dict_row)
    setting.vault.verify()


def test_the_program_enrols_brings_and_rewraps(setting):
    config = setting.program_config()

    def program(*words, code: int = 0) -> str:
        done = subprocess.run([BINDIR / "anchor-worker", "--config", config, *words], env={}, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "unlock: ok" in program("check-config")
    assert "chain 2 is in the keyring" in program("enrol", "chain")
    program("enrol", "chain", code=2)  # one waits already
    program("once")
    with setting.cluster.connect("t_anchor") as conn:
        assert conn.execute("SELECT identity.key_rotate('chain')").fetchone() == (2,)
    setting.service.admin.secrets.transit.rotate_key("identity-kek")
    assert "keys are wrapped anew" in program("rewrap")
    newest = len(setting.service.transit.keys["identity-kek"].versions)
    assert {bytes(row[0]).split(b":")[1] for row in setting.sql("SELECT wrapped FROM identity.keyring WHERE state <> 'retired'")} == {f"v{newest}".encode()}
    setting.wipe()
    program("once")
    wait_until(setting.health, "the vault to be well")
    known = (setting.state / "unlock.json").read_text()
    (setting.state / "unlock.json").write_text(known.replace('"timeline":1', '"timeline":7'))
    setting.wipe()
    for words in (["once"], ["enrol", "dek"], ["rewrap"]):
        assert "is another one" in program(*words, code=1)
    assert "forgotten" in program("forget-database")
    program("once")
    assert (setting.state / "unlock.json").read_text() == known
    setting.vault.verify()
