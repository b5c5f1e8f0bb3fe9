"""The table of faults: whatever goes wrong at whatever request of a round, there is no gap, nothing is there twice, and nobody is accused who did nothing."""

import pytest

from cluster import wait_until
from scene import PATIENCE, S3, Scene
from table import Cell, cells

CELLS = cells()


def of(check: bool | None = None) -> list:
    long = pytest.mark.long
    return [pytest.param(cell, id=str(cell), marks=() if cell.check else long) for cell in CELLS]


@pytest.fixture(scope="module")
def shared(ministack, tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("faults"), S3.of_ministack(ministack))
    yield scene
    scene.whole()
    scene.close()


@pytest.fixture
def table(shared):
    yield shared
    shared.rest()
    # What one cell has left wrong is told once, by that cell.
    shared.late = sorted(set(shared.store.anchors()[0]) - set(shared.recorded()))
    shared.forget()


def prepared(scene: Scene, cell: Cell) -> int:
    """Rows that wait for an anchor. How many there are in all."""
    scene.grow()
    if cell.locked:
        scene.wipe()
    return scene.rows()


@pytest.mark.parametrize("cell", of())
def test_once(table, cell, record_property):
    """A run for each fault: it meets the fault, and the next one has all that there is anchored."""
    rows = prepared(table, cell)
    table.switch.arm(*cell.faults)
    outcome = table.once()
    assert table.switch.hit, (table.switch.seen[-40:], table.said)
    record_property("cell", (cell.effect, cell.fault.when, cell.fault.how, outcome.word()))
    assert outcome.word() == cell.outcome, outcome.said
    table.switch.clear()
    last = table.once()
    assert last.code == 0, last.said
    assert table.sealed() >= rows and table.recorded()[-1] == table.size()
    table.in_order()


@pytest.mark.long
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_running(table, cell, record_property):
    """A worker that runs meets the fault, and catches up by itself, or after one start if it was killed."""
    if cell.effect == "Key":
        pytest.skip("a worker that runs knows the key: test_once")
    if cell.locked and cell.fault.request == "login":
        pytest.skip("a worker that runs is logged in: test_once")
    before, worker = len(table.late), table.start()
    table.await_anchor((table.recorded() or [0])[-1])
    prepared(table, cell)
    table.switch.arm(*cell.faults)
    wait_until(lambda: table.switch.hit, f"the fault; {table.logs()[-2000:]}", PATIENCE)
    size = table.size() if not cell.locked else 0
    if cell.outcome == "starts again":
        wait_until(lambda: worker.process.poll() is not None, "the worker's death", PATIENCE)
        table.start()
    elif cell.outcome == "stops":
        assert worker.says("refused", PATIENCE)["alarm"]
        stopped = table.recorded()
        table.grow()
        wait_until(lambda: len(worker.events("refused")) > 2, "it to refuse again", PATIENCE)
        assert table.recorded() == stopped
        worker.stop()
        table.start()
    if cell.locked:
        wait_until(table.unlocked, f"it to be unlocked; {table.logs()[-2000:]}", PATIENCE)
    table.grow()
    table.await_anchor(max(size, table.size()), 150)
    table.rest()
    said = worker.log.read_text()
    record_property("cell", (cell.effect, cell.fault.when, cell.fault.how, cell.outcome))
    assert ('"alarm":true' in said) == (cell.outcome in ("alarms", "stops")), said
    if cell.fault.how == "late":
        # The worker had given it up and anchored more; then it was done all the same.
        table.late += sorted(set(table.store.anchors()[0]) - set(table.recorded()))
        assert len(table.late) <= before + 1
    # A database that was found locked is trouble for anchors, whatever came of unlocking it.
    trouble = [event for name in ("anchor", "database") for event in worker.events(name)]
    assert cell.locked or bool(trouble) == (cell.outcome in ("goes on", "alarms")), said
    table.in_order()
