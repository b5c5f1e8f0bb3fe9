"""A gate before PostgreSQL's Unix socket that knows enough of the protocol to act at one statement: before it is executed, or when its answer is there."""

import contextlib
import socket
import struct
import threading
from pathlib import Path

from gates import Fault, Switch

# A part of each statement's text (anchor-worker/src/database.rs, unlock/), and its name.
STATEMENTS = {
    b"identity.ledger_seal()": "seal",
    b"identity.ledger_checkpoint()": "checkpoint",
    b"identity.ledger_consistency(": "consistency",
    b"identity.anchor_record(": "record",
    b"pg_control_system()": "place",
    b"identity.key_status() s": "missing",
    b"identity.key_challenge()": "challenge",
    b"identity.key_load(": "load",
    b"identity.key_enrol(": "enrol",
}
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
READY = b"Z\x00\x00\x00\x05I"


def statement(text: bytes) -> str:
    return next((name for part, name in STATEMENTS.items() if part in text), "")


def read(connection: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = connection.recv(count)
        if not part:
            raise ConnectionError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def message(connection: socket.socket) -> bytes:
    """Its type, its length, and the rest."""
    head = read(connection, 5)
    return head + read(connection, struct.unpack("!I", head[1:])[0] - 4)


class Cut(Exception):
    """The connection ends here."""


class Link:
    """One connection: a thread for each direction."""

    def __init__(self, gate: "PgGate", client: socket.socket):
        self.switch, self.client = gate.switch, client
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(str(gate.upstream))
        self.names: dict[bytes, str] = {}
        # Answers end with ReadyForQuery: the first is that of the start, then there is one for each Sync and each simple query.
        self.asked, self.answered = 1, 0
        self.held: tuple[int, Fault] | None = None
        self.ready = threading.Condition()

    def run(self) -> None:
        with contextlib.suppress(OSError, ConnectionError):
            self.begin()
            threading.Thread(target=self.guarded, args=(self.back,), daemon=True).start()
            self.guarded(self.forth)
            return
        self.end()

    def guarded(self, direction) -> None:
        try:
            direction()
        except (OSError, ConnectionError, Cut):
            self.end()

    def end(self) -> None:
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self.ready:
            self.answered = 1 << 60
            self.ready.notify_all()

    def begin(self) -> None:
        while True:
            head = read(self.client, 8)
            length, code = struct.unpack("!II", head)
            rest = read(self.client, length - 8)
            if code not in (SSL_REQUEST, GSS_REQUEST):
                return self.server.sendall(head + rest)
            self.client.sendall(b"N")

    # -- from the worker -------------------------------------------------------
    def forth(self) -> None:
        while True:
            now = message(self.client)
            kind, rest = now[:1], now[5:]
            fault = None
            if kind == b"P":
                name, text = rest.split(b"\0")[:2]
                self.names[name] = statement(text)
            elif kind == b"B":
                fault = self.switch.meets(self.names.get(rest.split(b"\0")[1], ""))
            elif kind == b"Q":
                fault = self.switch.meets(statement(rest))
            if fault is not None and fault.when == "before":
                if self.before(fault, kind):
                    continue
            elif fault is not None:
                self.held = (self.asked + 1, fault)
            if kind in (b"S", b"Q"):
                self.asked += 1
            self.server.sendall(now)

    def before(self, fault: Fault, kind: bytes) -> bool:
        """Whether the statement stays here."""
        match fault.how:
            case "slow" | "late":
                self.switch.wait(fault.how, "postgresql")
                return False
            case "kill":
                self.switch.kill()
                raise Cut
            case "cut":
                raise Cut
        if kind == b"B":
            while message(self.client)[:1] != b"S":
                pass
        with self.ready:
            assert self.ready.wait_for(lambda: self.answered >= self.asked, 30)
        severity = b"FATAL" if fault.how == "57P01" else b"ERROR"
        fields = b"S" + severity + b"\0V" + severity + b"\0C" + fault.how.encode() + b"\0Mso it goes\0\0"
        self.client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)
        if severity == b"FATAL":
            raise Cut
        self.client.sendall(READY)
        return True

    # -- from PostgreSQL -------------------------------------------------------
    def back(self) -> None:
        kept = b""
        while True:
            now = message(self.server)
            held = self.held
            holds = held is not None and held[0] == self.answered + 1
            if holds:
                kept += now
            if now[:1] == b"Z":
                if holds:
                    self.held = None
                    self.after(held[1])
                    now, kept, holds = kept, b"", False
                with self.ready:
                    self.answered += 1
                    self.ready.notify_all()
            if not holds:
                self.client.sendall(now)

    def after(self, fault: Fault) -> None:
        match fault.how:
            case "slow" | "late":
                self.switch.wait(fault.how, "postgresql")
            case "kill":
                self.switch.kill()
                raise Cut
            case "cut":
                raise Cut


class PgGate:
    """Listens in a directory of its own, as PostgreSQL would."""

    def __init__(self, directory: Path, cluster, switch: Switch):
        self.directory, self.port, self.switch = directory, cluster.port, switch
        self.upstream = cluster.dir / f".s.PGSQL.{cluster.port}"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / f".s.PGSQL.{cluster.port}"))
        self.listener.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                try:
                    link = Link(self, client)
                except OSError:  # PostgreSQL is away
                    client.close()
                    continue
                threading.Thread(target=link.run, daemon=True).start()

    def close(self) -> None:
        # Closing alone does not wake who waits in accept().
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
