"""Runs the command line as it is installed."""

import json
import os
import subprocess

from cluster import BINDIR

PROGRAM = BINDIR / "identityctl"
BARE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def run(*arguments, environment: dict | None = None, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], env=BARE | (environment or {}), capture_output=True, text=True, timeout=170, **kwargs
    )


def report(*arguments, environment: dict | None = None) -> dict:
    """The JSON report, whose shape and exit code are checked each time."""
    done = run(*arguments, "--json", environment=environment)
    assert done.stderr == "", done.stderr
    answer = json.loads(done.stdout)
    assert set(answer) == {"schema", "command", "result", "exit", "findings", "checks"}
    assert answer["schema"] == "identityctl/report/v1"
    assert answer["exit"] == done.returncode
    assert answer["exit"] == {"good": 0, "bad": 1, "unchecked": 2}[answer["result"]]
    assert all(set(line) == {"check", "state", "detail"} for line in answer["checks"])
    assert {line["state"] for line in answer["checks"]} <= {"good", "note", "unchecked", "bad"}
    return answer


def lines(answer: dict, state: str) -> list[str]:
    return [f"{line['check']}: {line['detail']}" for line in answer["checks"] if line["state"] == state]


def shown(answer: dict) -> str:
    """For the message of an assertion."""
    return "\n".join(f"{line['state']} {line['check']}: {line['detail']}" for line in answer["checks"])


def ends(exit_code: int, answer: dict) -> None:
    assert answer["exit"] == exit_code, shown(answer)
