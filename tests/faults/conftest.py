"""The machinery of tests/e2e, and the table's outcomes at the end of a run."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
E2E = HERE.parent / "e2e"
for place in (HERE, E2E):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
_spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)

pytest_configure = _shared.pytest_configure
pytest_collection_modifyitems = _shared.pytest_collection_modifyitems
pytest_runtest_makereport = _shared.pytest_runtest_makereport
pytest_unconfigure = _shared.pytest_unconfigure
deadline = _shared.deadline
fresh = _shared.fresh
ministack = _shared.ministack
ceph = _shared.ceph


@pytest.fixture
def scene(ministack, tmp_path):
    """scene(**changed) makes one; MiniStack is its store if no other is given."""
    from scene import S3, Scene

    made = []

    def make(**changed) -> Scene:
        store = changed.pop("store", None) or S3.of_ministack(ministack)
        made.append(Scene(tmp_path, store, **changed))
        return made[-1]

    yield make
    for each in made:
        each.close()


def pytest_terminal_summary(terminalreporter):
    """Where they were played, the cells stand in the output; and whole in a file."""
    from table import printed

    found = {}
    for state in ("passed", "failed"):
        for report in terminalreporter.stats.get(state, []):
            cell = dict(getattr(report, "user_properties", [])).get("cell")
            if cell and report.when == "call":
                found[tuple(cell[:3])] = cell[3] if state == "passed" else f"{cell[3]} (WRONG)"
    if not found:
        return
    lines = printed(found)
    terminalreporter.section("the table of faults")
    for line in lines:
        terminalreporter.write_line(line)
    if output := os.environ.get("OUTPUT"):
        Path(output, "faults.txt").write_text("\n".join(lines) + "\n")
