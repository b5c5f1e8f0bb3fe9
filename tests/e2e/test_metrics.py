"""Numbers for monitoring: they are right, they are for the few, and no label names anybody."""

import json
import time

import psycopg
import pytest

from cluster import Cluster, wait_until
from limit_helpers import CAP, RATE, capped, outcome, used_up
from test_recorder import Stopped
from vault import Vault, read, refused_read

METRICS = "SELECT name, labels, value FROM identity.metrics()"


@pytest.fixture(scope="module")
def quiet(request):
    """A vault of its own: nobody else moves its counters."""
    cluster = Cluster("m")
    request.addfinalizer(cluster.destroy)
    return Vault(cluster.start().install())


def numbers(vault: Vault) -> dict[tuple, float]:
    with vault.connect(vault.auditor) as auditor:
        return {(name, *sorted(labels.items())): value for name, labels, value in auditor.execute(METRICS)}


def grown(before: dict, after: dict) -> dict[tuple, float]:
    return {key: value - before.get(key, 0) for key, value in after.items() if key[0].endswith("_total") and value != before.get(key, 0)}


def test_reads_rolled_back_reads_and_denials_are_counted(quiet):
    subject, withdrawn, purpose = quiet.subject(), quiet.subject(consent="withdrawn"), capped(quiet, 100)
    before = numbers(quiet)
    with quiet.gateway() as conn:
        for _ in range(4):
            read(conn, subject, purpose)
        with conn.transaction(force_rollback=True):
            read(conn, subject, purpose)
        with conn.transaction():
            conn.execute("SAVEPOINT a")
            for _ in range(2):
                read(conn, subject, purpose)
            conn.execute("ROLLBACK TO a")
        for _ in range(3):
            refused_read(conn, withdrawn, "42501", "consent", purpose)
        quiet.leaves(conn, committed=4, rolled_back=3, denied=3)
    assert grown(before, numbers(quiet)) == {
        ("identity_reads_total",): 7,
        ("identity_reads_rolled_back_total",): 3,
        ("identity_denials_total", ("reason", "consent")): 3,
    }


def test_limits_show_who_is_near_and_who_is_refused(quiet):
    subject, purpose, slow = quiet.subject(), capped(quiet, 4), quiet.purpose(rate_limit_qps=1)
    before = numbers(quiet)
    with quiet.gateway() as one, quiet.gateway() as two, quiet.gateway() as three:
        read(one, subject, purpose)
        read(two, subject, purpose)
        read(two, subject, purpose)
        used_up(three, subject, purpose, 4)
        assert [outcome(one, subject, slow), outcome(one, subject, slow)] == ["ok", RATE]
    after = numbers(quiet)
    assert after["identity_volume_callers", ("level", "half"), ("purpose", purpose)] == 1
    assert after["identity_volume_callers", ("level", "cap"), ("purpose", purpose)] == 1
    assert grown(before, after)["identity_denials_total", ("reason", CAP[1])] == 2
    assert grown(before, after)["identity_denials_total", ("reason", RATE[1])] == 1
    assert after[("identity_limit_places_taken",)] == before[("identity_limit_places_taken",)] + 4


def test_state_of_keys_recorder_lanes_and_partitions(quiet):
    subject = quiet.subject()
    with quiet.gateway() as conn:
        conn.execute("BEGIN")
        read(conn, subject)
        now = numbers(quiet)
        conn.execute("ROLLBACK")
    assert now[("identity_recorder_slots", ("state", "held"))] == 1
    assert now[("identity_recorder_running",)] == now[("identity_keys_unlocked",)] == 1
    assert now[("identity_recorder_capacity",)] == 4096
    assert now[("identity_partitions_ahead",)] == 3
    assert now[("identity_lanes",)] >= 2
    quiet.sql("SELECT identity.key_wipe_all()")
    try:
        assert numbers(quiet)[("identity_keys_unlocked",)] == 0
    finally:
        quiet.cluster.unlock()


def test_a_waiting_row_is_seen(quiet):
    withdrawn = quiet.subject(consent="withdrawn")
    waiting = ("identity_recorder_slots", ("state", "waiting"))
    wait_until(lambda: numbers(quiet)[waiting] == 0, "what other tests left to be written")
    with quiet.gateway() as conn, Stopped(quiet):
        refused_read(conn, withdrawn, "42501", "consent")
        assert numbers(quiet)[waiting] == 1


def test_no_label_names_a_subject_a_caller_or_a_value(quiet):
    subject, purpose = quiet.subject(name="Ada Lovelace"), capped(quiet, 1)
    with quiet.gateway() as conn:
        used_up(conn, subject, purpose, 1)
        with pytest.raises(psycopg.Error):
            conn.execute("SELECT * FROM identity.pii_resolve(%s, 'Ada Lovelace', '{name}')", (subject.id,))
        role = conn.info.user
    time.sleep(0.1)
    told = json.dumps([[name, *rest] for name, *rest in numbers(quiet)])
    for secret in ("Ada", str(subject.id), subject.id.hex, f'"{role}"'):
        assert secret not in told
    assert purpose in told


def test_metrics_leave_no_row_and_are_for_auditor_and_worker(quiet, request):
    with quiet.connect(quiet.worker) as worker:
        assert worker.execute(METRICS).fetchall()
    for role in (quiet.auditor, quiet.worker):
        quiet.leaves(role)
    with quiet.gateway() as conn, quiet.connect(quiet.dba) as dba:
        for other in (conn, dba):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(METRICS)
