"""Registering a person, and asking where the answer may go."""

import time
import uuid

import pytest
from psycopg.types.json import Jsonb

from vault import CLOUD, REGISTER, RESOLVE, refused, refused_read, Subject, uuid7

PII = {"name": "Ngozi Adébáyò-Müller", "email": "ngozi@example.org"}


def register(conn, pii=PII, attributes=None, request_id=None, purpose="t.all") -> uuid.UUID:
    return conn.execute(REGISTER, (purpose, Jsonb(pii), Jsonb(attributes or {}), request_id)).fetchone()[0]


def test_register_returns_a_version_7_id_of_now(vault, gateway):
    candidate = register(gateway)
    assert (candidate.version, candidate.variant) == (7, uuid.RFC_4122)
    assert abs((candidate.int >> 80) / 1000 - time.time()) < 60
    (row,) = vault.leaves(gateway, committed=1)
    assert (row["accessor_kind"], row["candidate_id"], row["fields_accessed"]) == ("register", candidate, ["email", "name"])


def test_registered_subject_is_unknown_and_pending_and_so_refused(vault, gateway):
    candidate = register(gateway)
    row = vault.sql(
        "SELECT vertical, consent_status, biometric_consent_status, generation, erasure_generation FROM identity.subjects WHERE candidate_id = %s",
        (candidate,),
    )[0]
    assert list(row.values()) == ["unknown", "pending_first_contact", "never_collected", 0, 0]
    refused_read(gateway, Subject(candidate, PII), "42501", "consent")
    vault.change(candidate, consent="given")
    assert gateway.execute(RESOLVE, (candidate, "t.all", ["name", "email", "ssn"])).fetchone()[0] == PII | {"ssn": None}


def test_nothing_is_stored_in_clear(vault, gateway):
    candidate = register(gateway)
    row = vault.sql("SELECT * FROM identity.subjects WHERE candidate_id = %s", (candidate,))[0]
    for value in PII.values():
        assert value not in str(row) and not any(value.encode() in bytes(cell) for cell in row.values() if isinstance(cell, bytes))


def test_json_null_is_not_collected(vault, gateway):
    candidate = register(gateway, {"name": "x", "email": None})
    assert vault.sql("SELECT email_ct FROM identity.subjects WHERE candidate_id = %s", (candidate,))[0]["email_ct"] is None


def test_same_request_id_returns_the_first_id_again(vault, gateway):
    request = uuid.uuid4()
    first = register(gateway, request_id=request)
    assert register(gateway, {"name": "somebody else"}, request_id=request) == first
    assert register(gateway, request_id=uuid.uuid4()) != first
    vault.change(first, consent="given")
    assert gateway.execute(RESOLVE, (first, "t.all", ["name"])).fetchone()[0] == {"name": PII["name"]}


def test_request_ids_of_two_callers_do_not_meet(vault, gateway):
    request = uuid.uuid4()
    with vault.gateway() as other:
        assert register(gateway, request_id=request) != register(other, request_id=request)


def test_rolled_back_register_leaves_nobody_and_its_request_is_free_again(vault, gateway):
    # Nothing was disclosed, so the promise asks for no row; one that says rolled_back would do no harm.
    request = uuid.uuid4()
    with gateway.transaction(force_rollback=True):
        lost = register(gateway, request_id=request)
    assert "committed" not in vault.outcomes(gateway.info.user)
    assert not vault.sql("SELECT 1 FROM identity.subjects WHERE candidate_id = %s", (lost,))
    assert register(gateway, request_id=request) != lost


def test_attributes_are_stored(vault, gateway):
    candidate = register(
        gateway,
        attributes={
            "vertical": "healthcare",
            "retention_period_days": 400,
            "eu_resident": True,
            "lawful_basis": "contract",
            "transfer_mechanism": "scc",
        },
    )
    row = vault.sql(
        "SELECT vertical, retention_period_days, eu_resident, lawful_basis, transfer_mechanism FROM identity.subjects WHERE candidate_id = %s",
        (candidate,),
    )[0]
    assert list(row.values()) == ["healthcare", 400, True, "contract", "scc"]


def test_cloud_gateway_may_register_what_it_then_cannot_see(vault):
    with vault.gateway(*CLOUD) as cloud:
        candidate = register(cloud)
        refused(cloud, RESOLVE, (candidate, "t.all", ["name"]), "P0002", "subject_unavailable")
        assert cloud.execute("SELECT vertical, consent_status, route FROM identity.pii_vertical(%s)", (candidate,)).fetchone() == (
            "unknown",
            "pending_first_contact",
            "onbox_only",
        )


def test_register_in_a_snapshot_is_visible_to_the_next_call_of_it(vault, gateway):
    gateway.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    gateway.execute("SELECT count(*) FROM pg_class")
    candidate = register(gateway)
    assert gateway.execute("SELECT vertical FROM identity.pii_vertical(%s)", (candidate,)).fetchone() == ("unknown",)
    gateway.execute("COMMIT")


def test_vertical_many_keeps_the_order_and_records_each(vault, gateway):
    subjects = [vault.subject(vertical).id for vertical in ("finance", "general", "unknown", "other", "healthcare")]
    rows = gateway.execute("SELECT candidate_id, vertical, route FROM identity.pii_vertical_many(%s)", (subjects,)).fetchall()
    assert [row[0] for row in rows] == subjects
    assert [row[1:] for row in rows] == [
        ("finance", "cloud_ok"),
        ("general", "cloud_ok"),
        ("unknown", "onbox_only"),
        ("other", "cloud_ok"),
        ("healthcare", "onbox_only"),
    ]
    recorded = vault.leaves(gateway, committed=5)
    assert sorted(row["candidate_id"] for row in recorded) == sorted(subjects)


def test_vertical_many_of_a_thousand(vault, gateway):
    subject = vault.subject()
    assert len(gateway.execute("SELECT vertical FROM identity.pii_vertical_many(%s)", ([subject.id] * 1000,)).fetchall()) == 1000
    vault.leaves(gateway, committed=1000)
    gateway.execute("BEGIN")
    gateway.execute("SELECT vertical FROM identity.pii_vertical_many(%s)", ([subject.id] * 1000,))
    gateway.execute("ROLLBACK")
    vault.leaves(gateway, committed=1000, rolled_back=1000)


def test_no_gateway_role_no_call(vault):
    import psycopg

    with vault.connect(vault.login("identity_zone_onbox", "identity_dba", "identity_auditor")) as conn:
        for query in (
            "SELECT identity.pii_register('t.all', '{\"name\": \"x\"}')",
            f"SELECT * FROM identity.pii_vertical('{uuid7()}')",
            f"SELECT * FROM identity.pii_resolve('{uuid7()}', 't.all', '{{name}}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for function"):
                conn.execute(query)
