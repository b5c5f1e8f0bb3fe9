"""Biometrics are collected under consent and a published schedule, once, and by nobody else."""

import threading
import time
from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from biometric import (
    ATTACH,
    CLASSIFY,
    ERASE,
    HASH,
    NOTHING,
    attach,
    classify,
    collected,
    consenting,
    erase,
    events,
    policy,
    refused_attach,
    texts,
)
from consent import BAD, DENIED, now, record, rfc3339, template
from erasure import AUTHORISE, asked
from erasure import schedule as schedule_of_erasures
from test_as_of_now import LEVELS
from test_install import GROUPS
from vault import FIELDS, RESOLVE, Subject, read, refused, uuid7

SCHEDULE = ("42501", "retention_schedule")
AGAIN = ("23505", "biometric_already_collected")
NULL = ("22004", "null_argument")
PATH = "s3://uploads/Zebedee.bin"


def unchanged(vault, subject) -> None:
    assert collected(vault, subject) == NOTHING and not events(vault, subject) and not texts(vault, subject)


@pytest.fixture
def schedule(vault):
    return policy(vault)


def test_attached_biometrics_are_recorded_with_what_allowed_them(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    before = now()
    until, version = attach(gateway, subject, PATH)
    assert before + timedelta(days=365) <= until <= now(days=365)
    there = collected(vault, subject)
    assert (there["biometric_data_path"], there["biometric_template_hash"], there["biometric_retention_until"]) == (PATH, HASH, until)
    (event,) = events(vault, subject)
    assert (event["kind"], event["consent_version"], event["schedule_version"], event["retention_until"]) == ("attach", version, schedule, until)
    (text,) = texts(vault, subject)
    assert PATH in text["content"] and HASH in text["content"]
    row = [row for row in vault.leaves(gateway, committed=2) if row["accessor_kind"] == "biometric_attach"][0]
    assert (row["purpose_token"], row["chain_kind"], row["access_id"]) == ("biometric_collection", "merkle", event["access_id"])
    assert row["generation"] == event["generation"] == 2
    vault.verify()


@pytest.mark.parametrize("status", [None, "pending", "withdrawn"])
def test_attach_without_consent_collects_nothing(vault, gateway, schedule, status):
    subject, version = vault.subject(), template(vault, "biometric")
    if status == "withdrawn":
        record(gateway, subject, "given", version, kind="biometric")
    if status:
        record(gateway, subject, status, version, kind="biometric")
    refused_attach(gateway, subject, *DENIED)
    unchanged(vault, subject)


def test_attach_after_the_consent_ran_out_collects_nothing(vault, gateway, schedule):
    subject, version = vault.subject(), template(vault, "biometric", valid_for="1 day")
    record(gateway, subject, "given", version, {"given_at": rfc3339(now(days=-2))}, kind="biometric")
    refused_attach(gateway, subject, *DENIED)
    unchanged(vault, subject)
    other = consenting(vault, gateway, valid_for="2 seconds")
    time.sleep(2.1)
    refused_attach(gateway, other, *DENIED)
    unchanged(vault, other)


def test_attach_under_a_text_that_was_superseded_collects_nothing(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    template(vault, "biometric")
    refused_attach(gateway, subject, *DENIED)
    unchanged(vault, subject)


@pytest.mark.parametrize("consent", ["pending_backfill_review", "pending_first_contact", "withdrawn", "expired"])
def test_attach_while_the_use_of_the_data_is_not_agreed_to_collects_nothing(vault, gateway, schedule, consent):
    subject = consenting(vault, gateway)
    vault.change(subject.id, consent=consent)
    refused_attach(gateway, subject, *DENIED)
    unchanged(vault, subject)


def test_attach_without_a_schedule_collects_nothing(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    with vault.connect(vault.dba) as dba:
        dba.execute("DELETE FROM identity.retention_policies WHERE kind = 'biometric'")
        refused_attach(gateway, subject, *SCHEDULE)
        # One for everything else, or for another vertical, is none.
        for vertical, kind in (("general", "general"), ("healthcare", "biometric")):
            dba.execute("INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES (%s, %s, 10, %s) ON CONFLICT DO NOTHING", (vertical, kind, schedule))
        refused_attach(gateway, subject, *SCHEDULE)
        dba.execute("DELETE FROM identity.retention_policies")
    unchanged(vault, subject)


def test_attach_under_a_schedule_that_is_not_the_one_in_effect_collects_nothing(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    later = template(vault, "retention_schedule", effective_at=now(hours=1))
    policy(vault, schedule=later)
    refused_attach(gateway, subject, *SCHEDULE)
    policy(vault, schedule=template(vault, "retention_schedule"))
    template(vault, "retention_schedule")
    refused_attach(gateway, subject, *SCHEDULE)
    unchanged(vault, subject)


def test_attach_to_nobody_and_to_somebody_erased_is_refused(vault, gateway, schedule):
    refused_attach(gateway, Subject(uuid7()), "P0002", "subject_unavailable")
    subject = consenting(vault, gateway)
    with vault.admin.transaction(force_rollback=True):
        vault.sql("UPDATE identity.subjects SET erased_at = now() WHERE candidate_id = %s", (subject.id,))
        vault.sql(f"SET LOCAL SESSION AUTHORIZATION {gateway.info.user}")
        refused_attach(vault.admin, subject, "P0002", "subject_erased")
    unchanged(vault, subject)


def test_second_attach_is_refused_and_nothing_changes(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    attach(gateway, subject, PATH)
    before = collected(vault, subject)
    other = "ab" * 32
    for path, hash in ((PATH, HASH), ("s3://uploads/another", other), (PATH, other)):
        refused_attach(gateway, subject, *AGAIN, path=path, hash=hash)
    assert collected(vault, subject) == before and len(events(vault, subject)) == 1
    rows = vault.leaves(gateway, committed=2, denied=3)
    assert {row["denial"] for row in rows if row["outcome"] == "denied"} == {"biometric_already_collected"}
    vault.verify()


def test_attach_is_possible_again_after_the_biometrics_were_erased(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    attach(gateway, subject, PATH)
    assert erase(vault, subject)["erased"]
    unchanged_columns = collected(vault, subject) == NOTHING and not texts(vault, subject)
    assert unchanged_columns
    attach(gateway, subject, "s3://uploads/2")
    assert [event["kind"] for event in events(vault, subject)] == ["attach", "erase", "attach"]
    read(gateway, subject)  # the person stayed
    vault.verify()


@pytest.mark.parametrize("level", LEVELS)
def test_of_two_attaches_at_once_one_collects(vault, gateway, schedule, level):
    subject = consenting(vault, gateway)
    with vault.gateway() as first, vault.gateway() as second:
        for conn in (first, second):
            conn.execute(f"BEGIN ISOLATION LEVEL {level}")
            conn.execute("SELECT count(*) FROM pg_class")
        attach(first, subject, PATH)
        errors = []

        def again():
            try:
                attach(second, subject, "s3://uploads/other")
            except psycopg.Error as error:
                errors.append(error.sqlstate)

        thread = threading.Thread(target=again)
        thread.start()
        vault.wait_backend(second.info.user, "wait_event_type = 'Lock'")
        first.execute("COMMIT")
        thread.join(20)
        second.execute("ROLLBACK")
    assert errors == ["23505"]
    assert collected(vault, subject)["biometric_data_path"] == PATH and len(events(vault, subject)) == 1
    vault.verify()


@pytest.mark.parametrize("level", LEVELS)
def test_withdrawal_in_another_transaction_is_waited_for_and_binds(vault, gateway, schedule, level):
    subject = consenting(vault, gateway)
    with vault.gateway() as withdrawing:
        gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
        gateway.execute("SELECT count(*) FROM pg_class")
        withdrawing.execute("BEGIN")
        record(withdrawing, subject, "withdrawn", kind="biometric")
        errors = []

        def attempt():
            try:
                attach(gateway, subject)
            except psycopg.Error as error:
                errors.append(error.sqlstate)

        thread = threading.Thread(target=attempt)
        thread.start()
        vault.wait_backend(gateway.info.user, "wait_event_type = 'Lock'")
        withdrawing.execute("COMMIT")
        thread.join(20)
        gateway.execute("ROLLBACK")
    assert errors == ["42501"]
    unchanged(vault, subject)


@pytest.mark.parametrize("level", LEVELS)
def test_erasure_in_another_transaction_is_waited_for_and_binds(vault, gateway, level):
    authority = schedule_of_erasures(vault)
    policy(vault, schedule=authority)
    subject = consenting(vault, gateway)
    request = asked(vault, subject)
    with vault.connect(vault.worker) as erasing:
        gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
        gateway.execute("SELECT count(*) FROM pg_class")
        erasing.execute("BEGIN")
        erasing.execute(AUTHORISE, (request, authority))
        errors = []

        def attempt():
            try:
                attach(gateway, subject)
            except psycopg.Error as error:
                errors.append(error.sqlstate)

        thread = threading.Thread(target=attempt)
        thread.start()
        vault.wait_backend(gateway.info.user, "wait_event_type = 'Lock'")
        erasing.execute("COMMIT")
        thread.join(20)
        gateway.execute("ROLLBACK")
    assert errors == ["P0002"]
    unchanged(vault, subject)
    vault.verify()


def test_attach_that_is_rolled_back_leaves_nothing(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    with gateway.transaction(force_rollback=True):
        attach(gateway, subject)
    unchanged(vault, subject)
    attach(gateway, subject)
    vault.leaves(gateway, committed=2)


@pytest.mark.parametrize("place", range(3))
def test_null_is_refused_and_recorded(vault, gateway, schedule, place):
    arguments = [consenting(vault, gateway).id, PATH, HASH]
    arguments[place] = None
    refused(gateway, ATTACH, arguments, *NULL)
    assert vault.leaves(gateway, committed=1, denied=1)[-1]["denial"] == "null_argument"


@pytest.mark.parametrize("path", ["", "x" * 1001, "/" + "x" * 1024 * 1024])
def test_path_that_is_none_is_refused(vault, gateway, schedule, path):
    subject = consenting(vault, gateway)
    refused_attach(gateway, subject, *BAD, path=path)
    unchanged(vault, subject)


@pytest.mark.parametrize("hash", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, " " + "a" * 63, "é" * 32, "0x" + "a" * 62, "a" * 1024 * 1024])
def test_template_hash_that_is_none_is_refused(vault, gateway, schedule, hash):
    subject = consenting(vault, gateway)
    refused_attach(gateway, subject, *BAD, hash=hash)
    unchanged(vault, subject)


@pytest.mark.parametrize("group", ["nobody", *GROUPS])
@pytest.mark.parametrize(("query", "allowed"), [(ATTACH, {"identity_gateway"}), (CLASSIFY, {"identity_gateway"}), (ERASE, {"identity_worker", "identity_legal"})])
def test_only_its_roles_may_call_a_function(vault, group, query, allowed):
    arguments = {ATTACH: (uuid7(), PATH, HASH), CLASSIFY: (uuid7(), Jsonb({"a": 1})), ERASE: (uuid7(), "rtbf_request")}[query]
    with vault.connect(vault.login(*([] if group == "nobody" else [group]))) as conn, pytest.raises(psycopg.Error) as caught:
        conn.execute(query, arguments)
    # Whoever may call it is told that there is nobody of this id, or that it is off.
    assert (caught.value.sqlstate in ("P0002", "55000")) == (group in allowed), caught.value
    if group not in allowed:
        assert caught.value.sqlstate == "42501" and "permission denied" in str(caught.value)


def test_every_zone_may_attach_and_none_is_told_anything(vault, schedule):
    with vault.gateway("identity_gateway") as nowhere:
        subject = consenting(vault, nowhere)
        assert len(attach(nowhere, subject)) == 2


def test_resolving_never_returns_biometrics(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    attach(gateway, subject, PATH)
    for field in ("biometric_data_path", "biometric_template_hash", "biometric_classifications", "biometrics", "data_path"):
        refused(gateway, RESOLVE, (subject.id, "t.all", [field]), "22023", "unknown_field")
    pii = gateway.execute(RESOLVE, (subject.id, "t.all", FIELDS)).fetchone()[0]
    assert set(pii) == set(FIELDS) and PATH not in str(pii) and HASH not in str(pii)


# -- erasing -------------------------------------------------------------------------
def test_erasing_leaves_the_person_and_tells_what_it_did(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    attach(gateway, subject, PATH)
    answer = erase(vault, subject, "consent_withdrawn")
    assert collected(vault, subject) == NOTHING and not texts(vault, subject)
    event = events(vault, subject)[-1]
    assert answer == {"erased": True, "access_id": str(event["access_id"]), "generation": event["generation"], "file": "elsewhere"}
    assert (event["kind"], event["reason"], event["schedule_version"], event["recorded_by"]) == ("erase", "consent_withdrawn", schedule, vault.worker)
    row = vault.rows(vault.worker, "access_id = %s", (event["access_id"],))[0]
    assert (row["accessor_kind"], row["purpose_token"], row["chain_kind"]) == ("biometric_erase", "biometric_erasure", "merkle")
    read(gateway, subject)
    # Once more is nothing more.
    assert erase(vault, subject) == answer | {"erased": False}
    assert len(events(vault, subject)) == 2
    vault.verify()


def test_erasing_of_nobody_of_somebody_without_and_for_no_reason_of_ours(vault, gateway, schedule):
    with vault.connect(vault.login("identity_worker")) as worker:
        refused(worker, ERASE, (uuid7(), "rtbf_request"), "P0002", "subject_unavailable")
        subject = consenting(vault, gateway)
        nothing = worker.execute(ERASE, (subject.id, "rtbf_request")).fetchone()[0]
        assert nothing == {"erased": False, "access_id": None, "generation": None, "file": None}
        attach(gateway, subject, PATH)
        before = collected(vault, subject)
        for reason in ("", "Zebedee asked", "RTBF_REQUEST"):
            refused(worker, ERASE, (subject.id, reason), *BAD)
        for arguments in ((None, "rtbf_request"), (subject.id, None)):
            refused(worker, ERASE, arguments, *NULL)
        assert collected(vault, subject) == before
        vault.leaves(worker, denied=6)


def test_erasing_that_is_rolled_back_erases_nothing(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    attach(gateway, subject, PATH)
    before = collected(vault, subject)
    with vault.connect(vault.worker) as worker, worker.transaction(force_rollback=True):
        worker.execute(ERASE, (subject.id, "rtbf_request"))
    assert collected(vault, subject) == before and len(texts(vault, subject)) == 1
    vault.verify()


def test_what_is_due(vault, gateway):
    due = "SELECT reason FROM identity.biometrics_due WHERE candidate_id = %s"
    policy(vault)
    kept, withdrawn, ran_out = consenting(vault, gateway), None, None
    attach(gateway, kept)
    withdrawn = consenting(vault, gateway)
    attach(gateway, withdrawn)
    record(gateway, withdrawn, "withdrawn", kind="biometric")
    ran_out = consenting(vault, gateway, valid_for="1 second")
    attach(gateway, ran_out)
    never = consenting(vault, gateway)
    record(gateway, never, "withdrawn", kind="biometric")
    time.sleep(1.1)
    said = [[row["reason"] for row in vault.sql(due, (subject.id,))] for subject in (kept, withdrawn, ran_out, never)]
    assert said == [[], ["consent_withdrawn"], ["consent_expired"], []]
    with vault.admin.transaction(force_rollback=True):
        vault.sql("UPDATE identity.subjects SET biometric_retention_until = now() WHERE candidate_id = %s", (kept.id,))
        assert vault.sql(due, (kept.id,)) == [{"reason": "retention_expired"}]
    for subject in (withdrawn, ran_out):
        erase(vault, subject, "consent_withdrawn")
        assert not vault.sql(due, (subject.id,))
    erase(vault, kept)
    vault.verify()


# -- classifying ---------------------------------------------------------------------
def test_classifying_while_it_is_off_is_refused_and_recorded(vault, gateway, schedule):
    subject = consenting(vault, gateway)
    attach(gateway, subject)
    refused(gateway, CLASSIFY, (subject.id, Jsonb({"age_band": "Zebedee"})), "55000", "classifications_off", secrets=["Zebedee"])
    row = vault.leaves(gateway, committed=2, denied=1)[-1]
    assert (row["accessor_kind"], row["denial"], row["candidate_id"]) == ("biometric_classify", "classifications_off", subject.id)
    assert collected(vault, subject)["biometric_classifications_ct"] is None


@pytest.fixture
def classifying(vault):
    def switch(on: bool) -> None:
        vault.sql("ALTER SYSTEM SET identity_pgx.biometric_classifications = " + ("on" if on else "off"))
        vault.cluster.reload()
        deadline = time.monotonic() + 10
        while vault.sql("SHOW identity_pgx.biometric_classifications")[0]["identity_pgx.biometric_classifications"] != ("on" if on else "off"):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    switch(True)
    yield
    switch(False)


def test_classifications_lie_there_as_ciphertext_and_go_with_the_rest(vault, schedule, classifying):
    with vault.gateway() as gateway:
        subject = consenting(vault, gateway)
        refused(gateway, CLASSIFY, (subject.id, Jsonb({"age_band": "40-49"})), *BAD)  # nothing to classify
        attach(gateway, subject)
        classify(gateway, subject, age_band="40-49")
        first = bytes(collected(vault, subject)["biometric_classifications_ct"])
        classify(gateway, subject, age_band="50-59")
        second = bytes(collected(vault, subject)["biometric_classifications_ct"])
        assert first != second and not any(b"age_band" in sealed or b"0-" in sealed for sealed in (first, second))
        for bad in ({}, [], ["x"], "x", 1, {"x": "y" * 1100}):
            refused(gateway, CLASSIFY, (subject.id, Jsonb(bad)), *BAD)
        for arguments in ((None, Jsonb({"a": 1})), (subject.id, None)):
            refused(gateway, CLASSIFY, arguments, *NULL)
        record(gateway, subject, "withdrawn", kind="biometric")
        refused(gateway, CLASSIFY, (subject.id, Jsonb({"a": 1})), *DENIED)
        assert bytes(collected(vault, subject)["biometric_classifications_ct"]) == second
        status = {row["item"]: row for row in vault.sql("SELECT * FROM identity.identity_status()")}
        assert status["biometric classifications"]["state"] == "on" and status["biometric classifications"]["hint"]
        vault.verify()
    assert erase(vault, subject, "consent_withdrawn")["erased"]
    assert collected(vault, subject) == NOTHING
    vault.verify()


def test_settings_that_weaken_are_recorded(vault, classifying):
    from cluster import wait_until

    newest = "SELECT settings->>'biometric_classifications' AS value FROM identity.settings_history ORDER BY recorded_at DESC LIMIT 1"
    wait_until(lambda: vault.sql(newest)[0]["value"] == "on", "the change to be recorded")
    assert "identity_pgx.biometric_classifications is on, which weakens protection" in vault.cluster.log.read_text()
