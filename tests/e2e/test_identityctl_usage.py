"""What somebody in a hurry types: each mistake is named together with what would have been right, and is no all-clear."""

import subprocess
from pathlib import Path

import pytest

from identityctl import ends, lines, report, run, shown

SIGNER = Path(__file__).resolve().parents[2] / "docs/examples/checkpoint_key.sh"


@pytest.fixture(scope="module")
def vkey(tmp_path_factory):
    key = tmp_path_factory.mktemp("key") / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    return signer("vkey", key, "log.example").stdout.strip()


def signer(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([SIGNER, *map(str, arguments)], capture_output=True, text=True, input="")


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "Usage: identityctl <COMMAND>"),
        (["verify"], "bundle"),
        (["verify", "databse"], "'database'"),
        (["verify", "bundle"], "--key <VKEY>"),
        (["verify", "bundle", "b.json", "--key", "vkey"], '--key "$(cat FILE)"'),
        (["verify", "database", "--checkpoint", "c"], "--key <VKEY>"),
    ],
    ids=" ".join,
)
def test_arguments_that_are_none(arguments, says):
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == "" and says in done.stderr


@pytest.mark.parametrize(
    "url, says",
    [
        ("host=/nowhere", "at /nowhere/.s.PGSQL.5432"),
        ("postgresql://x@127.0.0.1:1/y?sslmode=disable", "at 127.0.0.1 port 1"),
        ("postgresql://x@127.0.0.1:1/y", "sslrootcert"),
        ("identity", "postgresql://user@host/database"),
        ("port=many", "postgresql://user@host/database"),
    ],
)
def test_a_server_that_is_not_there(url, says):
    answer = report("verify", "database", url)
    ends(2, answer)
    assert any(says in line for line in lines(answer, "unchecked")), shown(answer)


def test_files_that_are_not_there_are_named(vkey):
    answer = report("verify", "database", "host=/nowhere", "--checkpoint", "/nowhere/checkpoint", "--key", vkey)
    ends(2, answer)
    assert any("/nowhere/checkpoint" in line for line in lines(answer, "unchecked")), shown(answer)
    answer = report("verify", "bundle", "/nowhere/bundle.json", "--key", vkey)
    ends(2, answer)
    assert any("/nowhere/bundle.json" in line for line in lines(answer, "unchecked")), shown(answer)


def test_the_example_makes_no_key_of_what_is_none(tmp_path):
    other = tmp_path / "x.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "x25519", "-out", other], check=True, capture_output=True)
    (tmp_path / "text").write_text("no key\n")
    for arguments in (["vkey", tmp_path / "none", "n"], ["vkey", tmp_path / "text", "n"], ["vkey", other, "n"], ["sign", tmp_path / "none"]):
        done = signer(*arguments)
        assert (done.returncode, done.stdout) == (1, "") and "is no Ed25519 key" in done.stderr
    for arguments in ([], ["vkey", other], ["sign"]):
        done = signer(*arguments)
        assert (done.returncode, done.stdout) == (2, "") and "usage" in done.stderr
