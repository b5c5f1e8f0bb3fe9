"""Each check of ledger_verify finds its own kind of damage, with the guards back in place as a careful intruder leaves them."""
import pytest

from vault import read


@pytest.fixture
def damaged(vault, gateway):
    """Runs a statement with one table's triggers off, puts them back, verifies, and takes everything back. Returns the failed checks."""
    subject = vault.subject()
    ids = [read(gateway, subject) for _ in range(5)]
    log = vault.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log WHERE access_id = %s", (ids[2],))[0]["name"]

    def damage(statement: str, table: str = log) -> set[str]:
        triggers = [row["tgname"] for row in vault.sql("SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", (table,))]
        with vault.admin.transaction(force_rollback=True):
            vault.sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            vault.sql(statement.format(log=log, id=ids[2], first=ids[0], last=ids[-1]))
            for trigger in triggers:
                vault.sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
            return {row["check_name"] for row in vault.findings() if not row["ok"]}

    yield damage
    vault.verify()


def test_guards_put_back_leave_nothing_to_find(damaged):
    assert damaged("SELECT 1") == set()


@pytest.mark.parametrize("statement", [
    "UPDATE {log} SET candidate_id = gen_random_uuid() WHERE access_id = {id}",
    "UPDATE {log} SET purpose_token = 'x' WHERE access_id = {id}",
    "UPDATE {log} SET integrity_hash = sha256(integrity_hash) WHERE access_id = {id}",
    "DELETE FROM {log} WHERE access_id = {id}",
], ids=["candidate", "purpose", "mac", "deleted"])
def test_damage_in_a_lane_is_found_by_its_chain(damaged, statement):
    assert damaged(statement) == {"chain"}


def test_a_lane_cut_short_is_found_by_its_head(damaged):
    assert damaged("DELETE FROM {log} WHERE access_id = {last}") == {"heads"}


@pytest.mark.parametrize("statement", [
    "ALTER TABLE {log} DISABLE TRIGGER append_only",
    "ALTER TABLE {log} ENABLE TRIGGER append_only",
    "ALTER TABLE identity.purpose_versions ENABLE REPLICA TRIGGER append_only",
    "ALTER TABLE identity.purpose_versions DISABLE TRIGGER supersede_only",
    "ALTER TABLE identity.caller_revocations DISABLE TRIGGER append_only",
    "ALTER TABLE identity.caller_revocations NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE identity.subjects NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE identity.subjects DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE identity.pii_access_log DISABLE ROW LEVEL SECURITY",
])
def test_a_guard_taken_away_is_found(vault, damaged, statement):
    log = vault.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log LIMIT 1")[0]["name"]
    with vault.admin.transaction(force_rollback=True):
        vault.sql(statement.format(log=log))
        assert {row["check_name"] for row in vault.findings() if not row["ok"]} == {"guards"}


@pytest.mark.parametrize("statement, table", [
    ("UPDATE identity.purpose_versions SET allowed_fields = '{{ssn}}', phi_access = true WHERE purpose_token = 't.contact'", "identity.purpose_versions"),
    ("UPDATE identity.purpose_versions SET allowed_roles = '{{identity_gateway,identity_dba}}' WHERE purpose_token = 't.contact'", "identity.purpose_versions"),
    ("UPDATE identity.purpose_definitions SET allowed_fields = '{{ssn}}' WHERE purpose_token = 't.contact'", "identity.purpose_definitions"),
], ids=["fields", "roles", "definition"])
def test_a_purpose_rewritten_is_found(damaged, statement, table):
    assert damaged(statement, table) == {"purposes"}


def test_a_version_widened_together_with_its_definition_is_found(vault, damaged):
    statement = """ALTER TABLE identity.purpose_definitions DISABLE TRIGGER ALL;
                   UPDATE identity.purpose_definitions SET allowed_fields = '{{ssn}}' WHERE purpose_token = 't.contact';
                   ALTER TABLE identity.purpose_definitions ENABLE ALWAYS TRIGGER append_only;
                   ALTER TABLE identity.purpose_definitions ENABLE ALWAYS TRIGGER purpose_changed;
                   UPDATE identity.purpose_versions SET allowed_fields = '{{ssn}}' WHERE purpose_token = 't.contact' AND superseded_at IS NULL"""
    assert damaged(statement, "identity.purpose_versions") == {"purposes"}
