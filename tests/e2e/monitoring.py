"""A real Prometheus, its promtool, and what a worker tells them."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from cluster import wait_until
from s3 import ROOT, free_ports

MONITORING = ROOT / "monitoring"
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "tools" / "prometheus" / "usr" / "bin"
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
NAMES = re.compile(r"\bidentity_[a-z_]+")


def promtool(*arguments, stdin: str | None = None) -> str:
    done = subprocess.run([PROGRAMS / "promtool", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    return said


class Page:
    """What a worker says at one address."""

    def __init__(self, port: int):
        self.port = port

    def ask(self, path: str, method: str = "GET", host: str | None = None, timeout: float = 20) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, headers={"Host": host} if host else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def text(self) -> str:
        status, text = self.ask("/metrics")
        assert status == 200, text
        return text

    def numbers(self) -> dict[tuple, float]:
        return numbers(self.text())

    def is_there(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("/healthz")[0] in (200, 503)
        return False


def numbers(text: str) -> dict[tuple, float]:
    """Each sample once, by its name and labels."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.match(line).groups()
        key = (name, *sorted(LABEL.findall(labels or "")))
        assert key not in found, key
        found[key] = float(value)
    return found


class Prometheus:
    """Scrapes one worker every second, with the rules of this repository."""

    def __init__(self, directory: Path, target: int):
        self.port = free_ports(1)
        config = directory / "prometheus.yml"
        # JSON is YAML.
        job = {"job_name": "anchor-worker", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        everything = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config.write_text(json.dumps({"global": everything, "rule_files": [str(MONITORING / "alerts.yml")], "scrape_configs": [job]}))
        promtool("check", "config", config)
        self.log = directory / "prometheus.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
            )
        wait_until(self._ready, "Prometheus to be ready", 60)

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).status == 200
        return False

    def api(self, path: str, **parameters) -> dict:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=20) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def query(self, expression: str) -> list[dict]:
        return self.api("query", query=expression)["result"]

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Dashboard:
    """The dashboard of this repository."""

    # No row before the first time, or in a database with development keys only.
    SELDOM = frozenset(
        {
            "identity_key_age_seconds",
            "identity_worker_failures_total",
            "identity_worker_last_alarm_time_seconds",
            "identity_worker_last_unlock_time_seconds",
        }
    )

    def __init__(self):
        self.whole = json.loads((MONITORING / "grafana.json").read_text())
        self.panels = self.whole["panels"]

    def expressions(self) -> list[str]:
        """As Grafana would ask them."""
        targets = [target for panel in self.panels for target in panel.get("targets", [])]
        return [target["expr"].replace("$job", "anchor-worker").replace("$__rate_interval", "1m") for target in targets]
