"""What a subject said binds the next call of every session; and nobody can say it for a text that is not the one in effect."""

import time

import psycopg
import pytest
from psycopg.types.json import Jsonb

from consent import BAD, CONSENT, DENIED, SECRET, digest, history, now, record, refused_record, rfc3339, state, template, texts, unchanged
from erasure import erase
from test_as_of_now import LEVELS
from vault import CLOUD, FIELDS, read, reason_of, refused, refused_read, uuid7

NULL = ("22004", "null_argument")


def test_consent_given_opens_and_withdrawn_closes(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    refused_read(gateway, subject, "42501", "consent")
    record(gateway, subject, "given", version)
    read(gateway, subject)
    record(gateway, subject, "withdrawn")
    refused_read(gateway, subject, "42501", "consent")
    rows = vault.leaves(gateway, committed=3, denied=2)
    recorded = [row for row in rows if row["accessor_kind"] == "consent"]
    assert [(row["chain_kind"], row["consent_status"], row["accessor_role"]) for row in recorded] == [
        ("merkle", "given", gateway.info.user),
        ("merkle", "withdrawn", gateway.info.user),
    ]
    assert [row["generation"] for row in recorded] == [1, 2]
    vault.verify()


def test_subject_and_history_hold_what_was_said(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault, valid_for="1 year")
    given_at = now(minutes=-5)
    record(gateway, subject, "given", version, {"given_at": rfc3339(given_at), "template_hash": digest(version).upper(), "channel": "sms"})
    then = state(vault, subject)
    assert (then["consent_status"], then["consent_version"], then["consent_given_at"]) == ("given", version, given_at)
    assert then["consent_valid_until"] == given_at.replace(year=given_at.year + 1)
    record(gateway, subject, "withdrawn")
    after = state(vault, subject)
    assert (after["consent_status"], after["consent_version"], after["consent_given_at"]) == ("withdrawn", version, given_at)
    assert after["consent_withdrawn_at"] > given_at and after["consent_valid_until"] is None
    first, second = history(vault, subject)
    assert [first["status"], second["status"]] == ["given", "withdrawn"]
    assert {first["version"], second["version"]} == {version}
    assert {first["recorded_by"], second["recorded_by"]} == {gateway.info.user}
    logged = {row["access_id"]: row for row in vault.leaves(gateway, committed=2)}
    for event in (first, second):
        assert logged[event["access_id"]]["accessed_at"] == event["recorded_at"]


@pytest.mark.parametrize("level", LEVELS)
def test_withdrawal_binds_a_transaction_whose_snapshot_is_older(vault, gateway, level):
    subject = vault.subject()
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    read(gateway, subject)
    with vault.gateway() as other:
        record(other, subject, "withdrawn")
    refused_read(gateway, subject, "42501", "consent")
    gateway.execute("ROLLBACK")
    vault.leaves(gateway, rolled_back=1, denied=1)


def test_withdrawal_binds_an_open_cursor(vault, gateway):
    subject = vault.subject()
    gateway.execute("BEGIN")
    gateway.execute(
        f"DECLARE c CURSOR FOR SELECT (identity.pii_resolve('{subject.id}', 't.all', '{{name}}')).pii FROM generate_series(1, 10)"
    )
    assert gateway.execute("FETCH c").fetchone()[0] == {"name": subject.pii["name"]}
    with vault.gateway() as other:
        record(other, subject, "withdrawn")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        gateway.execute("FETCH ALL FROM c").fetchall()
    assert reason_of(caught.value) == DENIED
    gateway.execute("ROLLBACK")
    vault.leaves(gateway, rolled_back=1, denied=1)


@pytest.mark.parametrize("level", LEVELS)
def test_withdrawal_can_be_recorded_in_a_transaction_whose_snapshot_is_older_than_the_consent(vault, gateway, level):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    gateway.execute("SELECT count(*) FROM pg_class")
    with vault.gateway() as other:
        record(other, subject, "given", version)
    record(gateway, subject, "withdrawn")
    gateway.execute("COMMIT")
    assert state(vault, subject)["consent_status"] == "withdrawn"
    vault.verify()


def test_consent_that_runs_out_during_a_session_is_expired_everywhere(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault, valid_for="2 seconds")
    accepting = vault.purpose(fields=FIELDS, accepted_consent=["given", "expired"])
    with vault.gateway() as other:
        record(other, subject, "given", version)
        vertical = "SELECT consent_status FROM identity.pii_vertical(%s)"
        gateway.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        read(gateway, subject)
        assert other.execute(vertical, (subject.id,)).fetchone() == ("given",)
        time.sleep(2.1)
        read(gateway, subject, accepting)
        refused_read(gateway, subject, "42501", "consent")
        gateway.execute("ROLLBACK")
        assert other.execute(vertical, (subject.id,)).fetchone() == ("expired",)
        many = "SELECT consent_status FROM identity.pii_vertical_many(%s)"
        assert other.execute(many, ([subject.id],)).fetchone() == ("expired",)
    (row,) = [row for row in vault.leaves(gateway, rolled_back=2, denied=1) if row["outcome"] == "denied"]
    assert (row["denial"], row["consent_status"]) == ("consent", "expired")
    assert state(vault, subject)["consent_status"] == "given", "nobody has to mark it"
    vault.verify()
    record(gateway, subject, "given", template(vault))  # no end: an expired one is renewed without newer evidence
    read(gateway, subject)


def test_validity_counts_from_when_it_was_given_not_from_when_it_was_recorded(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault, valid_for="1 day")
    record(gateway, subject, "given", version, {"given_at": rfc3339(now(days=-2))})
    refused_read(gateway, subject, "42501", "consent")
    vault.verify()


@pytest.mark.parametrize("zone", ["Pacific/Apia", "Europe/Berlin", "UTC"])
def test_validity_is_the_same_in_every_time_zone_and_interval_style(vault, gateway, zone):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault, valid_for="6 months 1 day 00:00:01.5")
    gateway.execute(f"SET TimeZone = '{zone}'")
    gateway.execute("SET IntervalStyle = 'sql_standard'")
    record(gateway, subject, "given", version, {"given_at": "2026-03-01T23:30:00+02:00"})
    assert rfc3339(state(vault, subject)["consent_valid_until"]) == "2026-09-02T21:30:01.500000Z"
    with vault.connect(vault.auditor) as auditor:
        auditor.execute(f"SET TimeZone = '{zone}'; SET IntervalStyle = 'sql_standard'; SET DateStyle = 'German'")
        assert not [row for row in auditor.execute("SELECT check_name FROM identity.ledger_verify(true) WHERE NOT ok")]


def test_phi_is_refused_while_pending_whatever_the_purpose_accepts(vault, gateway):
    subject = vault.subject("healthcare", "pending_first_contact")
    purpose = vault.purpose(fields=FIELDS, phi_access=True, accepted_consent=["given", "pending_first_contact"])
    refused_read(gateway, subject, "42501", "consent", purpose)
    record(gateway, subject, "given", template(vault))
    read(gateway, subject, purpose)


# -- the wrong text ------------------------------------------------------------------
@pytest.mark.parametrize("case", ["superseded", "not_yet_effective", "foreign_kind", "unknown", "wrong_case", "empty", "megabyte", "altered"])
def test_consent_is_not_given_to_a_text_that_is_not_in_effect(vault, gateway, case):
    subject = vault.subject(consent="pending_first_contact")
    current = template(vault)
    evidence = {}
    if case == "superseded":
        version, current = current, template(vault)
    elif case == "not_yet_effective":
        version = template(vault, effective_at=now(days=1))
    elif case == "foreign_kind":
        version = template(vault, "biometric")
    elif case == "altered":
        version, evidence = current, {"template_hash": digest(current + "\n")}
    else:
        version = {"unknown": SECRET, "wrong_case": current.upper(), "empty": "", "megabyte": SECRET * 50_000}[case]
    unchanged(vault, gateway, subject, lambda: refused_record(gateway, subject, *DENIED, "given", version, evidence))
    record(gateway, subject, "given", current, {"template_hash": digest(current)})
    read(gateway, subject)


def test_retention_schedule_is_nothing_to_consent_to(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault, "retention_schedule")
    refused_record(gateway, subject, *DENIED, "given", version)
    refused_record(gateway, subject, *BAD, "given", version, kind="retention_schedule")


def test_version_superseded_in_mid_session_is_refused_under_repeatable_read(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    gateway.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    gateway.execute("SELECT count(*) FROM pg_class")
    template(vault)
    refused_record(gateway, subject, *DENIED, "given", version)
    gateway.execute("ROLLBACK")


# -- newer evidence ------------------------------------------------------------------
def test_withdrawn_is_not_given_again_without_newer_evidence(vault, gateway):
    subject, version = vault.subject(), template(vault)
    record(gateway, subject, "withdrawn")
    withdrawn_at = state(vault, subject)["consent_withdrawn_at"]
    for evidence in ({}, {"channel": "sms"}, {"given_at": rfc3339(withdrawn_at)}, {"given_at": "2020-01-01T00:00:00Z"}):
        refused_record(gateway, subject, *DENIED, "given", version, evidence)
    refused_read(gateway, subject, "42501", "consent")
    assert len(history(vault, subject)) == 1
    record(gateway, subject, "given", version, {"given_at": rfc3339(now())})
    read(gateway, subject)
    # Once withdrawn, an older consent never counts again, not even to renew.
    refused_record(gateway, subject, *DENIED, "given", version, {"given_at": rfc3339(withdrawn_at)})
    refused_record(gateway, subject, *DENIED, "given", version)
    vault.verify()


def test_imported_withdrawal_needs_newer_evidence_too(vault, gateway):
    subject, version = vault.subject(consent="withdrawn"), template(vault)
    refused_record(gateway, subject, *DENIED, "given", version)
    refused_record(gateway, subject, *DENIED, "given", version, {"given_at": rfc3339(now(minutes=-1))})
    record(gateway, subject, "given", version, {"given_at": rfc3339(now())})
    read(gateway, subject)
    vault.change(subject.id, consent="withdrawn")
    refused_record(gateway, subject, *DENIED, "given", version)
    vault.verify()


def test_evidence_from_the_future_is_refused(vault, gateway):
    subject, version = vault.subject(consent="withdrawn"), template(vault)
    for ahead in ({"seconds": 30}, {"days": 3650}):
        refused_record(gateway, subject, *BAD, "given", version, {"given_at": rfc3339(now(**ahead))})
    refused_record(gateway, subject, *BAD, "given", version, {"given_at": "9999-12-31T23:59:59Z"})
    assert not history(vault, subject)


def test_withdrawal_works_always_and_twice(vault, gateway):
    subject = vault.subject(consent="pending_first_contact")
    for version in (None, SECRET, "", "retired"):
        # What only a consent is examined for keeps nobody from withdrawing.
        record(gateway, subject, "withdrawn", version, {"given_at": "9999-01-01T00:00:00Z", "template_hash": SECRET})
        assert state(vault, subject)["consent_status"] == "withdrawn"
    assert [(row["status"], row["version"]) for row in history(vault, subject)] == [("withdrawn", None)] * 4
    assert state(vault, subject)["generation"] == 4
    vault.leaves(gateway, committed=4)
    vault.verify()


# -- biometric -----------------------------------------------------------------------
def test_biometric_consent_is_apart_from_the_general_one(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault, "biometric")
    record(gateway, subject, "pending", None, kind="biometric")
    record(gateway, subject, "pending", version, kind="biometric")
    assert state(vault, subject)["biometric_consent_status"] == "pending"
    record(gateway, subject, "given", version, kind="biometric")
    then = state(vault, subject)
    assert (then["biometric_consent_status"], then["biometric_consent_version"]) == ("given", version)
    assert (then["consent_status"], then["consent_version"]) == ("pending_first_contact", None)
    refused_read(gateway, subject, "42501", "consent")
    record(gateway, subject, "withdrawn", kind="biometric")
    assert state(vault, subject)["generation"] == 4
    for evidence in ({}, {"given_at": "2020-01-01T00:00:00Z"}):
        refused_record(gateway, subject, *DENIED, "given", version, evidence, kind="biometric")
    # Asking again is no way around newer evidence.
    refused_record(gateway, subject, *DENIED, "pending", version, kind="biometric")
    record(gateway, subject, "given", version, {"given_at": rfc3339(now())}, kind="biometric")
    refused_record(gateway, subject, *DENIED, "pending", version, kind="biometric")
    assert [row["status"] for row in history(vault, subject)] == ["pending", "pending", "given", "withdrawn", "given"]
    vault.verify()


def test_general_consent_is_never_set_to_pending(vault, gateway):
    subject = vault.subject()
    for status in ("pending", "pending_first_contact", "expired", "never_collected", "Given", "", SECRET):
        refused_record(gateway, subject, *BAD, status, template(vault))


# -- arguments ---------------------------------------------------------------------
@pytest.mark.parametrize("missing", range(5))
def test_null_argument_is_refused(vault, gateway, missing):
    arguments = [vault.subject(consent="pending_first_contact").id, "general", "given", template(vault), Jsonb({})]
    arguments[missing] = None
    refused(gateway, CONSENT, arguments, *NULL)
    (row,) = vault.leaves(gateway, denied=1)
    assert (row["accessor_kind"], row["denial"]) == ("consent", "null_argument")


@pytest.mark.parametrize("kind", ["", "General", "biometrics", SECRET])
def test_unheard_of_kind_is_refused(vault, gateway, kind):
    refused_record(gateway, vault.subject(), *BAD, "withdrawn", kind=kind)
    assert SECRET not in str(vault.leaves(gateway, denied=1))


def test_unknown_and_erased_subjects_are_refused(vault, gateway):
    version, subject = template(vault), vault.subject()
    refused(gateway, CONSENT, (uuid7(), "general", "given", version, Jsonb({})), "P0002", "subject_unavailable")
    erase(vault, subject)
    for status in ("given", "withdrawn"):
        refused_record(gateway, subject, "P0002", "subject_erased", status, version)
    assert not history(vault, subject)


def test_cloud_gateway_records_for_a_subject_it_cannot_read(vault):
    """As with pii_vertical: a person withdraws where he is, not where his data lies."""
    subject = vault.subject("healthcare")
    with vault.gateway(*CLOUD) as cloud:
        record(cloud, subject, "withdrawn")
        (row,) = vault.leaves(cloud, committed=1)
        assert (row["zone"], row["candidate_id"]) == ("cloud", subject.id)
    assert state(vault, subject)["consent_status"] == "withdrawn"


# -- transactions --------------------------------------------------------------------
def test_rollback_leaves_the_subject_as_it_was_but_what_was_opened_leaves_its_rows(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    before = state(vault, subject)
    with gateway.transaction(force_rollback=True):
        record(gateway, subject, "given", version, {"a": "b"})
        read(gateway, subject)
    assert state(vault, subject) == before and not history(vault, subject) and not texts(vault, subject)
    rows = vault.leaves(gateway, rolled_back=2)
    assert sorted((row["accessor_kind"], row["candidate_id"]) for row in rows) == [("consent", subject.id), ("gateway_lookup", subject.id)]
    with gateway.transaction():
        with gateway.transaction(force_rollback=True):
            record(gateway, subject, "withdrawn")
        record(gateway, subject, "given", version)
    assert state(vault, subject)["consent_status"] == "given"
    vault.verify()


def test_two_at_once_wait_for_each_other(vault, gateway):
    subject, version = vault.subject(), template(vault)
    gateway.execute("BEGIN")
    record(gateway, subject, "withdrawn")
    with vault.gateway() as other:
        other.execute("SET lock_timeout = '300ms'")
        for status, evidence in (("given", {"given_at": rfc3339(now())}), ("withdrawn", {})):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                record(other, subject, status, version, evidence)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            read(other, subject)
        gateway.execute("COMMIT")
        other.execute("SET lock_timeout = 0")
        refused_read(other, subject, "42501", "consent")
        refused_record(other, subject, *DENIED, "given", version)


def test_generation_grows_with_each_record(vault, gateway):
    subject, version = vault.subject(), template(vault)
    record(gateway, subject, "given", version)
    record(gateway, subject, "given", version)
    record(gateway, subject, "withdrawn")
    assert [row["generation"] for row in history(vault, subject)] == [1, 2, 3]
    assert state(vault, subject)["generation"] == 3


@pytest.mark.parametrize("group", ["nobody", "identity_dba", "identity_auditor", "identity_worker", "identity_legal", "identity_reviewer", "identity_approver"])
def test_only_a_gateway_records(vault, group):
    subject = vault.subject()
    with vault.connect(vault.login(*([] if group == "nobody" else [group]))) as conn:
        for query in (
            f"SELECT identity.consent_record('{subject.id}', 'general', 'withdrawn', NULL)",
            f"SELECT identity.eu_record('{subject.id}', true)",
            f"SELECT identity.interaction_record('{subject.id}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(query)
    assert state(vault, subject)["consent_status"] == "given"
