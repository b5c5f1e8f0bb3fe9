"""What lasts longer than a request: whatever is away comes back, and the worker catches up without a gap; what is another database, or an older one, is told."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

import pytest
from psycopg.rows import dict_row

from amazon import Amazon
from clock import Clock
from cluster import BINDIR, Cluster, run_as_owner, wait_until
from gates import Fault
from identityctl import lines, report, shown
from key_services import Answer as VaultAnswer
from key_services import documented, secret
from lying_store import Answer, LyingStore
from ministack import REGION
from scene import LOGIN, PATIENCE, S3, Scene


@pytest.fixture(scope="module")
def shared(ministack, tmp_path_factory):
    """Tokens that last two seconds, and cannot be renewed beyond three: they run out while other things go wrong."""
    scene = Scene(tmp_path_factory.mktemp("outages"), S3.of_ministack(ministack), ttl="2s", max_ttl="3s")
    yield scene
    scene.close()


@pytest.fixture
def calm(shared):
    """No worker runs, and all is well."""
    shared.forget()
    yield shared
    shared.keys.state.intercept, shared.keys.state.sealed = shared.vault_gate.pass_on, False
    shared.store_gate.lie = shared.store_gate.pass_on
    shared.rest()


@pytest.fixture
def running(calm):
    """A worker that has anchored once."""
    calm.start().says("anchored", PATIENCE)
    return calm


def away_and_back(scene: Scene, away, back, says: str, event: str = "anchor", patience: float = 100) -> dict:
    """While it is away the worker says so, without an alarm; when it is back, what came meanwhile is anchored."""
    worker = scene.started[-1]
    away()
    scene.grow()
    told = wait_until(lambda: [line for line in worker.events(event) if says in line["trouble"]], f"{says}: {scene.logs()[-2500:]}", PATIENCE)[-1]
    scene.grow()
    size = scene.size()
    back()
    scene.await_anchor(size, patience)
    scene.rest()
    assert '"alarm":true' not in scene.logs() and worker.process.returncode == -9
    scene.whole()
    return told


# -- Vault ---------------------------------------------------------------------


def test_vault_is_sealed_for_a_while(running):
    state = running.keys.state
    told = away_and_back(running, lambda: setattr(state, "sealed", True), lambda: setattr(state, "sealed", False), "Vault is sealed")
    assert told["kind"] == "unavailable"


@pytest.mark.long
def test_a_locked_database_waits_for_a_sealed_vault(running):
    state = running.keys.state

    def away() -> None:
        state.sealed = True
        running.wipe()

    def back() -> None:
        assert not running.unlocked()
        state.sealed = False

    worker = running.started[-1]
    away()
    wait_until(lambda: "Vault is sealed" in str(worker.events("unlock")), "it to be told", PATIENCE)
    back()
    running.again()
    running.await_anchor(running.size() - 1, 100)
    running.rest()
    running.whole()


@pytest.mark.long
def test_tokens_run_out_and_are_renewed(running):
    """Three lives of one, and more."""
    logins, worker, started = running.keys.logins(), running.started[-1], time.monotonic()
    while running.keys.logins() - logins < 3:
        assert time.monotonic() - started < PATIENCE
        running.grow()
        running.await_anchor(running.size() - 1)
    running.rest()
    assert not worker.events("anchor"), running.logs()
    running.whole()


@pytest.mark.long
def test_a_token_is_revoked(running):
    def away() -> None:
        for token in [token for token in running.keys.state.tokens.values() if token.policies != ["root"]]:
            del running.keys.state.tokens[token.id]

    worker = running.started[-1]
    away()
    running.grow()
    running.await_anchor(running.size() - 1)
    assert not worker.events("anchor"), "a new one is got within the round"
    state = running.keys.state

    def gone() -> None:
        state.intercept = no_login
        away()

    told = away_and_back(running, gone, lambda: setattr(state, "intercept", running.vault_gate.pass_on), "Vault")
    assert told["kind"] == "denied"


def no_login(request):
    return VaultAnswer(400, b'{"errors":["invalid role or secret ID"]}') if request.path.endswith("/login") else None


# -- KMS -----------------------------------------------------------------------


class WithKms(Scene):
    """Keys of Amazon's: the one that wraps, and the one that signs."""

    amazon: Amazon

    def sections(self) -> dict:
        if not hasattr(self, "kms"):
            self.prepare()
        own = {"region": REGION, "endpoint": self.kms.endpoint}
        own["credentials"] = {"source": "static", "access_key_id": self.id, "secret_access_key_file": self.file}
        keys = {"kek": {"provider": "aws", "key_arn": self.kek} | own, "signer": {"provider": "aws", "key_arn": self.checkpoints} | own}
        return super().sections() | keys

    def prepare(self) -> None:
        amazon, arn = self.amazon, "arn:aws:kms:eu-central-1:111122223333:key/"
        self.kek, self.checkpoints = amazon.key(), amazon.key("ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
        text = documented("aws-kms.md", "anchor-worker.json").replace(f"{arn}KEK", self.kek).replace(f"{arn}CHECKPOINTS", self.checkpoints)
        self.id, secret_key = amazon.user(text)
        self.file = secret(self.directory / "aws-secret", secret_key)
        self.kms = LyingStore(amazon.port)
        self.throttled = 0
        self.kms.lie = self.pass_on

    def pass_on(self, request, forward) -> Answer:
        if self.throttled and request.method == "POST":
            self.throttled -= 1
            return Answer(400, {"content-type": "application/x-amz-json-1.1"}, b'{"__type":"ThrottlingException","message":"Rate exceeded"}')
        return forward()

    def close(self) -> None:
        super().close()
        self.kms.close()


@pytest.fixture
def with_kms(ministack, tmp_path):
    with open(tmp_path / "amazon.log", "wb") as log:
        WithKms.amazon = Amazon(log)
        scene = WithKms(tmp_path, S3.of_ministack(ministack))
        scene.start().says("anchored", PATIENCE)
        yield scene
        scene.close()
        WithKms.amazon.destroy()


@pytest.mark.long
@pytest.mark.parametrize("how", ["disabled", "denied", "throttled"])
def test_kms_does_not_sign_for_a_while(with_kms, how):
    amazon = with_kms.amazon
    iam = amazon.root("iam")
    (name,) = [user["UserName"] for user in iam.list_users()["Users"]]
    policy = iam.get_user_policy(UserName=name, PolicyName="only")["PolicyDocument"]
    policy = policy if isinstance(policy, str) else json.dumps(policy)
    nothing = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]})
    away, back, says, kind = {
        "disabled": (lambda: amazon.kms.disable_key(KeyId=with_kms.checkpoints), lambda: amazon.kms.enable_key(KeyId=with_kms.checkpoints), "Disabled", "unavailable"),
        "denied": (
            lambda: iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=nothing),
            lambda: iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=policy),
            "AccessDenied",
            "denied",
        ),
        "throttled": (lambda: setattr(with_kms, "throttled", 2), lambda: None, "Throttling", "throttled"),
    }[how]
    assert away_and_back(with_kms, away, back, says)["kind"] == kind


@pytest.mark.long
def test_kms_does_not_unwrap_for_a_while(with_kms):
    worker = with_kms.started[-1]
    with_kms.amazon.kms.disable_key(KeyId=with_kms.kek)
    with_kms.wipe()
    wait_until(lambda: "Disabled" in str(worker.events("unlock")), f"it to be told; {with_kms.logs()[-2000:]}", PATIENCE)
    assert not with_kms.unlocked()
    with_kms.amazon.kms.enable_key(KeyId=with_kms.kek)
    with_kms.again()
    with_kms.grow()
    with_kms.await_anchor(with_kms.size() - 1, 100)
    with_kms.rest()
    with_kms.whole()


# -- the store -----------------------------------------------------------------


class Held:
    """A PUT that is on its way for as long as it pleases somebody."""

    def __init__(self, scene: Scene):
        self.gate, self.arrived, self.go, self.answer = scene.store_gate, threading.Event(), threading.Event(), None
        self.gate.lie = self.hold
        self.first = True

    def hold(self, request, forward):
        if request.what != "put" or not self.first:
            return self.gate.pass_on(request, forward)
        self.first = False
        self.arrived.set()
        assert self.go.wait(150)
        self.answer = forward()
        return self.answer


def test_a_put_that_arrives_after_a_later_one(calm):
    """Its worker is dead, the next one has anchored more; then the store does what it was asked long ago."""
    scene = calm
    scene.grow()
    held = Held(scene)
    first = scene.start()
    assert held.arrived.wait(PATIENCE)
    first.kill()
    scene.rest()
    scene.grow()
    assert scene.once().code == 0, scene.said
    held.go.set()
    wait_until(lambda: held.answer, "the PUT to be done", PATIENCE)
    assert held.answer.status == 200
    sizes, doubled = scene.store.anchors()
    assert not doubled and scene.recorded() == sizes[:-2] + sizes[-1:]
    scene.grow()
    assert scene.once().code == 0, scene.said
    answer = report("verify", "anchors", "--config", scene.audited(), "--key", scene.vkey, "--database", scene.audit_url())
    assert answer["exit"] == 0, shown(answer)
    scene.late.append(sizes[-2])
    late, before = sizes[-2], sizes[-1]
    assert f"order: {late} leaves were anchored after {before} were; the log grew from both" in lines(answer, "note"), shown(answer)


def test_of_two_workers_the_one_that_was_held_up_does_no_harm(calm):
    """It has signed, and then its session ends: another one leads and anchors more. What it wakes up to is no longer its business."""
    scene = calm
    scene.grow()
    scene.switch.arm(Fault("put-look", "before", "slow"))
    held = Held(scene)
    first = scene.start()
    assert held.arrived.wait(PATIENCE)
    scene.vault.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'anchor-worker'")
    second = scene.start()
    second.says("leads", PATIENCE)
    second.says("anchored", PATIENCE)
    held.go.set()
    scene.grow()
    scene.await_anchor(scene.size() - 1)
    wait_until(lambda: first.events("follows"), f"the first one to follow; {first.log.read_text()}", PATIENCE)
    assert held.answer.status in (200, 412)
    scene.rest()
    assert '"alarm":true' not in scene.logs() and not first.events("refused") + second.events("refused")
    # If the other one's tree had grown meanwhile, its place was free: then it lies there, late, and is of the same history.
    late = sorted(set(scene.store.anchors()[0]) - set(scene.recorded()) - set(scene.late))
    assert len(late) == (held.answer.status == 200)
    scene.late += late
    scene.whole()


def test_who_does_not_lead_any_more_puts_nothing(calm):
    """Its signature took long, and its session ended meanwhile."""
    scene = calm
    scene.grow()
    arrived, go = threading.Event(), threading.Event()

    def held(request):
        if scene.vault_gate.name(request) == "sign" and not arrived.is_set():
            arrived.set()
            scene.keys.state.lock.release()
            assert go.wait(150)
            scene.keys.state.lock.acquire()
        return scene.vault_gate.pass_on(request)

    scene.keys.state.intercept = held
    first = scene.start()
    assert arrived.wait(PATIENCE)
    scene.vault.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'anchor-worker'")
    scene.grow()
    second = scene.start()
    size = second.says("anchored", PATIENCE)["size"]
    second.kill()
    sizes, _ = scene.store.anchors()
    go.set()
    said = first.says("anchor", PATIENCE)
    assert said["kind"] == "unreachable", said
    assert [before for before in scene.store.anchors()[0] if before < size] == [before for before in sizes if before < size]
    scene.grow()
    scene.await_anchor(scene.size() - 1)
    scene.rest()
    scene.whole()


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_the_disk_of_the_store_is_full(scene, tmp_path):
    place = tmp_path / "anchors"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(place)], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        scene = scene(store=Directory(place))
        scene.start().says("anchored", PATIENCE)
        filler = place / "filler"

        def away() -> None:
            with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 512)

        away_and_back(scene, away, filler.unlink, "disk is full")
    finally:
        subprocess.run(["umount", str(place)], check=True)


class Directory:
    """Not immutable, and its times are nobody's evidence."""

    def __init__(self, place):
        self.place, self.port, self.endpoint = place, 0, ""

    def section(self, *_) -> dict:
        return {"kind": "directory", "path": self.place}

    def anchors(self) -> tuple[list[int], list[int]]:
        return sorted(int(file.name) for file in (self.place / "checkpoints").glob("[0-9]*[0-9]")), []


# -- clocks --------------------------------------------------------------------


@pytest.mark.parametrize("hours", [pytest.param(-1, marks=pytest.mark.long), 1])
def test_the_workers_clock_is_an_hour_off(calm, tmp_path_factory, monkeypatch, hours):
    """What is signed bears no time of the worker's. Its requests do: a store that minds says so, and a right clock catches up."""
    clock = Clock(tmp_path_factory.mktemp("clock"), monkeypatch)
    wrong = {"TEST_CLOCK": os.environ["TEST_CLOCK"], "LD_PRELOAD": os.environ["LD_PRELOAD"]}
    monkeypatch.delenv("LD_PRELOAD")
    scene = calm
    scene.grow()
    clock.set(hours / 24)
    outcome = scene.once(wrong)
    assert outcome.word() in ("unharmed", "goes on"), outcome.said
    if outcome.word() == "goes on":
        assert "clock" in outcome.said, outcome.said
    else:
        late = "SELECT extract(epoch FROM s3_lock_until - clock_timestamp()) / 3600 - 2557 * 24 AS hours FROM identity.anchor_commits ORDER BY commit_id DESC LIMIT 1"
        assert abs(float(scene.vault.sql(late)[0]["hours"]) - hours) < 0.2
    assert scene.once().code == 0
    scene.whole()


@pytest.mark.long
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_store_minds_a_wrong_clock(ceph, tmp_path, tmp_path_factory, monkeypatch, hours):
    clock = Clock(tmp_path_factory.mktemp("clock"), monkeypatch)
    wrong = {"TEST_CLOCK": os.environ["TEST_CLOCK"], "LD_PRELOAD": os.environ["LD_PRELOAD"]}
    monkeypatch.delenv("LD_PRELOAD")
    scene = Scene(tmp_path, S3.of_ceph(ceph))
    try:
        scene.grow()
        clock.set(hours / 24)
        outcome = scene.once(wrong)
        assert outcome.word() == "goes on" and "clock of this machine is wrong" in outcome.said, outcome.said
        assert scene.once().code == 0
        scene.in_order()
    finally:
        scene.close()


@pytest.mark.long
def test_the_databases_clock_jumps(scene, tmp_path_factory, monkeypatch):
    """An hour ahead, and back: rows get the times that the server has, and anchors go on."""
    clock = Clock(tmp_path_factory.mktemp("clock"), monkeypatch)
    scene = scene()
    monkeypatch.delenv("LD_PRELOAD")
    worker = scene.start()
    for hours in (1, 0):
        clock.set(hours / 24)
        ahead = scene.vault.sql("SELECT extract(epoch FROM clock_timestamp()) AS now")[0]["now"]
        assert abs(float(ahead) - time.time() - hours * 3600) < 60
        scene.grow()
        scene.await_anchor(scene.size() - 1, 100)
    scene.rest()
    assert not worker.events("refused") and '"alarm":true' not in scene.logs()
    scene.in_order()
    answer = report("verify", "anchors", "--config", scene.audited(), "--key", scene.vkey, "--database", scene.audit_url())
    assert answer["exit"] == 0, shown(answer)


# -- the database --------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_the_database_goes_away_and_comes_back_locked(running, mode):
    worker = running.started[-1]
    running.grow()
    size = running.size()
    running.vault.admin.close()
    if mode == "kill":
        running.cluster.kill()
    else:
        running.cluster.stop(mode)
    worker.says("database", PATIENCE)
    running.cluster.start()
    running.again()
    running.grow()
    running.await_anchor(max(size, running.size() - 1), 100)
    running.rest()
    assert not worker.events("refused") and '"alarm":true' not in running.logs()
    running.whole()


@pytest.mark.long
def test_a_promoted_standby_is_not_unlocked_until_a_person_says_so(scene):
    scene = scene(settings={"wal_level": "replica"})
    scene.grow()
    assert scene.once().code == 0
    standby = Cluster("y", scene.settings)
    try:
        run_as_owner("rm", "-rf", standby.data)
        source = ["-h", scene.cluster.dir, "-p", scene.cluster.port, "-U", "postgres", "-D", standby.data]
        run_as_owner(BINDIR / "pg_basebackup", *source, "-R", "-X", "stream", "-c", "fast")
        standby.configure({"unix_socket_directories": f"'{standby.dir}'", "hot_standby": "on"})
        standby.start()
        scene.grow()
        target = scene.vault.sql("SELECT pg_current_wal_lsn()::text AS lsn")[0]["lsn"]
        with standby.connect() as admin:
            replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            wait_until(lambda: admin.execute(replayed, (target,)).fetchone()[0], "the standby to catch up", PATIENCE)
        scene.vault.admin.close()
        scene.gate.close()
        scene.gate = scene.before(standby)
        # A standby is waited for, without an alarm.
        outcome = scene.once()
        assert outcome.code == 2 and "during recovery" in outcome.said and not outcome.alarmed, outcome.said
        scene.cluster.stop("immediate")
        with standby.connect() as admin:
            admin.execute("SELECT pg_promote()")
            # The name of the segment says which timeline is written.
            wait_until(lambda: not admin.execute("SELECT pg_is_in_recovery()").fetchone()[0], "the promotion", PATIENCE)
        outcome = scene.once()
        assert outcome.word() == "alarms" and "is another one" in outcome.said, outcome.said
        scene.cluster = scene.vault.cluster = standby
        assert not scene.unlocked()
        assert "forgotten" in scene.command("forget-database").stdout
        assert scene.once().code == 0, scene.said
        scene.again()
        scene.grow()
        assert scene.once().code == 0, scene.said
        scene.whole()
    finally:
        standby.destroy()


@pytest.mark.long
def test_a_database_that_was_restored_older_is_not_signed_for(scene):
    scene = scene()
    scene.grow()
    assert scene.once().code == 0
    scene.vault.admin.close()
    scene.cluster.stop()
    backup = scene.cluster.dir / "backup"
    run_as_owner("cp", "-a", scene.cluster.data, backup)
    scene.cluster.start()
    assert scene.once().code == 0, scene.said
    scene.again()
    scene.grow()
    assert scene.once().code == 0, scene.said
    anchors, _ = scene.store.anchors()
    scene.vault.admin.close()
    scene.cluster.stop()
    shutil.rmtree(scene.cluster.data)
    run_as_owner("mv", backup, scene.cluster.data)
    scene.cluster.start()
    for _ in range(2):
        outcome = scene.once()
        assert outcome.word() == "stops" and '"code":"shorter"' in outcome.said, outcome.said
    worker = scene.start()
    assert worker.says("refused", PATIENCE)["code"] == "shorter"
    scene.again()
    # Growing past the anchored size makes it no better.
    for _ in range(4):
        scene.grow()
    worker.stop()
    outcome = scene.once()
    assert outcome.word() == "stops" and '"code":"rewritten"' in outcome.said, outcome.said
    assert scene.store.anchors()[0] == anchors


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_the_disk_of_the_database_is_full(scene, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "none", str(place)], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    shutil.chown(place, "postgres")
    try:
        scene = scene()
        scene.vault.admin.close()
        scene.cluster.stop()
        data, elsewhere = scene.cluster.data, place / "data"
        run_as_owner("mv", data, elsewhere)
        run_as_owner("ln", "-s", elsewhere, data)
        scene.cluster.start()
        worker = scene.start()
        scene.again()
        scene.await_anchor(scene.size() - 1)
        filler = place / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        # Its WAL may have room left in a segment: this is written until there is none.
        with contextlib.suppress(Exception):
            for _ in range(400):
                scene.vault.sql("SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))")
        wait_until(lambda: worker.events("anchor") + worker.events("database"), f"it to be told; {scene.logs()[-2000:]}", PATIENCE)
        filler.unlink()

        def back() -> bool:
            # Without room for its log it ends, and does not come back by itself.
            if not scene.cluster.running():
                scene.cluster.start()
            return scene.unlocked()

        wait_until(back, "it to be unlocked", 100)
        scene.vault.admin = scene.cluster.connect(row_factory=dict_row)
        scene.grow()
        scene.await_anchor(scene.size() - 1, 120)
        scene.rest()
        assert '"alarm":true' not in scene.logs() and not worker.events("refused")
        scene.whole()
    finally:
        scene.cluster.destroy()
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.long
@pytest.mark.parametrize("request_, when", [("generate", "before"), ("generate", "after"), ("enrol", "before"), ("enrol", "after")])
def test_a_new_key_that_was_made_or_not(scene, request_, when):
    """Whether it was made shows at the next attempt: one waits already, or it is made then. Either way there is one, and it can be used."""
    scene = scene()
    scene.switch.arm(Fault(request_, when, "cut"))
    done = scene.command("enrol", "dek")
    assert scene.switch.hit and done.returncode == 2, done
    done = scene.command("enrol", "dek")
    assert done.returncode == (2 if (request_, when) == ("enrol", "after") else 0), done
    assert scene.once().code == 0
    with scene.cluster.connect(LOGIN) as conn:
        assert conn.execute("SELECT identity.key_rotate('dek')").fetchone() == (2,)
    scene.grow()
    assert scene.once().code == 0
    scene.whole()
