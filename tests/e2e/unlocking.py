"""A database without development keys, a key service, and the worker between them."""

import secrets
from pathlib import Path

import psycopg
import pytest

from cluster import DATABASE, OWNER, Cluster, wait_until
from key_services import Refused, VaultService, Worker, secret, toml
from vault import Vault


class Setting:
    def __init__(self, directory, name: str = "w"):
        self.directory = directory
        self.service = VaultService(directory)
        self.state = directory / "state"
        self.state.mkdir()
        self.key_file = secret(directory / "unlock.key", secrets.token_hex(32))
        self.worker = self.new_worker()
        public = self.worker("public-key")["public_key"]
        self.settings = {"identity_pgx.allow_dev_keys": "off", "identity_pgx.worker_public_key": f"'{public}'", "wal_level": "'logical'"}
        self.cluster = Cluster(name, self.settings | {"log_statement": "'all'", "log_min_duration_statement": "0", "max_connections": "60"})
        self.cluster.start()
        with self.cluster.connect() as admin:
            admin.execute("CREATE EXTENSION identity_pgx")
            admin.execute("SELECT identity.initialize()")
            admin.execute("CREATE ROLE t_anchor LOGIN IN ROLE identity_worker")

    def new_worker(self, **kek) -> Worker:
        unlock = {"secret_key_file": self.key_file, "state_directory": self.state}
        return Worker(self.directory, kek=self.service.section(**kek), unlock=unlock)

    def program_config(self) -> Path:
        config = self.directory / "program.toml"
        unlock = {"secret_key_file": self.key_file, "state_directory": self.state, "server_user": OWNER}
        config.write_text(toml({"database": {"url": self.url()}, "unlock": unlock, "kek": self.service.section()}))
        return config

    def url(self, cluster: Cluster | None = None, user: str = "t_anchor") -> str:
        cluster = cluster or self.cluster
        return f"postgresql:///{DATABASE}?host={cluster.dir}&port={cluster.port}&user={user}"

    def round(self, cluster: Cluster | None = None) -> dict:
        return self.worker("round", self.url(cluster))

    def refused_round(self, kind: str, cluster: Cluster | None = None) -> str:
        with pytest.raises(Refused) as refused:
            self.round(cluster)
        assert refused.value.kind == kind, refused.value
        return refused.value.text

    def health(self) -> bool:
        with self.cluster.connect() as admin:
            try:
                admin.execute("SELECT identity.identity_health()")
                return True
            except psycopg.Error:
                return False

    def unlocked(self) -> "Vault":
        self.round()
        wait_until(self.health, "the vault to be well")
        return Vault(self.cluster)

    def wipe(self) -> None:
        with self.cluster.connect("t_anchor") as conn:
            conn.execute("SELECT identity.key_wipe_all()")

    def sql(self, query: str, *parameters) -> list:
        with self.cluster.connect() as admin:
            done = admin.execute(query, parameters or None)
            return done.fetchall() if done.description else []

    def loads(self) -> int:
        """How often a worker began to send a key: the driver's log has each statement, without its parameters."""
        logs = [log.read_text(errors="replace") for log in self.directory.glob("worker-*/log")]
        return sum(log.count("SELECT identity.key_load(") for log in logs)

    def close(self) -> None:
        self.cluster.destroy()
        self.service.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    setting = Setting(tmp_path_factory.mktemp("unlock"))
    setting.vault = setting.unlocked()
    yield setting
    setting.close()


@pytest.fixture
def setting(shared):
    yield shared
    shared.service.state.intercept = lambda request: None
    shared.service.state.sealed = False
    shared.round()
    wait_until(shared.health, "the vault to be well")


@pytest.fixture
def own(tmp_path):
    setting = Setting(tmp_path, "o")
    yield setting
    setting.close()
