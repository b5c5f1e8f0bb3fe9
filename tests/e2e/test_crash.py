"""kill -9 of the postmaster under load: every lane verifies, and no committed read lacks its row."""

import os
import random
import signal
import threading

import psycopg
import pytest

from cluster import wait_until
from vault import ONBOX, RESOLVE, Vault


class Load(threading.Thread):
    def __init__(self, vault, role: str, subjects: list, seed: int):
        super().__init__(daemon=True)
        self.vault, self.role, self.subjects = vault, role, subjects
        self.random = random.Random(seed)
        self.committed: set[int] = set()
        self.failure = None

    def run(self):
        try:
            with self.vault.connect(self.role) as conn:
                conn.execute(f"SET synchronous_commit = {self.random.choice(['on', 'off', 'local'])}")
                while True:
                    self.transaction(conn)
        except psycopg.OperationalError:
            pass  # the server is gone, as it should be
        except Exception as error:
            self.failure = error

    def transaction(self, conn):
        end = "COMMIT" if self.random.random() < 0.8 else "ROLLBACK"
        conn.execute("BEGIN")
        reads = {
            conn.execute(RESOLVE, (self.random.choice(self.subjects).id, "t.all", ["name", "ssn"])).fetchone()[2]
            for _ in range(self.random.randint(1, 3))
        }
        if self.random.random() < 0.3:
            conn.execute("SAVEPOINT a")
            conn.execute(RESOLVE, (self.random.choice(self.subjects).id, "t.all", ["name"]))
            conn.execute("ROLLBACK TO a")
        conn.execute(end)
        if end == "COMMIT":
            self.committed |= reads


def crash_rounds(vault, rounds: int, kill) -> None:
    role, subjects = vault.login(*ONBOX), [vault.subject() for _ in range(50)]
    committed: set[int] = set()
    for number in range(rounds):
        threads = [Load(vault, role, subjects, number * 100 + n) for n in range(16)]
        for thread in threads:
            thread.start()
        wait_until(lambda: sum(len(thread.committed) for thread in threads) > 150, "some load", timeout=30)
        kill(vault.cluster)
        for thread in threads:
            thread.join(20)
            assert thread.failure is None, thread.failure
        fresh_ids = set().union(*(thread.committed for thread in threads))
        assert not committed & fresh_ids, "an access_id was given out again after the crash"
        committed |= fresh_ids
        if not vault.cluster.running():
            vault.cluster.start()
        vault.cluster.unlock()
        vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)
        kept = {row["access_id"] for row in vault.rows(role, "outcome = 'committed'")}
        assert committed <= kept, f"round {number}: {len(committed - kept)} committed reads have no row"
        vault.verify()


def kill_postmaster(cluster) -> None:
    cluster.kill()


def kill_a_backend(cluster) -> None:
    """The postmaster survives, ends all sessions and starts over: shared memory is made anew."""
    ready = "database system is ready to accept connections"
    starts = cluster.log.read_text().count(ready)
    with cluster.connect(dbname="postgres") as admin:
        pid = admin.execute("SELECT pid FROM pg_stat_activity WHERE usename LIKE 't\\_%' LIMIT 1").fetchone()[0]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: cluster.log.read_text().count(ready) > starts, "the server to come back", timeout=30)
        admin.close()  # `with` would try to commit


DURABLE = {"fsync": "on"}


def test_postmaster_killed_under_load_ten_times(fresh):
    crash_rounds(Vault(fresh(DURABLE)), 10, kill_postmaster)


def test_backend_killed_under_load(fresh):
    crash_rounds(Vault(fresh(DURABLE)), 2, kill_a_backend)


def test_immediate_stop_under_load(fresh):
    crash_rounds(Vault(fresh(DURABLE)), 2, lambda cluster: cluster.stop("immediate"))


@pytest.mark.long
def test_postmaster_killed_under_load_a_hundred_times(fresh):
    crash_rounds(Vault(fresh(DURABLE)), 100, kill_postmaster)
