"""Erasing: asked for once, authorised under a policy, done in one transaction, and told about honestly."""

import hashlib
import struct
from datetime import UTC, timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import wait_until
from consent import CONSENT, record, template
from erasure import (
    AUTHORISE,
    GONE,
    RECEIPT,
    REQUEST,
    STATUS,
    authorise,
    asked,
    erase,
    events,
    lasting,
    request,
    requests,
    row,
    schedule,
    there,
    untouched,
)
from scrub import scrub_all
from vault import CLOUD, RESOLVE, Subject, Vault, read, refused, refused_read, uuid7

REASONS = ("rtbf_request", "consent_withdrawn", "candidate_request")


@pytest.fixture
def worker(vault):
    with vault.connect(vault.worker) as conn:
        yield conn


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("vertical", ["general", "healthcare", "unknown", "finance", "other"])
def test_erased_is_gone_for_every_caller_and_leaves_its_record(vault, gateway, vertical, reason):
    subject = vault.subject(vertical)
    read(gateway, subject)
    before = row(vault, subject)
    receipt = erase(vault, subject, reason)
    refused_read(gateway, subject, *GONE)
    with vault.gateway(*CLOUD) as cloud:
        refused_read(cloud, subject, *(GONE if vertical not in ("healthcare", "unknown") else ("P0002", "subject_unavailable")))
    after = row(vault, subject)
    assert not there(vault, subject)
    assert (after["generation"], after["erasure_generation"]) == (before["generation"] + 1, 1)
    assert after["erased_at"] == after["updated_at"] and after["erasure_reason"] == reason
    for kept in ("vertical", "consent_status", "created_at", "registered_by", "request_id", "retention_period_days"):
        assert after[kept] == before[kept]
    (event,) = events(vault, subject)
    assert (event["chain_kind"], event["purpose_token"], event["generation"]) == ("merkle", "rtbf_request", after["generation"])
    assert event["accessed_at"] == after["erased_at"] and str(event["access_id"]) == receipt["access_id"]
    (asked_for,) = events(vault, subject, "erasure_request")
    (kept,) = requests(vault, subject)
    assert kept["request_access_id"] == asked_for["access_id"] and kept["access_id"] == event["access_id"]
    assert kept["due_at"] - kept["requested_at"] == timedelta(hours=72)
    vault.verify()


def test_caches_are_told_of_the_generation(vault, gateway):
    subject = vault.subject()
    generation = gateway.execute("SELECT generation FROM identity.subject_generations(ARRAY[%s])", (subject.id,)).fetchone()[0]
    erase(vault, subject)
    assert gateway.execute("SELECT generation FROM identity.subject_generations(ARRAY[%s])", (subject.id,)).fetchone()[0] == generation + 1
    many = gateway.execute("SELECT vertical, consent_status, route, generation FROM identity.pii_vertical_many(ARRAY[%s])", (subject.id,)).fetchone()
    assert many == (None, None, "onbox_only", generation + 1)


def test_whoever_asks_again_is_told_of_the_same_request(vault, gateway):
    subject = vault.subject()
    first = request(gateway, subject)
    assert request(gateway, subject, "candidate_request") == first == asked(vault, subject, "consent_withdrawn")
    receipt = authorise(vault, first, schedule(vault))
    assert request(gateway, subject) == first and receipt["reason"] == "rtbf_request"
    assert len(requests(vault, subject)) == len(events(vault, subject)) == len(events(vault, subject, "erasure_request")) == 1


def test_who_authorises_again_has_the_receipt_again(vault, worker):
    subject = vault.subject()
    request_id, authority = asked(vault, subject), schedule(vault)
    first = worker.execute(AUTHORISE, (request_id, authority)).fetchone()[0]
    # What is done is done: no other authority is looked at, and none is recorded.
    assert lasting(worker.execute(AUTHORISE, (request_id, "another")).fetchone()[0]) == lasting(first)
    assert len(events(vault, subject)) == 1 and requests(vault, subject)[0]["authority"] == authority


def test_asking_stops_no_read(vault, gateway):
    subject = vault.subject()
    request(gateway, subject)
    read(gateway, subject)
    untouched(vault, gateway, subject)


@pytest.mark.parametrize("authority", ["another", "", " ", "v1.general", "x" * 1000])
def test_authority_must_be_the_policys(vault, gateway, worker, authority):
    subject = vault.subject()
    request_id = request(gateway, subject)
    schedule(vault)
    if not vault.sql("SELECT 1 FROM identity.consent_versions WHERE version = 'v1.general'"):
        template(vault, "general", version="v1.general")
    refused(worker, AUTHORISE, (request_id, authority), "42501", "authority")
    untouched(vault, gateway, subject)


def test_authority_of_another_vertical_is_none(vault, gateway, worker):
    mine = schedule(vault)
    with vault.connect(vault.dba) as dba:
        dba.execute("DELETE FROM identity.retention_policies WHERE vertical = 'finance' AND kind = 'general'")
    try:
        subject = vault.subject("finance")
        refused(worker, AUTHORISE, (request(gateway, subject), mine), "42501", "authority")
        untouched(vault, gateway, subject)
    finally:
        with vault.connect(vault.dba) as dba:
            dba.execute("INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES ('finance', 'general', 730, %s)", (mine,))


def test_superseded_schedule_is_no_authority(vault, gateway, worker):
    subject, old = vault.subject(), schedule(vault)
    request_id = request(gateway, subject)
    template(vault, "retention_schedule")  # supersedes what the policies are under
    refused(worker, AUTHORISE, (request_id, old), "42501", "authority")
    untouched(vault, gateway, subject)
    assert authorise(vault, request_id, schedule(vault))["request_id"] == str(request_id)


def test_request_that_is_not_there_cannot_be_authorised(vault, worker):
    refused(worker, AUTHORISE, (uuid7(), schedule(vault)), "P0002", "subject_unavailable")


@pytest.mark.parametrize("reason", ["retention_expired", "", "RTBF_REQUEST", "because", "Zebedee"])
def test_reason_is_one_of_the_list(vault, gateway, reason):
    subject = vault.subject()
    refused(gateway, REQUEST, (subject.id, reason), "22023", "bad_argument", secrets=["Zebedee"])
    assert not requests(vault, subject)


def test_nulls_are_refused_with_a_record(vault, gateway, worker):
    subject = vault.subject()
    request_id = request(gateway, subject)
    for conn, query, params in (
        (gateway, REQUEST, (None, "rtbf_request")),
        (gateway, REQUEST, (subject.id, None)),
        (worker, AUTHORISE, (None, schedule(vault))),
        (worker, AUTHORISE, (request_id, None)),
        (gateway, STATUS, (None,)),
        (gateway, RECEIPT, (None,)),
    ):
        refused(conn, query, params, "22004", "null_argument")
    vault.leaves(gateway, committed=1, denied=2)
    untouched(vault, gateway, subject)


def test_unknown_subjects(vault, gateway):
    for query, params in ((REQUEST, (uuid7(), "rtbf_request")), (STATUS, (uuid7(),)), (RECEIPT, (uuid7(),))):
        refused(gateway, query, params, "P0002", "subject_unavailable")


def test_status_follows(vault, gateway):
    subject = vault.subject()
    assert gateway.execute(STATUS, (subject.id,)).fetchone() == (None,) * 6
    assert gateway.execute(RECEIPT, (subject.id,)).fetchone() == (None,)
    request_id = request(gateway, subject)
    state, requested_at, due_at, *rest = gateway.execute(STATUS, (subject.id,)).fetchone()
    assert (state, due_at - requested_at, rest) == ("requested", timedelta(hours=72), [None, None, None])
    assert gateway.execute(RECEIPT, (subject.id,)).fetchone() == (None,)
    authorise(vault, request_id, schedule(vault))
    state, _, _, done_at, scrubbed_at, residual = gateway.execute(STATUS, (subject.id,)).fetchone()
    assert state == "done" and done_at >= requested_at and (scrubbed_at is None) == (residual is None)
    vault.leaves(gateway, committed=1)  # the request; being told leaves none


def test_receipt_says_what_when_why_and_under_what_authority(vault, gateway):
    subject = vault.subject()
    receipt = erase(vault, subject, "candidate_request")
    assert lasting(receipt) == lasting(gateway.execute(RECEIPT, (subject.id,)).fetchone()[0])
    (kept,) = requests(vault, subject)
    installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"]
    tag = b"identity_pgx/subject/v1"
    digest = hashlib.sha256(struct.pack(">I", len(tag)) + tag + installation.bytes + subject.id.bytes).hexdigest()

    def moment(at):
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    with vault.cluster.connect(options="-c timezone=UTC") as admin:
        requested_at, due_at, done_at = admin.execute("SELECT requested_at, due_at, done_at FROM identity.erasure_requests WHERE candidate_id = %s", (subject.id,)).fetchone()
    assert receipt == {
        "schema": "erasure.receipt.v1",
        "subject": digest,
        "request_id": str(kept["request_id"]),
        "reason": "candidate_request",
        "authority": schedule(vault),
        "requested_at": moment(requested_at),
        "due_at": moment(due_at),
        "erased_at": moment(done_at),
        "access_id": str(kept["access_id"]),
        "generation": kept["generation"],
        "erasure_generation": 1,
        "forgotten": None,
        "biometric_file": None,
        "scrubbed_at": None,
        "residual_in_backups_until": None,
        "wal": {"clean_after": None, "wal_recycle": True, "residue": True},
        "keys": "development",
    }
    assert str(subject.id) not in str(receipt) and subject.id.hex not in str(receipt)


@pytest.mark.parametrize("recycle", ["on", "off"])
def test_receipt_says_until_when_backups_and_wal_hold_a_residue(fresh, recycle):
    settings = {"identity_pgx.backup_retention": "'2d'", "min_wal_size": "'96MB'", "max_wal_size": "'96MB'", "wal_recycle": recycle}
    vault = Vault(fresh(settings))
    subject = vault.subject()
    erase(vault, subject)
    marker = f"residue-{subject.id.hex}"
    for _ in range(8):
        vault.sql("SELECT pg_logical_emit_message(false, 'x', repeat(%s, 200000))", (marker,))
    vault.sql("CHECKPOINT")
    with vault.connect(vault.worker) as worker:
        assert scrub_all(worker)["scrubbed"] == 1

    def in_wal() -> bool:
        return any(marker.encode() in path.read_bytes() for path in (vault.cluster.data / "pg_wal").glob("0*"))

    with vault.gateway() as gateway:

        def wal() -> dict:
            return gateway.execute(RECEIPT, (subject.id,)).fetchone()[0]["wal"]

        scrubbed_at, residual = gateway.execute(STATUS, (subject.id,)).fetchone()[4:]
        assert residual - scrubbed_at == timedelta(days=2)
        lsn = vault.sql("SELECT scrubbed_lsn::text AS lsn FROM identity.erasure_requests")[0]["lsn"]
        assert wal() == {"clean_after": lsn, "wal_recycle": recycle == "on", "residue": True} and in_wal()
        for _ in range(20):
            # Not by whole segments: a segment that is half filled has the older half of what it was before.
            vault.sql("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000)) FROM generate_series(1, 9)")
            vault.sql("CHECKPOINT")
            there = in_wal()
            if not wal()["residue"]:
                assert not there
                break
        else:
            pytest.fail("WAL never came clean")


@pytest.mark.parametrize("later", ["1d", "9d"])
def test_the_date_that_was_promised_follows_no_later_setting(fresh, later):
    vault = Vault(fresh({"identity_pgx.backup_retention": "'2d'", "autovacuum": "off"}))
    first, second = vault.subject(), vault.subject()
    with vault.connect(vault.worker) as worker, vault.gateway() as gateway:

        def told(subject) -> tuple:
            status = gateway.execute(STATUS, (subject.id,)).fetchone()
            return *status[4:], gateway.execute(RECEIPT, (subject.id,)).fetchone()[0]["residual_in_backups_until"]

        erase(vault, first)
        scrub_all(worker)
        promised = told(first)
        scrubbed_at, residual, receipt = promised
        assert residual == scrubbed_at + timedelta(days=2) and receipt == f"{residual.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        vault.sql(f"ALTER SYSTEM SET identity_pgx.backup_retention = '{later}'")
        vault.cluster.reload()
        wait_until(lambda: gateway.execute("SHOW identity_pgx.backup_retention").fetchone() == (later,), "the setting")
        assert told(first) == promised
        erase(vault, second)
        scrub_all(worker)
        scrubbed_at, residual, _ = told(second)
        assert residual - scrubbed_at == timedelta(days=int(later[0])) and told(first) == promised


def test_longer_backups_are_recorded_as_a_weakening(fresh):
    vault = Vault(fresh({"identity_pgx.backup_retention": "'2d'"}))
    recorded = "SELECT settings ->> 'backup_retention' AS kept FROM identity.settings_history ORDER BY recorded_at DESC LIMIT 1"
    for value, kept in (("2d", "2880min"), ("1d", "1440min"), ("3d", "4320min")):
        vault.sql(f"ALTER SYSTEM SET identity_pgx.backup_retention = '{value}'")
        vault.cluster.reload()
        wait_until(lambda: vault.sql(recorded) == [{"kept": kept}], f"{value} on the record")
    log = vault.cluster.log.read_text()
    assert log.count("backup_retention is 4320min, which weakens protection") == 1 and "backup_retention is 1440min" not in log
    assert "backup_retention is 2880min" not in log
    vault.verify()


@pytest.mark.parametrize(
    "query, params",
    [
        ("SELECT identity.pii_update(%s, 't.all', %s)", (Jsonb({"name": "Grace"}),)),
        ("SELECT identity.pii_update(%s, 't.all', %s)", (Jsonb({"name": None}),)),
        (CONSENT, ("general", "withdrawn", None, Jsonb({"why": "Grace"}))),
        (CONSENT, ("biometric", "pending", None, Jsonb({}))),
        ("SELECT identity.eu_record(%s, true, 'Grace')", ()),
        ("SELECT identity.interaction_record(%s)", ()),
        ("SELECT identity.text_observe(%s, 'resume', 'a registered nurse named Grace')", ()),
        ("SELECT * FROM identity.pii_vertical(%s)", ()),
        (RESOLVE, ("t.all", ["name"])),
    ],
)
def test_nothing_writes_or_reads_who_was_erased(vault, gateway, query, params):
    subject = vault.subject(consent="pending_first_contact")
    erase(vault, subject)
    before = row(vault, subject)
    refused(gateway, query, (subject.id, *params), *GONE, secrets=["Grace"])
    assert row(vault, subject) == before and not there(vault, subject)
    vault.leaves(gateway, denied=1)


def test_reviewers_and_importers_are_refused_too(vault):
    subject = vault.subject("unknown")
    erase(vault, subject)
    with vault.connect(vault.login("identity_reviewer")) as reviewer:
        refused(reviewer, "SELECT identity.vertical_review(%s, 'general', 'Grace')", (subject.id,), *GONE)
    with pytest.raises(psycopg.Error) as caught:
        vault.change(subject.id, {"name": "Grace"})
    assert caught.value.diag.message_detail == "reason: subject_erased"
    assert not there(vault, subject)


def test_same_registration_again_brings_nobody_back(vault, gateway):
    register = "SELECT identity.pii_register('t.all', %s, '{}', %s)"
    request_id = uuid7()
    candidate = gateway.execute(register, (Jsonb({"name": "Ada"}), request_id)).fetchone()[0]
    subject = vault.subject(id=uuid7())  # another, who stays
    erase(vault, Subject(candidate, {"name": "Ada"}))
    assert gateway.execute(register, (Jsonb({"name": "Ada"}), request_id)).fetchone()[0] == candidate
    assert not there(vault, Subject(candidate))
    refused(gateway, RESOLVE, (candidate, "t.all", ["name"]), *GONE)
    read(gateway, subject)


def test_texts_of_others_stay(vault, gateway):
    one, other = vault.subject(consent="pending_first_contact"), vault.subject(consent="pending_first_contact")
    version = template(vault)
    for each in (one, other):
        record(gateway, each, "given", version, {"letter": "signed"})
    erase(vault, one)
    left = vault.sql("SELECT candidate_id FROM identity.subject_texts WHERE candidate_id = ANY(%s)", ([one.id, other.id],))
    assert left == [{"candidate_id": other.id}]
    read(gateway, other)
    vault.verify()


def test_status_and_metrics_tell_of_what_waits(fresh):
    vault = Vault(fresh())

    def told():
        status = {r["item"]: r for r in vault.sql("SELECT * FROM identity.identity_status()")}
        metrics = {(r["name"], *r["labels"].values()): r["value"] for r in vault.sql("SELECT * FROM identity.metrics()")}
        return status["open erasures"], status["unscrubbed erasures"], metrics

    open_, unscrubbed, metrics = told()
    assert (open_["state"], open_["since"], unscrubbed["state"]) == ("0 open, 0 overdue", None, "0 done, not scrubbed")
    assert metrics["identity_erasures", "open"] == metrics["identity_erasures_oldest_seconds", "open"] == metrics["identity_erasures_overdue",] == 0
    waits, late, done = vault.subject(), vault.subject(), vault.subject()
    erase(vault, done)
    asked(vault, waits), asked(vault, late)
    vault.sql("ALTER TABLE identity.erasure_requests DISABLE TRIGGER forward_only")
    vault.sql(
        "UPDATE identity.erasure_requests SET requested_at = requested_at - interval '4 days', due_at = due_at - interval '4 days' WHERE candidate_id = %s",
        (late.id,),
    )
    vault.sql("ALTER TABLE identity.erasure_requests ENABLE ALWAYS TRIGGER forward_only")
    open_, unscrubbed, metrics = told()
    assert (open_["state"], unscrubbed["state"]) == ("2 open, 1 overdue", "1 done, not scrubbed")
    assert "erasure_authorise" in open_["hint"] and open_["since"] == requests(vault, late)[0]["requested_at"]
    assert metrics["identity_erasures", "open"] == 2 and metrics["identity_erasures_overdue",] == 1
    assert metrics["identity_erasures", "unscrubbed"] == 1 and metrics["identity_erasures_oldest_seconds", "open"] > 300_000
    vault.verify("erasures")  # what was dated back by hand is found


def test_server_log_does_not_say_who_asked_to_be_erased(fresh):
    vault = Vault(fresh({"log_statement": "'all'", "log_min_duration_statement": "0"}))
    subject = vault.subject()
    authority = schedule(vault)
    with vault.gateway(options="-c search_path=identity") as gateway, vault.connect(vault.worker, options="-c search_path=identity") as worker:
        # The first statement of each session, with a literal.
        request_id = gateway.execute(f"SELECT erasure_request('{subject.id}', 'rtbf_request')").fetchone()[0]
        worker.execute(f"SELECT erasure_authorise('{request_id}', '{authority}')")
    with vault.connect(vault.auditor, options="-c search_path=identity") as auditor:
        auditor.execute(f"SELECT erasure_receipt('{subject.id}'), erasure_status('{subject.id}')")
    log = vault.cluster.log.read_text()
    assert str(request_id) not in log and "erasure_request('" not in log and "erasure_receipt('" not in log
