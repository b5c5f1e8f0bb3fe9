"""docs/lying-database.md, cell by cell: what is done to the log, and who finds it."""

import tempfile
from pathlib import Path

import pytest

from audited import audit as outside, audit_login
from clock import Clock
from cluster import Cluster, root_dir
from identityctl import shown
from ledger import seal
from liar import Liar, anchor, committed, history, signer_of
from vault import Vault, read

PAGE = Path(__file__).resolve().parents[2] / "docs/lying-database.md"
ATTACKS = {
    "nothing": "nothing",
    "alter a row": "alter",
    "delete a row": "delete",
    "insert a row": "insert",
    "reorder two rows": "reorder",
    "swap two values": "swap",
    "truncate the tail of a lane": "truncate",
    "truncate it while the server runs": "truncate_remembered",
    "fork a lane": "fork",
    "hide a rolled-back row": "hide",
    "drop a partition": "drop",
    "drop a partition and forge its expiry": "drop_as_expired",
    "roll the tree back": "roll_back",
    "rewrite it all": "rewrite",
}
KEYED = " and re-MAC"
HOUR = 1 / 24
INSIDE = ["never sealed", "sealed", "sealed and anchored"]
OUTSIDE = ["identityctl", "identityctl --checkpoint"]


def table() -> dict[tuple[str, str], set[str]]:
    """The cells of the page: (what is done, column) → the checks that find it."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|---")]
    return {
        (row[0].replace("`", ""), column): set() if cell in ("–", "") else {word.strip(" `") for word in cell.split(",")}
        for row in rows
        for column, cell in zip(head[1:], row[1:])
    }


CELLS = table()


@pytest.fixture(scope="module")
def told():
    """A vault with a history, shared: each lie is told in a transaction that is rolled back."""
    cluster = Cluster("l")
    try:
        vault = Vault(cluster.start().install())
        vault.signer = signer_of(vault)
        vault.marks = history(vault, vault.signer)
        vault.verify()
        yield vault
    finally:
        cluster.destroy()


def test_the_page_has_every_lie():
    assert {what.removesuffix(KEYED) for what, _ in CELLS} == set(ATTACKS) - {"nothing"} | {"move the clock"}


def lie(vault, what: str, sealed: bool = True, anchored: bool = True) -> None:
    liar = Liar(vault, vault.marks)
    with liar.unguarded():
        if not anchored:
            liar.forget_anchors()
        if not sealed:
            liar.unseal()
        getattr(liar, ATTACKS[what.removesuffix(KEYED)])()
        if what.endswith(KEYED):
            liar.chain()


def found(vault, anchored: bool = True) -> set[str]:
    checks = {row["check_name"] for row in vault.findings() if not row["ok"]}
    # Where there never were anchors, none was recorded; here they were taken away first, and what was recorded of them shows that.
    return checks if anchored else checks - {"anchors"}


@pytest.mark.parametrize("column", INSIDE)
@pytest.mark.parametrize("what", sorted({what for what, _ in CELLS} - {"move the clock"}))
def test_in_the_database(told, what, column):
    before = told.sql("SELECT * FROM identity.pii_access_log ORDER BY access_id")
    with told.admin.transaction(force_rollback=True):
        # What only the seals, or only the anchors, would show is looked for with and without them.
        lie(told, what, sealed=column != INSIDE[0], anchored=column == INSIDE[2])
        if "tree" not in what:
            assert told.sql("SELECT * FROM identity.pii_access_log ORDER BY access_id") != before, "the lie was not told"
        assert found(told, column == INSIDE[2]) == CELLS[what, column]
    told.verify()


@pytest.fixture(scope="module")
def audited(told):
    audit_login(told)
    return told


def audit(vault, *arguments) -> set[str]:
    """The checks of `identityctl verify database` that find something; it reads what is committed."""
    answer = outside(vault, *arguments)
    bad = {line["check"] for line in answer["checks"] if line["state"] == "bad"}
    assert answer["result"] == ("bad" if bad else "good"), shown(answer)
    return bad


@pytest.mark.parametrize("what", sorted({what for what, _ in CELLS} - {"move the clock"}))
def test_from_outside(audited, what, tmp_path):
    """The liar has taken the anchors out of the database, too; one checkpoint was kept elsewhere."""
    vault, note = audited, tmp_path / "checkpoint"
    note.write_text(vault.marks.note)
    checkpoint = ["--checkpoint", note, "--key", vault.signer.vkey]
    assert audit(vault) == audit(vault, *checkpoint) == set()
    with committed(vault):
        lie(vault, what, anchored=False)
        assert [audit(vault), audit(vault, *checkpoint)] == [CELLS[what, column] for column in OUTSIDE]
    assert audit(vault) == set()


def test_a_clock_that_is_moved_while_rows_are_written(fresh, monkeypatch, tmp_path):
    """Nothing is rewritten: the rows are the server's own."""
    clock = Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)
    vault = Vault(fresh())
    subject = vault.subject()
    with vault.gateway() as gateway:
        read(gateway, subject)
        clock.set(-HOUR)
        read(gateway, subject)
    assert found(vault) == CELLS["move the clock", INSIDE[0]]
    seal(vault)
    # Rows of before the step now lie after their seal.
    assert found(vault) == CELLS["move the clock", INSIDE[1]]
    signer = signer_of(vault)
    kept = anchor(vault, signer)
    assert found(vault) == CELLS["move the clock", INSIDE[2]]
    # The record of the anchor, an hour old by any other clock.
    seal(vault)
    audit_login(vault)
    (note := tmp_path / "checkpoint").write_text(kept)
    assert audit(vault) == CELLS["move the clock", OUTSIDE[0]]
    assert audit(vault, "--checkpoint", note, "--key", signer.vkey) == CELLS["move the clock", OUTSIDE[1]]
    clock.set(0)
    assert {row["detail"].split(":")[-2].strip() for row in vault.findings() if row["check_name"] == "clock" and not row["ok"]} >= {"the clock went back"}


@pytest.mark.parametrize("column", INSIDE)
def test_no_lie_is_found_where_none_was_told(told, column):
    with told.admin.transaction(force_rollback=True):
        lie(told, "nothing", sealed=column != INSIDE[0], anchored=column == INSIDE[2])
        assert found(told, column == INSIDE[2]) == set()
        if column != INSIDE[2]:
            assert found(told) == {"anchors"}, "that anchors were taken away is found as well"
