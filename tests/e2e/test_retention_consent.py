"""consent_sweep and biometric_sweep: what ran out is recorded as that, and what is due is destroyed; reads were bound before."""

import pytest

from consent import history, now, record, rfc3339, state, template
from retention import policy, sweep, sweeping, whole
from vault import read, refused_read

DIGEST = "ab" * 32


@pytest.fixture
def worker(vault):
    with sweeping(vault) as conn:
        yield conn


def given(vault, gateway, days_ago: float = 400, kind: str = "general", valid_for: str = "1 year"):
    """A subject whose consent ran out, unless it was given within the year."""
    subject = vault.subject(consent="pending_first_contact" if kind == "general" else "given")
    version = template(vault, kind, valid_for=valid_for)
    record(gateway, subject, "given", version, {"given_at": rfc3339(now(days=-days_ago))}, kind)
    return subject, version


def collected(vault, gateway):
    """A subject with biometrics, under a biometric policy."""
    policy(vault, "general", 1000, kind="biometric")
    subject = vault.subject()
    version = template(vault, "biometric")
    record(gateway, subject, "given", version, kind="biometric")
    gateway.execute("SELECT * FROM identity.biometric_attach(%s, %s, %s)", (subject.id, f"/elsewhere/{subject.id}", DIGEST))
    return subject


def has_biometrics(vault, subject) -> bool:
    row = vault.sql("SELECT biometric_collected_at, biometric_data_path, biometric_template_hash FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]
    assert len({value is None for value in row.values()}) == 1
    return row["biometric_collected_at"] is not None


def test_a_consent_that_ran_out_is_recorded_as_expired_and_was_bound_before(vault, worker, gateway):
    sweep(worker, "consent")  # what ran out in other tests
    subject, version = given(vault, gateway)
    valid, _ = given(vault, gateway, days_ago=10)
    refused_read(gateway, subject, "42501", "consent")
    before = state(vault, subject)
    assert before["consent_status"] == "given"
    assert sweep(worker, "consent", dry_run=True)["due"] == 1 and state(vault, subject) == before
    assert sweep(worker, "consent") == {"sweep": "consent", "dry_run": False, "due": 1, "done": 1, "busy": 0, "failed": 0, "more": False}
    after = state(vault, subject)
    assert after == before | {"consent_status": "expired", "generation": before["generation"] + 1}
    told = history(vault, subject)[-1]
    assert (told["status"], told["version"], told["valid_until"], told["generation"], told["recorded_by"]) == (
        "expired", version, before["consent_valid_until"], after["generation"], vault.worker,
    )
    row = vault.sql("SELECT * FROM identity.pii_access_log WHERE access_id = %s", (told["access_id"],))[0]
    assert (row["accessor_kind"], row["consent_status"], row["chain_kind"], row["accessed_at"]) == ("consent_expiry", "expired", "merkle", told["recorded_at"])
    assert state(vault, valid)["consent_status"] == "given"
    read(gateway, valid)
    refused_read(gateway, subject, "42501", "consent")
    assert sweep(worker, "consent")["due"] == 0


def test_caches_are_told_of_an_expiry(vault, worker, gateway):
    subject, _ = given(vault, gateway)
    ask = "SELECT generation FROM identity.subject_generations(ARRAY[%s::uuid])"
    before = gateway.execute(ask, (subject.id,)).fetchone()[0]
    sweep(worker, "consent")
    assert gateway.execute(ask, (subject.id,)).fetchone()[0] == before + 1


@pytest.mark.parametrize("said", ["given", "withdrawn"])
def test_after_an_expiry_a_consent_is_given_or_withdrawn_as_ever(vault, worker, gateway, said):
    subject, _ = given(vault, gateway)
    sweep(worker, "consent")
    record(gateway, subject, said, template(vault) if said == "given" else None)
    assert state(vault, subject)["consent_status"] == said
    if said == "given":
        read(gateway, subject)
    assert sweep(worker, "consent")["due"] == 0


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_consent_given_at_the_same_time_is_not_expired(vault, worker, gateway, ending):
    subject, _ = given(vault, gateway)
    version = template(vault)
    gateway.execute("BEGIN")
    record(gateway, subject, "given", version)
    answer = sweep(worker, "consent")
    assert (answer["done"], answer["busy"]) == (0, 1)
    gateway.execute(ending)
    assert sweep(worker, "consent")["done"] == (0 if ending == "COMMIT" else 1)
    assert state(vault, subject)["consent_status"] == ("given" if ending == "COMMIT" else "expired")
    if ending == "ROLLBACK":
        record(gateway, subject, "given", version)
    read(gateway, subject)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_consent_given_after_the_sweepers_snapshot_is_not_expired(vault, worker, gateway, isolation):
    subject, _ = given(vault, gateway)
    with worker.transaction():
        worker.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        worker.execute("SELECT 1")
        record(gateway, subject, "given", template(vault))
        assert sweep(worker, "consent")["due"] == 0
    read(gateway, subject)


def test_biometric_consents_run_out_too_and_both_at_once(vault, worker, gateway):
    subject, _ = given(vault, gateway)
    version = template(vault, "biometric", valid_for="1 month")
    record(gateway, subject, "given", version, {"given_at": rfc3339(now(days=-60))}, "biometric")
    assert sweep(worker, "consent")["done"] == 1
    after = state(vault, subject)
    assert (after["consent_status"], after["biometric_consent_status"], after["biometric_consent_version"]) == ("expired", "expired", version)
    assert sorted((row["kind"], row["status"]) for row in history(vault, subject)) == [
        ("biometric", "expired"), ("biometric", "given"), ("general", "expired"), ("general", "given"),
    ]


def test_a_pass_of_consents_goes_in_batches_and_a_rollback_undoes_its(vault, worker, gateway):
    subjects = [given(vault, gateway)[0] for _ in range(5)]
    with worker.transaction(force_rollback=True):
        assert sweep(worker, "consent", 3)["done"] == 3
    assert {state(vault, subject)["consent_status"] for subject in subjects} == {"given"}
    assert whole(worker, "consent", 2)["done"] == 5
    assert {state(vault, subject)["consent_status"] for subject in subjects} == {"expired"}


TAMPERING = {
    "expired by hand": ("UPDATE identity.subjects SET consent_status = 'expired' WHERE candidate_id = %(valid)s", "not what was last recorded"),
    "given again by hand": ("UPDATE identity.subjects SET consent_status = 'given' WHERE candidate_id = %(subject)s", "not what was last recorded"),
    "another end": ("UPDATE identity.consent_history SET valid_until = valid_until - interval '1 day' WHERE candidate_id = %(subject)s AND status = 'expired'", "no consent ran out"),
    "as if the subject had said it": ("UPDATE identity.consent_history SET status = 'withdrawn' WHERE candidate_id = %(subject)s AND status = 'expired'", "not what was recorded"),
    "its row removed": ("DELETE FROM identity.consent_history WHERE candidate_id = %(subject)s AND status = 'expired'", "its readable row is not there"),
}


@pytest.mark.parametrize("attempt, finding", TAMPERING.values(), ids=TAMPERING)
def test_verification_finds_an_expiry_that_was_tampered_with(vault, worker, gateway, attempt, finding):
    subject, _ = given(vault, gateway)
    valid, _ = given(vault, gateway, days_ago=10)
    sweep(worker, "consent")
    vault.verify()
    with vault.cluster.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute("ALTER TABLE identity.consent_history DISABLE TRIGGER append_only")
        admin.execute(attempt, {"subject": subject.id, "valid": valid.id})
        admin.execute("ALTER TABLE identity.consent_history ENABLE ALWAYS TRIGGER append_only")
        wrong = admin.execute("SELECT check_name, detail FROM identity.ledger_verify(true) WHERE NOT ok AND check_name <> 'unsealed'").fetchall()
    assert any(row[0] == "consent" and finding in row[1] for row in wrong), wrong


# -- biometrics --------------------------------------------------------------------------


def test_biometrics_whose_consent_was_withdrawn_are_due_at_once(vault, worker, gateway):
    subject, kept = collected(vault, gateway), collected(vault, gateway)
    assert sweep(worker, "biometric")["due"] == 0
    record(gateway, subject, "withdrawn", kind="biometric")
    assert sweep(worker, "biometric", dry_run=True)["due"] == 1 and has_biometrics(vault, subject)
    assert sweep(worker, "biometric")["done"] == 1
    assert [has_biometrics(vault, s) for s in (subject, kept)] == [False, True]
    read(gateway, subject)  # the person stays
    event = vault.sql("SELECT * FROM identity.pii_access_log WHERE candidate_id = %s AND accessor_kind = 'biometric_erase'", (subject.id,))
    assert [row["purpose_token"] for row in event] == ["biometric_erasure"]


def test_an_interaction_moves_no_promise_and_a_policy_that_is_gone_keeps_nothing(vault, worker, gateway):
    subject = collected(vault, gateway)
    gateway.execute("SELECT identity.interaction_record(%s)", (subject.id,))
    with vault.connect(vault.dba) as dba:
        dba.execute("DELETE FROM identity.retention_policies")
    assert sweep(worker, "biometric")["due"] == 0
    with vault.admin.transaction():  # as if its time were over; verification would say so, and then it is put back by the erasure
        vault.sql("UPDATE identity.subjects SET biometric_retention_until = now() WHERE candidate_id = %s", (subject.id,))
    assert sweep(worker, "biometric")["done"] == 1 and not has_biometrics(vault, subject)


def test_a_biometric_consent_that_ran_out_makes_them_due(vault, worker, gateway):
    subject = collected(vault, gateway)
    version = template(vault, "biometric", valid_for="1 month")
    record(gateway, subject, "given", version, {"given_at": rfc3339(now(days=-60))}, "biometric")
    assert sweep(worker, "biometric", dry_run=True)["due"] == 1
    assert sweep(worker, "consent")["done"] == 1 and sweep(worker, "biometric")["done"] == 1
    assert not has_biometrics(vault, subject)
    reasons = vault.sql("SELECT reason FROM identity.biometric_history WHERE candidate_id = %s AND reason IS NOT NULL", (subject.id,))
    assert [row["reason"] for row in reasons] == ["consent_expired"]


def test_biometrics_that_a_client_holds_are_left_and_destroyed_later(vault, worker, gateway):
    subject = collected(vault, gateway)
    record(gateway, subject, "withdrawn", kind="biometric")
    with gateway.transaction():
        gateway.execute("SELECT identity.interaction_record(%s)", (subject.id,))
        answer = sweep(worker, "biometric")
        assert (answer["done"], answer["busy"]) == (0, 1) and has_biometrics(vault, subject)
    assert sweep(worker, "biometric")["done"] == 1 and not has_biometrics(vault, subject)
