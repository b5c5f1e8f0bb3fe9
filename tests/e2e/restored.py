"""A vault that is restored from a backup behind its worker's back, and the two parties who may agree to that."""

import base64
import shutil
import subprocess
from pathlib import Path

from psycopg.rows import dict_row

from cluster import run_as_owner
from identityctl import report, run
from worker import Anchoring


class Party:
    """A key as openssl makes it, and what the other side knows of it."""

    def __init__(self, directory: Path, role: str):
        self.role, self.file, self.public = role, directory / f"{role}.pem", directory / f"{role}.pub"
        for command in (["genpkey", "-algorithm", "ed25519", "-out", self.file], ["pkey", "-in", self.file, "-pubout", "-out", self.public]):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        done = run("incarnation", "party", role, "--public-key", self.public, "--name", f"{role}.example")
        assert done.returncode == 0, done.stderr
        self.line = done.stdout

    def sign(self, document: Path, parties: Path) -> dict:
        return report("incarnation", "sign", document, "--parties", parties, "--key", self.file)

    def sign_by_openssl(self, document: Path, parties: Path) -> dict:
        """As docs/howto/incarnations.md has it, where no tool of ours is."""
        text, signature = document.with_suffix(".text"), document.with_suffix(".sig")
        text.write_text(document.read_text().split("\n\n")[0].rstrip("\n") + "\n")
        command = ["openssl", "pkeyutl", "-sign", "-inkey", self.file, "-rawin", "-in", text, "-out", signature]
        subprocess.run(command, check=True, capture_output=True)
        return report("incarnation", "sign", document, "--parties", parties, "--signature", signature, "--as", self.role)


class Restored(Anchoring):
    """Its worker has a directory for a store, and knows the parties."""

    def __init__(self, vault, directory: Path):
        self.operator, self.counsel = Party(directory, "operator"), Party(directory, "counsel")
        self.parties = directory / "parties"
        self.parties.write_text(self.operator.line + self.counsel.line)
        super().__init__(vault, directory)
        self.saved = 0

    def text(self) -> str:
        return super().text() + f'[incarnations]\nparties = "{self.parties}"\n'

    # -- the server -----------------------------------------------------------
    def back_up(self) -> Path:
        """The files of the stopped server."""
        cluster, self.saved = self.vault.cluster, self.saved + 1
        cluster.stop()
        copy = cluster.dir / f"backup{self.saved}"
        run_as_owner("cp", "-a", cluster.data, copy)
        cluster.start().unlock()
        self.again()
        return copy

    def restore(self, copy: Path) -> None:
        cluster = self.vault.cluster
        cluster.stop("immediate")
        shutil.rmtree(cluster.data)
        run_as_owner("cp", "-a", copy, cluster.data)
        cluster.start().unlock()
        self.again()

    def again(self) -> None:
        """The sessions of before are gone."""
        self.vault.admin = self.vault.cluster.connect(row_factory=dict_row)

    # -- what is declared -----------------------------------------------------
    def draft(self, name: str = "declaration") -> tuple[Path, dict]:
        file = self.directory / name
        answer = report("incarnation", "draft", "--config", self.config, "--reason", "restored from the backup of Sunday", "--output", file)
        return file, answer

    def signed(self, file: Path) -> Path:
        for answer in (self.operator.sign(file, self.parties), self.counsel.sign_by_openssl(file, self.parties)):
            assert answer["exit"] == 0, answer
        return file

    def declare(self, file: Path, exit_code: int = 0) -> str:
        done = self.command("declare", file)
        assert done.returncode == exit_code, done.stderr + done.stdout
        return done.stdout + done.stderr

    def declared(self) -> list[dict]:
        return self.vault.sql("SELECT * FROM identity.ledger_incarnations ORDER BY incarnation")

    def of(self, incarnation: int) -> Path:
        return self.store / "incarnations" / str(incarnation)

    @property
    def origin(self) -> str:
        """Of the log: that of its first incarnation."""
        return next(iter(self.notes().values())).split("\n", 1)[0]

    @property
    def vkey(self) -> str:
        public = b"\x01" + self.key.public_key().public_bytes_raw()
        return f"{self.origin}+{self.key_id(self.key, self.origin).hex()}+{base64.b64encode(public).decode()}"

    def verify(self, *arguments, parties: bool = True) -> dict:
        known = ["--parties", self.parties] if parties else []
        return report("verify", "anchors", "--directory", self.store, "--key", self.vkey, *known, *arguments)

