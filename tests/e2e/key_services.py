"""Key services for tests: the test server of Vault's API, MiniStack, and the program that speaks to them."""

import atexit
import base64
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import hvac
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "vault"))

from certificates import Authority  # noqa: E402
from vault_server import Answer, Server, State  # noqa: E402

__all__ = ["Answer", "Authority", "Refused", "Server", "State", "VaultService", "Worker", "documented", "forms", "secret", "toml"]
_program: Path | None = None


def program() -> Path:
    """The example of anchor-worker that takes commands, built once."""
    global _program
    if _program is None:
        command = ["cargo", "build", "--quiet", "--locked", "-p", "anchor-worker", "--example", "key_services"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=900)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        _program = target / "debug" / "examples" / "key_services"
    return _program


def secret(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.chmod(0o600)
    path.write_text(text)
    return path


def toml(table: dict) -> str:
    def value(item) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{name} = {value(member)}" for name, member in item.items()) + " }"
        return str(item) if isinstance(item, int) else json.dumps(str(item))

    return "".join(f"[{section}]\n" + "".join(f"{name} = {value(item)}\n" for name, item in members.items()) for section, members in table.items())


class Refused(AssertionError):
    def __init__(self, answer: dict):
        super().__init__(answer)
        self.kind, self.text = answer["trouble"], answer["text"]


class Worker:
    """The program with one configuration; it keeps its sessions from command to command."""

    def __init__(self, directory: Path, environment: dict | None = None, **sections):
        self.directory = directory / f"worker-{secrets.token_hex(4)}"
        self.directory.mkdir()
        config = self.directory / "config.toml"
        config.write_text(toml(sections))
        self.log = self.directory / "log"
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | (environment or {})
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program(), config], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        atexit.register(self.close)

    def __call__(self, *words) -> dict:
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the program ended:\n{self.log.read_text()[-4000:]}"
        answer = json.loads(line)
        if "trouble" in answer:
            raise Refused(answer)
        return answer

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(30)


def forms(*secrets_: bytes | str) -> list[bytes]:
    """How a secret could stand in a log: as it is, in hex, in base 64, and each as the list of numbers that Rust prints bytes as."""
    found = []
    for item in secrets_:
        raw = item.encode() if isinstance(item, str) else item
        for form in (raw, raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw)):
            found += [form, ", ".join(map(str, form)).encode()]
    return found


def documented(page: str, title: str) -> str:
    """A block of JSON in a page of docs/howto: what is documented is what is tested."""
    text = (ROOT / "docs" / "howto" / page).read_text()
    _, block = text.split(f"`{title}`:\n\n```json\n", 1)
    return block.split("```", 1)[0]


def refuses(worker: Worker, kind: str, *words) -> str:
    with pytest.raises(Refused) as refused:
        worker(*words)
    assert refused.value.kind == kind, refused.value
    return refused.value.text


class VaultService:
    """A server with the keys, the policy of docs/howto/vault.md, and a role that has it."""

    def __init__(self, directory: Path, namespace: str = "", ttl: str = "3600s", max_ttl: str = "0", renewable: bool = True):
        self.directory, self.namespace = directory, namespace
        self.state = State()
        self.authority = Authority(directory)
        self.server = Server(self.state, *self.authority.server())
        if namespace:
            self.client("").adapter.post(f"/v1/sys/namespaces/{namespace}")
        admin = self.client(namespace)
        admin.sys.enable_secrets_engine("transit")
        admin.sys.enable_auth_method("approle")
        admin.secrets.transit.create_key("identity-kek", key_type="aes256-gcm96", derived=True)
        admin.secrets.transit.create_key("identity-checkpoints", key_type="ed25519")
        admin.sys.create_or_update_acl_policy("anchor-worker", documented("vault.md", "anchor-worker.json"))
        admin.auth.approle.create_or_update_approle(
            "anchor-worker",
            token_policies=["anchor-worker"],
            token_ttl=ttl,
            token_max_ttl=max_ttl,
            token_type="service" if renewable else "batch",
        )
        self.role_id = admin.auth.approle.read_role_id("anchor-worker")["data"]["role_id"]
        self.secret_id = admin.auth.approle.generate_secret_id("anchor-worker")["data"]["secret_id"]
        self.secret_id_file = secret(directory / f"secret-id-{secrets.token_hex(4)}", self.secret_id)
        self.admin = admin
        self.transit = self.state.namespaces[namespace].engines["transit"]

    def client(self, namespace: str, token: str | None = None) -> hvac.Client:
        return hvac.Client(
            url=self.server.address, token=token or self.state.root_token, verify=str(self.authority.file), namespace=namespace or None, timeout=20
        )

    def section(self, key: str = "identity-kek", **changed) -> dict:
        section = {"provider": "vault", "address": self.server.address, "ca_file": self.authority.file, "key": key}
        if self.namespace:
            section["namespace"] = self.namespace
        section["auth"] = {"method": "approle", "role_id": self.role_id, "secret_id_file": self.secret_id_file}
        return section | changed

    def worker(self, **changed) -> Worker:
        return Worker(self.directory, kek=self.section(**changed), signer=self.section("identity-checkpoints"))

    def logins(self) -> int:
        return sum(request.path.endswith("/login") for request in self.state.requests)

    def secrets(self) -> list[bytes]:
        """Whatever must be in no log: the tokens, the role's secret, the keys."""
        return forms(self.secret_id, *self.state.tokens, *(version for key in self.transit.keys.values() for version in key.versions))

    def close(self) -> None:
        self.server.close()
