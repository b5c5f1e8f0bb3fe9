"""A server of the documented HTTP API of Vault, for tests. It is not a real Vault; README.md says what it has and what it leaves out."""

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vault_tokens import DEFAULT, DENIED, AppRole, Policy, Token
from vault_transit import Refused, Transit

MAX_REQUEST_BYTES = 1 << 20


@dataclass
class Request:
    method: str
    path: str
    namespace: str
    token: str
    body: dict


@dataclass
class Answer:
    """What a server that is not Vault, or is not well, would send."""

    status: int = 200
    body: bytes = b""
    headers: tuple = ()


class Namespace:
    def __init__(self):
        self.policies: dict[str, Policy] = {}
        self.engines: dict[str, Transit] = {}
        self.methods: dict[str, AppRole] = {}


class State:
    """What Vault keeps. Several servers may show the same."""

    def __init__(self):
        self.root_token = "hvs.root-of-the-tests"
        self.tokens: dict[str, Token] = {self.root_token: Token("", ["root"], 0, 0, False, self.root_token)}
        self.namespaces = {"": Namespace()}
        self.sealed = False
        self.requests: list[Request] = []
        # Called with each request before it is served; what it returns is sent instead.
        self.intercept = lambda request: None
        self.lock = threading.Lock()

    def serve(self, request: Request) -> tuple[int, dict | None]:
        self.requests.append(request)
        path = request.path.removeprefix("/v1/").strip("/")
        if path == "sys/seal-status":
            return 200, {"type": "shamir", "initialized": True, "sealed": self.sealed, "t": 1, "n": 1, "progress": 0, "version": "1.20.0-test-server"}
        if path == "sys/unseal":
            self.sealed = False
            return 200, {"sealed": False, "t": 1, "n": 1, "progress": 0}
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        name = request.namespace.strip("/")
        if name not in self.namespaces:
            raise Refused(404, "no handler for route")
        space = self.namespaces[name]
        match path.split("/"):
            case ["auth", *mount, "login"] if "/".join(mount) in space.methods:
                token = space.methods["/".join(mount)].login(name, request.body)
                self.tokens[token.id] = token
                return 200, {"auth": token.auth()}
        token = self._admitted(request, path, name, space)
        match path.split("/"), request.method:
            case ["auth", "token", "renew-self"], _:
                token.renew()
                return 200, {"auth": token.auth()}
            case ["auth", "token", "lookup-self"], _:
                return 200, {"data": token.data()}
            case ["auth", "token", "revoke-self"], _:
                del self.tokens[token.id]
                return 204, None
            case ["auth", "token", "create"], _:
                ttl = float(str(request.body.get("ttl", "3600")).rstrip("s"))
                made = Token(name, request.body.get("policies", []), ttl, 86400, request.body.get("renewable", True))
                self.tokens[made.id] = made
                return 200, {"auth": made.auth()}
            case ["sys", "seal"], _:
                self.sealed = True
                return 204, None
            case ["sys", "namespaces", *rest], _:
                self.namespaces["/".join([*filter(None, [name]), *rest])] = Namespace()
                return 200, {"data": {}}
            case ["sys", "policies", "acl", policy], _:
                space.policies[policy] = Policy(request.body["policy"])
                return 204, None
            case ["sys", "mounts", *mount], _:
                space.engines["/".join(mount)] = Transit()
                return 204, None
            case ["sys", "auth", *mount], _:
                space.methods["/".join(mount)] = AppRole()
                return 204, None
        tables = [("", space.engines), ("auth/", space.methods)]
        for prefix, mounts in tables:
            for mount, engine in mounts.items():
                if path.startswith(f"{prefix}{mount}/"):
                    data = engine.call(request.method, path.removeprefix(f"{prefix}{mount}/").split("/"), request.body)
                    return (204, None) if data is None else (200, {"data": data})
        raise Refused(404, "no handler for route")

    def _admitted(self, request: Request, path: str, name: str, space: Namespace) -> Token:
        token = self.tokens.get(request.token)
        if token is None or token.left() <= 0:
            raise DENIED
        if token.policies == ["root"]:
            return token
        if token.namespace != name:
            raise DENIED
        policies = [DEFAULT, *(space.policies[policy] for policy in token.policies if policy in space.policies)]
        if not any(policy.allows(request.method, path) for policy in policies):
            raise DENIED
        return token


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_REQUEST_BYTES:
            return self._send(Answer(413))
        text = self.rfile.read(length)
        try:
            body = json.loads(text) if text else {}
        except ValueError:
            return self._send(Answer(400, b'{"errors":["failed to parse JSON input"]}'))
        namespace, token = self.headers.get("X-Vault-Namespace", ""), self.headers.get("X-Vault-Token", "")
        request = Request(self.command, self.path, namespace, token, body)
        with self.state.lock:
            answer = self.state.intercept(request)
            if answer is None:
                try:
                    status, data = self.state.serve(request)
                    answer = Answer(status, b"" if data is None else json.dumps({"request_id": "test", **data}).encode())
                except Refused as refused:
                    answer = Answer(refused.status, json.dumps({"errors": refused.errors}).encode())
        return self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def _send(self, answer: Answer) -> None:
        self.close_connection = True
        if answer.status == 0:  # hangs up
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(answer.body)
        except OSError:
            pass  # whoever asked has heard enough

    def log_message(self, *_) -> None:
        pass


class Server:
    """Serves a state on 127.0.0.1, with TLS."""

    def __init__(self, state: State, certificate, key):
        self.state = state
        handler = type("Handler", (Handler,), {"state": state})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.handle_error = lambda *_: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"https://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
