"""What a test needs to say about the sealed ledger."""

import contextlib
import threading
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from ledger_tree import Checkpoint, recomputed, root
from vault import Vault, read

SEAL = "SELECT tree_size, root FROM identity.ledger_seal()"
TABLES = ["ledger_leaves", "ledger_nodes", "ledger_tiles", "ledger_heads", "ledger_seals"]


def seal(vault, **kwargs) -> tuple[int, bytes]:
    with vault.connect(vault.worker, **kwargs) as worker:
        return worker.execute(SEAL).fetchone()


def check(vault, chain_keys: dict[int, bytes] | None = None) -> None:
    """The tables are what this file makes of the log; so is what the functions say of them."""
    tree = recomputed(vault, chain_keys)
    now = checkpoint(vault)
    assert (now.size, now.root) == (len(tree), root(tree))
    assert sorted(vault.sql("SELECT level, index FROM identity.ledger_nodes"), key=lambda n: tuple(n.values())) == [
        {"level": level, "index": index} for level in range(len(tree).bit_length()) for index in range(len(tree) >> level)
    ]


def contents(vault) -> dict:
    return {table: vault.sql(f"SELECT count(*) AS n FROM identity.{table}")[0]["n"] for table in TABLES}


def unsealed(vault) -> int:
    return vault.sql("SELECT value FROM identity.metrics() WHERE name = 'identity_ledger_rows' AND labels ->> 'state' = 'unsealed'")[0]["value"]


def some_rows(vault, n: int = 5) -> list[int]:
    """Of both kinds: reads are folded into a batch, a purpose is a leaf of its own."""
    subject = vault.subject()
    with vault.gateway() as gateway:
        ids = [read(gateway, subject) for _ in range(n)]
    vault.purpose()
    return ids


@contextlib.contextmanager
def in_the_middle(vault, table: str):
    """A sealer that has got as far as writing to this table, and waits there: somebody holds it."""
    with vault.cluster.connect() as holder:
        holder.execute(f"BEGIN; LOCK TABLE identity.{table} IN SHARE MODE")
        sealer = vault.connect(vault.worker)
        sealer.pgconn.send_query(SEAL.encode())
        pid = vault.wait_backend(vault.worker, "wait_event_type = 'Lock' AND wait_event = 'relation'")
        written = vault.sql("SELECT relation::regclass::text AS name FROM pg_locks WHERE pid = %s AND mode = 'RowExclusiveLock' AND granted", (pid,))
        assert table == TABLES[0] or {"name": f"identity.{TABLES[0]}"} in written, "it has written something before"
        yield sealer, pid
        with contextlib.suppress(psycopg.Error):
            sealer.close()
            holder.execute("ROLLBACK")
        holder.close()


def result(conn) -> str:
    """What the statement that was sent came to: its SQLSTATE, or nothing."""
    state = None
    while answer := conn.pgconn.get_result():
        state = answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or state
    return state and state.decode()


def again(vault) -> None:
    """After the server was gone."""
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=dict_row)


def copy_of(vault: Vault, cluster) -> Vault:
    """The same vault in another cluster, which has its roles already."""
    copy = Vault.__new__(Vault)
    copy.cluster, copy.admin, copy.worker, copy.auditor = cluster, cluster.connect(row_factory=dict_row), vault.worker, vault.auditor
    return copy


def checkpoint(vault) -> Checkpoint:
    with vault.connect(vault.worker) as worker:
        return Checkpoint.parse(worker.execute("SELECT identity.ledger_checkpoint()").fetchone()[0])


def many_rows(vault, n: int) -> None:
    """Rows by the thousand: an answer about a vertical leaves one for each id, known or not."""
    first = vault.subject().id
    ids = [type(first)(int=first.int + number) for number in range(1000)]
    with vault.gateway() as gateway:
        for _ in range(n // 1000):
            gateway.execute("SELECT count(*) FROM identity.pii_vertical_many(%s)", (ids,))


class Watched(threading.Thread):
    """Seals, and knows how much memory of its own the process took at its highest, in kB."""

    def __init__(self, vault):
        super().__init__(daemon=True)
        self.conn = vault.connect(vault.worker)
        self.conn.execute("SELECT identity.ledger_checkpoint()")
        self.before = self.highest = self.memory()

    def memory(self) -> int:
        lines = Path(f"/proc/{self.conn.info.backend_pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

    def run(self) -> None:
        self.conn.execute(SEAL)

    def growth(self) -> int:
        self.start()
        while self.is_alive():
            self.highest = max(self.highest, self.memory())
            self.join(0.01)
        self.conn.close()
        return self.highest - self.before
