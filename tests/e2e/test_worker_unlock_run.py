"""The daemon as a whole, with keys of its own: a database that has none, that is locked, restarted, or another one."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from cluster import OWNER, wait_until
from vault import Vault, read
from worker import BARE, PROGRAM, Anchoring

SECONDS = 20  # of a machine that has other things to do


class Setting(Anchoring):
    """No development keys: what unlocks the database is the worker."""

    def __init__(self, fresh, directory):
        kek = directory / "kek.key"
        kek.write_text(secrets.token_hex(32))
        kek.chmod(0o600)
        (directory / "state").mkdir(0o700)
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
server_user = "{OWNER}"
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


@pytest.fixture
def short_directory():
    """The path of a socket has 107 bytes at most."""
    directory = Path(tempfile.mkdtemp(prefix="idt", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


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


# -- check-config ----------------------------------------------------------------


def checked(setting, exit_code: int = 0) -> dict[str, str]:
    """What it says of each thing that it looked at."""
    done = setting.command("check-config")
    assert done.returncode == exit_code, done.stdout + done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_check_config_knows_whether_the_database_would_take_a_key(setting):
    said = checked(setting)
    assert said["unlock"].startswith("ok: keys are wrapped by ") and "identity_pgx.worker_public_key is " in said["unlock"]
    assert said["public key"] == "ok: the database knows this worker by it"
    assert said["server"].startswith("ok: user ") and said["state"] == "ok: no database was unlocked yet"
    (setting.directory / "unlock.key").unlink()
    made = setting.command("new-key", setting.directory / "unlock.key")
    said = checked(setting, 2)
    assert said["public key"].startswith("NOT OK: the database has another one") and made.stdout.split("'")[1] in said["public key"]
    setting.cluster.configure({"identity_pgx.worker_public_key": "''"})
    setting.cluster.restart()
    assert checked(setting, 2)["public key"].startswith("NOT OK: the database has none")


def test_check_config_looks_at_the_state_directory(setting):
    state = setting.directory / "state"
    setting.once()
    assert checked(setting)["state"].startswith("ok: the database that was unlocked has the system identifier ")
    known = (state / "unlock.json").read_text()
    (state / "unlock.json").write_text(known.replace('"timeline":1', '"timeline":7'))
    assert "is another one" in checked(setting, 1)["state"]
    (state / "unlock.json").write_text("{")
    assert "is damaged" in checked(setting, 2)["state"]
    (state / "unlock.json").write_text(known)
    state.chmod(0o777)
    assert "may be written by others" in checked(setting, 2)["state"]
    state.chmod(0o700)
    assert [file.name for file in state.iterdir()] == ["unlock.json"], "it leaves nothing behind"
    state.rename(setting.directory / "away")
    assert "cannot be looked at" in checked(setting, 2)["state"]
    state.touch()
    assert "is no directory" in checked(setting, 2)["state"]


# -- who listens -------------------------------------------------------------------


class Impostor(threading.Thread):
    """Listens where the server should, as the user that runs the tests, and keeps what it is told."""

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / ".s.PGSQL.5432"))
        self.listener.listen()
        self.met, self.told = 0, b""
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                conversation, _ = self.listener.accept()
                conversation.settimeout(2)
                self.met += 1
                with conversation, contextlib.suppress(OSError):
                    self.told += conversation.recv(1000)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_another_user_at_the_servers_socket_is_told_nothing(setting, short_directory):
    listening = Impostor(short_directory)
    ours, theirs = pwd.getpwuid(os.geteuid()).pw_name, "nobody" if os.geteuid() else OWNER
    text = setting.text().replace(f"host={setting.cluster.dir}", f"host={short_directory}")
    try:
        # The attack: whoever is believed to be the server is told who we are, and would be told our password.
        setting.configure(text.replace(f'server_user = "{OWNER}"', f'server_user = "{ours}"'))
        setting.once(2)
        assert b"t_daemon" in listening.told
        listening.met, listening.told = 0, b""
        setting.configure(text.replace(f'server_user = "{OWNER}"', f'server_user = "{theirs}"'))
        assert "at the server's socket listens user " in setting.once(1)
        assert "at the server's socket listens user " in checked(setting, 1)["database"]
        worker = setting.start()
        assert worker.says("database")["alarm"] is True
        assert listening.met >= 3 and listening.told == b""
    finally:
        listening.close()


def test_the_usual_user_is_asked_for_where_none_is_named(setting, short_directory):
    if os.geteuid():
        pytest.skip("another user than postgres runs the servers here")
    listening = Impostor(short_directory)
    try:
        text = setting.text().replace(f'server_user = "{OWNER}"\n', "")
        setting.configure(text)
        setting.once()
        setting.configure(text.replace(f"host={setting.cluster.dir}", f"host={short_directory}"))
        assert "at the server's socket listens user 0, and not user " in setting.once(1)
        assert listening.told == b""
    finally:
        listening.close()


# -- commands ----------------------------------------------------------------------


def test_enrolling_twice_is_answered_in_words(setting):
    setting.once()
    first, second = (setting.command("enrol", "dek") for _ in range(2))
    assert first.returncode == 0 and first.stdout.startswith("dek 2 is in the keyring")
    assert second.returncode == 2
    assert second.stderr.strip() == (
        "dek 2 is enrolled already and not in use yet: identity.key_rotate('dek') puts it to use, and then another can be made"
    )
    assert setting.sql("SELECT max(version) AS n FROM identity.keyring WHERE kind = 'dek'") == [{"n": 2}]


def test_the_name_of_a_key_file_does_not_depend_on_where_the_worker_was_started(setting):
    setting.configure(setting.text().replace(f'key_file = "{setting.directory}/kek.key"', 'key_file = "kek.key"'))
    done = subprocess.run([PROGRAM, "--config", setting.config, "once"], env=BARE, cwd=setting.directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert setting.sql("SELECT DISTINCT kek_uri FROM identity.keyring") == [{"kek_uri": f"file:{setting.directory}/kek.key"}]


def test_a_keyring_without_end_is_no_keyring(setting):
    """A superuser's view in its place: whoever reads it to its end needs all the memory that there is."""
    setting.once()
    setting.sql("ALTER TABLE identity.keyring RENAME TO keyring_kept")
    setting.sql("CREATE VIEW identity.keyring AS SELECT k.* FROM identity.keyring_kept k, generate_series(1, 1000000000)")
    setting.sql("GRANT SELECT ON identity.keyring TO identity_worker")
    assert "the database's keyring is not what the extension writes" in setting.once(1)
