"""An update changes what the caller's zone sees, under a purpose that allows its fields, and nothing else of a subject."""

import threading

import psycopg
import pytest
from psycopg.types.json import Jsonb

from erasure import erase
from vault import CLOUD, read, refused, uuid7

UPDATE = "SELECT identity.pii_update(%s::uuid, %s::text, %s::jsonb)"
RESOLVE = "SELECT pii, generation FROM identity.pii_resolve(%s::uuid, 't.all', %s::text[])"
ROW = "SELECT * FROM identity.subjects WHERE candidate_id = %s"


def update(conn, subject, pii, purpose="t.all") -> int:
    return conn.execute(UPDATE, (subject.id, purpose, Jsonb(pii))).fetchone()[0]


def test_update_sets_clears_and_leaves_alone(vault, gateway):
    subject = vault.subject(name="Ada", email="a@example.org", phone="1")
    (before,) = vault.sql(ROW, (subject.id,))
    assert update(gateway, subject, {"name": "Grace", "email": None, "ssn": "900-00-0003"}) == 1
    pii, generation = gateway.execute(RESOLVE, (subject.id, ["name", "email", "phone", "ssn"])).fetchone()
    assert pii == {"name": "Grace", "email": None, "phone": "1", "ssn": "900-00-0003"} and generation == 1
    (after,) = vault.sql(ROW, (subject.id,))
    changed = {column for column in before if before[column] != after[column]}
    assert changed == {"name_ct", "email_ct", "ssn_ct", "generation", "updated_at"}
    row = vault.leaves(gateway, committed=2)[0]
    assert (row["accessor_kind"], row["fields_accessed"], row["generation"]) == ("update", ["email", "name", "ssn"], 1)
    assert (row["purpose_token"], row["vertical"], row["consent_status"], row["phi_fields"]) == ("t.all", "general", "given", [])
    vault.verify()


def test_update_of_each_field_alone_touches_no_other(vault, gateway):
    full = {name: f"{name} 1" for name in ["address", "dob", "email", "name", "phone", "ssn"]}
    subject = vault.subject(**full)
    for name in full:
        update(gateway, subject, {name: f"{name} 2"})
        full[name] = f"{name} 2"
        assert gateway.execute(RESOLVE, (subject.id, list(full))).fetchone()[0] == full
        update(gateway, subject, {name: None})
        assert gateway.execute(RESOLVE, (subject.id, list(full))).fetchone()[0] == full | {name: None}
        update(gateway, subject, {name: full[name]})


@pytest.mark.parametrize("vertical", ["unknown", "healthcare"])
def test_cloud_gateway_cannot_update_a_subject_it_does_not_see(vault, vertical):
    subject = vault.subject(vertical)
    before = vault.sql(ROW, (subject.id,))
    with vault.gateway(*CLOUD) as cloud:
        error = refused(cloud, UPDATE, (subject.id, "t.all", Jsonb({"name": "Eve"})), "P0002", "subject_unavailable", ["Eve"])
        missing = refused(cloud, UPDATE, (uuid7(), "t.all", Jsonb({"name": "Eve"})), "P0002", "subject_unavailable", ["Eve"])
        assert str(error) == str(missing)
        vault.leaves(cloud, denied=2)
    assert vault.sql(ROW, (subject.id,)) == before


def test_cloud_gateway_updates_what_it_sees(vault):
    with vault.gateway(*CLOUD) as cloud:
        assert update(cloud, vault.subject("finance"), {"name": "Grace"}) == 1
        assert vault.leaves(cloud, committed=1)[0]["zone"] == "cloud"


def test_row_security_alone_keeps_a_cloud_session_from_changing_what_it_does_not_see(vault):
    """The function's own check aside: as the reader, in a cloud session, the row is not there to be changed."""
    hidden, seen = vault.subject("healthcare"), vault.subject()
    vault.sql("CREATE FUNCTION public.t_touch(id uuid) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS "
              "'WITH t AS (UPDATE identity.subjects SET generation = generation + 1 WHERE candidate_id = id RETURNING 1) "
              "SELECT count(*) FROM t'")
    vault.sql("ALTER FUNCTION public.t_touch(uuid) OWNER TO identity_reader")
    try:
        with vault.gateway(*CLOUD) as cloud:
            assert cloud.execute("SELECT public.t_touch(%s)", (hidden.id,)).fetchone() == (0,)
            assert cloud.execute("SELECT public.t_touch(%s)", (seen.id,)).fetchone() == (1,)
    finally:
        vault.sql("DROP FUNCTION public.t_touch(uuid)")


def test_reader_may_write_the_columns_of_an_update_and_no_other(vault):
    columns = vault.sql("SELECT attname FROM pg_attribute WHERE attrelid = 'identity.subjects'::regclass AND attnum > 0 "
                        "AND has_column_privilege('identity_reader', attrelid, attnum, 'UPDATE') ORDER BY attnum")
    assert [row["attname"] for row in columns] == [
        "name_ct", "email_ct", "phone_ct", "address_ct", "ssn_ct", "dob_ct", "dek_version", "updated_at", "generation"]
    for right in ("INSERT", "DELETE", "TRUNCATE"):
        assert vault.sql("SELECT has_table_privilege('identity_reader', 'identity.subjects', %s) AS may", (right,)) == [{"may": False}]


REFUSED = [
    ({"ssn": "900-00-0004"}, "t.contact", "42501", "field_not_allowed"),
    ({"ssn": None}, "t.contact", "42501", "field_not_allowed"),
    ({}, "t.all", "22023", "bad_argument"),
    ([], "t.all", "22023", "bad_argument"),
    ({"name": ""}, "t.all", "22023", "bad_argument"),
    ({"name": "x" * 1025}, "t.all", "22023", "bad_argument"),
    ({"name": {"first": "Eve"}}, "t.all", "22023", "bad_argument"),
    ({"vertical": "general"}, "t.all", "22023", "unknown_field"),
    ({"name": "Eve"}, "t.none", "22023", "unknown_purpose"),
]


@pytest.mark.parametrize("pii, purpose, sqlstate, reason", REFUSED)
def test_update_that_is_refused_changes_nothing(vault, gateway, pii, purpose, sqlstate, reason):
    subject = vault.subject()
    before = vault.sql(ROW, (subject.id,))
    refused(gateway, UPDATE, (subject.id, purpose, Jsonb(pii)), sqlstate, reason, ["Eve", "900-00-0004"])
    assert vault.sql(ROW, (subject.id,)) == before
    vault.leaves(gateway, denied=1)


NULLS = [(None, "t.all", Jsonb({"name": "x"})), (uuid7(), None, Jsonb({"name": "x"})), (uuid7(), "t.all", None)]


@pytest.mark.parametrize("arguments", NULLS)
def test_update_with_a_null_is_refused(vault, gateway, arguments):
    refused(gateway, UPDATE, arguments, "22004", "null_argument")
    vault.leaves(gateway, denied=1)


@pytest.mark.parametrize("consent, may_set", [("given", True), ("withdrawn", False), ("expired", False),
                                              ("pending_first_contact", True), ("pending_backfill_review", True)])
def test_consent_that_was_withdrawn_stops_values_coming_in_but_not_going_out(vault, gateway, consent, may_set):
    subject = vault.subject(consent=consent)
    if may_set:
        update(gateway, subject, {"name": "Grace"})
    else:
        refused(gateway, UPDATE, (subject.id, "t.all", Jsonb({"name": "Grace", "email": None})), "42501", "consent", ["Grace"])
    update(gateway, subject, {"ssn": None})
    (row,) = vault.sql(ROW, (subject.id,))
    assert row["ssn_ct"] is None and row["email_ct"] is not None
    rows = vault.leaves(gateway, **({"committed": 2} if may_set else {"committed": 1, "denied": 1}))
    assert {row["consent_status"] for row in rows} == {consent}


def test_purpose_that_accepts_withdrawn_may_still_set_values(vault, gateway):
    purpose = vault.purpose(fields=["name"], accepted_consent=["given", "withdrawn"])
    assert update(gateway, vault.subject(consent="withdrawn"), {"name": "Grace"}, purpose) == 1


def test_erased_subject_is_not_updated(vault, gateway):
    subject = vault.subject()
    erase(vault, subject)
    refused(gateway, UPDATE, (subject.id, "t.all", Jsonb({"name": "Grace"})), "P0002", "subject_erased", ["Grace"])
    assert vault.sql(ROW, (subject.id,))[0]["name_ct"] is None
    vault.leaves(gateway, denied=1)


def test_update_that_is_rolled_back_changed_nothing_and_leaves_no_row(vault, gateway):
    subject = vault.subject()
    with gateway.transaction(force_rollback=True):
        update(gateway, subject, {"name": "Grace"})
        assert gateway.execute(RESOLVE, (subject.id, ["name"])).fetchone()[0] == {"name": "Grace"}
    read(gateway, subject)
    vault.leaves(gateway, committed=1, rolled_back=1)


def test_concurrent_updates_each_get_a_generation_of_their_own(vault):
    subject, generations = vault.subject(), []

    def run(field):
        with vault.gateway() as conn:
            generations.extend(update(conn, subject, {field: f"{n}"}) for n in range(20))

    threads = [threading.Thread(target=run, args=(field,)) for field in ("name", "email", "phone")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(generations) == list(range(1, 61))
    with vault.gateway() as conn:
        last = {"name": "19", "email": "19", "phone": "19"}
        assert conn.execute(RESOLVE, (subject.id, list(last))).fetchone() == (last, 60)


def test_read_waits_for_an_update_in_flight(vault, gateway):
    subject, got = vault.subject(), []
    with vault.gateway(autocommit=False) as writer:
        update(writer, subject, {"name": "Grace"})
        thread = threading.Thread(target=lambda: got.append(gateway.execute(RESOLVE, (subject.id, ["name"])).fetchone()))
        thread.start()
        vault.wait_backend(gateway.info.user, "wait_event_type = 'Lock'")
        assert not got
        writer.commit()
        thread.join()
    assert got == [({"name": "Grace"}, 1)]


def test_update_under_repeatable_read_sees_what_others_committed_since(vault, gateway):
    subject = vault.subject()
    with gateway.transaction():
        gateway.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        gateway.execute("SELECT 1 FROM pg_class LIMIT 1")
        vault.change(subject.id, {"email": "new@example.org"})
        assert update(gateway, subject, {"name": "Grace"}) == 2
    assert gateway.execute(RESOLVE, (subject.id, ["name", "email"])).fetchone()[0] == {"name": "Grace", "email": "new@example.org"}


def test_an_onbox_gateway_updates_health_information_without_reading_it(vault, gateway):
    """Nothing is disclosed, so no phi_access is asked for; and nothing is counted as disclosed."""
    subject = vault.subject("healthcare")
    assert update(gateway, subject, {"name": "Grace"}, "t.contact") == 1
    (row,) = vault.leaves(gateway, committed=1)
    assert (row["phi_fields"], row["vertical"]) == ([], "healthcare")


def test_value_of_an_update_is_in_no_error_and_no_log(vault, gateway):
    secret = "Canary" + gateway.info.user.replace("_", "") + "Update"
    with pytest.raises(psycopg.Error):
        gateway.execute("SELECT identity.pii_update(%s, 't.contact', %s)", (vault.subject().id, Jsonb({"ssn": secret})))
    gateway.execute("SELECT identity.pii_update(%s, 't.all', %s)", (vault.subject().id, Jsonb({"ssn": secret})))
    assert secret not in vault.cluster.log.read_text()
