"""Evidence is bounded, looked at strictly, digested onto the chain, and kept in one place from where it can be erased."""

import hashlib

import pytest
from psycopg.types.json import Jsonb

from consent import BAD, CONSENT, SECRET, history, record, template, texts, unchanged
from vault import Vault, refused, uuid7

HOSTILE = {
    "array": ([SECRET], BAD),
    "string": (SECRET, BAD),
    "number": (1, BAD),
    "json_null": ("json null", BAD),
    "megabyte": ({"a": SECRET * 50_000}, BAD),
    "4097_bytes": ({"a": "x" * (4097 - len('{"a": ""}'))}, BAD),
    "huge_numbers": ("[numbers]", BAD),
    "deep": ("[deep]", BAD),
    "given_at_null": ({"given_at": None}, BAD),
    "given_at_number": ({"given_at": 1}, BAD),
    "given_at_object": ({"given_at": {"given_at": SECRET}}, BAD),
    "given_at_word": ({"given_at": "now"}, BAD),
    "given_at_infinity": ({"given_at": "-infinity"}, BAD),
    "given_at_without_zone": ({"given_at": "2026-01-01T00:00:00"}, BAD),
    "given_at_no_such_day": ({"given_at": "2026-02-30T00:00:00Z"}, BAD),
    "given_at_secret": ({"given_at": SECRET}, BAD),
    "template_hash_null": ({"template_hash": None}, BAD),
    "template_hash_array": ({"template_hash": [SECRET]}, BAD),
    "template_hash_short": ({"template_hash": "ab"}, BAD),
    "template_hash_no_hex": ({"template_hash": "g" * 64}, BAD),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_evidence_is_refused_and_kept_nowhere(vault, gateway, case):
    evidence, expected = HOSTILE[case]
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    as_json = Jsonb(None if evidence == "json null" else evidence)
    if evidence == "[numbers]":  # twelve bytes each, and a hundred thousand digits when written out
        as_json = '{"a": [' + ",".join(["1e100000"] * 200) + "]}"
    if evidence == "[deep]":
        as_json = '{"a":' * 2000 + "1" + "}" * 2000
    unchanged(
        vault, gateway, subject, lambda: refused(gateway, CONSENT, (subject.id, "general", "given", version, as_json), *expected, secrets=[SECRET])
    )


def test_largest_evidence_is_kept(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    record(gateway, subject, "given", version, {"a": "ü" * ((4096 - len('{"a": ""}')) // 2)})
    assert len(texts(vault, subject)) == 1
    assert vault.sql("SELECT pg_relation_size(reltoastrelid) AS n FROM pg_class WHERE oid = 'identity.subject_texts'::regclass")[0]["n"] == 0


# -- evidence ------------------------------------------------------------------------
def test_evidence_is_in_its_side_row_and_nowhere_else(vault, gateway):
    subject, version = vault.subject(consent="pending_first_contact"), template(vault)
    mark = f"Mark-{uuid7().hex}"
    record(gateway, subject, "given", version, {"said by": mark})
    record(gateway, subject, "withdrawn", version, {"letter": mark})
    found = {}
    for table in vault.sql("SELECT relname FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind = 'r'"):
        name = table["relname"]
        found[name] = vault.sql(f"SELECT count(*) AS n FROM identity.{name} AS t WHERE t::text LIKE %s", (f"%{mark}%",))[0]["n"]
    assert {name: n for name, n in found.items() if n} == {"subject_texts": 2}
    for event, side in zip(history(vault, subject), texts(vault, subject), strict=True):
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in (b"identity_pgx/evidence/v1",))
        content = side["content"].encode()
        computed = hashlib.sha256(framed + bytes(side["salt"]) + len(content).to_bytes(4, "big") + content).digest()
        assert (side["access_id"], side["kind"]) == (event["access_id"], "consent") and bytes(event["evidence_digest"]) == computed
    assert len({bytes(side["salt"]) for side in texts(vault, subject)}) == 2
    assert mark not in vault.cluster.log.read_text()


def test_evidence_is_hidden_from_the_server_log_however_the_function_is_named(fresh):
    vault = Vault(fresh({"log_statement": "'all'", "log_min_duration_statement": "0"}))
    subject, mark = vault.subject(), f"Mark-{uuid7().hex}"
    with vault.gateway() as gateway:
        gateway.execute("SET search_path = identity")
    with vault.gateway(options="-c search_path=identity") as gateway:
        gateway.execute("SELECT consent_record(%s, 'general', 'withdrawn', NULL, %s)", (subject.id, Jsonb({"letter": mark})))
    with vault.gateway(options="-c search_path=identity") as gateway:
        gateway.execute("SELECT eu_record(%s, true, %s)", (subject.id, mark))
    assert mark not in vault.cluster.log.read_text()


def test_no_evidence_leaves_no_side_row(vault, gateway):
    subject = vault.subject()
    record(gateway, subject, "withdrawn")
    assert not texts(vault, subject) and history(vault, subject)[0]["evidence_digest"] is None
