"""Every place where something about a subject can lie is on one list, and an erasure clears it."""

import hashlib
import os
import re
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

import biometric
from cluster import BINDIR, Cluster, run_as_owner
from consent import record, template
from erasure import erase, row, there
from vault import Subject, Vault, uuid7

LIST = Path(__file__).parents[2] / "docs/spec/erasure.md"
COLUMNS = """SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE c.relnamespace = 'identity'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition"""


def listed() -> dict[str, tuple[list[str], list[str]]]:
    """By table: what goes, what stays; of tables that name no subject everything stays."""
    tables = {}
    for line in LIST.read_text().splitlines():
        cells = [re.findall(r"`([a-z_0-9]+)`", cell) for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells[0]) == 1 and len(cells) in (2, 3) and not line.startswith("| `schema`"):
            tables[cells[0][0]] = (cells[1], cells[2]) if len(cells) == 3 else ([], cells[1])
    return tables


def unlisted(vault) -> set[tuple[str, str]]:
    known = {(table, column) for table, kinds in listed().items() for columns in kinds for column in columns}
    return {tuple(r.values()) for r in vault.sql(COLUMNS)} - known


@pytest.fixture(scope="module")
def own():
    cluster = Cluster("t", {"identity_pgx.biometric_classifications": "on"})
    try:
        yield Vault(cluster.start().install())
    finally:
        cluster.destroy()


def dump(vault) -> str:
    return run_as_owner(BINDIR / "pg_dump", "-h", vault.cluster.dir, "-U", "postgres", "--inserts", "identity").stdout


def test_every_column_is_on_the_list(own):
    assert unlisted(own) == set()
    there_are = {r["relname"] for r in own.sql(COLUMNS)}
    assert len(there_are) > 20
    for table, (goes, stays) in listed().items():
        # The receipt's members and the like are tables of the page, not of the database.
        if table in there_are:
            columns = {r["attname"] for r in own.sql(COLUMNS) if r["relname"] == table}
            assert set(goes) | set(stays) == columns and not set(goes) & set(stays), table


@pytest.mark.parametrize("add", ["ALTER TABLE identity.subjects ADD nickname text", "CREATE TABLE identity.diary (candidate_id uuid, entry text)"])
def test_new_column_is_noticed(own, add):
    with own.admin.transaction(force_rollback=True):
        own.sql(add)
        assert unlisted(own)


def canaries() -> dict[str, str]:
    return {what: f"Canary-{what}-{os.urandom(8).hex()}" for what in ("evidence", "withdrawal", "basis", "mechanism", "note", "path", "name", "class", "eu")}


def written_about(vault, gateway) -> tuple[Subject, dict[str, str], list[bytes]]:
    """A subject with something in every store: texts in clear, and the ciphertexts."""
    words = canaries()
    template_hash = hashlib.sha256(os.urandom(8)).hexdigest()
    attributes = {"lawful_basis": words["basis"], "transfer_mechanism": words["mechanism"]}
    pii = {"name": words["name"], "email": "a@example.org", "phone": "555", "address": "1 Main St", "ssn": "900-00-0001", "dob": "1970-01-01"}
    candidate = gateway.execute("SELECT identity.pii_register('t.all', %s, %s, %s)", (Jsonb(pii), Jsonb(attributes), uuid7())).fetchone()[0]
    subject = Subject(candidate, pii)
    record(gateway, subject, "given", template(vault), {"letter": words["evidence"]})
    with vault.connect(vault.login("identity_reviewer")) as reviewer:
        reviewer.execute("SELECT identity.vertical_review(%s, 'general', %s)", (candidate, words["note"]))
    biometric.policy(vault)
    record(gateway, subject, "given", template(vault, "biometric"), kind="biometric")
    biometric.attach(gateway, subject, f"s3://uploads/{words['path']}", template_hash)
    biometric.classify(gateway, subject, label=words["class"])
    record(gateway, subject, "withdrawn", None, {"letter": words["withdrawal"]})
    words["hash"] = template_hash
    kept = row(vault, subject)
    missing = [column for column in listed()["subjects"][0] if kept[column] is None]
    assert not missing, f"nothing was put into {missing}"
    sealed = [value for name, value in kept.items() if name.endswith("_ct")]
    salts = [r["salt"] for r in vault.sql("SELECT salt FROM identity.subject_texts WHERE candidate_id = %s", (candidate,))]
    assert len(sealed) == 7 and len(salts) >= 4
    return subject, words, sealed + salts


def test_nothing_about_an_erased_subject_is_in_a_dump(own):
    with own.gateway() as gateway:
        subject, words, sealed = written_about(own, gateway)
        gateway.execute("SELECT identity.eu_record(%s, true, %s, 'scc')", (subject.id, words["basis"]))
        gateway.execute("SELECT identity.text_observe(%s, 'resume', %s)", (subject.id, words["eu"]))
    del words["name"], words["class"], words["mechanism"], words["eu"]  # encrypted, replaced, or never stored
    before = dump(own)
    for secret in [*words.values(), *(value.hex() for value in sealed)]:
        assert secret in before
    erase(own, subject)
    after = dump(own)
    assert str(subject.id) in after  # the dump is one of this database
    for secret in [*words.values(), *(value.hex() for value in sealed)]:
        assert secret not in after
    assert not there(own, subject)
    kept = row(own, subject)
    assert [column for column in listed()["subjects"][0] if kept[column] is not None] == []
    for table in ("subject_texts", "files_to_destroy"):
        assert not own.sql(f"SELECT 1 FROM identity.{table} WHERE candidate_id = %s", (subject.id,))
    own.verify()


def test_others_in_the_dump_stay(own):
    with own.gateway() as gateway:
        subject, words, sealed = written_about(own, gateway)
        other, others_words, others_sealed = written_about(own, gateway)
        before = row(own, other)
    erase(own, subject)
    assert row(own, other) == before
    after = dump(own)
    assert all(value.hex() in after for value in others_sealed) and others_words["evidence"] in after
    assert not any(value.hex() in after for value in sealed) and words["evidence"] not in after
