"""A proxy before a real store that lies where a real store cannot be made to."""

import http.client
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Answer:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""


class CutOff(Exception):
    """The connection ends; `after` bytes of the answer were sent."""

    def __init__(self, answer: Answer | None = None, after: int = 0):
        self.answer, self.after = answer, after


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: bytes

    @property
    def query(self) -> dict:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    @property
    def what(self) -> str:
        """`put`, `get`, `retention`, `versions`, `versioning`, `object-lock`."""
        named = [name for name in ("retention", "versions", "versioning", "object-lock") if name in self.query]
        return named[0] if named else self.method.lower()


class LyingStore:
    """`lie(request, forward)` gives the answer; `forward()` asks the real store."""

    def __init__(self, upstream_port: int):
        self.lie = lambda request, forward: forward()
        self.seen: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def serve(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                request = Request(self.command, self.path, dict(self.headers.items()), body)
                outer.seen.append(request)

                def forward() -> Answer:
                    upstream = http.client.HTTPConnection("127.0.0.1", upstream_port, timeout=60)
                    # With the name of this proxy as host: it is signed.
                    upstream.request(request.method, request.path, request.body, request.headers)
                    answer = upstream.getresponse()
                    headers = {name.lower(): value for name, value in answer.getheaders()}
                    return Answer(answer.status, headers, answer.read())

                try:
                    self.answer(outer.lie(request, forward))
                except CutOff as cut:
                    if cut.answer:
                        self.answer(cut.answer, cut.after)
                    self.close_connection = True
                    self.connection.close()

            def answer(self, answer: Answer, only: int | None = None):
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[:only])

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
