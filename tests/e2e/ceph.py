"""A Ceph RADOS Gateway: an S3 service that enforces Object Lock."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from s3 import ROOT, Service, free_ports

SCRIPT = ROOT / "tests" / "ceph" / "rgw.sh"


class Ceph(Service):
    def __init__(self):
        # Short: the names of its sockets lie below it.
        self.directory = Path(tempfile.mkdtemp(prefix="ceph", dir="/tmp"))
        self.port = free_ports(3)
        super().__init__(f"http://127.0.0.1:{self.port}", "default")

    def _run(self, command: str, *arguments) -> None:
        words = [SCRIPT, command, self.directory, *map(str, arguments)]
        # Its daemons keep what they inherit open: no pipes.
        with open(self.directory / "script.log", "ab") as log:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=170)
        if done.returncode:
            raise RuntimeError((self.directory / "script.log").read_text()[-4000:])

    def start(self) -> "Ceph":
        self._run("start", self.port)
        for user in ("owner", "worker"):
            self._run("user", user)
        return self

    def destroy(self) -> None:
        self._run("stop")
        shutil.rmtree(self.directory, ignore_errors=True)
