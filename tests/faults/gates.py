"""Gates between the worker and what it talks to: PostgreSQL, an S3 store, Vault. What passes has a name, and at the chosen one something goes wrong."""

import json
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from key_services import Answer as VaultAnswer
from lying_store import Answer, CutOff, LyingStore
from vault_transit import Refused

SLOW = 2
# Longer than the worker waits for an answer: 30 s for HTTP, 60 s for a statement.
LATE = {"http": 33, "postgresql": 63}
NONSENSE = b"<Nonsense>\xff{"
ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>m</Message></Error>"
CODES = {
    301: "PermanentRedirect",
    307: "TemporaryRedirect",
    400: "AuthorizationHeaderMalformed",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "SlowDown",
    507: "InsufficientCapacity",
}


@dataclass(frozen=True)
class Fault:
    request: str
    when: str
    how: str
    nth: int = 1


class Switch:
    """Which fault is due, and at which request of that name. Several come one after another."""

    def __init__(self):
        self.lock = threading.Lock()
        self.worker = None
        self.seen: list[str] = []
        # Until when something that is late may still arrive.
        self.until = 0.0
        # How the store's requests are told apart: what the round has done so far.
        self.phase = ""
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self.pending: list[Fault] = []
            self.passed: Counter[str] = Counter()

    def arm(self, *faults: Fault) -> None:
        self.clear()
        with self.lock:
            self.pending = list(faults)

    @property
    def hit(self) -> bool:
        return not self.pending

    def meets(self, name: str) -> Fault | None:
        """A request of this name is there. The fault that it meets, if one is due."""
        with self.lock:
            self.seen.append(name)
            if name in ("seal", "sign", "put"):
                self.phase = name
            if not self.pending or self.pending[0].request != name:
                return None
            self.passed[name] += 1
            if self.passed[name] < self.pending[0].nth:
                return None
            self.passed.clear()
            return self.pending.pop(0)

    def wait(self, how: str, where: str) -> None:
        seconds = SLOW if how == "slow" else LATE[where]
        # And a moment for what is done then.
        self.until = time.monotonic() + seconds + SLOW
        time.sleep(seconds)

    def kill(self) -> None:
        process = self.worker
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


# -- S3 ------------------------------------------------------------------------


class StoreGate(LyingStore):
    """Before a real store, by its requests' names: those after the signature begin with `put-`, those after the PUT with `back-`."""

    def __init__(self, upstream_port: int, switch: Switch):
        super().__init__(upstream_port)
        self.switch, self.lie = switch, self.pass_on

    def name(self, request) -> str:
        if request.what == "versions":
            place = request.query["prefix"][0]
            name = "list" if place.endswith("/") else "look"
        else:
            place, name = request.path, {"get": "body"}.get(request.what, request.what)
        if "/checkpoints/" not in place:
            return f"elsewhere: {name}"
        where = {"sign": "put-", "put": "back-"}.get(self.switch.phase, "")
        return name if name in ("put", "list") else where + name

    def pass_on(self, request, forward):
        name = self.name(request)
        fault = self.switch.meets(name)
        if fault is None:
            return forward()
        if fault.how == "doubled":
            assert forward().status == 200
            return forward()
        answer = forward() if fault.when == "after" else None
        match fault.how:
            case "slow" | "late":
                self.switch.wait(fault.how, "http")
                return answer or forward()
            case "kill":
                self.switch.kill()
                raise CutOff
            case "cut":
                raise CutOff
            case "half":
                # The headers are those of an answer to what was asked; of its text a part is missing.
                raise CutOff(answer or Answer(200, {}, b"x" * 100), after=10)
            case "garbage":
                return Answer(200, {"content-type": "application/xml"}, NONSENSE)
            case "empty":
                return Answer(200, {"content-type": "application/xml"}, b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>")
        status = int(fault.how)
        return Answer(status, {"content-type": "application/xml"}, ERROR.format(CODES[status]).encode())


# -- Vault ---------------------------------------------------------------------


class VaultGate:
    """Within the server, which is a part of the tests anyway."""

    def __init__(self, state, switch: Switch):
        self.state, self.switch = state, switch
        state.intercept = self.pass_on

    @staticmethod
    def name(request) -> str:
        parts = urlsplit(request.path).path.removeprefix("/v1/").split("/")
        names = {"decrypt": "unwrap", "datakey": "generate", "sign": "sign", "keys": "key"}
        return names.get(parts[1], "") if parts[0] == "transit" else parts[-1]

    def pass_on(self, request) -> VaultAnswer | None:
        fault = self.switch.meets(self.name(request))
        if fault is None:
            return None
        answer = self.served(request) if fault.when == "after" else None
        match fault.how:
            case "slow" | "late":
                self.switch.wait(fault.how, "http")
                return answer
            case "kill":
                self.switch.kill()
                return VaultAnswer(0)
            case "cut":
                return VaultAnswer(0)
            case "half":
                return VaultAnswer(200, b'{"data":', (("Content-Length", "4000"),))
            case "garbage":
                return VaultAnswer(200, NONSENSE)
        return VaultAnswer(int(fault.how), b'{"errors":["so it goes"]}')

    def served(self, request) -> VaultAnswer:
        try:
            status, data = self.state.serve(request)
        except Refused as refused:
            return VaultAnswer(refused.status, json.dumps({"errors": refused.errors}).encode())
        return VaultAnswer(status, b"" if data is None else json.dumps(data).encode())
