"""Whoever owns the database can set a vertical by hand, or rewrite how it came about; the verifier names the subject or the row."""

import pytest

from test_review import review
from test_vertical import observe


@pytest.fixture
def told(vault, gateway):
    """A worker who was reviewed and then escalated by a text."""
    subject = vault.subject("unknown")
    with vault.connect(vault.login("identity_reviewer")) as reviewer:
        review(reviewer, subject, "general")
    observe(gateway, subject, "a registered nurse")
    return subject


def findings(vault, statement: str, params) -> list[str]:
    with vault.admin.transaction(force_rollback=True):
        vault.sql("ALTER TABLE identity.vertical_history DISABLE TRIGGER ALL")
        vault.sql(statement, params)
        vault.sql("ALTER TABLE identity.vertical_history ENABLE ALWAYS TRIGGER append_only")
        return [row["detail"] for row in vault.findings() if not row["ok"] and row["check_name"] == "verticals"]


def test_what_was_recorded_verifies(vault, told):
    vault.verify()


@pytest.mark.parametrize("vertical", ["general", "unknown", "other"])
def test_vertical_set_by_hand_is_found(vault, told, vertical):
    found = findings(vault, "UPDATE identity.subjects SET vertical = %s WHERE candidate_id = %s", (vertical, told.id))
    assert found == [f"subject {told.id}: its vertical is not the one that was last recorded"]


def test_cloud_route_of_a_registered_subject_opened_by_hand_is_found(vault, gateway):
    candidate = gateway.execute("""SELECT identity.pii_register('t.all', '{"name": "N"}')""").fetchone()[0]
    found = findings(vault, "UPDATE identity.subjects SET vertical = 'general' WHERE candidate_id = %s", (candidate,))
    assert found == [f"subject {candidate}: its vertical is not the one that was last recorded"]


@pytest.mark.parametrize(
    "change",
    ["before = 'other'", "after = 'finance'", "generation = generation + 1", "candidate_id = gen_random_uuid()", "source = 'other', note_digest = NULL"],
)
@pytest.mark.parametrize("kind", ["review", "escalation"])
def test_rewritten_history_is_found(vault, told, kind, change):
    of_this = "candidate_id = %s AND kind = %s"
    access_id = vault.sql(f"SELECT access_id FROM identity.vertical_history WHERE {of_this}", (told.id, kind))[0]["access_id"]
    found = findings(vault, f"UPDATE identity.vertical_history SET {change} WHERE {of_this}", (told.id, kind))
    assert found == [f"{access_id}: not the change that was recorded"]


def test_removed_history_is_found(vault, told):
    rows = vault.sql("SELECT access_id FROM identity.vertical_history WHERE candidate_id = %s ORDER BY 1", (told.id,))
    found = findings(vault, "DELETE FROM identity.vertical_history WHERE candidate_id = %s", (told.id,))
    assert sorted(found) == sorted(f"{row['access_id']}: a recorded change that the history has not" for row in rows)


@pytest.mark.parametrize("change", ["UPDATE identity.subject_texts SET content = 'another'", "DELETE FROM identity.subject_texts"])
def test_rewritten_note_is_found(vault, told, change):
    with vault.admin.transaction(force_rollback=True):
        vault.sql("ALTER TABLE identity.subject_texts DISABLE TRIGGER ALL")
        vault.sql(f"{change} WHERE candidate_id = %s", (told.id,))
        found = [row["detail"] for row in vault.findings() if not row["ok"] and row["check_name"] == "verticals"]
    assert len(found) == 1 and found[0].endswith(": its note is not the one that was recorded")
