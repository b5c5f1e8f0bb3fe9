"""A day of anchors in minutes: 144 and more, a second apart, while people read and everything goes wrong at random. At its end there is no gap."""

import contextlib
import os
import random
import threading
import time
from collections import Counter

import psycopg
import pytest

from cluster import wait_until
from gates import Fault
from scene import S3, Scene
from vault import RESOLVE

ROUNDS = 144
SEED = int(os.environ.get("IDENTITY_SEED", "20261122"))

# What can happen at a request, before or after it is done. Nothing of it is anybody's fault, so nothing of it may be told with an alarm.
REQUESTS = {
    "seal": ["cut", "kill", "slow", "53100"],
    "checkpoint": ["cut", "kill"],
    "consistency": ["cut", "kill"],
    "record": ["cut", "kill", "slow"],
    "list": ["cut", "half", "kill", "403", "500", "503"],
    "look": ["cut", "half", "500"],
    "retention": ["cut", "500"],
    "body": ["cut", "half", "500"],
    "sign": ["cut", "kill", "429", "500", "503"],
    "put": ["cut", "kill", "slow", "403", "412", "500", "503"],
    "back-look": ["cut", "kill", "500"],
    "back-body": ["cut", "half", "kill"],
}
LONGER = ["restart", "crash", "wipe", "sealed", "another worker", "session"]


class Day:
    def __init__(self, scene: Scene):
        self.scene, self.chosen, self.over = scene, random.Random(SEED), threading.Event()
        self.read, self.refused, self.happened = 0, Counter(), Counter()
        role = scene.vault.login("identity_gateway", "identity_zone_onbox")
        self.traffic = threading.Thread(target=self.people, args=(role,), daemon=True)
        self.traffic.start()

    def people(self, role: str) -> None:
        """Reads, whenever they can; who is refused asks again."""
        while not self.over.is_set():
            try:
                with self.scene.cluster.connect(user=role) as conn:
                    while not self.over.is_set():
                        conn.execute(RESOLVE, (self.scene.subject.id, "t.all", ["name"]))
                        self.read += 1
                        time.sleep(0.05)
            except psycopg.Error as error:
                self.refused[error.sqlstate] += 1
                time.sleep(0.2)

    # -- what goes wrong ---------------------------------------------------------
    def something(self) -> None:
        if self.chosen.random() < 0.15:
            what = self.chosen.choice(LONGER)
            self.happened[what] += 1
            return self.longer(what)
        request = self.chosen.choice(sorted(REQUESTS))
        how = self.chosen.choice(REQUESTS[request])
        # What answers before it is done did not do it; only the connection and the worker can break after that.
        after = self.chosen.random() < 0.5 and (how in ("cut", "kill", "slow") or (request, how) in (("put", "412"), ("put", "500")))
        when = "after" if after else "before"
        self.happened[how] += 1
        self.scene.switch.arm(Fault(request, when, how))
        with contextlib.suppress(AssertionError):
            # Some requests are not made in every round.
            wait_until(lambda: self.scene.switch.hit, "the fault", 3)
        self.scene.switch.clear()

    def longer(self, what: str) -> None:
        scene, state = self.scene, self.scene.keys.state
        match what:
            case "restart" | "crash":
                scene.vault.admin.close()
                if what == "restart":
                    scene.cluster.restart(self.chosen.choice(["fast", "immediate"]))
                else:
                    scene.cluster.kill()
                    scene.cluster.start()
                self.alive()
                scene.again()
            case "wipe":
                scene.wipe()
            case "sealed":
                state.sealed = True
                if self.chosen.random() < 0.5:
                    scene.wipe()
                time.sleep(3)
                state.sealed = False
            case "another worker":
                # They share the gates: whichever leads meets what comes next.
                scene.start()
            case "session":
                scene.vault.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'anchor-worker'")

    def alive(self) -> None:
        """A worker that was killed is started again, as a service would be; of several that run at most two stay."""
        running = [each for each in self.scene.started if each.process.poll() is None]
        for each in running[:-2]:
            assert each.stop() in (0, 2)
        if running:
            self.scene.switch.worker = running[-1].process
        else:
            self.scene.start()


@pytest.mark.long
def test_a_day(ministack, tmp_path):
    scene = Scene(tmp_path, S3.of_ministack(ministack), ttl="20s", max_ttl="60s")
    try:
        day = Day(scene)
        scene.start()
        started = time.monotonic()
        while len(scene.recorded()) < ROUNDS:
            assert time.monotonic() - started < 1500, (len(scene.recorded()), day.happened, scene.logs()[-3000:])
            if day.chosen.random() < 0.6:
                day.something()
            day.alive()
            with contextlib.suppress(psycopg.Error):  # locked, at this moment
                scene.vault.purpose()
            time.sleep(day.chosen.uniform(0, 1))
        day.over.set()
        day.traffic.join()
        scene.switch.clear()
        day.alive()
        scene.again()
        scene.grow()
        size = scene.size()
        scene.await_anchor(size, 120)
        scene.rest()
        said = scene.logs()
        assert '"alarm":true' not in said and '"event":"refused"' not in said, [line for line in said.splitlines() if '"alarm":true' in line][:5]
        anchors, doubled = scene.store.anchors()
        # A PUT that was cut off and done late has no record, and is of the same history.
        unrecorded = sorted(set(anchors) - set(scene.recorded()))
        scene.late += unrecorded
        gaps = sorted(set(scene.recorded()) - set(anchors))
        told = f"{len(anchors)} anchors, {len(gaps)} gaps, {len(doubled)} twice, {len(unrecorded)} unrecorded; {day.read} reads, {sum(day.refused.values())} refused; {dict(day.happened)}"
        print(told)
        (tmp_path / "day.txt").write_text(told)
        assert len(anchors) >= ROUNDS and not gaps and day.read > ROUNDS, told
        assert not unrecorded, told
        scene.whole()
    finally:
        scene.close()
