"""The table of faults, as test_table.py plays it and as it is printed."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from gates import Fault

OUTCOMES = ("unharmed", "goes on", "alarms", "starts again", "stops")


@dataclass(frozen=True)
class Cell:
    """One fault at one place, and what has to come of it."""

    effect: str
    faults: tuple[Fault, ...]
    outcome: str
    locked: bool
    check: bool

    @property
    def fault(self) -> Fault:
        return self.faults[-1]

    def __str__(self) -> str:
        return f"{self.effect}, {self.fault.when}: {self.fault.how}"


def _cells(row: dict) -> list[Cell]:
    first = tuple(Fault(*row["first"].split()) for _ in range(1) if "first" in row)
    played, cells = set(row.get("check", [])), []
    for when in ("before", "after"):
        for how, outcome in row.get(when, {}).items():
            assert outcome in OUTCOMES, (row["effect"], outcome)
            fault = Fault(row["request"], when, how, row.get("nth", 1))
            check = f"{when} {how}" in played
            played.discard(f"{when} {how}")
            cells.append(Cell(row["effect"], (*first, fault), outcome, row.get("locked", False), check))
    assert not played, (row["effect"], played)
    return cells


def cells() -> list[Cell]:
    rows = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["row"]
    return [cell for row in rows for cell in _cells(row)]


def printed(outcomes: dict[tuple[str, str, str], str]) -> list[str]:
    """One line for each effect and time: each fault with what came of it."""
    lines, places = [], {}
    for (effect, when, how), outcome in outcomes.items():
        places.setdefault((effect, when), {}).setdefault(outcome, []).append(how)
    for (effect, when), found in places.items():
        told = "; ".join(f"{outcome}: {', '.join(hows)}" for outcome, hows in found.items())
        happened = "did not happen" if when == "before" else "did happen"
        lines.append(f"{effect:<26} {happened:<15} {told}")
    return lines
