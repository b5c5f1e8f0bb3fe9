"""Retention policies: written by DBAs as plain DML, checked, numbered, on the chain, and compared by verification."""

import psycopg
import pytest

from consent import template
from retention import BAD, POLICY, changes, no_policies, policy, schedule
from test_install import GROUPS
from vault import reason_of, refused, said


@pytest.fixture
def dba(vault):
    no_policies(vault)
    with vault.connect(vault.login("identity_dba")) as conn:
        yield conn
    no_policies(vault)
    vault.verify()


def test_each_change_is_numbered_recorded_and_verified(vault, dba):
    version, later = schedule(vault), None
    dba.execute(POLICY, ("general", "general", 700, version))
    dba.execute("UPDATE identity.retention_policies SET days = 600 WHERE vertical = 'general'")
    vault.verify()
    later = schedule(vault)
    dba.execute("UPDATE identity.retention_policies SET schedule_version = %s WHERE vertical = 'general'", (later,))
    dba.execute("DELETE FROM identity.retention_policies WHERE vertical = 'general'")
    found = changes(vault, "general")[-4:]
    said_of = [(row["state"], row["days"], row["schedule_version"]) for row in found]
    assert said_of == [("set", 700, version), ("set", 600, version), ("set", 600, later), ("removed", None, None)]
    numbers = [row["change_no"] for row in found]
    assert numbers == list(range(numbers[0], numbers[0] + 4)) and {row["changed_by"] for row in found} == {dba.info.user}
    rows = vault.leaves(dba, committed=4)
    assert [row["access_id"] for row in rows] == [row["access_id"] for row in found]
    assert all(row["accessor_kind"] == "retention_policy" and row["chain_kind"] == "merkle" and row["event_digest"] for row in rows)


def test_many_rows_in_one_statement_are_numbered_in_their_order(vault, dba):
    version = schedule(vault)
    dba.execute(
        "INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) SELECT v, 'general', 100, %s FROM unnest('{general,finance,other}'::text[]) v",
        (version,),
    )
    dba.execute("UPDATE identity.retention_policies SET days = days + 1")
    rows = vault.sql("SELECT vertical, days FROM identity.retention_policy_changes ORDER BY change_no DESC LIMIT 6")
    assert {(row["vertical"], row["days"]) for row in rows} == {(v, d) for v in ("general", "finance", "other") for d in (100, 101)}


def test_a_change_that_changes_nothing_is_none(vault, dba):
    policy(vault, "finance", 90)
    before, count = vault.sql("SELECT * FROM identity.retention_policies"), len(changes(vault, "finance"))
    dba.execute("UPDATE identity.retention_policies SET days = 90 WHERE vertical = 'finance'")
    dba.execute(f"{POLICY} ON CONFLICT DO NOTHING", ("finance", "general", 5, before[0]["schedule_version"]))
    assert vault.sql("SELECT * FROM identity.retention_policies") == before and len(changes(vault, "finance")) == count
    vault.leaves(dba)


@pytest.mark.parametrize(
    "vertical, kind, days",
    [
        ("general", "biometric", 1096),
        ("general", "biometric", 36500),
        ("general", "biometric", 0),
        ("general", "general", 0),
        ("general", "general", -1),
        ("general", "general", 36501),
        ("general", "general", None),
        ("everything", "general", 30),
        (None, "general", 30),
        ("general", "all", 30),
        ("general", "", 30),
    ],
)
def test_a_policy_of_the_wrong_form_is_refused(vault, dba, vertical, kind, days):
    version = schedule(vault)
    refused(dba, f"{POLICY} RETURNING 1", (vertical, kind, days, version), *BAD)
    assert not vault.sql("SELECT FROM identity.retention_policies")
    vault.leaves(dba, denied=1)


def test_biometrics_are_kept_three_years_at_most(vault, dba):
    dba.execute(POLICY, ("general", "biometric", 1095, schedule(vault)))
    refused(dba, "UPDATE identity.retention_policies SET days = 1096 RETURNING 1", None, *BAD)
    assert vault.sql("SELECT days FROM identity.retention_policies") == [{"days": 1095}]
    with vault.cluster.connect() as admin, pytest.raises(psycopg.errors.CheckViolation):  # past the trigger, the table itself refuses
        admin.execute("BEGIN; ALTER TABLE identity.retention_policies DISABLE TRIGGER checked; UPDATE identity.retention_policies SET days = 1096")


@pytest.mark.parametrize("kind", ["general", "biometric", None])
def test_a_policy_needs_a_published_schedule(vault, dba, kind):
    version = template(vault, kind) if kind else "no-such-version"
    refused(dba, f"{POLICY} RETURNING 1", ("general", "general", 30, version), *BAD)
    refused(dba, f"{POLICY} RETURNING 1", ("general", "general", 30, None), *BAD)
    policy(vault)
    refused(dba, "UPDATE identity.retention_policies SET schedule_version = %s RETURNING 1", (version,), *BAD)


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE identity.retention_policies SET vertical = 'finance'",
        "UPDATE identity.retention_policies SET kind = 'biometric', days = 100",
        "UPDATE identity.retention_policies SET changed_by = 'somebody'",
        "INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version, changed_by, changed_at) SELECT 'other', kind, days, schedule_version, 'x', now() FROM identity.retention_policies",
        "TRUNCATE identity.retention_policies",
        "INSERT INTO identity.retention_policy_changes SELECT * FROM identity.retention_policy_changes",
        "UPDATE identity.retention_policy_changes SET days = 1",
        "DELETE FROM identity.retention_policy_changes",
    ],
)
def test_what_the_triggers_say_is_not_the_dbas_to_say(vault, dba, attempt):
    policy(vault)
    everything = "SELECT (SELECT json_agg(p) FROM identity.retention_policies p)::text AS p, (SELECT json_agg(c) FROM identity.retention_policy_changes c)::text AS c"
    before = vault.sql(everything)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        dba.execute(attempt)
    assert vault.sql(everything) == before


def test_a_superuser_cannot_move_a_policy_nor_truncate(vault, dba):
    policy(vault)
    with vault.cluster.connect() as admin:
        refused(admin, "UPDATE identity.retention_policies SET vertical = 'finance' RETURNING 1", None, *BAD)
        for replication_role in ("origin", "replica"):
            admin.execute(f"SET session_replication_role = {replication_role}")
            for table in ("retention_policies", "retention_policy_changes"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
                    admin.execute(f"TRUNCATE identity.{table}")
                assert reason_of(caught.value)[1] == "append_only"


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
def test_a_superusers_change_is_recorded_like_any_other(vault, dba, replication_role):
    policy(vault, days=50)
    with vault.cluster.connect() as admin:
        admin.execute(f"SET session_replication_role = {replication_role}")
        admin.execute("UPDATE identity.retention_policies SET days = 40")
    assert (changes(vault, "general")[-1]["days"], changes(vault, "general")[-1]["changed_by"]) == (40, "postgres")


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "identity_dba"] + ["nobody"])
def test_nobody_else_writes_policies(vault, dba, group):
    version = policy(vault, days=50)
    with vault.connect(vault.login(*([] if group == "nobody" else [group]))) as conn:
        for attempt in (
            f"INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES ('other', 'general', 1, '{version}')",
            "UPDATE identity.retention_policies SET days = 1",
            "DELETE FROM identity.retention_policies",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(attempt)
    assert [row["days"] for row in vault.sql("SELECT days FROM identity.retention_policies")] == [50]


TAMPERING = {
    "set without a record": ("UPDATE identity.retention_policies SET days = 1", "general policy of general"),
    "removed without a record": ("DELETE FROM identity.retention_policies", "general policy of general"),
    "added without a record": (
        "INSERT INTO identity.retention_policies SELECT 'finance', kind, days, schedule_version, changed_by, changed_at FROM identity.retention_policies",
        "general policy of finance",
    ),
    "another author": ("UPDATE identity.retention_policies SET changed_by = 'counsel'", "general policy of general"),
    "a record rewritten": (
        "UPDATE identity.retention_policies SET days = 1; UPDATE identity.retention_policy_changes SET days = 1 WHERE change_no = (SELECT max(change_no) FROM identity.retention_policy_changes)",
        "not the one that was recorded",
    ),
    "a record removed": (
        "DELETE FROM identity.retention_policy_changes WHERE change_no = (SELECT max(change_no) FROM identity.retention_policy_changes)",
        "recorded changes of the policies are not there",
    ),
    "a record invented": (
        "INSERT INTO identity.retention_policy_changes SELECT change_no + 1, 7, 'finance', kind, 'removed', NULL, NULL, changed_by, changed_at FROM identity.retention_policy_changes ORDER BY change_no DESC LIMIT 1",
        "not the one that was recorded",
    ),
}


@pytest.mark.parametrize("attempt, finding", TAMPERING.values(), ids=TAMPERING)
def test_verification_names_what_was_written_past_the_triggers(vault, dba, attempt, finding):
    policy(vault, days=50)
    vault.verify()
    tables = ("retention_policies", "retention_policy_changes")
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        for table in tables:
            admin.execute(f"ALTER TABLE identity.{table} DISABLE TRIGGER ALL")
        admin.execute(attempt)
        for table in tables:
            names = admin.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = ('identity.' || %s)::regclass", (table,)).fetchall()
            for (name,) in names:
                admin.execute(f"ALTER TABLE identity.{table} ENABLE ALWAYS TRIGGER {name}")
        wrong = [row for row in admin.execute("SELECT check_name, detail FROM identity.ledger_verify(true) WHERE NOT ok").fetchall() if row[0] != "unsealed"]
    assert {row[0] for row in wrong} == {"retention"} and any(finding in row[1] for row in wrong), wrong


@pytest.mark.parametrize("trigger", ["checked", "recorded", "append_only"])
def test_a_guard_that_was_taken_off_is_named(vault, dba, trigger):
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute(f"ALTER TABLE identity.retention_policies DISABLE TRIGGER {trigger}")
        wrong = admin.execute("SELECT detail FROM identity.ledger_verify() WHERE NOT ok AND check_name = 'guards'").fetchall()
    assert any("retention_policies" in row[0] for row in wrong)


def test_two_dbas_number_one_after_the_other(vault, dba):
    policy(vault, "finance", 40)
    with vault.connect(vault.login("identity_dba")) as other:
        dba.execute("BEGIN; UPDATE identity.retention_policies SET days = 41")
        other.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(POLICY, ("other", "general", 1, schedule(vault)))
        dba.execute("ROLLBACK")
        other.execute("UPDATE identity.retention_policies SET days = 42")
    numbers = [row["change_no"] for row in vault.sql("SELECT change_no FROM identity.retention_policy_changes ORDER BY 1")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_error_carries_a_value(vault, dba):
    error = refused(dba, f"{POLICY} RETURNING 1", ("Zebedee", "Zebedee", 99, "Zebedee"), *BAD)
    assert "Zebedee" not in said(error)
