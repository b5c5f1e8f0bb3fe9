"""identityctl keys rotate: each kind, interrupted anywhere, two at once; and the worker's loop, which brings what is stored under the new key."""

import json
import os
import subprocess
import threading

import psycopg
import pytest

from cluster import Cluster, wait_until
from identityctl import BARE, PROGRAM, ends, lines, report, run, shown
from key_services import Answer, VaultService, toml
from test_worker_unlock_run import Setting
from vault import ONBOX, Vault, read

CHECKS = {"before", "rotation", "health", "key", "record", "row", "log", "tree"}
KINDS = ["chain", "dek", "index", "signing"]
RING = "SELECT kind, version, state, encode(check_value, 'hex') AS check_value FROM identity.keyring ORDER BY 1, 2"
ROTATIONS = """SELECT kind, old_version, new_version, encode(old_check_value, 'hex') AS old, encode(new_check_value, 'hex') AS new, reason, witness, operator
  FROM identity.key_rotations ORDER BY recorded_at, access_id"""
HELD = "LOCK TABLE identity.key_history IN SHARE ROW EXCLUSIVE MODE"
BLOCKED = "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = 't_daemon' AND wait_event_type = 'Lock'"


class Keys(Setting):
    """Keys of its own, and who rotates them."""

    def __init__(self, directory):
        self.clusters: list[Cluster] = []
        super().__init__(self.make, directory)
        self.once()
        wait_until(self.unlocked, "the vault to be well")
        self.vault_of = Vault(self.cluster)

    def make(self, settings, install):
        cluster = Cluster("k", settings | {"max_connections": "60"})
        self.clusters.append(cluster)
        return cluster.start()

    def close(self) -> None:
        self.leave()
        for cluster in self.clusters:
            cluster.destroy()

    def arguments(self, kind: str, reason: str = "scheduled", witness: str = "Grace Hopper") -> list:
        return ["keys", "rotate", kind, "--config", self.config, "--reason", reason, "--witness", witness]

    def rotate(self, kind: str, reason: str = "scheduled", code: int = 0) -> dict:
        answer = report(*self.arguments(kind, reason))
        ends(code, answer)
        assert answer["command"] == "keys rotate"
        return answer

    def begin(self, kind: str) -> subprocess.Popen:
        """One that is not waited for."""
        command = [PROGRAM, *map(str, self.arguments(kind)), "--json"]
        return subprocess.Popen(command, env=BARE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def blocked(self, n: int = 1) -> None:
        wait_until(lambda: self.sql(BLOCKED)[0]["n"] >= n, f"{n} to wait for a lock", 60)

    def states(self, kind: str) -> dict[int, str]:
        return {row["version"]: row["state"] for row in self.sql(RING) if row["kind"] == kind}

    def active(self, kind: str) -> int:
        (version,) = [version for version, state in self.states(kind).items() if state == "active"]
        return version

    def rotations(self, kind: str) -> list[dict]:
        return [row for row in self.sql(ROTATIONS) if row["kind"] == kind]

    def secrets(self) -> list[str]:
        return [(self.directory / name).read_text().strip() for name in ("unlock.key", "kek.key", "signer.key")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    keys = Keys(tmp_path_factory.mktemp("rotate"))
    yield keys
    keys.close()


@pytest.fixture
def keys(shared):
    yield shared
    shared.leave()
    wait_until(shared.unlocked, "the vault to be well")
    shared.vault_of.verify()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_rotated_recorded_and_looked_at(keys, kind):
    before, old = keys.vault_of.subject(), keys.active(kind)
    answer = keys.rotate(kind, "cred_loss")
    assert {line["check"] for line in answer["checks"] if line["state"] == "good"} == CHECKS, shown(answer)
    ring = {(row["kind"], row["version"]): row for row in keys.sql(RING)}
    assert (keys.states(kind)[old], keys.active(kind)) == ("verify_only", old + 1)
    last = keys.rotations(kind)[-1]
    assert (last["old_version"], last["new_version"]) == (old, old + 1)
    assert (last["old"], last["new"]) == (ring[kind, old]["check_value"], ring[kind, old + 1]["check_value"])
    assert (last["reason"], last["witness"], last["operator"]) == ("cred_loss", "Grace Hopper", "t_daemon")
    noted = "\n".join(lines(answer, "note"))
    assert f"old key: version {old}, check value {last['old']}" in noted and f"new key: version {old + 1}, check value {last['new']}" in noted
    after = keys.vault_of.subject()
    with keys.vault_of.gateway() as gateway:
        read(gateway, before)
        read(gateway, after)
        row = keys.vault_of.rows(gateway.info.user)[-1]
    if kind == "chain":
        assert row["chain_version"] == old + 1
    said = json.dumps(answer)
    assert not any(secret in said for secret in keys.secrets())


def test_what_is_rotated_can_be_brought_again(keys):
    subject = keys.vault_of.subject()
    for kind in ("dek", "chain"):
        keys.rotate(kind)
    keys.sql("SELECT identity.key_wipe_all()")
    keys.once()
    wait_until(keys.unlocked, "the vault to be well")
    with keys.vault_of.gateway() as gateway:
        read(gateway, subject)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--witness", "Grace Hopper"],
        ["--reason", "scheduled"],
        ["--reason", "scheduled", "--witness", ""],
        ["--reason", "scheduled", "--witness", "a\nb"],
        ["--reason", "because", "--witness", "Grace Hopper"],
    ],
)
def test_without_a_reason_or_a_witness_nothing_is_touched(keys, wrong):
    ring = keys.sql(RING)
    done = run("keys", "rotate", "dek", "--config", keys.config, *wrong)
    assert done.returncode == 2 and not done.stdout
    assert keys.sql(RING) == ring


def test_nothing_is_rotated_with_a_configuration_that_brings_no_keys(keys, tmp_path):
    ring = keys.sql(RING)
    config = tmp_path / "anchors-only.toml"
    config.write_text(keys.text().split("[unlock]")[0])
    answer = report("keys", "rotate", "dek", "--config", config, "--reason", "scheduled", "--witness", "x")
    ends(2, answer)
    assert "brings no keys" in shown(answer)
    config.write_text("[database]\nurl = 5\n")
    ends(2, report("keys", "rotate", "dek", "--config", config, "--reason", "scheduled", "--witness", "x"))
    assert keys.sql(RING) == ring


def test_a_locked_database_is_not_rotated(keys):
    ring = keys.sql(RING)
    keys.sql("SELECT identity.key_wipe_all()")
    answer = keys.rotate("dek", code=2)
    assert "locked" in shown(answer)
    assert keys.sql(RING) == ring and not keys.unlocked()
    keys.once()


def test_a_login_that_is_no_worker_rotates_nothing(keys, tmp_path):
    ring, gateway = keys.sql(RING), keys.vault_of.login(*ONBOX)
    config = tmp_path / "other.toml"
    config.write_text(keys.text().replace("user=t_daemon", f"user={gateway}"))
    answer = report("keys", "rotate", "dek", "--config", config, "--reason", "scheduled", "--witness", "x")
    ends(2, answer)
    assert "not a member of identity_worker" in shown(answer)
    assert keys.sql(RING) == ring


@pytest.mark.parametrize("loaded", [False, True])
def test_a_key_that_waits_since_an_interrupted_attempt_is_taken(keys, loaded):
    old = keys.active("chain")
    assert keys.command("enrol", "chain").returncode == 0
    if loaded:
        keys.once()
    answer = keys.rotate("chain", "compromise")
    assert keys.states("chain")[old + 1] == "active" and max(keys.states("chain")) == old + 1
    assert any(line.startswith(f"waiting: {old + 1} was enrolled by t_daemon at ") for line in lines(answer, "note")), shown(answer)
    assert len([row for row in keys.rotations("chain") if row["old_version"] == old]) == 1


def test_one_that_is_killed_while_it_enrols_is_finished_by_the_next(keys):
    old = keys.active("index")
    with keys.cluster.connect(autocommit=False) as holder:
        holder.execute(HELD)
        killed = keys.begin("index")
        keys.blocked()
        killed.kill()
        killed.communicate()
    # Whether the enrolment was committed after all is the server's secret; either way it is one rotation.
    wait_until(lambda: not keys.sql(BLOCKED)[0]["n"], "the server to be done with it")
    assert keys.active("index") == old
    keys.rotate("index")
    assert keys.active("index") == old + 1 == max(keys.states("index"))


def test_one_that_is_killed_while_it_swaps_has_changed_nothing(keys):
    old = keys.active("dek")
    assert keys.command("enrol", "dek").returncode == 0
    keys.once()
    with keys.cluster.connect(autocommit=False) as holder:
        holder.execute(HELD)
        killed = keys.begin("dek")
        keys.blocked()
        assert keys.states("dek")[old + 1] == "enrolled"
        killed.kill()
        killed.communicate()
    wait_until(lambda: not keys.sql("SELECT pid FROM pg_stat_activity WHERE usename = 't_daemon'"), "its session to end")
    assert (keys.active("dek"), keys.states("dek")[old + 1]) == (old, "enrolled")
    keys.rotate("dek")
    assert keys.active("dek") == old + 1 == max(keys.states("dek"))


def test_of_two_at_once_one_rotates(keys):
    old = keys.active("signing")
    with keys.cluster.connect(autocommit=False) as holder:
        holder.execute(HELD)
        both = [keys.begin("signing") for _ in range(2)]
        keys.blocked(2)
    said = [running.communicate(timeout=90) for running in both]
    assert sorted(running.returncode for running in both) == [0, 2], said
    assert keys.active("signing") == old + 1 == max(keys.states("signing"))
    assert len([row for row in keys.rotations("signing") if row["old_version"] == old]) == 1


def test_one_that_was_overtaken_does_not_rotate_once_more(keys):
    """It has looked, and waits to swap; meanwhile somebody else swaps, and enrols the next."""
    old = keys.active("chain")
    assert keys.command("enrol", "chain").returncode == 0
    keys.once()
    with keys.cluster.connect("t_daemon", autocommit=False) as other:
        assert other.execute("SELECT identity.key_rotate('chain', 'scheduled', 'somebody')").fetchone() == (old + 1,)
        late = keys.begin("chain")
        keys.blocked()
    said, _ = late.communicate(timeout=90)
    assert late.returncode == 2, said
    assert keys.active("chain") == old + 1 == max(keys.states("chain"))
    assert keys.rotations("chain")[-1]["witness"] == "somebody"


@pytest.mark.parametrize("answer", ["2", "NULL"])
def test_a_rotation_that_did_not_happen_is_not_believed(keys, answer):
    """A superuser's own key_rotate says that it rotated."""
    name = "identity.key_rotate(kind text, reason text DEFAULT 'scheduled', witness text DEFAULT NULL)"
    real = keys.sql("SELECT pg_get_functiondef('identity.key_rotate'::regproc) AS text")[0]["text"]
    old = keys.active("index")
    keys.sql(f"CREATE OR REPLACE FUNCTION {name} RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN {answer}; END $$")
    try:
        told = keys.rotate("index", code=1)
        assert not [line for line in lines(told, "good") if line.startswith("rotation")], shown(told)
        assert keys.active("index") == old
    finally:
        keys.sql(real)
    keys.rotate("index")
    assert keys.active("index") == old + 1 == max(keys.states("index"))


def waiting(keys, version: int) -> int:
    return keys.sql("SELECT count(*) AS n FROM identity.subjects WHERE dek_version BETWEEN 1 AND %s", (version - 1,))[0]["n"]


def test_the_running_worker_brings_rows_under_the_new_key_and_retires_the_old_one(keys):
    subjects = [keys.vault_of.subject() for _ in range(120)]
    worker = keys.start()
    worker.says("leads")
    failures, reads, over = [], [], threading.Event()

    def reader():
        with keys.vault_of.gateway() as gateway:
            while not over.is_set():
                for subject in subjects:
                    try:
                        read(gateway, subject)
                        reads.append(1)
                    except (psycopg.Error, AssertionError) as error:
                        failures.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        old = keys.active("dek")
        keys.rotate("dek", "compromise")
        wait_until(lambda: keys.states("dek")[old] == "retired", f"the old key to be retired; {keys.logs()[-1500:]}", 60)
    finally:
        over.set()
        thread.join()
    assert not failures and reads
    assert waiting(keys, old + 1) == 0
    wait_until(lambda: str(old) in worker.says("retired")["retired"], "the worker to say so")
    told = [event for event in worker.events("reencrypt") if event.get("version") == old + 1]
    assert sum(event["done"] for event in told) >= len(subjects) and told[-1]["left"] == 0
    with keys.vault_of.gateway() as gateway:
        for subject in subjects[:5]:
            read(gateway, subject)
    # Then there is nothing to do, and nothing is said.
    count = len(worker.events("reencrypt"))
    keys.vault_of.subject()
    keys.await_anchor(keys.size())
    assert len(worker.events("reencrypt")) == count
    assert worker.stop() == 0
    assert not any(secret in keys.logs() for secret in keys.secrets())


def test_reencryption_that_waits_for_a_lock_does_not_delay_anchors(keys):
    """Somebody keeps the keyring locked: an older key cannot be retired meanwhile, and all else goes on."""
    keys.rotate("dek")
    old = keys.active("dek") - 1
    worker = keys.start()
    worker.says("leads")
    with keys.cluster.connect("t_daemon", autocommit=False) as holder:
        kind = next(kind for kind in KINDS if "enrolled" not in keys.states(kind).values())
        arguments = (kind, max(keys.states(kind)) + 1, os.urandom(60), "file:x", os.urandom(32))
        holder.execute("SELECT identity.key_enrol(%s::text, %s::int, %s::bytea, %s::text, %s::bytea)", arguments)
        wait_until(lambda: [event for event in worker.events("reencrypt") if "55P03" in event.get("trouble", "")], "the worker to meet the lock", 40)
        assert keys.states("dek")[old] == "verify_only"
        for _ in range(3):
            with keys.vault_of.gateway() as gateway:
                read(gateway, keys.vault_of.subject())
            size = keys.recorded()[-1]
            keys.await_anchor(size + 1, timeout=10)
        holder.rollback()
    wait_until(lambda: keys.states("dek")[old] == "retired", f"the old key to be retired; {keys.logs()[-1500:]}", 90)
    assert worker.stop() == 0


class VaultKeys(Keys):
    def __init__(self, directory):
        self.service = VaultService(directory)
        super().__init__(directory)

    def text(self) -> str:
        return super().text().split("[kek]")[0] + toml({"kek": self.service.section()})

    def close(self) -> None:
        super().close()
        self.service.close()


def test_keys_of_vault_are_rotated_and_an_outage_in_between_is_made_good(tmp_path):
    keys = VaultKeys(tmp_path)
    try:
        before = keys.vault_of.subject()
        keys.rotate("chain")
        service, decrypts = keys.service, []

        def sealed(request):
            if "/decrypt/" in request.path:
                decrypts.append(request.path)
                # The key must come back when it is made; after that Vault is away.
                return Answer(503) if len(decrypts) > 1 else None
            return None

        service.state.intercept = sealed
        answer = keys.rotate("dek", code=2)
        assert keys.states("dek") == {1: "active", 2: "enrolled"}, shown(answer)
        service.state.intercept = lambda request: None
        answer = keys.rotate("dek")
        assert keys.states("dek") == {1: "verify_only", 2: "active"}
        with keys.vault_of.gateway() as gateway:
            read(gateway, before)
        said = json.dumps(answer).encode()
        assert not [word for word in service.secrets() if word in said]
        # Away once the key is in use: what could not be looked at is said, and what was done stands.
        decrypts.clear()
        service.state.intercept = lambda request: Answer(503) if "/decrypt/" in request.path and keys.active("chain") == 3 else None
        answer = keys.rotate("chain", code=2)
        assert [line for line in lines(answer, "good") if line.startswith("rotation: 3 is in use")], shown(answer)
        assert [line for line in lines(answer, "unchecked") if line.startswith("row: ")]
        service.state.intercept = lambda request: None
        assert keys.active("chain") == 3 == max(keys.states("chain"))
        keys.vault_of.verify()
    finally:
        keys.close()
