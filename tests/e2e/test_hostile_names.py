"""Names of the caller's that our roles are let to see: PostgreSQL skips schemas without USAGE, so a trap needs it to be one."""
import psycopg
import pytest

from test_hostile_session import HOSTILE_SCHEMA
from vault import ONBOX, read, refused_read

OPEN = """
GRANT USAGE ON SCHEMA {s} TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA {s} TO PUBLIC;
GRANT USAGE ON SEQUENCE {s}.hijacked TO PUBLIC;
"""


@pytest.fixture
def trap(vault):
    role = vault.login(*ONBOX)
    schema = f"open_{role}"
    vault.sql(f"GRANT CREATE ON DATABASE identity TO {role}")
    with vault.connect(role) as conn:
        conn.execute((HOSTILE_SCHEMA + OPEN).replace("{s}", schema))
        conn.execute(f"SET search_path = {schema}, pg_catalog, identity")
        try:
            yield conn, schema
            assert not vault.sql(f"SELECT is_called FROM {schema}.hijacked")[0]["is_called"], "something of the caller's ran as one of our roles"
        finally:
            vault.sql(f"DROP SCHEMA {schema} CASCADE")


def test_the_trap_is_one(vault, trap):
    """Our roles would walk into it: its operator is the one that a reader's search_path finds."""
    _, schema = trap
    with vault.admin.transaction(force_rollback=True):
        vault.sql(f"SET LOCAL search_path = {schema}, pg_catalog, identity")
        vault.sql("SET LOCAL ROLE identity_reader")
        assert vault.sql("SELECT gen_random_uuid() = gen_random_uuid() AS caught")[0]["caught"]
    vault.sql(f"ALTER SEQUENCE {schema}.hijacked RESTART")


def test_resolve_walks_into_no_trap(vault, trap):
    conn, _ = trap
    vault.subject()
    read(conn, vault.subject())
    refused_read(conn, vault.subject(consent="withdrawn"), "42501", "consent")
    vault.leaves(conn, committed=1, denied=1)


def test_register_walks_into_no_trap(vault, trap):
    conn, _ = trap
    request = "0190c000-0000-7000-8000-000000000001"
    statement = "SELECT identity.pii_register('t.all', '{\"name\": \"Ada\"}', '{}', %s)"
    first = conn.execute(statement, (request,)).fetchone()
    assert conn.execute(statement, (request,)).fetchone() == first


def test_vertical_walks_into_no_trap(vault, trap):
    conn, _ = trap
    subject = vault.subject("finance")
    assert conn.execute("SELECT vertical FROM identity.pii_vertical(%s)", (subject.id,)).fetchone() == ("finance",)
    assert conn.execute("SELECT vertical FROM identity.pii_vertical_many(%s)", ([subject.id],)).fetchall() == [("finance",)]
