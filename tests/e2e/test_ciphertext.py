"""Ciphertext is hostile input: it opens where it was sealed and nowhere else, and never half."""

import pytest

from vault import Vault, read, refused_read

CORRUPT = ("XX001", "ciphertext")


def put(vault, subject, expression: str, field: str = "name", params=()) -> None:
    done = vault.admin.execute(f"UPDATE identity.subjects SET {field}_ct = {expression} WHERE candidate_id = %s", (*params, subject.id))
    assert done.rowcount == 1


def does_not_open(vault, gateway, subject, field: str = "name") -> None:
    refused_read(gateway, subject, *CORRUPT, fields=[field])
    (row,) = vault.leaves(gateway, denied=1)
    assert (row["denial"], row["candidate_id"]) == ("ciphertext", subject.id)


@pytest.mark.parametrize("length", [0, 1, 6, 38, 69, 70, 85, 86, 101])
def test_truncated_ciphertext_does_not_open(vault, gateway, length):
    subject = vault.subject()
    put(vault, subject, "substr(name_ct, 1, %s)", params=(length,))
    does_not_open(vault, gateway, subject)


@pytest.mark.parametrize("cut", [1, 16, 32, 48])
def test_ciphertext_cut_at_the_end_does_not_open(vault, gateway, cut):
    subject = vault.subject()
    put(vault, subject, "substr(name_ct, 1, length(name_ct) - %s)", params=(cut,))
    does_not_open(vault, gateway, subject)


@pytest.mark.parametrize("addition", ["'\\x00'", "name_ct", "decode(repeat('00', 32), 'hex')", "decode(repeat('00', 100000), 'hex')"])
def test_extended_ciphertext_does_not_open(vault, gateway, addition):
    subject = vault.subject()
    put(vault, subject, f"name_ct || {addition}")
    does_not_open(vault, gateway, subject)


def test_any_flipped_byte_is_refused(vault, gateway):
    subject = vault.subject()
    length = vault.sql("SELECT length(name_ct) AS n FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]["n"]
    for offset in range(length):
        put(vault, subject, "set_byte(name_ct, %s, get_byte(name_ct, %s) # 1)", params=(offset, offset))
        refused_read(gateway, subject, *CORRUPT)
        put(vault, subject, "set_byte(name_ct, %s, get_byte(name_ct, %s) # 1)", params=(offset, offset))
    read(gateway, subject)
    vault.leaves(gateway, denied=length, committed=1)


def test_ciphertext_moved_from_another_subject_does_not_open(vault, gateway):
    subject, other = vault.subject(), vault.subject()
    put(vault, subject, "(SELECT name_ct FROM identity.subjects WHERE candidate_id = %s)", params=(other.id,))
    error = refused_read(gateway, subject, *CORRUPT)
    assert other.pii["name"] not in str(error)
    vault.leaves(gateway, denied=1)


def test_ciphertext_moved_from_another_field_does_not_open(vault, gateway):
    subject = vault.subject()
    put(vault, subject, "ssn_ct")
    does_not_open(vault, gateway, subject)


def test_ciphertext_of_another_erasure_generation_does_not_open(vault, gateway):
    subject = vault.subject()
    vault.sql("UPDATE identity.subjects SET erasure_generation = erasure_generation + 1 WHERE candidate_id = %s", (subject.id,))
    does_not_open(vault, gateway, subject)
    vault.sql("UPDATE identity.subjects SET erasure_generation = 0 WHERE candidate_id = %s", (subject.id,))  # or it counts as erased without a record


def test_row_copied_to_another_candidate_does_not_open(vault, gateway):
    subject, other = vault.subject(), vault.subject()
    put(vault, other, "(SELECT name_ct FROM identity.subjects WHERE candidate_id = %s)", params=(subject.id,))
    does_not_open(vault, gateway, other)


def test_ciphertext_of_another_installation_does_not_open(vault, gateway, fresh):
    """Same candidate, same field, same development keys: only the installation differs."""
    elsewhere = Vault(fresh())
    subject = vault.subject()
    elsewhere.subject(id=subject.id, name=subject.pii["name"])
    foreign = elsewhere.sql("SELECT name_ct FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]["name_ct"]
    put(vault, subject, "%s", params=(foreign,))
    does_not_open(vault, gateway, subject)


@pytest.mark.parametrize("version", [0, 2, 2**31 - 1])
def test_false_key_version_in_the_row_is_not_followed(vault, gateway, version):
    subject = vault.subject()
    vault.sql(
        "UPDATE identity.subjects SET name_ct = overlay(name_ct PLACING %s FROM 3 FOR 4) WHERE candidate_id = %s",
        (version.to_bytes(4, "big"), subject.id),
    )
    does_not_open(vault, gateway, subject)


def test_the_other_fields_still_open(vault, gateway):
    subject = vault.subject()
    put(vault, subject, "'\\x01'")
    refused_read(gateway, subject, *CORRUPT, fields=["name", "email"])
    read(gateway, subject, fields=["email"])
    vault.leaves(gateway, denied=1, committed=1)


def test_equal_values_are_sealed_differently(vault):
    subjects = [vault.subject(name="same", email="same") for _ in range(5)]
    sealed = vault.sql(
        "SELECT name_ct, email_ct FROM identity.subjects WHERE candidate_id = ANY(%s)", ([subject.id for subject in subjects],)
    )
    values = [bytes(value) for row in sealed for value in row.values()]
    assert len({value[6:38] for value in values}) == len(set(values)) == 10  # message ids, and the whole
