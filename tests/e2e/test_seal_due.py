"""NOTIFY identity_seal_due: who seals hears within seconds of what should not wait, and of nothing else."""

import contextlib
import time

import psycopg
import pytest
from psycopg.rows import dict_row

from ledger import seal
from liar import anchor, signer_of
from vault import Vault, read, refused_read

CHANNEL = "identity_seal_due"


@pytest.fixture
def listener(sealed):
    """A worker who has heard what was to hear so far."""
    with sealed.connect(sealed.worker) as conn:
        conn.execute(f"LISTEN {CHANNEL}")
        drain(conn)
        yield conn


def drain(conn) -> None:
    while list(conn.notifies(timeout=2.5)):
        pass


@pytest.fixture
def gateway_of(sealed):
    with sealed.gateway() as conn:
        yield conn


def heard(conn, seconds: float = 5) -> list[tuple[str, str]]:
    return [(notify.channel, notify.payload) for notify in conn.notifies(timeout=seconds, stop_after=1)]


def quiet(conn) -> bool:
    return not heard(conn, 3)


def request(conn, subject) -> None:
    """An event that any gateway can bring about."""
    conn.execute("SELECT identity.erasure_request(%s, 'candidate_request')", (subject.id,))


def test_an_event_is_told_of_within_seconds(sealed, listener, gateway_of):
    subject = sealed.subject()
    drain(listener)
    start = time.monotonic()
    request(gateway_of, subject)
    assert heard(listener) == [(CHANNEL, "")]
    assert time.monotonic() - start < 4
    assert quiet(listener), "once"


def test_a_read_is_not(sealed, listener, gateway_of):
    subject = sealed.subject()
    drain(listener)
    for _ in range(5):
        read(gateway_of, subject)
    refused_read(gateway_of, subject, "22023", "unknown_purpose", purpose="t.none")
    with gateway_of.transaction(force_rollback=True):
        read(gateway_of, subject)
    assert quiet(listener)


def test_an_anchor_and_a_seal_are_not(sealed, listener):
    signer = signer_of(sealed)
    for _ in range(2):
        seal(sealed)
        anchor(sealed, signer)
    assert quiet(listener)


def test_what_is_rolled_back_is_not(sealed, listener, gateway_of):
    subjects = [sealed.subject() for _ in range(4)]
    drain(listener)
    with gateway_of.transaction(force_rollback=True):
        request(gateway_of, subjects[0])
    with gateway_of.transaction():
        read(gateway_of, subjects[1])
        with gateway_of.transaction(force_rollback=True):
            request(gateway_of, subjects[1])
        read(gateway_of, subjects[1])
    with gateway_of.transaction():
        with contextlib.suppress(psycopg.errors.DivisionByZero), gateway_of.transaction():
            request(gateway_of, subjects[2])
            gateway_of.execute("SELECT 1 / 0")
    assert quiet(listener)
    with gateway_of.transaction():
        with gateway_of.transaction():
            request(gateway_of, subjects[3])
            with gateway_of.transaction(force_rollback=True):
                read(gateway_of, subjects[3])
        assert quiet(listener), "not before it has committed"
    assert heard(listener) == [(CHANNEL, "")]


def test_after_a_restart_it_is_told_again(fresh):
    vault = Vault(fresh())
    vault.cluster.restart()
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=dict_row)
    with vault.connect(vault.worker) as conn:
        conn.execute(f"LISTEN {CHANNEL}")
        time.sleep(2.5)
        list(conn.notifies(timeout=1))
        vault.purpose()
        assert heard(conn)
