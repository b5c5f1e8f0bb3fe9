"""What tests about the scrub have in common: subjects with a past, their erasure, and whether a file still holds a byte of theirs."""

import os
from array import array
from pathlib import Path

from psycopg.types.json import Jsonb

from cluster import run_as_owner, wait_until
from consent import template
from erasure import AUTHORISE, REQUEST
from vault import FIELDS, uuid7

IMPORT = "SELECT identity._import_subject(%s, %s, %s, %s)"
SEALED = [f"{name}_ct" for name in FIELDS]
WINDOW = 8


class Past:
    """Every ciphertext that some subjects ever had, as windows of eight bytes: what is fifteen bytes long and theirs holds one of them."""

    def __init__(self):
        self.windows: set[int] = set()

    def add(self, conn, ids) -> None:
        rows = conn.execute(f"SELECT {', '.join(SEALED)} FROM identity.subjects WHERE candidate_id = ANY (%s)", (list(ids),)).fetchall()
        assert len(rows) == len(ids)
        for sealed in (value for row in rows for value in row if value is not None):
            self.add_bytes(bytes(sealed)[6:])  # before that comes what all envelopes begin with

    def add_bytes(self, value: bytes) -> None:
        whole = array("Q")
        whole.frombytes(value[: len(value) // WINDOW * WINDOW])
        self.windows.update(whole)

    def found(self, data: Path, wal: bool = False) -> set[str]:
        """The files of a data directory that hold any of it."""
        found = set()
        for directory, below, files in os.walk(data):
            if not wal and "pg_wal" in below and Path(directory) == data:
                below.remove("pg_wal")
            for name in files:
                path = Path(directory) / name
                if path.is_file() and self.is_in(path.read_bytes()):
                    found.add(str(path.relative_to(data)))
        return found

    def is_in(self, content: bytes) -> bool:
        for shift in range(WINDOW):
            end = shift + (len(content) - shift) // WINDOW * WINDOW
            if not self.windows.isdisjoint(array("Q", content[shift:end])):
                return True
        return False


def people(conn, count: int) -> list:
    """Subjects that lie one after the other in the table."""
    ids = [uuid7() for _ in range(count)]
    with conn.transaction(), conn.cursor() as cursor:
        cursor.executemany(IMPORT, [(id, Jsonb(pii(id, 0)), "general", "given") for id in ids])
    return ids


def pii(id, version: int) -> dict:
    return {"name": f"Name-{id.hex[-8:]}-{version}", "email": f"{id.hex[-8:]}.{version}@example.org", "address": f"{version} " + "Long Lane " * 9}


class Stop(Exception):
    pass


def live_on(conn, ids, past: Past, version: int = 1) -> None:
    """Gives subjects a past: older rows on other pages, one of an update that was rolled back and one of a savepoint's."""

    def update(version: int) -> None:
        with conn.cursor() as cursor:
            cursor.executemany(IMPORT, [(id, Jsonb(pii(id, version)), None, None) for id in ids])
        past.add(conn, ids)

    past.add(conn, ids)
    for number in range(version, version + 4):
        try:
            with conn.transaction():
                if number == version + 1:
                    update(number)
                    raise Stop
                if number == version + 2:
                    try:
                        with conn.transaction():
                            update(number)
                            raise Stop
                    except Stop:
                        pass
                else:
                    update(number)
        except Stop:
            pass
    past.add(conn, ids)


def may_erase(vault) -> str:
    """A policy for `general`; returns the authority it gives."""
    schedule = template(vault, "retention_schedule")
    with vault.connect(vault.dba) as dba:
        dba.execute("INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES ('general', 'general', 30, %s)", (schedule,))
    return schedule


def erase(vault, ids, authority: str) -> None:
    with vault.gateway() as gateway, vault.connect(vault.worker) as worker:
        for id in ids:
            request = gateway.execute(REQUEST, (id, "rtbf_request")).fetchone()[0]
            worker.execute(AUTHORISE, (request, authority))


def scrub(conn, max_pages: int = 10_000) -> dict:
    return conn.execute("SELECT identity.erasure_scrub(%s)", (max_pages,)).fetchone()[0]


def scrub_all(conn) -> dict:
    """Until the pass is through, or waits for somebody to do something."""
    answers = []

    def through() -> bool:
        answers.append(scrub(conn))
        assert answers[-1]["state"] not in ("idle", "busy")
        return answers[-1]["state"] in ("done", "waiting")

    wait_until(through, f"the scrub to come through: {answers[-1:]}")
    return answers[-1]


def unscrubbed(vault) -> int:
    return vault.sql("SELECT count(*) AS n FROM identity.erasure_requests WHERE state = 'done' AND scrubbed_at IS NULL")[0]["n"]


def checkpoint(vault) -> None:
    vault.sql("CHECKPOINT")


def amcheck(cluster, bindir) -> None:
    """Heaps, TOAST and B-trees are sound, and every row is in its indexes."""
    run_as_owner(bindir / "pg_amcheck", "-h", cluster.dir, "-p", cluster.port, "-U", "postgres", "--install-missing", "--heapallindexed", "identity")
