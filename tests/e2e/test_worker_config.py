"""What anchor-worker says of its configuration, and what it never says."""

import subprocess

import pytest

from tlog import Signer
from worker import BARE, PROGRAM, Anchoring, grow


@pytest.fixture(scope="module")
def anchoring(quiet_ledger, tmp_path_factory):
    anchoring = Anchoring(quiet_ledger, tmp_path_factory.mktemp("worker"))
    yield anchoring
    anchoring.leave()


@pytest.fixture(autouse=True)
def as_it_was(anchoring):
    yield
    anchoring.configure()


def checked(anchoring, exit_code: int) -> list[str]:
    done = anchoring.command("check-config")
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_good_configuration_reaches_everything(anchoring):
    grow(anchoring.vault)
    anchoring.once()
    lines = checked(anchoring, 0)
    assert [line.split(": ")[1] for line in lines] == ["ok"] * 6
    origin = anchoring.opened(anchoring.notes()[max(anchoring.notes())]).origin
    assert any(line.startswith(f"signer: ok: anchors are verified with {origin}+") for line in lines)
    assert any("NOT immutable" in line for line in lines)


def test_whose_signatures_declare_an_incarnation_is_looked_at(anchoring, tmp_path):
    parties = tmp_path / "parties"
    anchoring.configure(anchoring.text() + f'[incarnations]\nparties = "{parties}"\n')
    assert any(line.startswith("incarnations: NOT OK") and "cannot be read" in line for line in checked(anchoring, 2))
    operator, counsel = Signer("operator.example", b"\x01" * 32), Signer("counsel.example", b"\x02" * 32)
    for text in ("", f"operator {operator.vkey}\n", f"operator {operator.vkey}\ncounsel {operator.vkey}\n"):
        parties.write_text(text)
        assert any("each with a verifier key of its own" in line for line in checked(anchoring, 2)), text
        assert anchoring.command("once").returncode == 2, "a worker that does not know whom to believe does not start"
    parties.write_text(f"operator {operator.vkey}\ncounsel {counsel.vkey}\n")
    assert f"incarnations: ok: declared by operator {operator.vkey} and counsel {counsel.vkey}" in checked(anchoring, 0)
    signer = Signer("counsel.example", anchoring.key.private_bytes_raw())
    parties.write_text(f"operator {operator.vkey}\ncounsel {signer.vkey}\n")
    assert any(line.startswith("incarnations: NOT OK: the key of the counsel also signs checkpoints") for line in checked(anchoring, 2))


def test_every_mistake_is_explained_with_its_line(anchoring):
    text = anchoring.text().replace('every = "1s"', 'every = "2h"\nevry = "1s"').replace("key_file", "key_fiel") + "[telemetry]\n"
    anchoring.configure(text)
    lines = checked(anchoring, 2)
    of = [line.split(": ", 1)[1] for line in lines]
    assert all(line.startswith(f"{anchoring.config}: ") for line in lines)
    for place, what in [
        ("line 3, column 2", "[signer] missing field `key_file`"),
        ("line 5, column 1", "[signer] key_fiel: unknown field `key_fiel`"),
        ("line 11, column 1", "[anchor] evry: unknown field `evry`"),
        ("line 12, column 2", "telemetry is not known here"),
    ]:
        assert any(line.startswith(place) and what in line for line in of), lines
    # The daemon says the same, and does not start.
    done = anchoring.command("run")
    assert done.returncode == 2 and "key_fiel" in done.stderr


@pytest.mark.parametrize(
    "change,said",
    [
        (('every = "1s"', 'every = "2h"'), "[anchor] every: must be from 1s to 1h"),
        (('every = "1s"', 'every = "soon"'), "[anchor] every: this is not a time"),
        (('every = "1s"', 'former_keys = ["x"]'), "[anchor] former_keys: holds what is no verifier key"),
        (('provider = "file"', 'provider = "gcp"'), "unknown variant `gcp`, expected one of `vault`"),
        (('kind = "directory"', "kind = directory"), "line 7, column"),
        (("[store]", "[stores]"), "[signer] needs [store]"),
        (("[database]", "[kek]"), "[database] is missing"),
        (("[anchor]", "[anchor"), "line 9"),
    ],
)
def test_a_mistake_is_explained(anchoring, change, said):
    anchoring.configure(anchoring.text().replace(*change))
    assert any(said in line for line in checked(anchoring, 2))


def test_a_file_that_is_not_there_is_a_mistake(anchoring):
    anchoring.config.unlink()
    assert "cannot be read" in checked(anchoring, 2)[0]


def test_what_cannot_be_reached_is_named_and_the_rest_is_still_looked_at(anchoring):
    text = anchoring.text().replace("host=", "host=/nowhere").replace(str(anchoring.store), "/nowhere")
    anchoring.key_file.chmod(0o644)
    anchoring.configure(text)
    lines = checked(anchoring, 2)
    anchoring.key_file.chmod(0o600)
    assert any(line.startswith("database: NOT OK: the server cannot be reached") for line in lines)
    assert any(line.startswith("signer: NOT OK") and "may be read by others" in line for line in lines)
    assert any(line.startswith("store: NOT OK") and "/nowhere is no directory" in line for line in lines)


def test_a_login_that_is_no_worker_is_named(anchoring):
    for login, said in [(anchoring.vault.auditor, "not a member of identity_worker"), ("postgres", "is a superuser")]:
        anchoring.configure(anchoring.text().replace(f"user={anchoring.vault.worker}", f"user={login}"))
        assert any(line.startswith("database: NOT OK") and said in line for line in checked(anchoring, 2))


def test_secrets_are_in_no_output(anchoring):
    secrets = ["hunter2", anchoring.key_file.read_text()]
    said = ""
    password = anchoring.text().replace("&user=", "&password=hunter2&user=")
    for text in [
        password,
        password.replace("host=", "host=/nowhere"),
        password.replace(f"user={anchoring.vault.worker}", "user=nobody"),
        password.replace("[database]", 'database = "hunter2"\n[x]'),
        password.replace("[store]", '[store]\npassword = "hunter2"'),
        anchoring.text().replace(str(anchoring.key_file), "hunter2\n"),
        anchoring.text().replace('every = "1s"', 'every = "hunter2"'),
    ]:
        anchoring.configure(text)
        for command in ("check-config", "once"):
            done = anchoring.command(command)
            said += done.stdout + done.stderr
    assert said and not any(secret in said for secret in secrets)


def test_a_new_key_is_made_once_and_readable_by_its_owner_alone(anchoring, tmp_path):
    file = tmp_path / "unlock.key"
    made = anchoring.command("new-key", file)
    assert made.returncode == 0
    name, value = made.stdout.strip().split(" = ")
    assert name == "identity_pgx.worker_public_key" and len(bytes.fromhex(value.strip("'"))) == 32
    assert file.stat().st_mode & 0o777 == 0o600 and len(bytes.fromhex(file.read_text().strip())) == 32
    assert file.read_text().strip() not in made.stdout + made.stderr
    before = file.read_text()
    assert anchoring.command("new-key", file).returncode == 2
    assert file.read_text() == before


def test_arguments_that_are_none_are_explained():
    done = subprocess.run([PROGRAM, "--config", "/x", "rnu"], env=BARE, capture_output=True, text=True)
    assert done.returncode == 2 and "unrecognized subcommand 'rnu'" in done.stderr
