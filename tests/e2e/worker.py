"""Runs anchor-worker as it is installed, with a directory as its store and a key in a file as its signer."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cluster import BINDIR, wait_until
from ledger_tree import Checkpoint, recomputed, root

PROGRAM = BINDIR / "anchor-worker"
BARE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


class Running:
    """A worker that was started and not waited for."""

    def __init__(self, config: Path, log: Path, environment: dict | None = None):
        self.log = log
        # Each has a file of its own: what a killed one wrote stays.
        with open(log, "wb") as out:
            command = [PROGRAM, "--config", config, "--log", "json", "run"]
            self.process = subprocess.Popen(command, env=BARE | (environment or {}), stdout=out, stderr=out)

    def events(self, name: str) -> list[dict]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line.get("event") == name]

    def says(self, name: str, timeout: float = 20) -> dict:
        return wait_until(lambda: self.events(name), f"{name} in {self.log.read_text()[-1500:]}", timeout)[-1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


class Anchoring:
    """One store, one signer, and the workers that use them."""

    def __init__(self, vault, directory: Path, every: str = "1s"):
        self.vault, self.directory, self.every = vault, directory, every
        self.store = directory / "anchors"
        self.store.mkdir()
        self.url = f"postgresql:///identity?host={vault.cluster.dir}&port={vault.cluster.port}&user={vault.worker}"
        self.key = Ed25519PrivateKey.from_private_bytes(os.urandom(32))
        self.key_file = directory / "signer.key"
        self.key_file.write_text(self.key.private_bytes_raw().hex())
        self.key_file.chmod(0o600)
        self.config = directory / "config.toml"
        self.configure()
        self.started: list[Running] = []

    def text(self) -> str:
        return f"""[database]
url = "{self.url}"
[signer]
provider = "file"
key_file = "{self.key_file}"
[store]
kind = "directory"
path = "{self.store}"
[anchor]
every = "{self.every}"
"""

    def configure(self, text: str | None = None) -> None:
        self.config.write_text(text or self.text())

    # -- running it -----------------------------------------------------------
    def command(self, *arguments, timeout: int = 60) -> subprocess.CompletedProcess:
        return subprocess.run(
            [PROGRAM, "--config", self.config, "--log", "json", *arguments], env=BARE, capture_output=True, text=True, timeout=timeout
        )

    def once(self, exit_code: int = 0) -> str:
        done = self.command("once")
        assert done.returncode == exit_code, done.stderr + done.stdout
        return done.stderr

    def start(self) -> Running:
        running = Running(self.config, self.directory / f"log{len(self.started)}")
        self.started.append(running)
        return running

    def logs(self) -> str:
        return "".join(running.log.read_text() for running in self.started)

    def leave(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.kill()

    # -- what came of it ------------------------------------------------------
    def place(self, size: int) -> Path:
        return self.store / "checkpoints" / f"{size:020}"

    def notes(self) -> dict[int, str]:
        files = (self.store / "checkpoints").glob("[0-9]*[0-9]")
        return {int(file.name): file.read_text() for file in sorted(files)}

    def recorded(self) -> list[int]:
        rows = self.vault.sql("SELECT tree_size FROM identity.anchor_commits ORDER BY commit_id")
        return [row["tree_size"] for row in rows]

    def await_anchor(self, of_at_least: int = 1, timeout: float = 20) -> int:
        return wait_until(lambda: [size for size in self.recorded() if size >= of_at_least], f"an anchor; {self.logs()[-1500:]}", timeout)[-1]

    def size(self) -> int:
        rows = self.vault.sql("SELECT COALESCE(max(leaf_index) + 1, 0) AS n FROM identity.ledger_leaves")
        return rows[0]["n"]

    def check(self) -> None:
        """Every anchor is signed by our key, is of the tree that the log makes, and the database knows each of them once, in their order."""
        notes, tree = self.notes(), recomputed(self.vault)
        assert notes and self.recorded() == list(notes)
        for size, note in notes.items():
            now = self.opened(note)
            assert (now.size, now.root) == (size, root(tree[:size]))

    # -- notes ----------------------------------------------------------------
    def opened(self, note: str) -> Checkpoint:
        text, signatures = note.split("\n\n")
        (line,) = signatures.splitlines()
        checkpoint = Checkpoint.parse(text + "\n")
        dash, name, encoded = line.split(" ")
        signature = base64.b64decode(encoded)
        assert (dash, name, signature[:4]) == ("\u2014", checkpoint.origin, self.key_id(self.key, name))
        self.key.public_key().verify(signature[4:], (text + "\n").encode())
        return checkpoint

    @staticmethod
    def key_id(key: Ed25519PrivateKey, name: str) -> bytes:
        return hashlib.sha256(name.encode() + b"\n\x01" + key.public_key().public_bytes_raw()).digest()[:4]

    def note(self, checkpoint: Checkpoint, key: Ed25519PrivateKey | None = None) -> str:
        key, text = key or self.key, checkpoint.text()
        signature = self.key_id(key, checkpoint.origin) + key.sign(text.encode())
        return f"{text}\n\u2014 {checkpoint.origin} {base64.b64encode(signature).decode()}\n"

    def put(self, size: int, note: str) -> None:
        """As the worker itself would put it, lock and all."""
        place = self.place(size)
        place.parent.mkdir(exist_ok=True)
        for file in (place, Path(f"{place}.lock")):
            file.unlink(missing_ok=True)
        place.write_text(note)
        lock = {"sha256": hashlib.sha256(note.encode()).hexdigest(), "lock_until": "2040-01-01T00:00:00.000000Z"}
        Path(f"{place}.lock").write_text(json.dumps(lock))


def grow(vault, events: int = 2) -> None:
    """Rows with leaves of their own."""
    for _ in range(events):
        vault.purpose()


def pause(seconds: float) -> None:
    time.sleep(seconds)
