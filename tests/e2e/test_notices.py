"""Somebody is told when a caller has had half of its day, and when it has had all: once, and nothing that names anybody."""

import json

import psycopg
import pytest

from cluster import wait_until
from limit_helpers import CAP, Clock, back, caller, capped, outcome, used_up
from vault import ONBOX, Vault, read, refused_read

NOTICES = """SELECT n.*, l.accessor_kind, l.chain_kind, l.purpose_token AS row_purpose, encode(l.integrity_hash, 'hex') AS mac, o.payload
               FROM identity.volume_notices n JOIN identity.pii_access_log l USING (access_id) LEFT JOIN identity.notifications o USING (access_id)
              WHERE n.accessor_role = %s ORDER BY n.day, n.percent"""


def notices(vault: Vault, role: str, count: int) -> list[dict]:
    """Exactly so many, and no more come."""
    wait_until(lambda: len(vault.sql(NOTICES, (role,))) >= count, f"{count} notices", timeout=15)
    vault.sql("SELECT pg_sleep(1.5)")
    found = vault.sql(NOTICES, (role,))
    assert len(found) == count, found
    return found


def percents(found: list[dict]) -> list[int]:
    return [row["percent"] for row in found]


def test_half_and_cap_are_told_once(vault, gateway):
    subject, purpose, role = vault.subject(), capped(vault, 4), gateway.info.user
    with vault.connect(vault.worker) as worker:
        worker.execute("LISTEN identity_outbox")
        read(gateway, subject, purpose)
        notices(vault, role, 0)
        read(gateway, subject, purpose)
        assert percents(notices(vault, role, 1)) == [50]
        read(gateway, subject, purpose)
        notices(vault, role, 1)
        used_up(gateway, subject, purpose, 1)
        found = notices(vault, role, 2)
        assert percents(found) == [50, 100]
        # Others may have come near a cap at the same time: a notification tells of nobody.
        heard = list(worker.notifies(timeout=2, stop_after=2))
        assert len(heard) >= 2 and {(notify.channel, notify.payload) for notify in heard} == {("identity_outbox", "")}
    for row in found:
        assert (row["purpose_token"], row["row_purpose"], row["daily_cap"]) == (purpose, purpose, 4)
        assert (row["accessor_kind"], row["chain_kind"]) == ("volume_notice", "merkle")
    vault.verify()


def test_payload_holds_four_members_and_nobody(vault, gateway):
    subject, purpose, role = vault.subject(), capped(vault, 1), gateway.info.user
    read(gateway, subject, purpose)
    found = notices(vault, role, 2)
    for row, kind in zip(found, ["volume_half", "volume_cap"], strict=True):
        payload = row["payload"]
        assert set(payload) == {"event_kind", "timestamp", "accessor_kind", "integrity_hash"}
        assert payload["event_kind"] == kind and payload["accessor_kind"] == "volume_notice"
        assert payload["integrity_hash"] == row["mac"]
        told = json.dumps(payload)
        for secret in (str(subject.id), subject.id.hex, role, purpose, *subject.pii.values()):
            assert secret not in told


def test_payload_with_more_members_is_refused(vault):
    with pytest.raises(psycopg.errors.CheckViolation):
        vault.sql(
            """INSERT INTO identity.notifications VALUES (1, '{"event_kind":"","timestamp":"","accessor_kind":"","integrity_hash":"","candidate_id":""}')"""
        )


def test_caller_that_only_rolls_back_is_told_of_too(vault, gateway):
    subject, purpose = vault.subject(), capped(vault, 2)
    for _ in range(2):
        with gateway.transaction(force_rollback=True):
            read(gateway, subject, purpose)
    notices(vault, gateway.info.user, 2)


def test_refused_reads_are_told_to_nobody(vault, gateway):
    purpose = capped(vault, 1)
    for _ in range(3):
        refused_read(gateway, vault.subject(consent="withdrawn"), "42501", "consent", purpose)
    notices(vault, gateway.info.user, 0)
    read(gateway, vault.subject(), purpose)
    notices(vault, gateway.info.user, 2)


def test_notice_does_not_wait_for_the_caller_nor_hold_it_up(vault, gateway):
    subject, purpose = vault.subject(), capped(vault, 2)
    with gateway.transaction():
        read(gateway, subject, purpose)
        notices(vault, gateway.info.user, 1)
        assert gateway.execute("SELECT count(*) FROM pg_listening_channels()").fetchone()[0] == 0


def test_gateway_and_dba_cannot_read_or_write_notices(vault, gateway):
    with vault.connect(vault.dba) as dba:
        for conn in (gateway, dba):
            for statement in (
                "SELECT * FROM identity.notifications",
                "SELECT * FROM identity.volume_notices",
                "INSERT INTO identity.volume_notices VALUES (1, 'x', 'x', now(), 50, 1)",
                "DELETE FROM identity.notifications",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement)
    for table in ("notifications", "volume_notices"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            vault.sql(f"DELETE FROM identity.{table}")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_tells_nothing_twice_and_forgets_nothing(fresh, mode):
    vault = Vault(fresh())
    subject, half, full = vault.subject(), capped(vault, 4), capped(vault, 2)
    role = vault.login(*ONBOX)
    with vault.connect(role) as conn:
        read(conn, subject, full)
        read(conn, subject, full)
        notices(vault, role, 2)
        # What is reached while nobody can write it down is told after the restart.
        maintenance = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'identity_pgx maintenance'"
        pid = vault.sql(maintenance)[0]["pid"]
        vault.sql("SELECT pg_terminate_backend(%s)", (pid,))
        wait_until(lambda: vault.sql(maintenance) == [], "the maintenance process to end")
        read(conn, subject, half)
        read(conn, subject, half)
        vault.leaves(role, committed=4)
    vault.cluster.restart(mode)
    back(vault)
    found = notices(vault, role, 3)
    assert {(row["purpose_token"], row["percent"]) for row in found} == {(full, 50), (full, 100), (half, 50)}
    with vault.connect(role) as conn:
        assert outcome(conn, subject, full) == CAP
        assert outcome(conn, subject, half) == "ok"
    notices(vault, role, 3)
    vault.verify()


def test_each_day_is_told_of(monkeypatch, fresh):
    clock = Clock(monkeypatch)
    clock.set("2031-03-14 23:00:00")
    vault = Vault(fresh())
    subject, purpose = vault.subject(), capped(vault, 1)
    with caller(vault) as conn:
        read(conn, subject, purpose)
        notices(vault, conn.info.user, 2)
        clock.set("2031-03-15 00:00:01")
        read(conn, subject, purpose)
        found = notices(vault, conn.info.user, 4)
    assert [str(row["day"]) for row in found] == ["2031-03-14"] * 2 + ["2031-03-15"] * 2
