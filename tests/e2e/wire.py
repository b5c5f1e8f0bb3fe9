"""A client that speaks the PostgreSQL protocol by hand, so that a test can stop in the middle of it."""

import socket
import struct
from pathlib import Path


class Wire:
    def __init__(self, directory: Path, port: int, user: str, database: str):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(f"{directory}/.s.PGSQL.{port}")
        settings = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database))
        startup = struct.pack("!i", 196608) + settings + b"\0"
        self.socket.sendall(struct.pack("!i", len(startup) + 4) + startup)
        while self.receive()[0] != b"Z":
            pass

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        self.socket.sendall(kind + struct.pack("!i", len(payload) + 4) + payload)

    def receive(self) -> tuple[bytes, bytes]:
        head = self._exactly(5)
        kind, payload = head[:1], self._exactly(struct.unpack("!i", head[1:])[0] - 4)
        if kind == b"E":
            raise RuntimeError(payload.replace(b"\0", b" ").decode())
        return kind, payload

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def parse_bind_execute(self, query: str, *values: str, max_rows: int = 0) -> None:
        self.send(b"P", b"\0" + query.encode() + b"\0" + struct.pack("!h", 0))
        bound = b"".join(struct.pack("!i", len(value.encode())) + value.encode() for value in values)
        self.send(b"B", b"\0\0" + struct.pack("!hh", 0, len(values)) + bound + struct.pack("!h", 0))
        self.send(b"E", b"\0" + struct.pack("!i", max_rows))

    def flush(self) -> None:
        self.send(b"H")

    def sync(self) -> None:
        self.send(b"S")

    def data_row(self) -> bytes:
        while True:
            kind, payload = self.receive()
            if kind == b"D":
                return payload

    def hang_up(self) -> None:
        self.socket.close()
