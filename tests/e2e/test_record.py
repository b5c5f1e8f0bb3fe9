"""What a row says, whoever the caller is and whatever he calls himself; and no row, no answer."""

import re

import psycopg
import pytest
from psycopg import sql

from vault import ONBOX, RESOLVE, Vault, read, reason_of, refused_read

NAMES = [
    "with space",
    'quo"te',
    "back\\slash",
    "Ünïcödé-\U0001f600",
    "x" * 63,
    "comma,{brace}",
    "new\nline",
    "tab\t\x01",
    "idle recorder",
    "null",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_strange_role_names_are_recorded_and_verify(vault, name):
    identifier = sql.Identifier(name)
    vault.admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(identifier))
    vault.admin.execute(sql.SQL("GRANT identity_gateway, identity_zone_onbox TO {}").format(identifier))
    with vault.connect(name) as conn:
        read(conn, vault.subject())
        with conn.transaction(force_rollback=True):
            read(conn, vault.subject())
        refused_read(conn, vault.subject(consent="withdrawn"), "42501", "consent")
        rows = vault.leaves(name, committed=1, rolled_back=1, denied=1)
    assert {row["accessor_id"] for row in rows} == {row["accessor_role"] for row in rows} == {name}
    vault.verify()


@pytest.mark.parametrize("name", ["billing v2", "ä\x01\U0001f600", "y" * 200, "", "'; --"], ids=range(5))
def test_application_name_is_recorded_as_the_client_says_it_but_for_odd_characters(vault, name):
    with vault.gateway(application_name=name) as conn:
        shown = conn.execute("SHOW application_name").fetchone()[0]
        read(conn, vault.subject())
        (row,) = vault.leaves(conn, committed=1)
    assert (row["application_name"] or "") == re.sub(r"[^A-Za-z0-9 _.:/@-]", "?", shown)
    vault.verify()


def test_role_that_is_renamed_or_dropped_keeps_its_rows(vault):
    role = vault.login(*ONBOX)
    with vault.connect(role) as conn:
        read(conn, vault.subject())
        vault.sql(f"ALTER ROLE {role} RENAME TO {role}_later")
        read(conn, vault.subject())
        conn.execute("BEGIN")
        read(conn, vault.subject())
    vault.leaves(role, committed=1)
    assert vault.outcomes(f"{role}_later")["committed"] == 2
    vault.sql(f"DROP ROLE {role}_later")
    vault.verify()


def test_refusals_of_a_role_that_is_dropped_at_once_are_written(vault):
    role, withdrawn = vault.login(*ONBOX), vault.subject(consent="withdrawn")
    conn = vault.connect(role)
    for _ in range(50):
        refused_read(conn, withdrawn, "42501", "consent")
    conn.execute("BEGIN")
    read(conn, vault.subject())
    conn.close()
    vault.sql(f"DROP ROLE {role}")
    vault.leaves(role, denied=50, rolled_back=1)
    vault.verify()


def test_times_are_of_the_call_not_of_the_transaction(vault, gateway):
    subject = vault.subject()
    with gateway.transaction():
        read(gateway, subject)
        gateway.execute("SELECT pg_sleep(0.3)")
        read(gateway, subject)
    first, second = vault.leaves(gateway, committed=2)
    assert (second["accessed_at"] - first["accessed_at"]).total_seconds() > 0.25


def test_without_a_partition_for_now_nothing_is_returned(fresh):
    vault = Vault(fresh())
    subject = vault.subject()
    now = vault.sql(
        "SELECT 'identity.pii_access_log_' || to_char(now() AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM') AS name, date_trunc('month', now() AT TIME ZONE 'UTC')::text || '+00' AS begins, "
        "(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month')::text || '+00' AS ends"
    )[0]
    with vault.gateway() as gateway:
        read(gateway, subject)
        vault.sql(f"ALTER TABLE identity.pii_access_log DETACH PARTITION {now['name']}")
        try:
            refused_read(gateway, subject, "53000", "audit_unwritable")
            # The recorder cannot write that refusal either: it gives up, starts again, and keeps the queue.
            with pytest.raises(psycopg.Error) as caught:
                read(gateway, subject)
            assert reason_of(caught.value)[1] in ("audit_unwritable", "recorder_down")
        finally:
            vault.sql(
                f"ALTER TABLE identity.pii_access_log ATTACH PARTITION {now['name']} FOR VALUES FROM ('{now['begins']}') TO ('{now['ends']}')"
            )
        vault.wait_well()
        read(gateway, subject)
        vault.leaves(gateway, committed=2, denied=2)
    vault.verify()


def test_full_log_is_no_answer(fresh):
    """The insert of the row fails: the read fails with it, and a savepoint around it changes nothing."""
    vault = Vault(fresh())
    subject = vault.subject()
    partition = vault.sql("SELECT 'identity.pii_access_log_' || to_char(now() AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM') AS name")[0]["name"]
    with vault.gateway() as gateway:
        gateway.execute("BEGIN; SAVEPOINT a")
        vault.admin.execute("BEGIN")
        vault.sql(f"LOCK {partition} IN ACCESS EXCLUSIVE MODE")
        gateway.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.Error) as caught:
            gateway.execute(RESOLVE, (subject.id, "t.all", ["name"])).fetchall()
        assert subject.pii["name"] not in str(caught.value)
        vault.admin.execute("COMMIT")
        gateway.execute("ROLLBACK TO a; COMMIT")
        assert "committed" not in vault.outcomes(gateway.info.user)
        read(gateway, subject)
    vault.verify()
