"""Which lines of the server log lose their values, and which keep their words."""

import psycopg
import pytest

from vault import REGISTER, read, refused_read

KEEPS = """
CREATE SCHEMA IF NOT EXISTS kept;
CREATE TABLE IF NOT EXISTS kept.rows (ssn text CHECK (length(ssn) < 5), email text UNIQUE, name text NOT NULL);
CREATE OR REPLACE VIEW kept.checked AS SELECT * FROM kept.rows WHERE name = 'nobody' WITH CHECK OPTION;
GRANT USAGE ON SCHEMA kept TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA kept TO PUBLIC;
"""
# An application that keeps a copy first and calls us in the same statement; it never gets so far as to reach us.
STATEMENTS = {
    "23514": "INSERT INTO kept.rows (ssn, name) VALUES (%s, '')",
    "23505": "INSERT INTO kept.rows (email, name) VALUES (%s, '')",
    "23502": "INSERT INTO kept.rows (email, name) VALUES (%s, NULL)",
    "44000": "INSERT INTO kept.checked (name) VALUES (%s)",
    "22P02": "INSERT INTO kept.rows (name) VALUES ((%s::int)::text)",
}


@pytest.mark.parametrize("state", STATEMENTS)
@pytest.mark.parametrize("literal", [False, True], ids=["parameter", "literal"])
def test_values_of_a_statement_that_names_us_are_hidden_before_it_has_reached_us(vault, state, literal):
    vault.sql(KEEPS)
    with vault.gateway() as conn:
        secret = f"Canary{conn.info.user.replace('_', '')}Kept"
        vault.sql("INSERT INTO kept.rows (email, name) VALUES (%s, '')", (secret,))
        query = f"WITH copy AS ({STATEMENTS[state]} RETURNING 1) SELECT identity.pii_vertical(gen_random_uuid()) FROM copy"
        with pytest.raises(psycopg.Error) as caught:
            (psycopg.ClientCursor(conn) if literal else conn.cursor()).execute(query, (secret,))
    assert caught.value.sqlstate == state
    log = vault.cluster.log.read_text()
    assert secret not in log
    assert f"ERROR {state}: " in log, "that something failed is hidden too"


def test_a_refusal_of_ours_is_logged_in_its_own_words(vault, gateway):
    before = vault.cluster.log.stat().st_size
    read(gateway, vault.subject())
    refused_read(gateway, vault.subject(consent="withdrawn"), "42501", "consent")
    with pytest.raises(psycopg.Error):
        gateway.execute(REGISTER, ("t.all", '{"unknown": "x"}', "{}", None))
    written = vault.cluster.log.read_bytes()[before:].decode()
    assert "DETAIL:  reason: consent" in written and "the subject's consent does not cover this purpose" in written
    assert "DETAIL:  reason: unknown_field" in written
    assert "values hidden" not in written


@pytest.mark.parametrize("state", ["08006", "40001", "53400", "57014", "58030", "P0001", "XX000"])
def test_what_is_not_about_values_is_logged_in_a_session_that_called_us(vault, gateway, state):
    """The server's own state, and an application's own words."""
    read(gateway, vault.subject())
    words = f"words of {gateway.info.user} about {state}"
    with pytest.raises(psycopg.Error):
        gateway.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = '{words}', DETAIL = 'more {words}'; END $$")
    log = vault.cluster.log.read_text()
    assert f"ERROR:  {words}" in log and f"DETAIL:  more {words}" in log
