"""No one person widens a purpose alone, in whatever order the steps come; narrowing takes one, and is at once."""

import psycopg
import pytest

from approval import APPROVE, LATER, MUCH_LATER, NARROW, UPDATE, WIDE, opens, update, waits
from vault import read, refused, refused_read

UPSERT = """INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, daily_volume_cap)
            VALUES (%s, 'a test', %s, '{identity_gateway}', 100)
            ON CONFLICT (purpose_token) DO UPDATE SET allowed_fields = excluded.allowed_fields"""


SENSITIVE = {
    "ssn": {"fields": ["ssn"]},
    "dob": {"fields": ["dob"]},
    "phi": {"phi_access": True},
    "legal": {"fields": ["ssn"], "auth_tier": "legal"},
    "null_cap": {"daily_volume_cap": None},
    "cap_above_the_ceiling": {"daily_volume_cap": 10_001},
}


@pytest.mark.parametrize("name", SENSITIVE)
def test_sensitive_purpose_does_not_work_before_approval(vault, gateway, dba, approver, name):
    columns = {"fields": ["name"], "daily_volume_cap": 10_000} | SENSITIVE[name]
    token, fields = f"t.sensitive.{name}", columns.pop("fields")
    values = {"purpose_token": token, "description": "x", "allowed_fields": fields, "allowed_roles": ["identity_gateway"]} | columns
    dba.execute(f"INSERT INTO identity.purpose_definitions ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})", list(values.values()))
    refused_read(gateway, vault.subject(), "42501", "purpose_unapproved", token, fields)
    row = vault.leaves(gateway, denied=1)[0]
    assert (row["denial"], row["purpose_token"], row["purpose_version"]) == ("purpose_unapproved", token, None)
    approver.execute(APPROVE, (token, 1))
    if name == "legal":
        refused_read(gateway, vault.subject(), "42501", "tier", token, fields)
    else:
        assert opens(vault, gateway, token, fields[0]) is None


def test_what_is_not_sensitive_works_at_once(vault, gateway, dba, narrow):
    assert not waits(vault, narrow)
    update(dba, narrow, "allowed_fields = '{name,email,phone,address}', accepted_consent = '{given,expired}', daily_volume_cap = 10000")
    assert opens(vault, gateway, narrow, "address") is None


def test_narrowing_a_sensitive_purpose_is_at_once(vault, gateway, dba, wide):
    update(dba, wide, "allowed_fields = '{ssn}'", "daily_volume_cap = 50", "rate_limit_qps = 3", "description = 'fewer'")
    assert not waits(vault, wide) and opens(vault, gateway, wide) is None and opens(vault, gateway, wide, "name") == "field_not_allowed"


WIDENED = {
    "field": "allowed_fields = '{name,ssn,dob}'",
    "role": "allowed_roles = '{identity_gateway,identity_legal}'",
    "consent": "accepted_consent = '{given,withdrawn}'",
    "phi": "phi_access = true",
    "cap": "daily_volume_cap = 101",
    "no_cap": "daily_volume_cap = NULL",
    "rate": "rate_limit_qps = 6",
    "no_rate": "rate_limit_qps = NULL",
    "tier": "auth_tier = 'legal'",
}


@pytest.mark.parametrize("name", WIDENED)
def test_each_way_to_widen_a_sensitive_purpose_waits(vault, gateway, dba, name):
    token = vault.purpose(fields=["name", "ssn"], daily_volume_cap=100, rate_limit_qps=5)
    update(dba, token, WIDENED[name])
    assert waits(vault, token)
    read(gateway, vault.subject(), token, ["ssn"])  # the version before goes on to count
    assert [row["purpose_version"] for row in vault.leaves(gateway, committed=1)] == [1]


def test_version_that_waits_tells_its_author(vault, dba, narrow):
    notices = []
    dba.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    update(dba, narrow, WIDE)
    assert notices == ["version 2 of the purpose waits for a second person's approval"]


# -- one person, every order of steps --------------------------------------------------
def test_one_person_cannot_widen_alone_by_a_new_version(vault, gateway, dba, narrow):
    update(dba, narrow, WIDE)
    assert waits(vault, narrow) and opens(vault, gateway, narrow) == "field_not_allowed"


def test_one_person_cannot_widen_alone_by_narrowing_first(vault, gateway, dba, wide):
    update(dba, wide, NARROW, WIDE)
    assert waits(vault, wide) and opens(vault, gateway, wide) == "field_not_allowed"


def test_one_person_cannot_widen_alone_within_one_transaction(vault, gateway, dba, wide):
    with dba.transaction():
        update(dba, wide, NARROW)
        dba.execute("SAVEPOINT a")
        update(dba, wide, WIDE)
        dba.execute("RELEASE a")
    assert waits(vault, wide) and opens(vault, gateway, wide) == "field_not_allowed"


def test_one_person_cannot_widen_alone_within_one_statement(vault, gateway, dba, wide):
    dba.execute(f"""DO $$ BEGIN UPDATE identity.purpose_definitions SET {NARROW} WHERE purpose_token = '{wide}';
                    UPDATE identity.purpose_definitions SET {WIDE} WHERE purpose_token = '{wide}'; END $$""")
    assert waits(vault, wide) and opens(vault, gateway, wide) == "field_not_allowed"


def test_one_person_cannot_widen_alone_by_future_version(vault, gateway, dba, moved, wide):
    """A narrow version from tomorrow on, then a wide one after it: the second would undo the first by itself."""
    update(dba, wide, f"{NARROW}, effective_at = {LATER}")
    assert not waits(vault, wide)
    update(dba, wide, f"{WIDE}, effective_at = {MUCH_LATER}")
    assert waits(vault, wide)
    assert opens(vault, gateway, wide) is None  # until the narrow one holds
    moved(wide, 2, "now() - interval '2 seconds'", "now() - interval '1 hour'")
    moved(wide, 3, "now() - interval '1 second'", "now() - interval '1 hour'")
    assert opens(vault, gateway, wide) == "field_not_allowed"


def test_one_person_cannot_widen_alone_ahead_of_a_future_narrowing(vault, gateway, dba, moved, wide):
    """The same content as now, at once: not wider than what is in effect, but it would outlive the narrowing that is written already."""
    update(dba, wide, f"{NARROW}, effective_at = {LATER}")
    update(dba, wide, f"{WIDE}, effective_at = NULL")
    assert waits(vault, wide)
    moved(wide, 2, "now() - interval '1 second'", "now() - interval '1 hour'")
    assert opens(vault, gateway, wide) == "field_not_allowed"


def test_one_person_cannot_widen_alone_by_revoking_and_writing_again(vault, gateway, dba, wide):
    dba.execute("SELECT identity.purpose_revoke(%s, 'x')", (wide,))
    update(dba, wide, "description = 'again'")
    assert waits(vault, wide) and opens(vault, gateway, wide) == "purpose_revoked"
    update(dba, wide, "description = 'and again'")
    assert waits(vault, wide) and opens(vault, gateway, wide) == "purpose_revoked"


def test_one_person_cannot_widen_alone_by_revoking_in_the_same_transaction(vault, gateway, dba, wide):
    with dba.transaction():
        dba.execute("SELECT identity.purpose_revoke(%s, 'x')", (wide,))
        update(dba, wide, "description = 'again'")
    assert waits(vault, wide) and opens(vault, gateway, wide) == "purpose_revoked"


def test_version_kept_ready_in_an_open_transaction_does_not_undo_a_revocation(vault, gateway, dba, wide):
    """Its author could not have seen the revocation, so it is no answer to it."""
    dba.execute("BEGIN")
    update(dba, wide, "description = 'kept ready'")
    vault.revoke(wide)
    dba.execute("COMMIT")
    assert not waits(vault, wide) and opens(vault, gateway, wide) == "purpose_revoked"
    update(dba, wide, "description = 'and once more'")
    assert waits(vault, wide) and opens(vault, gateway, wide) == "purpose_revoked"


def test_revocation_kept_open_does_not_hide_behind_a_version(vault, gateway, dba, wide):
    """The other way round: the version commits while the revocation is still open."""
    with vault.connect(vault.login("identity_dba")) as other:
        other.execute("BEGIN")
        other.execute("SELECT identity.purpose_revoke(%s, 'x')", (wide,))
        update(dba, wide, "description = 'meanwhile'")
        other.execute("COMMIT")
    assert opens(vault, gateway, wide) == "purpose_revoked"


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_two_sessions_of_one_person_do_not_get_past_each_other(vault, gateway, dba, wide, level):
    """One session narrows, the other has an old snapshot and writes what it saw once more."""
    with vault.connect(dba.info.user) as other:
        other.execute(f"BEGIN ISOLATION LEVEL {level}")
        other.execute("SELECT count(*) FROM identity.purpose_versions")
        update(dba, wide, NARROW)
        try:
            update(other, wide, f"{WIDE}, description = 'again'")
            other.execute("COMMIT")
            assert waits(vault, wide)
        except psycopg.errors.SerializationFailure:
            other.execute("ROLLBACK")
    assert opens(vault, gateway, wide) == "field_not_allowed"


def test_one_person_cannot_widen_alone_by_on_conflict(vault, gateway, dba, wide):
    for fields in (["name"], ["name", "ssn"], ["name", "ssn"]):
        dba.execute(UPSERT, (wide, fields))
    assert vault.pending(wide) == 3 and opens(vault, gateway, wide) == "field_not_allowed"


def test_changing_only_the_time_brings_nothing_forward(vault, gateway, dba, narrow):
    update(dba, narrow, f"{WIDE}, effective_at = {LATER}")
    vault.approve(narrow)
    assert opens(vault, gateway, narrow) == "field_not_allowed"
    for times in ("effective_at = NULL", "effective_at = now() - interval '1 year'", "effective_at = now() + interval '1 second'"):
        update(dba, narrow, times)
        assert waits(vault, narrow) and opens(vault, gateway, narrow) == "field_not_allowed"


def test_future_purpose_is_not_brought_forward_alone(vault, gateway, dba, approver):
    dba.execute("""INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, effective_at)
                   VALUES ('t.tomorrow', 'x', '{ssn}', '{identity_gateway}', now() + interval '1 day')""")
    assert opens(vault, gateway, "t.tomorrow") == "unknown_purpose"
    approver.execute(APPROVE, ("t.tomorrow", 1))
    assert opens(vault, gateway, "t.tomorrow") == "unknown_purpose"
    update(dba, "t.tomorrow", "effective_at = NULL")
    assert waits(vault, "t.tomorrow") and opens(vault, gateway, "t.tomorrow") == "purpose_unapproved"


def test_time_in_the_past_is_now(vault, gateway, dba, narrow):
    update(dba, narrow, f"{WIDE}, effective_at = now() - interval '10 years'")
    assert waits(vault, narrow) and opens(vault, gateway, narrow) == "field_not_allowed"
    vault.approve(narrow)
    assert opens(vault, gateway, narrow) is None
    assert vault.sql("SELECT effective_at = changed_at AS at_once FROM identity.purpose_versions WHERE purpose_token = %s AND version = 2", (narrow,))[0]["at_once"]


@pytest.mark.parametrize("time", ["infinity", "-infinity"])
def test_time_without_end_is_refused(vault, dba, narrow, time):
    refused(dba, UPDATE.format("effective_at = %s") + " RETURNING 1", (time, narrow), "22023", "bad_argument")


def test_same_time_again_makes_no_version(vault, dba, narrow, moved):
    update(dba, narrow, "effective_at = '2999-01-01 00:00+00'", "effective_at = '2999-01-01 00:00+00'", "description = description")
    versions = "SELECT count(*) AS n FROM identity.purpose_versions WHERE purpose_token = %s"
    assert vault.sql(versions, (narrow,))[0]["n"] == 2
    update(dba, narrow, "effective_at = '2000-01-01 00:00+00'", "effective_at = NULL", "effective_at = '2001-01-01 00:00+00'")
    assert vault.sql(versions, (narrow,))[0]["n"] == 3
    vault.verify()


def test_clock_stepping_back_gives_nothing_back(vault, gateway, dba, moved, wide):
    """The narrow version is from an hour ahead by today's clock: it holds, and it is what the next one is measured against."""
    update(dba, wide, NARROW)
    moved(wide, 2, f"{LATER}", f"{LATER}")
    assert opens(vault, gateway, wide) == "field_not_allowed"
    update(dba, wide, WIDE)
    assert waits(vault, wide) and opens(vault, gateway, wide) == "field_not_allowed"


def test_approved_version_from_before_the_clock_was_set_back_holds(vault, gateway, dba, moved, narrow):
    update(dba, narrow, WIDE)
    vault.approve(narrow)
    update(dba, narrow, NARROW)
    moved(narrow, 3, f"{LATER}", f"{LATER}")
    assert opens(vault, gateway, narrow) == "field_not_allowed"


@pytest.mark.parametrize("attempt", [
    "SET identity_pgx.purpose_approval = 'none'",
    "SET LOCAL identity_pgx.purpose_approval = 'none'",
    "SELECT set_config('identity_pgx.purpose_approval', 'none', false)",
    "ALTER ROLE CURRENT_USER SET identity_pgx.purpose_approval = 'none'",
    "ALTER SYSTEM SET identity_pgx.purpose_approval = 'none'",
    "SET identity_pgx.service_daily_ceiling = 2000000000",
])
def test_settings_do_not_change_in_a_session(vault, gateway, dba, narrow, attempt):
    with pytest.raises(psycopg.Error):
        dba.execute(attempt)
    update(dba, narrow, WIDE)
    assert waits(vault, narrow) and opens(vault, gateway, narrow) == "field_not_allowed"
