"""Where notices arrive: an HTTPS server and a mail server, both with real certificates, that do what a test tells them."""

import asyncio
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

SECRET = "a secret of more than sixteen letters"


def context(certificate: tuple) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*certificate)
    return made


class Hook:
    """A webhook. `behave` is called for each POST with the handler, and answers by itself; without it everything is taken."""

    def __init__(self, certificate: tuple):
        self.received: list[tuple] = []
        self.others: list[str] = []
        self.behave = None
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.received.append((self.headers, body))
                if hook.behave:
                    hook.behave(self)
                else:
                    self.answer(200)

            def do_GET(self):
                hook.others.append(self.command)
                self.answer(405)

            do_HEAD = do_GET

            def answer(self, status: int, headers: dict | None = None, body: bytes = b""):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket = context(certificate).wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def told(self, kind: str) -> list[dict]:
        return [payload for payload in self.payloads() if payload.get("event_kind") == kind]

    def payloads(self) -> list[dict]:
        return [json.loads(body) for _, body in self.received]

    def verified(self, headers, body: bytes) -> dict:
        """As the documentation has receivers do it."""
        parts = dict(part.split("=", 1) for part in headers["X-Identity-Signature"].split(","))
        assert abs(time.time() - int(parts["t"])) < 300
        expected = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(expected, parts["v1"])
        return json.loads(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Mail:
    """A mail server of aiosmtpd: TLS from the beginning or by STARTTLS, and a login if there is a password."""

    def __init__(self, certificate: tuple, starttls: bool = True, password: str | None = None, refuse: str | None = None):
        self.received: list = []
        mail, tls = self, context(certificate)

        class Handler:
            async def handle_DATA(self, server, session, envelope):
                if refuse:
                    return refuse
                mail.received.append((envelope.mail_from, envelope.rcpt_tos, message_from_bytes(envelope.content), session.authenticated))
                return "250 taken"

        def known(server, session, envelope, mechanism, data):
            good = isinstance(data, LoginPassword) and data.login == b"worker" and data.password == (password or "").encode()
            return AuthResult(success=good, handled=False)

        options = {"authenticator": known, "auth_required": True} if password else {}
        if starttls:
            options |= {"tls_context": tls, "require_starttls": True}
        elif password:
            # It does not know that the connection is encrypted already.
            options |= {"auth_require_tls": False}

        # Not aiosmtpd's controller: it connects to itself to see whether it is up, and trusts no certificate of ours.
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)
        listening = self.loop.create_server(lambda: SMTP(Handler(), loop=self.loop, **options), "127.0.0.1", 0, ssl=None if starttls else tls)
        self.port = self.loop.run_until_complete(listening).sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Raw:
    """A server that speaks as the test has it: `speak(connection)`, for each that comes."""

    def __init__(self, speak):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heard: list[bytes] = []
        self.speak = speak
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection) -> None:
        connection.settimeout(20)
        try:
            with connection:
                self.speak(self, connection)
        except OSError:
            pass

    def hear(self, connection) -> bytes:
        said = connection.recv(4096)
        self.heard.append(said)
        return said

    def close(self) -> None:
        self.listener.close()
