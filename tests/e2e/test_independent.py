"""Programs that share no code with us read what we write. What the tests leave in the shared cluster is read at its end (conftest.py)."""

import re
import subprocess
import sys
from pathlib import Path

from independent import VERIFY, run_verifier
from vault import read

ROOT = Path(__file__).resolve().parents[2]


def test_frozen_vectors_agree():
    done = subprocess.run([sys.executable, VERIFY], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_independent_verifier_finds_every_row_good(vault, gateway):
    read(gateway, vault.subject())
    done = run_verifier(vault)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_independent_verifier_opens_an_envelope(vault):
    subject = vault.subject(name="Zoë Ångström", dob="1980-02-29")
    done = run_verifier(vault, "--open", str(subject.id))
    assert done.returncode == 0 and all(value in done.stdout for value in subject.pii.values()), done.stdout + done.stderr


def test_independent_verifier_finds_a_change(vault, fresh):
    from vault import Vault

    other = Vault(fresh())
    with other.gateway() as gateway:
        access_id = read(gateway, other.subject())
    assert run_verifier(other).returncode == 0
    other.sql("ALTER TABLE identity.pii_access_log DISABLE TRIGGER ALL")
    partition = other.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log WHERE access_id = %s", (access_id,))[0][
        "name"
    ]
    other.sql(f"ALTER TABLE {partition} DISABLE TRIGGER ALL")
    other.sql("UPDATE identity.pii_access_log SET vertical = 'other' WHERE access_id = %s", (access_id,))
    assert run_verifier(other).returncode == 1


def test_plain_psql_rebuilds_a_leaf(vault, gateway):
    """The query printed in docs/spec/leaf.md, run as it stands, gives the bytes that the verifier hashes."""
    sys.path.insert(0, str(VERIFY.parent))
    import formats

    page = (ROOT / "docs/spec/leaf.md").read_text()
    (query,) = [block for block in re.findall(r"```sql\n(.*?)```", page, re.S) if "pii_access_log" in block]
    access_id = read(gateway, vault.subject("healthcare"), fields=["name", "ssn"])
    done = subprocess.run(
        ["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"],
        input=query,
        env=vault.cluster.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rebuilt = dict(line.split("|", 1) for line in done.stdout.splitlines())
    (row,) = vault.rows(gateway.info.user, "access_id = %s", (access_id,))
    assert rebuilt[str(access_id)] == formats.leaf(row).decode()
