"""Many sessions at once: every lane stays one unbroken chain, and the log agrees with what the clients saw."""

import random
import threading

import psycopg
import pytest

from vault import ONBOX, RESOLVE

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


class Client(threading.Thread):
    """Reads in transactions with random savepoints, and keeps count of what was committed and what was not."""

    def __init__(self, vault, role: str, subjects: list, rounds: int, seed: int):
        super().__init__(daemon=True)
        self.vault, self.role, self.subjects, self.rounds = vault, role, subjects, rounds
        self.random = random.Random(seed)
        self.committed, self.undone, self.failure = [], 0, None

    def run(self):
        try:
            with self.vault.connect(self.role) as conn:
                for _ in range(self.rounds):
                    self.transaction(conn)
        except Exception as error:  # a failed thread must fail the test
            self.failure = error

    def transaction(self, conn) -> None:
        kept: list[int] = []
        done = 0
        try:
            conn.execute(f"BEGIN ISOLATION LEVEL {self.random.choice(LEVELS)}")
            for _ in range(self.random.randint(1, 3)):
                mark = len(kept)
                conn.execute("SAVEPOINT a")
                for _ in range(self.random.randint(1, 2)):
                    kept.append(conn.execute(RESOLVE, (self.random.choice(self.subjects).id, "t.all", ["name"])).fetchone()[2])
                    done += 1
                if self.random.random() < 0.3:
                    conn.execute("ROLLBACK TO a")
                    del kept[mark:]
                else:
                    conn.execute("RELEASE a")
            if self.random.random() < 0.15:
                kept.clear()
                conn.execute("ROLLBACK")
            else:
                conn.execute("COMMIT")
        except psycopg.errors.SerializationFailure:
            conn.execute("ROLLBACK")
            kept.clear()
        self.committed += kept
        self.undone += done - len(kept)


def run_clients(vault, connections: int, rounds: int) -> tuple[str, list[Client]]:
    subjects = [vault.subject() for _ in range(20)]
    role = vault.login(*ONBOX)
    clients = [Client(vault, role, subjects, rounds, seed) for seed in range(connections)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(240)
        assert not client.is_alive(), "a client hangs"
        assert client.failure is None, client.failure
    return role, clients


def check(vault, role: str, clients: list[Client]) -> None:
    seen = sorted(access_id for client in clients for access_id in client.committed)
    assert len(seen) == len(set(seen)), "an access_id was given out twice"
    vault.leaves(role, timeout=60, committed=len(seen), rolled_back=sum(client.undone for client in clients))
    assert [row["access_id"] for row in sorted(vault.rows(role, "outcome = 'committed'"), key=lambda row: row["access_id"])] == seen
    gaps = vault.sql("""SELECT lane, count(*), min(seq), max(seq) FROM identity.pii_access_log
                        GROUP BY lane HAVING count(*) <> max(seq) OR min(seq) <> 1 OR count(DISTINCT seq) <> count(*)""")
    assert not gaps, gaps
    vault.verify()


def test_200_connections_of_mixed_isolation_and_savepoints_leave_no_gap_or_fork(vault):
    check(vault, *run_clients(vault, connections=200, rounds=8))


@pytest.mark.long
def test_many_rounds_leave_no_gap_or_fork(vault):
    check(vault, *run_clients(vault, connections=200, rounds=100))


def test_connections_that_come_and_go_share_lanes_without_a_fork(vault):
    subject, role = vault.subject(), vault.login(*ONBOX)
    failures = []

    def come_and_go():
        try:
            for _ in range(15):
                with vault.connect(role) as conn:
                    conn.execute(RESOLVE, (subject.id, "t.all", ["name"]))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, daemon=True) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures
    vault.leaves(role, committed=300)
    vault.verify()


def test_reads_cost_no_serialization_failures_of_their_own(vault, gateway):
    """Two SERIALIZABLE sessions that only read people do not conflict with each other through our tables."""
    subject = vault.subject()
    with vault.gateway() as other:
        for _ in range(20):
            for conn in (gateway, other):
                conn.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
            for conn in (gateway, other):
                conn.execute(RESOLVE, (subject.id, "t.all", ["name"]))
            for conn in (gateway, other):
                conn.execute("COMMIT")


def test_reader_locks_do_not_deadlock_with_the_callers_rows(vault, gateway):
    """A call waits for no other reader: it holds nothing that another reader's own row locks could meet."""
    subject = vault.subject()
    vault.sql("CREATE TABLE IF NOT EXISTS public.own (n int PRIMARY KEY, v int)")
    vault.sql("GRANT ALL ON public.own TO PUBLIC")
    vault.sql("INSERT INTO public.own VALUES (1, 0) ON CONFLICT DO NOTHING")
    gateway.execute("BEGIN; UPDATE public.own SET v = v + 1")
    with vault.gateway() as other:
        other.execute("BEGIN")
        other.execute(RESOLVE, (subject.id, "t.all", ["name"]))
        gateway.execute("SET lock_timeout = '1s'")
        gateway.execute(RESOLVE, (subject.id, "t.all", ["name"]))
        gateway.execute("COMMIT")
        other.execute("UPDATE public.own SET v = v + 1")
        other.execute("COMMIT")
