"""The daemon as a whole, with keys of its own: a database that has none, that is locked, restarted, or another one."""

import secrets
import subprocess

import psycopg
import pytest
from psycopg.rows import dict_row

from cluster import wait_until
from vault import Vault, read
from worker import BARE, PROGRAM, Anchoring

SECONDS = 20  # of a machine that has other things to do


class Setting(Anchoring):
    """No development keys: what unlocks the database is the worker."""

    def __init__(self, fresh, directory):
        kek = directory / "kek.key"
        kek.write_text(secrets.token_hex(32))
        kek.chmod(0o600)
        (directory / "state").mkdir()
        made = subprocess.run([PROGRAM, "new-key", directory / "unlock.key"], env=BARE, capture_output=True, text=True, check=True)
        public = made.stdout.split("'")[1]
        self.cluster = fresh({"identity_pgx.allow_dev_keys": "off", "identity_pgx.worker_public_key": f"'{public}'"}, install=False)
        with self.cluster.connect() as admin:
            admin.execute("CREATE EXTENSION identity_pgx")
            admin.execute("SELECT identity.initialize()")
            admin.execute("CREATE ROLE t_daemon LOGIN IN ROLE identity_worker")
        super().__init__(self, directory)

    worker = "t_daemon"

    def sql(self, query: str, params=None) -> list[dict]:
        with self.cluster.connect(row_factory=dict_row) as admin:
            done = admin.execute(query, params)
            return done.fetchall() if done.description is not None else []

    def text(self) -> str:
        directory = self.directory
        return f"""{super().text()}
[unlock]
secret_key_file = "{directory}/unlock.key"
state_directory = "{directory}/state"
[kek]
provider = "file"
key_file = "{directory}/kek.key"
"""

    def unlocked(self) -> bool:
        try:
            return bool(self.sql("SELECT identity.identity_health()"))
        except psycopg.Error:
            return False


@pytest.fixture
def setting(fresh, tmp_path):
    setting = Setting(fresh, tmp_path)
    yield setting
    setting.leave()
    print(setting.logs())  # shown if the test has failed


def test_it_unlocks_and_anchors_and_unlocks_again_after_every_restart(setting):
    worker = setting.start()
    wait_until(setting.unlocked, "it to unlock the database", SECONDS)
    setting.await_anchor()
    (checkpoint, *_) = [setting.opened(note) for note in setting.notes().values()]
    assert "DEVELOPMENT" not in checkpoint.origin
    vault = Vault(setting.cluster)
    subject = vault.subject()
    for mode in ("fast", "immediate"):
        before = setting.recorded()[-1]
        vault.admin.close()
        setting.cluster.restart(mode)
        wait_until(setting.unlocked, f"it to unlock after {mode}\n{worker.log.read_text()[-2000:]}", SECONDS)
        setting.await_anchor(before + 1)
        with vault.connect(setting_gateway(setting)) as gateway:
            read(gateway, subject)
    setting.sql("SELECT identity.key_wipe_all()")
    wait_until(setting.unlocked, "it to unlock after a wipe", SECONDS)
    assert worker.process.poll() is None and not worker.events("refused")
    assert setting.recorded() == list(setting.notes())
    # No key and no secret was ever told.
    said = setting.logs()
    assert not any((setting.directory / name).read_text().strip() in said for name in ("unlock.key", "kek.key", "signer.key"))


def setting_gateway(setting) -> str:
    role = f"t_gw{secrets.token_hex(4)}"
    setting.sql(f"CREATE ROLE {role} LOGIN IN ROLE identity_gateway, identity_zone_onbox")
    return role


def test_another_database_is_not_unlocked_until_a_person_says_so(setting):
    setting.once()
    known = setting.directory / "state" / "unlock.json"
    # As if it had been another cluster that was unlocked before.
    known.write_text(known.read_text().replace('"system_identifier":"', '"system_identifier":"1'))
    setting.sql("SELECT identity.key_wipe_all()")
    said = setting.once(1)
    assert '"alarm":true' in said and "another one" in said
    assert not setting.unlocked()
    done = setting.command("forget-database")
    assert done.returncode == 0 and "forgotten" in done.stdout
    setting.once()
    assert setting.unlocked()
    assert "no database was remembered" not in setting.command("forget-database").stdout
    assert "no database was remembered" in setting.command("forget-database").stdout


def test_check_config_reaches_the_key_service_and_names_the_public_key(setting):
    done = setting.command("check-config")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("unlock: ")]
    assert line.startswith("unlock: ok: keys are wrapped by ") and "identity_pgx.worker_public_key is " in line
