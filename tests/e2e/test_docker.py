"""What the containers are made from fits together. Building and starting them takes an engine: docker/README.md says what was tried."""

import re
import shutil
import subprocess

from monitoring import MONITORING, promtool
from s3 import ROOT
from worker import BARE, PROGRAM

DOCKER = ROOT / "docker"


def test_what_is_copied_is_there_and_not_left_out():
    files = (DOCKER / "Dockerfile").read_text()
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored and all((ROOT / each).exists() for each in kept)
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)$", files, re.M) for word in line.split()[:-1] if word != "."]
    assert len(copied) >= 6
    for each in copied:
        assert (ROOT / each).exists(), each
        assert any(each == root or each.startswith(f"{root}/") for root in kept), each
    # What the build reads.
    members = re.search(r"^members = \[(.*)\]$", (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    for each in [*re.findall(r'"([^"]+)"', members), "src", "sql", "scripts"]:
        assert any(each == root or each.startswith(f"{root}/") for root in kept), each
    version = re.search(r"^default_version = '([^']+)'", (ROOT / "identity_pgx.control").read_text(), re.M).group(1)
    assert f"identity_pgx--{version}.sql" in files


def test_the_workers_configuration_is_understood():
    done = subprocess.run([PROGRAM, "--config", DOCKER / "worker.toml", "check-config"], env=BARE, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[0].endswith("worker.toml: ok: understood"), done.stdout


def test_prometheus_understands_its_configuration(tmp_path):
    for file in (DOCKER / "prometheus.yml", MONITORING / "alerts.yml"):
        shutil.copy(file, tmp_path)
    assert "SUCCESS" in promtool("check", "config", tmp_path / "prometheus.yml")


def test_keys_are_made_once_and_nobody_else_may_read_them(tmp_path):
    state, public = tmp_path / "state", tmp_path / "public"
    state.mkdir()
    public.mkdir()
    script = (DOCKER / "keys.sh").read_text().replace("/var/lib/anchor-worker", str(state)).replace("/public/", f"{public}/")

    def run() -> dict:
        subprocess.run(["bash", "-c", script], env=BARE | {"PATH": f"{PROGRAM.parent}:{BARE['PATH']}"}, check=True, capture_output=True, timeout=60)
        return {file.name: file.read_text() for file in [*state.iterdir(), *public.iterdir()]}

    first = run()
    assert run() == first
    assert all(file.stat().st_mode & 0o077 == 0 for file in state.iterdir())
    named = re.findall(r'_file = "/var/lib/anchor-worker/([a-z0-9.]+)"', (DOCKER / "worker.toml").read_text())
    assert set(named) <= set(first) and len(named) == 4
    assert re.fullmatch(r"identity_pgx\.worker_public_key = '[0-9a-f]{64}'\n", first["worker.conf"])
    # Cut off between the two files of the one key, it makes both again.
    (public / "worker.conf").unlink()
    second = run()
    assert second["worker.conf"] != first["worker.conf"] and second["unlock.key"] != first["unlock.key"] and second["kek.key"] == first["kek.key"]


def test_nothing_is_published_beyond_this_machine():
    text = (DOCKER / "compose.yml").read_text()
    ports = re.search(r"^    ports:\n((?:      - .+\n)+)", text, re.M).group(1).split()
    assert text.count("ports:") == 1 and text.count("network_mode") == 1
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports if port != "-")
