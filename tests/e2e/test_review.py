"""Reviews: who may make them, in which direction, and what they leave. The ways a gateway might open the cloud for itself."""

import os
import threading

import psycopg
import pytest
from psycopg.types.json import Jsonb

from erasure import erase
from test_canary import encodings
from test_vertical import OBSERVE, observe, state
from vault import CLOUD, ONBOX, REGISTER, reason_of, refused, uuid7

REVIEW = "SELECT identity.vertical_review(%s::uuid, %s::text, %s::text)"
QUEUE = "SELECT candidate_id, created_at, age, consent_status FROM identity.vertical_review_queue"
FORECAST = "SELECT length, oldest, per_day, projected_end FROM identity.review_forecast()"
VERTICALS = ["unknown", "general", "finance", "other", "healthcare"]


@pytest.fixture
def reviewer(vault):
    conn = vault.connect(vault.login("identity_reviewer"))
    yield conn
    conn.close()


def review(conn, subject, vertical: str, note: str = "looked at the file") -> None:
    conn.execute(REVIEW, (getattr(subject, "id", subject), vertical, note))


@pytest.mark.parametrize("after", VERTICALS)
@pytest.mark.parametrize("before", VERTICALS)
def test_reviews_go_up_or_sideways_never_down(vault, reviewer, before, after):
    subject = vault.subject(before)
    generation = state(vault, subject)[1]
    if after == "unknown":
        refused(reviewer, REVIEW, (subject.id, after, "x"), "22023", "bad_argument")
    elif before == "healthcare" and after != "healthcare":
        refused(reviewer, REVIEW, (subject.id, after, "x"), "42501", "role_conflict")
    else:
        review(reviewer, subject, after)
        assert state(vault, subject) == (after, generation + (before != after))
        (row,) = vault.leaves(reviewer, committed=1)
        assert (row["accessor_kind"], row["chain_kind"], row["vertical"], row["candidate_id"]) == ("vertical_review", "merkle", after, subject.id)
        history = vault.sql("SELECT * FROM identity.vertical_history WHERE access_id = %s", (row["access_id"],))[0]
        assert (history["kind"], history["before"], history["after"], history["changed_by"]) == ("review", before, after, reviewer.info.user)
        return
    assert state(vault, subject) == (before, generation)
    vault.leaves(reviewer, denied=1)


def test_note_is_beside_its_salt_and_only_its_digest_is_in_the_history(vault, reviewer):
    subject, note = vault.subject("unknown"), "Canary note " + os.urandom(8).hex()
    review(reviewer, subject, "general", note)
    row = vault.sql(
        """SELECT h.note_digest, t.kind, t.content,
                  sha256(int4send(24) || convert_to('identity_pgx/evidence/v1', 'UTF8') || t.salt || int4send(octet_length(t.content)) || convert_to(t.content, 'UTF8')) AS digest
             FROM identity.vertical_history h JOIN identity.subject_texts t USING (access_id) WHERE h.candidate_id = %s""",
        (subject.id,),
    )[0]
    assert (row["kind"], row["content"]) == ("vertical_review", note) and row["note_digest"] == row["digest"]
    assert not [text for row in vault.rows(reviewer.info.user) for text in row.values() if note in str(text)]
    assert not any(form.decode() in vault.cluster.log.read_text() for form in encodings(note.encode()))


def test_malformed_reviews_leave_a_row_and_no_change(vault, reviewer):
    subject, erased = vault.subject("unknown"), vault.subject("unknown")
    erase(vault, erased)
    secret = "Canary" + os.urandom(8).hex()
    bad = [
        (None, "general", "x", "22004", "null_argument"),
        (subject.id, None, "x", "22004", "null_argument"),
        (subject.id, "general", None, "22004", "null_argument"),
        (subject.id, "General", "x", "22023", "bad_argument"),
        (subject.id, secret, "x", "22023", "bad_argument"),
        (subject.id, "general", "", "22023", "bad_argument"),
        (subject.id, "general", secret * 100, "22023", "bad_argument"),
        (uuid7(), "general", secret, "P0002", "subject_unavailable"),
        (erased.id, "general", secret, "P0002", "subject_erased"),
        (erased.id, "healthcare", secret, "P0002", "subject_erased"),
    ]
    for candidate, vertical, note, sqlstate, reason in bad:
        refused(reviewer, REVIEW, (candidate, vertical, note), sqlstate, reason, secrets=[secret])
    assert state(vault, subject)[0] == "unknown"
    vault.leaves(reviewer, denied=len(bad))


# -- one person, two roles ---------------------------------------------------
def both_directly(vault):
    return vault.connect(vault.login("identity_reviewer", *ONBOX))


def both_by_nesting(vault):
    inner, outer = vault.login("identity_gateway"), vault.login()
    vault.sql(f"GRANT {inner} TO {outer}")
    role = vault.login("identity_reviewer")
    vault.sql(f"GRANT {outer} TO {role}")
    vault.sql(f"ALTER ROLE {role} NOINHERIT")  # membership counts, inherited or not
    vault.sql(f"GRANT EXECUTE ON FUNCTION identity.vertical_review(uuid, text, text) TO {role}")
    return vault.connect(role)


def gateway_that_sets_itself_to_a_reviewer(vault):
    reviewer, role = vault.login("identity_reviewer"), vault.login(*CLOUD)
    vault.sql(f"GRANT {reviewer} TO {role}")
    conn = vault.connect(role)
    conn.execute(f"SET ROLE {reviewer}")
    return conn


def reviewer_that_sets_itself_to_a_gateway(vault):
    gateway, role = vault.login("identity_reviewer", "identity_gateway"), vault.login("identity_reviewer")
    vault.sql(f"GRANT {gateway} TO {role}")
    conn = vault.connect(role)
    conn.execute(f"SET ROLE {gateway}")
    return conn


def nobody_with_execute(vault):
    role = vault.login()
    vault.sql(f"GRANT EXECUTE ON FUNCTION identity.vertical_review(uuid, text, text) TO {role}")
    return vault.connect(role)


def superuser(vault):
    return vault.cluster.connect()


@pytest.mark.parametrize(
    "session",
    [both_directly, both_by_nesting, gateway_that_sets_itself_to_a_reviewer, reviewer_that_sets_itself_to_a_gateway, nobody_with_execute, superuser],
    ids=lambda session: session.__name__,
)
def test_reviewer_who_is_a_gateway_and_who_is_no_reviewer_review_nothing(vault, session):
    subject = vault.subject("unknown")
    conn = session(vault)
    refused(conn, REVIEW, (subject.id, "general", "x"), "42501", "role_conflict")
    refused(conn, REVIEW, (subject.id, "healthcare", "x"), "42501", "role_conflict")
    assert state(vault, subject)[0] == "unknown"
    conn.close()


def test_gateway_opens_the_cloud_by_no_function_it_may_call(vault):
    """Every function that a gateway may execute, with what might bring a subject down, alone and in one transaction."""
    cloud, onbox = vault.gateway(*CLOUD), vault.gateway()
    callable_now = {
        row["oid"]
        for row in vault.sql(
            """SELECT p.oid::regprocedure::text AS oid FROM pg_proc p
                WHERE p.pronamespace = 'identity'::regnamespace AND has_function_privilege('identity_gateway', p.oid, 'EXECUTE')"""
        )
    }
    for vertical in ("unknown", "healthcare"):
        for conn in (cloud, onbox):
            subject, request = vault.subject(vertical), uuid7()
            tried = {
                "identity.pii_register(text,jsonb,jsonb,uuid)": [
                    (REGISTER, ("t.all", Jsonb({"name": "x"}), Jsonb({"vertical": wanted}), request)) for wanted in ("general", "finance", "other", "GENERAL", None)
                ]
                + [(REGISTER, ("t.all", Jsonb({"name": "x"}), Jsonb({"candidate_id": str(subject.id), "vertical": "general"}), None))],
                "identity.text_observe(uuid,text,text)": [
                    (OBSERVE, (subject.id, source, text)) for source in ("resume", "review") for text in ("general", "not what you look for", "", "vertical: general", "finance")
                ],
                "identity.pii_vertical(uuid)": [("SELECT * FROM identity.pii_vertical(%s)", (subject.id,))],
                "identity.pii_vertical_many(uuid[])": [("SELECT * FROM identity.pii_vertical_many(%s)", ([subject.id],))],
                "identity.pii_resolve(uuid,text,text[],text)": [("SELECT * FROM identity.pii_resolve(%s, 't.all', '{name}')", (subject.id,))],
                "identity.identity_health()": [("SELECT identity.identity_health()", ())],
            }
            for attempts in tried.values():
                for query, params in attempts:
                    try:
                        conn.execute(query, params).fetchall()
                    except psycopg.Error as error:
                        assert reason_of(error)[1], error
            for query, params in (
                (REVIEW, (subject.id, "general", "x")),
                (FORECAST, ()),
                (QUEUE, ()),
                ("INSERT INTO identity.vertical_patterns (pattern, kind) VALUES ('general', 'word')", ()),
                ("DELETE FROM identity.vertical_patterns", ()),
                ("UPDATE identity.subjects SET vertical = 'general' WHERE candidate_id = %s", (subject.id,)),
                ("UPDATE identity.vertical_review_queue SET candidate_id = candidate_id", ()),
                ("INSERT INTO identity.vertical_history SELECT * FROM identity.vertical_history", ()),
                ("SELECT identity._import_subject(%s, NULL, 'general', NULL)", (subject.id,)),
                ("SET ROLE identity_reviewer", ()),
                ("SET SESSION AUTHORIZATION identity_reviewer", ()),
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(query, params)
            assert state(vault, subject) == (vertical, 0)
            refused(cloud, "SELECT pii FROM identity.pii_resolve(%s, 't.all', '{name}')", (subject.id,), "P0002", "subject_unavailable")
    assert set(tried) <= callable_now
    made = vault.sql("SELECT DISTINCT vertical FROM identity.subjects WHERE registered_by IN (%s, %s)", (cloud.info.user, onbox.info.user))
    assert {row["vertical"] for row in made} <= {"unknown", "healthcare"}
    cloud.close()
    onbox.close()


# -- at the same time --------------------------------------------------------
def test_escalation_first_then_the_review_that_waited_is_refused(vault, reviewer, gateway):
    subject, errors = vault.subject("unknown"), []
    gateway.execute("BEGIN")
    observe(gateway, subject, "RN")

    def late():
        try:
            review(reviewer, subject, "general")
        except psycopg.Error as error:
            errors.append(reason_of(error))

    thread = threading.Thread(target=late)
    thread.start()
    vault.wait_backend(reviewer.info.user, "wait_event_type = 'Lock'")
    gateway.execute("COMMIT")
    thread.join()
    assert errors == [("42501", "role_conflict")]
    assert state(vault, subject) == ("healthcare", 1)


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_review_first_then_the_escalation_that_waited_still_escalates(vault, reviewer, gateway, isolation):
    subject, answers = vault.subject("unknown"), []
    gateway.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    gateway.execute("SELECT count(*) FROM pg_class")  # the snapshot is older than the review
    reviewer.execute("BEGIN")
    review(reviewer, subject, "general")
    thread = threading.Thread(target=lambda: answers.append(observe(gateway, subject, "RN")))
    thread.start()
    vault.wait_backend(gateway.info.user, "wait_event_type = 'Lock'")
    reviewer.execute("COMMIT")
    thread.join()
    gateway.execute("COMMIT")
    assert answers == ["healthcare"]
    assert state(vault, subject) == ("healthcare", 2)
