"""Programs that share no code with us read a cluster."""

import subprocess
import sys
from pathlib import Path

VERIFY = Path(__file__).resolve().parents[1] / "independent/verify.py"


def run_verifier(vault, *arguments) -> subprocess.CompletedProcess:
    dsn = f"host={vault.cluster.dir} port={vault.cluster.port} user=postgres dbname=identity"
    return subprocess.run([sys.executable, VERIFY, "--dsn", dsn, "--development", *arguments], capture_output=True, text=True)


def verify(vault) -> None:
    """Every row of the log is good to our own verification, to a Python program, and rebuilt in plain SQL."""
    vault.verify()
    for arguments in ([], ["--sql"]):
        done = run_verifier(vault, *arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
