"""A database that the worker unlocks, Vault for its keys, an S3 store for its anchors; a gate before each, and what must be true of all of it afterwards."""

import contextlib
import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

import ledger
from audited import audit_login, url
from cluster import BINDIR, Cluster, root_dir, wait_until
from gates import Fault, StoreGate, Switch, VaultGate
from identityctl import report, shown
from key_services import VaultService, secret, toml
from ministack import REGION, Ministack
from pg_gate import PgGate
from s3 import ROOT, lock_bucket
from vault import Vault, read
from worker import BARE, PROGRAM, Running

PREFIX = "vault-1/"
LOGIN = "t_daemon"
# Who listens at the gate.
OURS = pwd.getpwuid(os.geteuid()).pw_name
# Of a machine that does other things beside.
PATIENCE = 60
_serial = itertools.count(1)


def policy(bucket: str) -> str:
    """The worker's, as docs/howto/anchors-s3.md prints it."""
    page = (ROOT / "docs" / "howto" / "anchors-s3.md").read_text()
    (text,) = re.findall(r"<!-- policy: worker -->\n```json\n(.*?)```", page, re.DOTALL)
    return text.replace("example-anchors", bucket)


class Outcome:
    """What one run of `once` came to."""

    def __init__(self, code: int, said: str):
        self.code, self.said = code, said
        self.alarmed = '"alarm":true' in said

    def word(self) -> str:
        if self.code == -signal.SIGKILL:
            return "starts again"
        if '"event":"refused"' in self.said:
            return "stops"
        if self.code == 0:
            return "unharmed"
        assert self.code == (1 if self.alarmed else 2), self.said
        return "alarms" if self.alarmed else "goes on"


class Scene:
    """Everything of one test, or of all cells of the table."""

    def __init__(self, directory: Path, store: "S3", settings: dict | None = None, every: str = "1s", **vault):
        self.directory, self.every, self.store = directory, every, store
        self.switch = Switch()
        self.keys = VaultService(directory, **vault)
        self.vault_gate = VaultGate(self.keys.state, self.switch)
        self.store_gate = StoreGate(store.port, self.switch)
        (directory / "state").mkdir()
        made = subprocess.run([PROGRAM, "new-key", directory / "unlock.key"], env=BARE, capture_output=True, text=True, check=True)
        public = made.stdout.split("'")[1]
        own = {"identity_pgx.allow_dev_keys": "off", "identity_pgx.worker_public_key": f"'{public}'", "max_connections": "80"}
        self.settings = own | (settings or {})
        self.cluster = Cluster("x", self.settings)
        self.cluster.start()
        with self.cluster.connect() as admin:
            admin.execute("CREATE EXTENSION identity_pgx")
            admin.execute("SELECT identity.initialize()")
            admin.execute(f"CREATE ROLE {LOGIN} LOGIN IN ROLE identity_worker")
        # Socket paths are short.
        self.sockets = root_dir() / f"g{next(_serial)}"
        self.sockets.mkdir()
        self.config = directory / "config.toml"
        self.gate = self.before(self.cluster)
        self.configure()
        self.started: list[Running] = []
        # Anchors that came after their time, of which the database never heard.
        self.late: list[int] = []
        assert self.once().code == 0, self.said
        self.vault = Vault(self.cluster)
        self.subject = self.vault.subject()
        self.vkey = self.verifier()
        audit_login(self.vault)

    def before(self, cluster: Cluster) -> PgGate:
        with contextlib.suppress(FileNotFoundError):
            (self.sockets / f".s.PGSQL.{cluster.port}").unlink()
        return PgGate(self.sockets, cluster, self.switch)

    # -- the worker ------------------------------------------------------------
    def sections(self) -> dict:
        return {
            "database": {"url": f"postgresql:///identity?host={self.sockets}&port={self.cluster.port}&user={LOGIN}"},
            "signer": self.keys.section("identity-checkpoints"),
            "store": self.store.section(self.directory, self.store_gate.endpoint),
            "anchor": {"every": self.every},
            "unlock": {"secret_key_file": self.directory / "unlock.key", "state_directory": self.directory / "state", "server_user": OURS},
            "kek": self.keys.section("identity-kek"),
        }

    def configure(self, **changed) -> None:
        self.config.write_text(toml(self.sections() | changed))

    def once(self, environment: dict | None = None) -> Outcome:
        words = [PROGRAM, "--config", self.config, "--log", "json", "once"]
        self.switch.phase = ""
        with subprocess.Popen(words, env=BARE | (environment or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            self.switch.worker = process
            self.said, _ = process.communicate(timeout=150)
        return Outcome(process.returncode, self.said)

    def start(self, environment: dict | None = None) -> Running:
        self.switch.phase = ""
        running = Running(self.config, self.directory / f"log{next(_serial)}", environment)
        self.switch.worker = running.process
        self.started.append(running)
        return running

    def command(self, *words) -> subprocess.CompletedProcess:
        return subprocess.run([PROGRAM, "--config", self.config, *words], env=BARE, capture_output=True, text=True, timeout=100)

    def logs(self) -> str:
        return "".join(running.log.read_text() for running in self.started)

    def rest(self) -> None:
        """No fault is due, nothing is on its way, and no worker runs."""
        self.switch.clear()
        time.sleep(max(0.0, self.switch.until - time.monotonic()))
        for running in self.started:
            if running.process.poll() is None:
                running.kill()
        over = "SELECT FROM pg_stat_activity WHERE application_name = 'anchor-worker'"
        wait_until(lambda: not self.vault.sql(over), "the worker's sessions to end", PATIENCE)

    def forget(self) -> None:
        """What workers have said so far."""
        self.started = []

    # -- the database ----------------------------------------------------------
    def grow(self) -> None:
        """Rows of both kinds: events with leaves of their own, and a read."""
        self.vault.purpose()
        with self.vault.gateway() as gateway:
            read(gateway, self.subject)
        self.vault.purpose()

    def wipe(self) -> None:
        self.vault.sql("SELECT identity.key_wipe_all()")

    def unlocked(self) -> bool:
        try:
            with self.cluster.connect() as admin:
                admin.execute("SELECT identity.identity_health()")
            return True
        except psycopg.Error:
            return False

    def again(self) -> None:
        """The server was away, and is there and unlocked."""
        wait_until(self.unlocked, f"it to be unlocked; {self.logs()[-2000:]}", PATIENCE)
        self.vault.admin = self.cluster.connect(row_factory=dict_row)

    def size(self) -> int:
        return self.vault.sql("SELECT COALESCE(max(leaf_index) + 1, 0) AS n FROM identity.ledger_leaves")[0]["n"]

    def rows(self) -> int:
        """Rows of the log."""
        return self.vault.sql("SELECT count(*) AS n FROM identity.pii_access_log")[0]["n"]

    def sealed(self) -> int:
        return self.rows() - ledger.unsealed(self.vault)

    def recorded(self) -> list[int]:
        return [row["tree_size"] for row in self.vault.sql("SELECT tree_size FROM identity.anchor_commits ORDER BY commit_id")]

    def await_anchor(self, above: int, patience: float = PATIENCE) -> int:
        """An anchor of a larger tree."""
        return wait_until(lambda: [size for size in self.recorded() if size > above], f"an anchor above {above}; {self.logs()[-2500:]}", patience)[-1]

    # -- what must be true -----------------------------------------------------
    def verifier(self) -> str:
        done = self.command("check-config")
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("signer: ok: ")]
        return line.removeprefix("signer: ok: anchors are verified with ")

    def in_order(self) -> None:
        """One version for each size, and the database knows each anchor once, in their order."""
        anchors, doubled = self.store.anchors()
        assert not doubled, doubled
        assert self.recorded() == [size for size in anchors if size not in self.late]

    def whole(self) -> None:
        """As an auditor sees it, who trusts none of this: every anchor is signed, they are of one history, and it is the database's."""
        self.in_order()
        for words in (["anchors", "--config", self.audited(), "--key", self.vkey, "--database", self.audit_url()], ["database", self.audit_url()]):
            answer = report("verify", *words)
            assert answer["exit"] == 0, shown(answer)
        self.vault.verify()

    def audit_url(self) -> str:
        return url(self.vault)

    def audited(self) -> Path:
        """The store, not through the gate."""
        config = self.directory / "audit.toml"
        config.write_text(toml({"store": self.store.section(self.directory, self.store.endpoint)}))
        return config

    def close(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.kill()
        self.gate.close()
        self.store_gate.close()
        self.cluster.destroy()
        self.keys.close()
        shutil.rmtree(self.sockets, ignore_errors=True)


class S3:
    """A bucket with Object Lock, and the worker's credentials to it."""

    def __init__(self, service, bucket: str, key: str, secret_key: str, owner, days: int | None = None):
        self.service, self.bucket, self.key, self.secret, self.owner, self.days = service, bucket, key, secret_key, owner, days
        self.port, self.endpoint = service.port, service.endpoint

    @classmethod
    def of_ministack(cls, service: Ministack) -> "S3":
        """Conditional writes, and the policy of the docs."""
        bucket = lock_bucket(service.root(), CreateBucketConfiguration={"LocationConstraint": REGION})
        return cls(service, bucket, *service.user(policy(bucket)), service.root())

    @classmethod
    def of_ceph(cls, service) -> "S3":
        """Locks that hold; no conditional writes."""
        owner = service.client("owner", "owner")
        return cls(service, lock_bucket(owner), "owner", "owner", owner, days=2)

    def section(self, directory: Path, endpoint: str) -> dict:
        file = directory / f"{self.bucket}.secret"
        if not file.exists():
            secret(file, self.secret)
        credentials = {"source": "static", "access_key_id": self.key, "secret_access_key_file": file}
        place = {"kind": "s3", "bucket": self.bucket, "region": self.service.region, "prefix": PREFIX, "endpoint": endpoint}
        return place | {"credentials": credentials} | ({"retention_days": self.days} if self.days else {})

    def versions(self) -> list[tuple[int, str]]:
        """Every version of every anchor, the oldest of a key first."""
        found, marker = [], {}
        while True:
            page = self.owner.list_object_versions(Bucket=self.bucket, Prefix=f"{PREFIX}checkpoints/", **marker)
            assert not page.get("DeleteMarkers")
            found += page.get("Versions", [])
            if not page["IsTruncated"]:
                break
            marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
        found.sort(key=lambda each: (each["Key"], each["LastModified"]))
        return [(int(each["Key"].rsplit("/", 1)[1]), each["VersionId"]) for each in found]

    def anchors(self) -> tuple[list[int], list[int]]:
        """The sizes in their order, and those that have more than one version."""
        sizes = [size for size, _ in self.versions()]
        return sorted(set(sizes)), [size for size in set(sizes) if sizes.count(size) > 1]


__all__ = ["BINDIR", "PATIENCE", "Fault", "Outcome", "S3", "Scene"]
