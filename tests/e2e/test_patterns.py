"""The list of what a text is searched for: a DBA changes it, every session goes by it at once, and every change is on record."""

import os
import threading

import psycopg
import pytest

from test_vertical import observe
from vault import Vault, refused


def pattern(vault, dba, text: str, kind: str = "word") -> None:
    dba.execute("INSERT INTO identity.vertical_patterns (pattern, kind) VALUES (%s, %s)", (text, kind))


def word() -> str:
    return "zz" + os.urandom(6).hex().translate(str.maketrans("0123456789", "ghijklmnop"))


def test_pattern_binds_the_next_observe_of_every_open_session(vault):
    text, subjects = word(), [vault.subject() for _ in range(4)]
    sessions = [vault.gateway() for _ in range(2)]
    old = vault.gateway()
    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    for conn in (*sessions, old):
        assert observe(conn, subjects[0], text) == "general"
    with vault.connect(vault.dba) as dba:
        with dba.transaction():
            pattern(vault, dba, text)
            assert observe(sessions[0], subjects[0], text) == "general", "not yet committed"
        for conn, subject in zip((*sessions, old), subjects):
            assert observe(conn, subject, text) == "healthcare"
        dba.execute("UPDATE identity.vertical_patterns SET enabled = false WHERE pattern = %s", (text,))
        assert observe(sessions[0], subjects[3], text) == "general"
        dba.execute("UPDATE identity.vertical_patterns SET enabled = true WHERE pattern = %s", (text,))
        assert observe(sessions[1], subjects[3], text) == "healthcare"
    for conn in (*sessions, old):
        conn.close()


def test_change_that_is_rolled_back_leaves_no_list_behind(vault):
    """The numbers of a rolled-back change are given again; a list compiled under them must not be taken for the new one."""
    first, second = word(), word()
    both = vault.connect(vault.login("identity_dba", "identity_gateway", "identity_zone_onbox"))
    with both.transaction(force_rollback=True):
        pattern(vault, both, first)
        assert observe(both, vault.subject(), first) == "healthcare"
    with vault.connect(vault.dba) as dba:
        pattern(vault, dba, second)
    assert observe(both, vault.subject(), first) == "general"
    assert observe(both, vault.subject(), second) == "healthcare"
    both.close()


def test_every_change_of_a_pattern_is_recorded(vault):
    role, text = vault.login("identity_dba"), word()
    with vault.connect(role) as dba:
        pattern(vault, dba, text)
        for change in (
            "UPDATE identity.vertical_patterns SET enabled = false WHERE pattern = %s",
            "UPDATE identity.vertical_patterns SET enabled = false WHERE pattern = %s",  # no change
            "UPDATE identity.vertical_patterns SET kind = 'stem', enabled = true WHERE pattern = %s",
            "DELETE FROM identity.vertical_patterns WHERE pattern = %s",
        ):
            dba.execute(change, (text,))
        pattern(vault, dba, text)
    rows = vault.leaves(role, committed=5)
    assert {(row["accessor_kind"], row["chain_kind"]) for row in rows} == {("pattern_change", "merkle")}
    changes = vault.sql("SELECT change_no, kind, state, changed_by FROM identity.vertical_pattern_changes WHERE pattern = %s ORDER BY 1", (text,))
    assert [(row["kind"], row["state"]) for row in changes] == [
        ("word", "enabled"), ("word", "disabled"), ("stem", "enabled"), ("stem", "removed"), ("word", "enabled"),
    ]  # fmt: skip
    assert {row["changed_by"] for row in changes} == {role}
    vault.verify()


def test_removing_all_patterns_is_recorded_and_seen_by_nobody_else_before(fresh):
    vault = Vault(fresh())
    gateway, subject, other = vault.gateway(), vault.subject(), vault.subject()
    count = vault.sql("SELECT count(*)::int AS n FROM identity.vertical_patterns")[0]["n"]
    assert count > 50
    with vault.connect(vault.dba) as dba:
        dba.execute("DELETE FROM identity.vertical_patterns")
    assert observe(gateway, subject, "RN") == "general"
    kinds = [row["accessor_kind"] for row in vault.rows(vault.dba)]
    assert kinds.count("pattern_change") == count
    vault.verify()
    with vault.connect(vault.dba) as dba:
        pattern(vault, dba, "RN", "credential")
    assert observe(gateway, other, "RN") == "healthcare"
    gateway.close()


def test_seed_is_on_the_chain_and_a_list_changed_behind_its_back_is_found(fresh):
    vault = Vault(fresh())
    vault.verify()
    vault.sql("ALTER TABLE identity.vertical_patterns DISABLE TRIGGER pattern_changed")
    vault.sql("DELETE FROM identity.vertical_patterns WHERE pattern = 'RN'")
    vault.sql("ALTER TABLE identity.vertical_patterns ENABLE ALWAYS TRIGGER pattern_changed")
    wrong = [row["detail"] for row in vault.findings() if not row["ok"]]
    assert wrong == ['pattern "RN" is not what its last change says'], wrong
    vault.sql("ALTER TABLE identity.vertical_pattern_changes DISABLE TRIGGER append_only")
    vault.sql("UPDATE identity.vertical_pattern_changes SET state = 'removed' WHERE pattern = 'RN'")
    vault.sql("ALTER TABLE identity.vertical_pattern_changes ENABLE ALWAYS TRIGGER append_only")
    wrong = [row["detail"] for row in vault.findings() if not row["ok"]]
    assert len(wrong) == 1 and "is not the one that was recorded" in wrong[0], wrong


@pytest.mark.parametrize("kind, text", [
    ("word", "two words"), ("word", ""), ("word", "x"), ("word", "..."), ("word", "врачи"), ("stem", "nur"), ("phrase", "single"), ("credential", "rn"), ("credential", "R.N."), ("word", "x" * 101),
])  # fmt: skip
def test_malformed_patterns_are_refused(vault, kind, text):
    role = vault.login("identity_dba")
    with vault.connect(role) as dba:
        refused(dba, "INSERT INTO identity.vertical_patterns (pattern, kind) VALUES (%s, %s) RETURNING 1", (text, kind), "22023", "bad_argument")
    vault.leaves(role, denied=1)


def test_dba_forges_neither_author_nor_name_nor_history(vault):
    with vault.connect(vault.dba) as dba:
        text = word()
        for query in (
            f"INSERT INTO identity.vertical_patterns (pattern, kind, added_by) VALUES ('{text}', 'word', 'somebody')",
            f"INSERT INTO identity.vertical_patterns (pattern, kind, added_at) VALUES ('{text}', 'word', 'epoch')",
            "UPDATE identity.vertical_patterns SET added_by = 'somebody'",
            "UPDATE identity.vertical_patterns SET pattern = 'nurses2' WHERE pattern = 'nurses'",
            "TRUNCATE identity.vertical_patterns",
            "DELETE FROM identity.vertical_pattern_changes",
            "INSERT INTO identity.vertical_pattern_changes VALUES (1000000, gen_random_uuid(), 'x', 'word', 'removed', 'x', now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                dba.execute(query)
        pattern(vault, dba, text)
    row = vault.sql("SELECT added_by, added_at > now() - interval '1 minute' AS fresh FROM identity.vertical_patterns WHERE pattern = %s", (text,))[0]
    assert row == {"added_by": vault.dba, "fresh": True}
    for query in ("TRUNCATE identity.vertical_patterns", "UPDATE identity.vertical_pattern_changes SET state = 'removed'", "DELETE FROM identity.vertical_history"):
        with pytest.raises(psycopg.Error) as caught:
            vault.sql(query)
        assert caught.value.diag.message_detail == "reason: append_only"
    with pytest.raises(psycopg.Error) as caught:
        vault.sql("UPDATE identity.vertical_patterns SET pattern = 'renamed' WHERE pattern = %s", (text,))
    assert caught.value.diag.message_detail == "reason: bad_argument"


def test_changes_are_numbered_in_the_order_of_commits(vault):
    one, two = vault.connect(vault.dba), vault.connect(vault.login("identity_dba", name=f"t_second_{os.getpid()}"))
    first, second = word(), word()
    one.execute("BEGIN")
    pattern(vault, one, first)
    thread = threading.Thread(target=pattern, args=(vault, two, second))
    thread.start()
    vault.wait_backend(two.info.user, "wait_event_type = 'Lock'")
    one.execute("COMMIT")
    thread.join()
    rows = vault.sql("SELECT pattern FROM identity.vertical_pattern_changes WHERE pattern IN (%s, %s) ORDER BY change_no", (first, second))
    assert [row["pattern"] for row in rows] == [first, second]
    one.close()
    two.close()
