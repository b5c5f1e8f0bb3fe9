"""Whoever owns the database can rewrite who was erased, who asked and what is left; the verifier says where."""

import pytest

from cluster import Cluster
from consent import now, record, rfc3339, template
from erasure import asked, erase, requests, row
from vault import Vault

TABLES = ("erasure_requests", "subject_texts", "subjects", "consent_history")
GUARDS = {
    "erasure_requests": ("append_only", "forward_only"),
    "subject_texts": ("append_only",),
    "subjects": ("subjects_changed",),
    "consent_history": ("append_only",),
}


@pytest.fixture(scope="module")
def own():
    cluster = Cluster("t")
    try:
        yield Vault(cluster.start().install())
    finally:
        cluster.destroy()


@pytest.fixture
def rewritten(own):
    """Runs a statement with the guards off, verifies, and takes everything back."""
    gone, open_, kept = own.subject(consent="pending_first_contact"), own.subject(), own.subject(consent="pending_first_contact")
    version = template(own)
    with own.gateway() as gateway:
        for each in (gone, kept):
            record(gateway, each, "given", version, {"letter": "signed", "given_at": rfc3339(now())})
    before = row(own, gone)["name_ct"].hex()
    erase(own, gone)
    asked(own, open_)

    def rewrite(statement: str) -> set[str]:
        with own.admin.transaction(force_rollback=True):
            for table in TABLES:
                own.sql(f"ALTER TABLE identity.{table} DISABLE TRIGGER ALL")
            own.sql(statement.format(g=gone.id, o=open_.id, k=kept.id, ct=before))
            for table in TABLES:
                for trigger in GUARDS[table]:
                    own.sql(f"ALTER TABLE identity.{table} ENABLE ALWAYS TRIGGER {trigger}")
            # Where an erasure is not what was recorded it has not its tombstone, either.
            return {finding["check_name"] for finding in own.findings() if not finding["ok"]} - {"tombstones"}

    yield rewrite
    own.verify()


def test_nothing_is_found_where_nothing_was_done(rewritten):
    assert rewritten("SELECT 1") == set()


@pytest.mark.parametrize(
    "change",
    [
        "reason = 'candidate_request'",
        "requested_at = requested_at - interval '1 microsecond'",
        "requested_by = 'another'",
        "due_at = due_at + interval '1 day'",
        "request_access_id = NULL",
        "request_access_id = request_access_id + 1",
        "candidate_id = gen_random_uuid()",
        "request_id = gen_random_uuid()",
    ],
)
@pytest.mark.parametrize("which", ["g", "o"])
def test_changed_request_is_found(rewritten, which, change):
    assert rewritten(f"UPDATE identity.erasure_requests SET {change} WHERE candidate_id = '{{{which}}}'") == {"erasures"}


@pytest.mark.parametrize(
    "change",
    [
        "authority = 'another'",
        "authority = NULL",
        "authorised_by = 'another'",
        "done_at = done_at + interval '1 microsecond'",
        "generation = generation + 1",
        "generation = NULL",
        "erasure_generation = erasure_generation + 1",
        "forgotten = 'app.notes=3'",
        "access_id = access_id + 1",
        "access_id = request_access_id",
        "state = 'requested', done_at = NULL, access_id = NULL",
        "state = 'refused', done_at = NULL, access_id = NULL",
    ],
)
def test_changed_erasure_is_found(rewritten, change):
    assert rewritten(f"UPDATE identity.erasure_requests SET {change} WHERE candidate_id = '{{g}}'") == {"erasures"}


@pytest.mark.parametrize("state", ["refused", "held", "authorised"])
def test_open_request_that_was_put_away_is_found(rewritten, state):
    assert rewritten(f"UPDATE identity.erasure_requests SET state = '{state}' WHERE candidate_id = '{{o}}'") == {"erasures"}


def test_open_request_that_is_said_to_be_done_is_found(rewritten):
    done = "state = 'done', done_at = now(), access_id = request_access_id, authority = 'x', authorised_by = 'x', generation = 1, erasure_generation = 1"
    assert rewritten(f"UPDATE identity.erasure_requests SET {done} WHERE candidate_id = '{{o}}'") == {"erasures"}


@pytest.mark.parametrize("which", ["g", "o"])
def test_removed_request_is_found(rewritten, which):
    assert rewritten(f"DELETE FROM identity.erasure_requests WHERE candidate_id = '{{{which}}}'") == {"erasures"}


@pytest.mark.parametrize("reason", ["rtbf_request", "retention_expired"])
def test_made_up_request_is_found(rewritten, reason):
    insert = "INSERT INTO identity.erasure_requests (request_id, candidate_id, reason, state, requested_at, requested_by, due_at) VALUES (gen_random_uuid(), '{k}', '%s', 'requested', now(), 'x', now() + interval '72 hours')"
    assert rewritten(insert % reason) == {"erasures"}


def test_made_up_sweep_is_found(rewritten):
    assert rewritten(
        """INSERT INTO identity.erasure_requests (request_id, candidate_id, reason, state, requested_at, requested_by, due_at, authority, authorised_by, done_at,
                  generation, erasure_generation, access_id)
           SELECT gen_random_uuid(), '{k}', 'retention_expired', 'done', t, 'x', t + interval '72 hours', 'a', 'x', t, 2, 1, 4711 FROM now() t;
           UPDATE identity.subjects SET erased_at = now(), erasure_reason = 'retention_expired', erasure_generation = 1, generation = 2 WHERE candidate_id = '{k}';
           DELETE FROM identity.subject_texts WHERE candidate_id = '{k}'"""
    ) == {"erasures"}


@pytest.mark.parametrize(
    "change",
    [
        "erased_at = NULL",
        "erased_at = erased_at - interval '1 day'",
        "erasure_reason = 'candidate_request'",
        "erasure_generation = 0",
        "erasure_generation = erasure_generation + 1",
        "generation = 0",
        "name_ct = '\\x{ct}'",
        "lawful_basis = 'back'",
        "transfer_mechanism = 'back'",
        "biometric_data_path = 'back'",
        "biometric_template_hash = 'back'",
        "biometric_classifications_ct = '\\x00'",
        "biometric_retention_until = now()",
        "biometric_collected_at = now()",
    ],
)
def test_subject_that_does_not_stand_as_it_was_erased_is_found(rewritten, change):
    assert "erasures" in rewritten(f"UPDATE identity.subjects SET {change} WHERE candidate_id = '{{g}}'")


def test_text_of_an_erased_subject_that_came_back_is_found(rewritten):
    assert rewritten("INSERT INTO identity.subject_texts VALUES (4711, '{g}', 'consent', '\\x00000000000000000000000000000000', 'back')") == {"erasures"}


def test_subject_erased_by_hand_is_found_and_its_texts_are_missed(rewritten):
    """Marking a subject as erased hides nothing: no erasure was recorded."""
    marked = "UPDATE identity.subjects SET erased_at = now() WHERE candidate_id = '{k}'"
    assert rewritten(marked) == {"erasures"}
    assert rewritten(marked + "; DELETE FROM identity.subject_texts WHERE candidate_id = '{k}'") == {"erasures"}


def test_text_of_somebody_who_was_not_erased_is_missed(rewritten):
    assert rewritten("DELETE FROM identity.subject_texts WHERE candidate_id = '{k}'") == {"consent"}


def test_erased_subject_that_is_gone_altogether_is_found(rewritten):
    assert "erasures" in rewritten("DELETE FROM identity.subjects WHERE candidate_id = '{g}'")


def test_each_finding_names_what_it_is_about(own, rewritten):
    gone = own.sql("SELECT request_id, candidate_id FROM identity.erasure_requests WHERE state = 'done' ORDER BY done_at DESC LIMIT 1")[0]
    with own.admin.transaction(force_rollback=True):
        own.sql("UPDATE identity.subjects SET lawful_basis = 'Zebedee' WHERE candidate_id = %s", (gone["candidate_id"],))
        (finding,) = [f for f in own.findings() if not f["ok"]]
        assert str(gone["candidate_id"]) in finding["detail"] and "Zebedee" not in finding["detail"]
        own.sql("UPDATE identity.subjects SET lawful_basis = NULL, erased_at = now() WHERE candidate_id = %s", (gone["candidate_id"],))
        (finding,) = [f for f in own.findings() if not f["ok"]]
        assert str(gone["request_id"]) in finding["detail"]


@pytest.mark.parametrize("trigger", GUARDS["erasure_requests"])
def test_missing_guard_is_found(own, trigger):
    with own.admin.transaction(force_rollback=True):
        own.sql(f"ALTER TABLE identity.erasure_requests DISABLE TRIGGER {trigger}")
        assert {finding["check_name"] for finding in own.findings() if not finding["ok"]} == {"guards"}


def test_erasures_that_no_scrub_waits_for_are_found(rewritten):
    assert rewritten("DELETE FROM identity.scrub_waits") == {"erasures"}


def test_a_scrub_is_no_finding(own, rewritten):
    assert rewritten("UPDATE identity.erasure_requests SET scrubbed_at = now(), scrubbed_lsn = '0/1', residual_in_backups_until = now() WHERE candidate_id = '{g}'") == set()
    assert requests(own, own.subject()) == []
