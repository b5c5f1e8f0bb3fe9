"""A gateway's cache of resolved fields that never serves what the database has replaced.

    with Cache("host=/run/postgresql dbname=identity user=gw", model="m1", purpose="fill_validation") as cache:
        with cache.fields(candidate_id, {"name"}) as pii:
            use(pii["name"])                      # a bytearray; overwritten when the block ends

What is served is at most `max_stale` seconds older than what the database had committed. A hit needs a proof of that: the feed of changes
(identity.subject_changes) was read to its end that recently, or identity.subject_generations says that the generation is still the same.
Notifications are not proof. Anybody can send one and anybody's can be lost: one makes the cache look at the feed sooner, and nothing else.
Whenever the cache cannot be sure that it talks to the server it talked to before, it forgets everything.

What a cache cannot know: a purpose that is revoked changes no generation, so an entry is dropped after `max_age` seconds whatever the feed
says. And a hit leaves no row in the access log: the row is that of the read which filled the entry.

Needs psycopg 3.2 or newer.
"""

import contextlib
import threading
import time

import psycopg
from psycopg import sql
from psycopg.adapt import Loader

FIELDS = ("address", "dob", "email", "name", "phone", "ssn")

# The server and its timeline come with each page: behind a pooler the connection stays the same when the server does not.
FEED = """
SELECT (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8),
       c.cursor, c.candidate_id, c.generation
  FROM (SELECT) AS once LEFT JOIN identity.subject_changes(%s, %s) AS c ON true"""
GENERATION = "SELECT generation FROM identity.subject_generations(ARRAY[%s::uuid])"
RESOLVE = "SELECT r.generation, {values} FROM identity.pii_resolve(%s::uuid, %s::text, %s::text[]) AS r"
PAGE = 1000


class _Overwritable(Loader):
    """Texts as bytearrays: a str cannot be overwritten. The buffer they came in is the driver's, and is not."""

    def load(self, data):
        return bytearray(data)


def _overwrite(values: dict) -> None:
    for value in values.values():
        if value is not None:
            value[:] = bytes(len(value))


def _now() -> float:
    # Goes on while the machine sleeps, and is not set by anybody.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Cache:
    def __init__(self, conninfo: str, *, model: str, purpose: str, max_stale=2.0, max_age=60.0, max_entries=10_000):
        self.conninfo, self.model, self.purpose = conninfo, model, purpose
        self.max_stale, self.max_age, self.max_entries = max_stale, max_age, max_entries
        self.hits = self.misses = 0
        self._lock = threading.Lock()
        self._conn = None
        self._entries = {}  # (model, candidate_id, field set, generation): (values, when they were read)
        self._held = {}  # candidate_id: keys of its entries
        self._forget_server()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._lock:
            self._disconnect()

    @contextlib.contextmanager
    def fields(self, candidate_id, wanted):
        """The fields of a subject, as bytearrays (None was not collected) that are overwritten when the block ends."""
        with self._lock:
            values = self._get(candidate_id, frozenset(wanted))
        try:
            yield values
        finally:
            _overwrite(values)

    # -- hits and misses, under the lock: between an answer and its entry no change may pass by ----------------------
    def _get(self, candidate_id, wanted):
        unknown = wanted - set(FIELDS)
        if unknown or not wanted:
            raise ValueError("no such field" if unknown else "no field")
        try:
            if self._prove(candidate_id):
                for key in self._held.get(candidate_id, ()):
                    values, since = self._entries[key]
                    if key[2] == wanted and _now() - since <= self.max_age:
                        self.hits += 1
                        return {name: value and bytearray(value) for name, value in values.items()}
            return self._resolve(candidate_id, wanted)
        except psycopg.OperationalError:
            self._disconnect()
            return self._resolve(candidate_id, wanted)

    def _resolve(self, candidate_id, wanted):
        names = sorted(wanted)
        query = sql.SQL(RESOLVE).format(values=sql.SQL(", ").join(sql.SQL("r.pii ->> {}").format(name) for name in names))
        self._drop(candidate_id)
        since = _now()
        with self._connected().cursor() as cursor:
            cursor.adapters.register_loader("text", _Overwritable)
            generation, *values = cursor.execute(query, (candidate_id, self.purpose, names)).fetchone()
        values = dict(zip(names, values, strict=True))
        while len(self._entries) >= self.max_entries:
            self._drop(next(iter(self._held)))
        key = (self.model, candidate_id, wanted, generation)
        self._entries[key] = (values, since)
        self._held.setdefault(candidate_id, set()).add(key)
        self.misses += 1
        return {name: value and bytearray(value) for name, value in values.items()}

    # -- freshness ------------------------------------------------------------------------------------------------
    def _prove(self, candidate_id) -> bool:
        """Whether what is held of this subject is what the database had committed at most `max_stale` seconds ago."""
        held = self._held.get(candidate_id)
        if not held:
            return False
        allowed = 0.05 if self._hinted() else self.max_stale
        if self._proved_at is not None and _now() - self._proved_at <= allowed:
            return True
        if self._read_feed():
            return True
        # The feed has more than a page for us: this one subject is asked for.
        row = self._connected().execute(GENERATION, (candidate_id,)).fetchone()
        self._drop(candidate_id, below=float("inf") if row[0] is None else row[0])
        return candidate_id in self._held

    def _hinted(self) -> bool:
        if self._conn is not None:
            for _ in self._conn.notifies(timeout=0):  # raises when the connection is gone
                self._hint = True
        return self._hint

    def _read_feed(self) -> bool:
        """Reads a page; true if it was the last."""
        asked_at = _now()
        try:
            rows = self._connected().execute(FEED, (self._cursor, PAGE)).fetchall()
        except psycopg.errors.InvalidParameterValue:
            # The server does not know this cursor: its history is not the one we followed.
            self._forget_server()
            return False
        server = rows[0][:2]
        if self._server not in (None, server) or any(row[2] is not None and row[2] < self._cursor for row in rows):
            self._forget_server()
            return False
        self._server, self._hint = server, False
        for _, _, cursor, candidate_id, generation in rows:
            if candidate_id is not None:
                self._cursor = cursor
                self._drop(candidate_id, below=generation)
        if len(rows) < PAGE:
            self._proved_at = asked_at
            return True
        return False

    # -- forgetting -------------------------------------------------------------------------------------------------
    def _drop(self, candidate_id, below=float("inf")):
        for key in [key for key in self._held.get(candidate_id, ()) if key[3] < below]:
            _overwrite(self._entries.pop(key)[0])
            self._held[candidate_id].discard(key)
        if not self._held.get(candidate_id, True):
            del self._held[candidate_id]

    def _forget_server(self):
        for candidate_id in list(self._held):
            self._drop(candidate_id)
        self._cursor, self._server, self._proved_at, self._hint = 0, None, None, False

    def _connected(self):
        if self._conn is None:
            # What was held came from a server that this may no longer be.
            self._forget_server()
            self._conn = psycopg.connect(self.conninfo, autocommit=True)
            self._conn.execute("LISTEN identity_changed")
        return self._conn

    def _disconnect(self):
        if self._conn is not None:
            self._conn.close()
            self._conn = None
        self._forget_server()
