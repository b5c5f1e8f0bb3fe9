"""eu_record and interaction_record: what is set beside a subject's fields, and by nobody else."""

import psycopg
import pytest

from consent import now, record
from erasure import erase
from vault import CLOUD, read, refused, uuid7

EU = "SELECT identity.eu_record(%s::uuid, %s::boolean, %s::text, %s::text)"
INTERACTION = "SELECT identity.interaction_record(%s::uuid, %s::timestamptz)"
SECRET = "Zebedee-900-12-3456"
BAD = ("22023", "bad_argument")


def row(vault, subject) -> dict:
    return vault.sql(
        "SELECT eu_resident, lawful_basis, transfer_mechanism, last_interaction, generation, updated_at FROM identity.subjects WHERE candidate_id = %s",
        (subject.id,),
    )[0]


def test_eu_status_is_set_and_recorded(vault, gateway):
    subject = vault.subject()
    gateway.execute(EU, (subject.id, True, "contract", "scc-2021"))
    first = row(vault, subject)
    assert (first["eu_resident"], first["lawful_basis"], first["transfer_mechanism"], first["generation"]) == (True, "contract", "scc-2021", 0)
    gateway.execute("SELECT identity.eu_record(%s, false)", (subject.id,))
    second = row(vault, subject)
    assert (second["eu_resident"], second["lawful_basis"], second["transfer_mechanism"]) == (False, None, None)
    rows = vault.leaves(gateway, committed=2)
    assert [(event["accessor_kind"], event["chain_kind"]) for event in rows] == [("eu_status", "merkle")] * 2
    history = vault.sql("SELECT * FROM identity.eu_history WHERE candidate_id = %s ORDER BY recorded_at", (subject.id,))
    assert [(event["eu_resident"], event["recorded_by"], event["text_digest"] is None) for event in history] == [
        (True, gateway.info.user, False),
        (False, gateway.info.user, True),
    ]
    (side,) = vault.sql("SELECT kind, content::jsonb AS content FROM identity.subject_texts WHERE candidate_id = %s", (subject.id,))
    assert side == {"kind": "eu_status", "content": {"lawful_basis": "contract", "transfer_mechanism": "scc-2021"}}
    assert "contract" not in str(rows) + str(history)
    vault.verify()


@pytest.mark.parametrize("arguments", [(True, "", None), (True, None, ""), (True, SECRET * 11, None), (False, None, SECRET * 50_000)], ids=range(4))
def test_eu_texts_are_bounded(vault, gateway, arguments):
    subject = vault.subject()
    before = row(vault, subject)
    refused(gateway, EU, (subject.id, *arguments), *BAD, secrets=[SECRET])
    assert row(vault, subject) == before and SECRET not in str(vault.leaves(gateway, denied=1))


@pytest.mark.parametrize("arguments", [(None, True), ("id", None)], ids=["subject", "resident"])
def test_eu_null_is_refused(vault, gateway, arguments):
    candidate = arguments[0] and vault.subject().id
    refused(gateway, EU, (candidate, arguments[1], None, None), "22004", "null_argument")


@pytest.mark.parametrize("query", [EU, INTERACTION])
def test_unknown_and_erased_subjects_are_refused(vault, gateway, query):
    subject = vault.subject()
    erase(vault, subject)
    rest = (True, None, None) if query == EU else (None,)
    refused(gateway, query, (subject.id, *rest), "P0002", "subject_erased")
    refused(gateway, query, (uuid7(), *rest), "P0002", "subject_unavailable")
    assert not row(vault, subject)["last_interaction"]
    vault.leaves(gateway, denied=2)


def test_interaction_only_moves_forward_and_leaves_no_row(vault, gateway):
    subject = vault.subject()
    before = row(vault, subject)
    earlier, later = now(days=-10), now(days=-1)
    for at, expected in ((later, later), (earlier, later), (later, later)):
        gateway.execute(INTERACTION, (subject.id, at))
        assert row(vault, subject) == before | {"last_interaction": expected}
    start = now()
    gateway.execute("SELECT identity.interaction_record(%s)", (subject.id,))
    assert start <= row(vault, subject)["last_interaction"] <= now()
    assert row(vault, subject)["generation"] == 0
    vault.leaves(gateway)


@pytest.mark.parametrize("at", ["infinity", "-infinity", "ahead"])
def test_interaction_that_cannot_have_been_is_refused(vault, gateway, at):
    """One in the future would keep a person's data past its retention."""
    subject = vault.subject()
    refused(gateway, INTERACTION, (subject.id, now(seconds=30) if at == "ahead" else at), *BAD)
    assert row(vault, subject)["last_interaction"] is None
    vault.leaves(gateway, denied=1)


def test_interaction_null_subject_is_refused(vault, gateway):
    refused(gateway, INTERACTION, (None, None), "22004", "null_argument")


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_setters_work_in_a_transaction_whose_snapshot_is_older_than_the_subjects_last_change(vault, gateway, level):
    subject = vault.subject()
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    gateway.execute("SELECT count(*) FROM pg_class")
    with vault.gateway() as other:
        record(other, subject, "withdrawn")
        other.execute(EU, (subject.id, True, "first", None))
        other.execute(INTERACTION, (subject.id, now(days=-5)))
    gateway.execute(EU, (subject.id, False, "second", None))
    gateway.execute(INTERACTION, (subject.id, now(days=-9)))
    gateway.execute("COMMIT")
    after = row(vault, subject)
    assert (after["eu_resident"], after["lawful_basis"], after["generation"]) == (False, "second", 1)
    assert after["last_interaction"] > now(days=-6)
    vault.verify()


def test_cloud_gateway_sets_them_for_a_subject_it_cannot_read(vault):
    subject = vault.subject("healthcare")
    with vault.gateway(*CLOUD) as cloud:
        cloud.execute(EU, (subject.id, True, None, None))
        cloud.execute(INTERACTION, (subject.id, None))
        vault.leaves(cloud, committed=1)


def test_setters_open_nothing(vault, gateway):
    subject = vault.subject(consent="withdrawn")
    gateway.execute(EU, (subject.id, True, "consent", None))
    gateway.execute(INTERACTION, (subject.id, None))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        read(gateway, subject)
