"""A revocation or withdrawal that has committed binds the very next call, in every session and at every isolation level."""

import threading
import time

import psycopg
import pytest

from cluster import wait_until
from vault import RESOLVE, read, reason_of, refused_read

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.mark.parametrize("level", LEVELS)
def test_revocation_binds_a_transaction_that_goes_on(vault, gateway, level):
    subject, purpose = vault.subject(), vault.purpose(fields=["name"])
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    read(gateway, subject, purpose)  # the transaction's snapshot is taken
    vault.revoke(purpose)
    refused_read(gateway, subject, "42501", "purpose_revoked", purpose)
    gateway.execute("ROLLBACK")
    vault.leaves(gateway, rolled_back=1, denied=1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("status", ["withdrawn", "expired", "pending_first_contact", "pending_backfill_review"])
def test_withdrawal_binds_a_transaction_that_goes_on(vault, gateway, level, status):
    subject = vault.subject()
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    read(gateway, subject)
    vault.change(subject.id, consent=status)
    refused_read(gateway, subject, "42501", "consent")
    gateway.execute("ROLLBACK")


def test_escalated_vertical_binds_a_repeatable_read_transaction(vault):
    subject = vault.subject("general")
    with vault.gateway("identity_gateway", "identity_zone_cloud") as cloud:
        cloud.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        read(cloud, subject)
        vault.change(subject.id, vertical="healthcare")
        refused_read(cloud, subject, "P0002", "subject_unavailable")
        cloud.execute("ROLLBACK")


def test_changed_value_is_read_as_it_is_now_under_repeatable_read(vault, gateway):
    subject = vault.subject(name="before")
    gateway.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    read(gateway, subject)
    vault.change(subject.id, {"name": "after"})
    assert gateway.execute(RESOLVE, (subject.id, "t.all", ["name"])).fetchone()[0] == {"name": "after"}
    gateway.execute("COMMIT")


def test_narrowed_purpose_binds_a_repeatable_read_transaction(vault, gateway):
    subject, purpose = vault.subject(), vault.purpose(fields=["name", "email"])
    gateway.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    read(gateway, subject, purpose, ["email"])
    with vault.connect(vault.dba) as dba:
        dba.execute("UPDATE identity.purpose_definitions SET allowed_fields = '{name}' WHERE purpose_token = %s", (purpose,))
    refused_read(gateway, subject, "42501", "field_not_allowed", purpose, ["email"])
    gateway.execute("ROLLBACK")


@pytest.mark.parametrize("level", LEVELS)
def test_revocation_binds_a_long_single_statement(vault, gateway, level):
    subject, purpose = vault.subject(), vault.purpose(fields=["name"])
    gateway.execute(f"BEGIN ISOLATION LEVEL {level}")
    outcome = {}

    def long_statement():
        try:
            gateway.execute(
                "SELECT (identity.pii_resolve(%s, %s, '{name}')).pii, pg_sleep(0.05) FROM generate_series(1, 200)", (subject.id, purpose)
            ).fetchall()
        except psycopg.Error as error:
            outcome["error"] = error

    thread = threading.Thread(target=long_statement, daemon=True)
    thread.start()
    vault.wait_backend(gateway.info.user, "state = 'active' AND wait_event = 'PgSleep'")
    time.sleep(0.3)
    vault.revoke(purpose)
    thread.join(5)
    assert not thread.is_alive(), "the statement goes on after the revocation"
    assert reason_of(outcome["error"]) == ("42501", "purpose_revoked")
    gateway.execute("ROLLBACK")
    settled = "SELECT FROM identity.identity_status() WHERE item = 'recorder queue' AND state LIKE '0 held, 0 waiting%'"
    wait_until(lambda: vault.sql(settled), "the recorder to write")
    read_before = vault.outcomes(gateway.info.user).get("rolled_back", 0)
    assert 1 < read_before < 190
    vault.leaves(gateway, rolled_back=read_before, denied=1)


def test_revocation_binds_an_open_cursor(vault, gateway):
    subject, purpose = vault.subject(), vault.purpose(fields=["name"])
    gateway.execute("BEGIN")
    gateway.execute(
        f"DECLARE c CURSOR FOR SELECT (identity.pii_resolve('{subject.id}', '{purpose}', '{{name}}')).pii FROM generate_series(1, 10)"
    )
    assert gateway.execute("FETCH c").fetchone()[0] == {"name": subject.pii["name"]}
    vault.revoke(purpose)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        gateway.execute("FETCH ALL FROM c").fetchall()
    assert reason_of(caught.value) == ("42501", "purpose_revoked")
    gateway.execute("ROLLBACK")
    vault.leaves(gateway, rolled_back=1, denied=1)


def test_revocation_in_an_open_transaction_of_the_dba_binds_nobody_yet(vault, gateway):
    subject, purpose = vault.subject(), vault.purpose(fields=["name"])
    with vault.connect(vault.dba) as dba:
        with dba.transaction(force_rollback=True):
            dba.execute("SELECT identity.purpose_revoke(%s, 'maybe')", (purpose,))
            read(gateway, subject, purpose)
        read(gateway, subject, purpose)
    vault.leaves(gateway, committed=2)


def test_role_membership_taken_away_binds_the_next_call(vault, gateway):
    subject = vault.subject()
    team = vault.login()
    vault.sql(f"GRANT {team} TO {gateway.info.user}")
    purpose = vault.purpose(fields=["name"], allowed_roles=[team])
    gateway.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    read(gateway, subject, purpose)
    vault.sql(f"REVOKE {team} FROM {gateway.info.user}")
    refused_read(gateway, subject, "42501", "purpose_role", purpose)
    gateway.execute("ROLLBACK")


def test_zone_taken_away_binds_the_next_call(vault, gateway):
    subject = vault.subject("healthcare")
    read(gateway, subject)
    vault.sql(f"REVOKE identity_zone_onbox FROM {gateway.info.user}")
    refused_read(gateway, subject, "P0002", "subject_unavailable")


def test_generation_grows_with_every_change(vault, gateway):
    subject = vault.subject()
    seen = [gateway.execute(RESOLVE, (subject.id, "t.all", ["name"])).fetchone()[1]]
    for change in ({"pii": {"name": "x"}}, {"consent": "given"}, {"vertical": "finance"}):
        returned = vault.change(subject.id, **change)
        seen.append(gateway.execute(RESOLVE, (subject.id, "t.all", ["name"])).fetchone()[1])
        assert seen[-1] == returned
    assert seen == sorted(set(seen))
