"""Bad input gets the contract's SQLSTATE, reason and hint, and a `denied` row; no value ever comes back in an error."""

import pytest
from psycopg.types.json import Jsonb

from erasure import erase
from vault import FIELDS, REGISTER, RESOLVE, refused, uuid7

SECRET = "Zebedee-900-12-3456"
LONG = SECRET + "x" * 1_000_000
NULL = ("22004", "null_argument")
BAD = ("22023", "bad_argument")
UNKNOWN_FIELD = ("22023", "unknown_field")
UNKNOWN_PURPOSE = ("22023", "unknown_purpose")
TOO_MANY = ("22023", "too_many")
NOT_ALLOWED = ("42501", "field_not_allowed")

RESOLVE_CASES = {
    "null_candidate": ((None, "t.all", ["name"]), NULL),
    "null_purpose": (("id", None, ["name"]), NULL),
    "null_fields": (("id", "t.all", None), NULL),
    "null_field": (("id", "t.all", ["name", None]), NULL),
    "only_a_null_field": (("id", "t.all", [None]), NULL),
    "unknown_purpose": (("id", SECRET, ["name"]), UNKNOWN_PURPOSE),
    "empty_purpose": (("id", "", ["name"]), UNKNOWN_PURPOSE),
    "megabyte_purpose": (("id", LONG, ["name"]), UNKNOWN_PURPOSE),
    "purpose_in_upper_case": (("id", "T.ALL", ["name"]), UNKNOWN_PURPOSE),
    "purpose_with_a_space": (("id", "t.all ", ["name"]), UNKNOWN_PURPOSE),
    "unknown_field": (("id", "t.all", ["name", SECRET]), UNKNOWN_FIELD),
    "field_in_upper_case": (("id", "t.all", ["Name"]), UNKNOWN_FIELD),
    "empty_field": (("id", "t.all", [""]), UNKNOWN_FIELD),
    "megabyte_field": (("id", "t.all", [LONG]), UNKNOWN_FIELD),
    "ciphertext_column": (("id", "t.all", ["name_ct"]), UNKNOWN_FIELD),
    "no_field": (("id", "t.all", []), BAD),
    "duplicate_field": (("id", "t.all", ["name", "name"]), BAD),
    "two_dimensions": (("id", "t.all", [["name"], ["email"]]), BAD),
    "seven_fields": (("id", "t.all", FIELDS + ["name"]), TOO_MANY),
    "ten_thousand_fields": (("id", "t.all", ["name"] * 10_000), TOO_MANY),
    "ten_thousand_secrets": (("id", "t.all", [SECRET] * 10_000), TOO_MANY),
    "field_not_on_the_list": (("id", "t.contact", ["name", "ssn"]), NOT_ALLOWED),
}


@pytest.mark.parametrize("case", RESOLVE_CASES)
def test_resolve_refuses(vault, gateway, case):
    (candidate, purpose, fields), (sqlstate, reason) = RESOLVE_CASES[case]
    subject = vault.subject(name=SECRET)
    params = (subject.id if candidate else None, purpose, fields)
    refused(gateway, RESOLVE, params, sqlstate, reason, secrets=[SECRET, SECRET.lower()])
    (row,) = vault.leaves(gateway, denied=1)
    assert (row["denial"], row["accessor_kind"], row["repeats"]) == (reason, "gateway_lookup", 1)
    assert row["candidate_id"] in (None, params[0])
    assert SECRET not in str(row)


@pytest.mark.parametrize("trace", ["", "a b", "ä", "x" * 65, LONG, SECRET + "\n", "'; DROP"], ids=range(7))
def test_malformed_trace_id_is_refused_and_not_recorded(vault, gateway, trace):
    subject = vault.subject()
    refused(
        gateway,
        "SELECT * FROM identity.pii_resolve(%s, 't.all', '{name}', %s)",
        (subject.id, trace),
        *BAD,
        secrets=[trace] if trace.strip() else [],
    )
    (row,) = vault.leaves(gateway, denied=1)
    assert row["request_trace_id"] is None


def test_well_formed_trace_id_is_recorded(vault, gateway):
    subject = vault.subject()
    for trace in ("a", "x" * 64, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "A_z.0:9-"):
        gateway.execute("SELECT * FROM identity.pii_resolve(%s, 't.all', '{name}', %s)", (subject.id, trace))
        assert vault.rows(gateway.info.user)[-1]["request_trace_id"] == trace


REGISTER_CASES = {
    "null_purpose": ((None, {"name": SECRET}, {}), NULL),
    "null_pii": (("t.all", None, {}), NULL),
    "null_attributes": (("t.all", {"name": SECRET}, None), NULL),
    "unknown_purpose": ((SECRET, {"name": SECRET}, {}), UNKNOWN_PURPOSE),
    "array": (("t.all", [{"name": SECRET}], {}), BAD),
    "string": (("t.all", SECRET, {}), BAD),
    "number": (("t.all", 900123456, {}), BAD),
    "json_null": (("t.all", "json null", {}), BAD),
    "unknown_key": (("t.all", {"name": "x", SECRET: "y"}, {}), UNKNOWN_FIELD),
    "key_in_upper_case": (("t.all", {"Name": SECRET}, {}), UNKNOWN_FIELD),
    "megabyte_key": (("t.all", {LONG: "y"}, {}), UNKNOWN_FIELD),
    "number_value": (("t.all", {"ssn": 900123456}, {}), BAD),
    "boolean_value": (("t.all", {"name": True}, {}), BAD),
    "object_value": (("t.all", {"name": {"first": SECRET}}, {}), BAD),
    "array_value": (("t.all", {"name": [SECRET]}, {}), BAD),
    "empty_value": (("t.all", {"name": ""}, {}), BAD),
    "1025_bytes": (("t.all", {"name": SECRET + "x" * (1025 - len(SECRET))}, {}), BAD),
    "1025_bytes_in_fewer_characters": (("t.all", {"name": SECRET + "ü" * 503}, {}), BAD),
    "megabyte_value": (("t.all", {"name": LONG}, {}), BAD),
    "field_not_on_the_list": (("t.contact", {"name": SECRET, "ssn": SECRET}, {}), NOT_ALLOWED),
    "attributes_array": (("t.all", {"name": SECRET}, [SECRET]), BAD),
    "attributes_string": (("t.all", {"name": SECRET}, SECRET), BAD),
    "unknown_attribute": (("t.all", {"name": "x"}, {SECRET: "x"}), BAD),
    "consent_as_attribute": (("t.all", {"name": SECRET}, {"consent_status": "given"}), BAD),
    "vertical_general": (("t.all", {"name": SECRET}, {"vertical": "general"}), BAD),
    "vertical_unheard_of": (("t.all", {"name": SECRET}, {"vertical": SECRET}), BAD),
    "vertical_number": (("t.all", {"name": SECRET}, {"vertical": 1}), BAD),
    "retention_as_text": (("t.all", {"name": SECRET}, {"retention_period_days": SECRET}), BAD),
    "retention_zero": (("t.all", {"name": SECRET}, {"retention_period_days": 0}), BAD),
    "retention_negative": (("t.all", {"name": SECRET}, {"retention_period_days": -1}), BAD),
    "retention_fraction": (("t.all", {"name": SECRET}, {"retention_period_days": 1.5}), BAD),
    "retention_huge": (("t.all", {"name": SECRET}, {"retention_period_days": 10**30}), BAD),
    "eu_resident_as_text": (("t.all", {"name": SECRET}, {"eu_resident": SECRET}), BAD),
    "lawful_basis_as_number": (("t.all", {"name": SECRET}, {"lawful_basis": 1}), BAD),
    "transfer_mechanism_megabyte": (("t.all", {"name": SECRET}, {"transfer_mechanism": LONG}), BAD),
}


@pytest.mark.parametrize("case", REGISTER_CASES)
def test_register_refuses(vault, gateway, case):
    (purpose, pii, attributes), (sqlstate, reason) = REGISTER_CASES[case]
    before = vault.sql("SELECT count(*) AS n FROM identity.subjects")
    as_json = [value if value is None else Jsonb(None if value == "json null" else value) for value in (pii, attributes)]
    refused(gateway, REGISTER, (purpose, *as_json, None), sqlstate, reason, secrets=[SECRET, "900123456"])
    (row,) = vault.leaves(gateway, denied=1)
    assert (row["denial"], row["accessor_kind"]) == (reason, "register")
    assert SECRET not in str(row)
    assert vault.sql("SELECT count(*) AS n FROM identity.subjects") == before


def test_vertical_refuses(vault, gateway):
    refused(gateway, "SELECT * FROM identity.pii_vertical(%s::uuid)", (None,), *NULL)
    refused(gateway, "SELECT * FROM identity.pii_vertical_many(%s::uuid[])", (None,), *NULL)
    refused(gateway, "SELECT * FROM identity.pii_vertical_many(%s::uuid[])", ([uuid7(), None],), *NULL)
    refused(gateway, "SELECT * FROM identity.pii_vertical_many(%s::uuid[])", ([uuid7() for _ in range(1001)],), *TOO_MANY)
    refused(gateway, "SELECT * FROM identity.pii_vertical_many(%s::uuid[])", ([[uuid7()], [uuid7()]],), *BAD)
    vault.leaves(gateway, denied=5)


def test_absent_subject(vault, gateway):
    absent = uuid7()
    refused(gateway, RESOLVE, (absent, "t.all", ["name"]), "P0002", "subject_unavailable", secrets=[str(absent)])
    refused(gateway, "SELECT * FROM identity.pii_vertical(%s)", (absent,), "P0002", "subject_unavailable", secrets=[str(absent)])
    vault.leaves(gateway, denied=2)


def test_erased_subject(vault, gateway):
    subject = vault.subject()
    erase(vault, subject)
    refused(gateway, RESOLVE, (subject.id, "t.all", ["name"]), "P0002", "subject_erased")
    vault.leaves(gateway, denied=1)


def test_phi_needs_phi_access_and_settled_consent(vault, gateway):
    purpose = vault.purpose(fields=["name"], accepted_consent=["given", "pending_first_contact", "pending_backfill_review", "withdrawn"])
    for vertical in ("healthcare", "unknown"):
        refused(gateway, RESOLVE, (vault.subject(vertical).id, purpose, ["name"]), "42501", "phi_access")
    phi = vault.purpose(fields=["name"], phi_access=True, accepted_consent=["given", "pending_first_contact", "pending_backfill_review"])
    for consent in ("pending_first_contact", "pending_backfill_review"):
        refused(gateway, RESOLVE, (vault.subject("unknown", consent).id, phi, ["name"]), "42501", "consent")
        gateway.execute(RESOLVE, (vault.subject("general", consent).id, phi, ["name"]))
    vault.leaves(gateway, denied=4, committed=2)


def test_values_at_the_limit_come_back_whole(vault, gateway):
    pii = {
        "name": "x" * 1024,
        "email": "ü" * 512,
        "phone": "\U0001f600" * 256,
        "address": "\u202e\u0000".replace("\u0000", "") + '"\\\n\t\x7f',
        "ssn": "0",
        "dob": " ",
    }
    candidate = gateway.execute(REGISTER, ("t.all", Jsonb(pii), Jsonb({}), None)).fetchone()[0]
    vault.change(candidate, consent="given")
    assert gateway.execute(RESOLVE, (candidate, "t.all", FIELDS)).fetchone()[0] == pii


def test_legal_purpose_is_refused_in_the_service_tier(vault, gateway):
    refused(gateway, RESOLVE, (vault.subject().id, vault.purpose(auth_tier="legal"), ["name"]), "42501", "tier")
    vault.leaves(gateway, denied=1)


@pytest.mark.parametrize(
    "column, value, expected",
    [
        ("allowed_fields", ["name", SECRET], UNKNOWN_FIELD),
        ("allowed_fields", ["name", None], BAD),
        ("allowed_fields", ["name", "name"], BAD),
        ("allowed_roles", ["no_such_role_" + SECRET], BAD),
        ("accepted_consent", [SECRET], BAD),
        ("auth_tier", SECRET, BAD),
        ("rate_limit_qps", -1, BAD),
        ("daily_volume_cap", -1, BAD),
        ("purpose_token", SECRET, BAD),
        ("purpose_token", "x" * 65, BAD),
        ("purpose_token", "", BAD),
    ],
    ids=lambda value: None if not isinstance(value, str) else value[:20],
)
def test_purpose_that_makes_no_sense_is_refused(vault, column, value, expected):
    dba = vault.login("identity_dba")
    values = {
        "purpose_token": "t.nonsense",
        "description": "x",
        "allowed_fields": ["name"],
        "auth_tier": "service",
        "allowed_roles": ["identity_gateway"],
    } | {column: value}
    with vault.connect(dba) as conn:
        refused(
            conn,
            f"INSERT INTO identity.purpose_definitions ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))}) RETURNING 1",
            list(values.values()),
            *expected,
            secrets=[SECRET],
        )
    assert not vault.sql("SELECT 1 FROM identity.purpose_definitions WHERE purpose_token = %s", (values["purpose_token"],))
    (row,) = vault.leaves(dba, denied=1)
    assert SECRET not in str(row)
