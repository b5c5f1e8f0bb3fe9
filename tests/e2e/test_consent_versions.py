"""A DBA writes consent templates with ordinary migrations; what is written stays, and a new one takes over from the moment it takes effect."""

import threading
from datetime import timedelta

import psycopg
import pytest

from consent import digest, now, record, state, template
from vault import Vault, reason_of, said

ROW = "SELECT * FROM identity.consent_versions WHERE version = %s"
INSERT = "INSERT INTO identity.consent_versions (version, kind, valid_for, effective_at, template_hash, template_path) VALUES (%s, %s, %s, %s, %s, %s)"


@pytest.fixture
def dba(vault):
    with vault.connect(vault.login("identity_dba")) as conn:
        yield conn


def row(vault, version: str) -> dict:
    return vault.sql(ROW, (version,))[0]


def values(version="t.bad", **other) -> list:
    columns = {"version": version, "kind": "general", "valid_for": None, "effective_at": None, "template_hash": "a" * 64, "template_path": "a/b.md"}
    return list((columns | other).values())


def test_version_says_who_wrote_it_and_is_a_merkle_row(vault, dba):
    before = now()
    dba.execute(INSERT, values("t.first", valid_for="1 year", template_hash="AB" * 32))
    made = row(vault, "t.first")
    assert (made["changed_by"], made["template_hash"], made["superseded_at"]) == (dba.info.user, "ab" * 32, None)
    assert before <= made["changed_at"] == made["effective_at"] <= now()
    (event,) = vault.leaves(dba, committed=1)
    assert (event["accessor_kind"], event["chain_kind"]) == ("consent_version", "merkle")
    vault.verify()


def test_migration_run_twice_makes_one_version(vault, dba):
    for _ in range(2):
        dba.execute(INSERT + " ON CONFLICT (version) DO NOTHING", values("t.twice"))
    vault.leaves(dba, committed=1)
    assert row(vault, "t.twice")["superseded_at"] is None
    with pytest.raises(psycopg.errors.UniqueViolation):
        dba.execute(INSERT, values("t.twice", kind="biometric"))
    vault.verify()


def test_new_version_ends_the_one_before_and_no_other_kind(vault):
    first, other = template(vault), template(vault, "biometric")
    second = template(vault)
    assert row(vault, first)["superseded_at"] == row(vault, second)["effective_at"]
    assert row(vault, other)["superseded_at"] is None


def test_version_that_starts_later_ends_the_one_before_then(vault, gateway):
    start = now(days=30)
    current, later = template(vault), template(vault, effective_at=start)
    assert row(vault, current)["superseded_at"] == start == row(vault, later)["effective_at"]
    record(gateway, vault.subject(), "given", current)
    # One that is needed today ends both: the one in effect now, and the one announced for later.
    urgent = template(vault)
    today = row(vault, urgent)["effective_at"]
    assert row(vault, current)["superseded_at"] == row(vault, later)["superseded_at"] == today
    with pytest.raises(psycopg.Error) as caught:
        record(gateway, vault.subject(), "given", current)
    assert reason_of(caught.value) == ("42501", "consent")
    record(gateway, vault.subject(), "given", urgent)
    vault.verify()


def test_announced_version_takes_over_by_itself(vault, gateway):
    current, later = template(vault), template(vault, effective_at=now(seconds=1.5))
    record(gateway, vault.subject(), "given", current)
    gateway.execute("SELECT pg_sleep(1.6)")
    record(gateway, vault.subject(), "given", later)
    with pytest.raises(psycopg.Error) as caught:
        record(gateway, vault.subject(), "given", current)
    assert reason_of(caught.value) == ("42501", "consent")


def test_version_cannot_be_dated_back(vault, dba):
    """Otherwise a text written today would have been in effect when consent to another was given."""
    dba.execute(INSERT, values("t.backdated", effective_at=now(days=-300)))
    made = row(vault, "t.backdated")
    assert made["effective_at"] == made["changed_at"] > now(minutes=-1)


def test_several_in_one_statement_follow_each_other(vault, dba):
    two = INSERT + ", (%s, %s, %s, %s, %s, %s)"
    dba.execute(two, values("t.one") + values("t.two"))
    one, other = row(vault, "t.one"), row(vault, "t.two")
    assert other["ordinal"] == one["ordinal"] + 1 and one["superseded_at"] == other["effective_at"] and other["superseded_at"] is None
    vault.leaves(dba, committed=2)
    vault.verify()


def test_writers_at_once_wait_for_each_other_and_the_later_commit_is_the_later_version(vault, dba):
    dba.execute("BEGIN")
    dba.execute(INSERT, values("t.slow"))
    done = threading.Event()

    def fast() -> None:
        template(vault, version="t.fast")
        done.set()

    thread = threading.Thread(target=fast, daemon=True)
    thread.start()
    vault.wait_backend(vault.dba, "wait_event_type = 'Lock'")
    assert not done.is_set()
    dba.execute("COMMIT")
    thread.join(10)
    slow, later = row(vault, "t.slow"), row(vault, "t.fast")
    assert later["ordinal"] == slow["ordinal"] + 1 and slow["superseded_at"] == later["effective_at"] and later["superseded_at"] is None
    vault.verify()


def test_rolled_back_version_ends_nothing(vault, dba, gateway):
    current = template(vault)
    with dba.transaction(force_rollback=True):
        dba.execute(INSERT, values("t.never"))
    assert row(vault, current)["superseded_at"] is None and not vault.sql(ROW, ("t.never",))
    record(gateway, vault.subject(), "given", current)


BAD = {
    "kind": {"kind": "marketing"},
    "kind_null": {"kind": None},
    "version_null": {"version": None},
    "version_empty": {"version": ""},
    "version_blank": {"version": "v 1"},
    "version_long": {"version": "v" * 65},
    "version_unicode": {"version": "ｖ1"},
    "hash_null": {"template_hash": None},
    "hash_short": {"template_hash": "a" * 63},
    "hash_no_hex": {"template_hash": "g" * 64},
    "hash_prefixed": {"template_hash": "\\x" + "a" * 62},
    "path_null": {"template_path": None},
    "path_empty": {"template_path": ""},
    "path_long": {"template_path": "x" * 1001},
    "valid_for_zero": {"valid_for": "0"},
    "valid_for_negative": {"valid_for": "-1 day"},
    "valid_for_mixed": {"valid_for": "1 month -1 day"},
    "valid_for_endless": {"valid_for": "1000 years"},
    "effective_at_infinity": {"effective_at": "infinity"},
    "effective_at_minus_infinity": {"effective_at": "-infinity"},
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_version_is_refused(vault, dba, case):
    current = template(vault)
    with pytest.raises(psycopg.Error) as caught:
        dba.execute(INSERT, values(**BAD[case]))
    assert reason_of(caught.value) == ("22023", "bad_argument"), said(caught.value)
    (event,) = vault.leaves(dba, denied=1)
    assert event["accessor_kind"] == "consent_version"
    assert row(vault, current)["superseded_at"] is None


@pytest.mark.parametrize("column", ["superseded_at", "changed_at", "changed_by", "ordinal"])
def test_dba_does_not_say_what_is_the_triggers_to_say(vault, dba, column):
    value = {"changed_by": "somebody", "ordinal": 10**6}.get(column, now(days=-1))
    insert = f"INSERT INTO identity.consent_versions (version, kind, template_hash, template_path, {column}) VALUES ('t.forged', 'general', %s, 'x', %s)"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        dba.execute(insert, ("a" * 64, value))
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute(insert, ("a" * 64, value))  # a superuser may name it and is not believed
        (stored,) = admin.execute(f"SELECT {column} FROM identity.consent_versions WHERE version = 't.forged'").fetchone()
        assert stored != value


CHANGES = [
    "UPDATE {t} SET template_hash = repeat('b', 64) WHERE version = '{v}'",
    "UPDATE {t} SET valid_for = '100 years' WHERE version = '{v}'",
    "UPDATE {t} SET effective_at = effective_at - interval '1 year' WHERE version = '{v}'",
    "UPDATE {t} SET superseded_at = NULL WHERE version = '{v}'",
    "UPDATE {t} SET superseded_at = superseded_at WHERE version = '{v}'",
    "UPDATE {t} SET superseded_at = superseded_at + interval '1 year' WHERE version = '{v}'",
    "UPDATE {t} SET superseded_at = superseded_at - interval '1 second', kind = 'biometric' WHERE version = '{v}'",
    "DELETE FROM {t} WHERE version = '{v}'",
    "TRUNCATE {t}",
    "INSERT INTO {t} SELECT * FROM {t} WHERE version = '{v}' ON CONFLICT (version) DO UPDATE SET template_path = 'x'",
]


@pytest.mark.parametrize("replication_role", ["origin", "replica"])
@pytest.mark.parametrize("attempt", CHANGES)
def test_version_is_never_changed_or_deleted_even_by_a_superuser(vault, dba, attempt, replication_role):
    version = template(vault)
    template(vault)
    before = row(vault, version)
    query = attempt.format(t="identity.consent_versions", v=version)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        dba.execute(query)
    with vault.cluster.connect() as admin:
        admin.execute(f"SET session_replication_role = {replication_role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            admin.execute(query)
        assert reason_of(caught.value)[1] == "append_only"
    assert row(vault, version) == before


def test_approver_and_auditor_read_versions_and_write_none(vault):
    version = template(vault)
    for group in ("identity_approver", "identity_auditor", "identity_dba"):
        with vault.connect(vault.login(group)) as conn:
            assert conn.execute(ROW, (version,)).fetchone()
            if group != "identity_dba":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(INSERT, values())
    with vault.gateway() as gateway, pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute(ROW, (version,))


def test_version_in_force_stays_in_force_when_the_clock_is_set_back(vault, gateway):
    """As if the clock had been ahead when it was written: nothing but the order of writing tells which is the later."""
    version = template(vault)
    with vault.admin.transaction(force_rollback=True):
        vault.sql("ALTER TABLE identity.consent_versions DISABLE TRIGGER ALL")
        ahead = now(days=2)
        vault.sql("UPDATE identity.consent_versions SET effective_at = %s, changed_at = %s WHERE version = %s", (ahead, ahead, version))
        role = vault.login("identity_gateway")
        subject = vault.subject(consent="pending_first_contact")
        vault.sql(f"SET LOCAL SESSION AUTHORIZATION {role}")
        vault.sql("SELECT identity.consent_record(%s, 'general', 'given', %s)", (subject.id, version))
        vault.sql("RESET SESSION AUTHORIZATION")
        assert state(vault, subject)["consent_status"] == "given"


@pytest.mark.parametrize("valid_for", [timedelta(days=1), "1 month", "1 year 2 days 03:04:05.000006"])
def test_validity_of_any_length_is_kept_exactly(vault, valid_for):
    version = template(vault, valid_for=valid_for, template_hash=digest("x"))
    assert row(vault, version)["valid_for"] == vault.sql("SELECT %s::interval AS i", (valid_for,))[0]["i"]
    vault.verify()


def test_while_keys_are_locked_a_dba_writes_none_and_what_a_superuser_writes_is_found(fresh):
    vault = Vault(fresh())
    template(vault)
    with vault.connect(vault.worker) as worker:
        worker.execute("SELECT identity.key_wipe_all()")
    with vault.connect(vault.dba) as dba, pytest.raises(psycopg.Error) as caught:
        dba.execute(INSERT, values("t.locked"))
    assert reason_of(caught.value) == ("55000", "locked")
    vault.sql("""INSERT INTO identity.consent_versions (version, kind, effective_at, template_hash, template_path, ordinal, changed_by, changed_at)
                 VALUES ('t.smuggled', 'general', now(), repeat('a', 64), 'x', 7, 't_dba', now())""")
    vault.cluster.unlock()
    found = [row["detail"] for row in vault.findings() if not row["ok"]]
    assert any("t.smuggled" in detail for detail in found)
