"""Reads the access log and one subject from a database, and verifies them with `formats`.

The database is not trusted: what it returns is only ever compared with what the keys say.
"""

import hmac
import pathlib
import re
from collections import Counter
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

import formats


class Keys:
    """Keys by version. Development keys are the same in every version."""

    def __init__(self, development: bool, chain: list, dek: list):
        self._development = development
        self._by_kind = {"chain": dict(chain), "dek": dict(dek)}

    def get(self, kind: str, version: int) -> bytes:
        key = self._by_kind[kind].get(version)
        if key is None and self._development:
            key = formats.development_key(kind)
        if key is None:
            raise LookupError(f"no {kind} key of version {version} was given")
        return key


class Lane:
    """The head of one lane while its rows pass by (docs/spec/chain.md)."""

    def __init__(self, installation: bytes, lane: int):
        self.seq = 0
        self.mac = formats.genesis(installation, lane)

    def check(self, row: dict, key: bytes) -> str | None:
        seq, mac = row["seq"], bytes(row["integrity_hash"])
        if seq <= self.seq:
            return f"fork: seq {seq} comes again"
        expected, prev = self.seq + 1, self.mac
        self.seq, self.mac = seq, mac
        if seq != expected:
            return f"gap: expected seq {expected}, found {seq}"
        if not hmac.compare_digest(formats.link(key, prev, formats.leaf(row)), mac):
            return f"altered: the MAC of seq {seq} does not match"
        return None


def connect(dsn: str) -> psycopg.Connection:
    # timezone: psycopg gives up on instants whose local year it cannot show.
    return psycopg.connect(dsn, row_factory=dict_row, options="-c timezone=UTC")


def installation_id(connection: psycopg.Connection) -> bytes:
    rows = connection.execute("SELECT installation_id FROM identity.installation").fetchall()
    if len(rows) != 1:
        raise LookupError("identity.installation has not exactly one row")
    return UUID(str(rows[0]["installation_id"])).bytes


def check_keyring(connection: psycopg.Connection, keys: Keys) -> int:
    """Compares the keys that were given with the check values in the keyring."""
    wrong = 0
    for row in connection.execute("SELECT * FROM identity.keyring ORDER BY kind, version"):
        kind, version = row["kind"], row["version"]
        try:
            expected = formats.check_value(kind, version, keys.get(kind, version))
        except LookupError:
            continue
        if not hmac.compare_digest(expected, bytes(row["check_value"])):
            wrong += 1
            print(f"keyring: {kind} version {version} is another key")
    return wrong


def check_log(dsn: str, keys: Keys) -> int:
    """Verifies every row of identity.pii_access_log; prints findings and a count per lane."""
    lanes, rows, findings = {}, Counter(), 0
    with connect(dsn) as connection:
        connection.read_only = True
        installation = installation_id(connection)
        findings += check_keyring(connection, keys)
        with connection.cursor(name="identity_verify") as cursor:
            cursor.itersize = 5000
            cursor.execute("SELECT * FROM identity.pii_access_log ORDER BY access_id")
            for row in cursor:
                number = row["lane"]
                lane = lanes.setdefault(number, Lane(installation, number))
                rows[number] += 1
                finding = lane.check(row, keys.get("chain", row["chain_version"]))
                if finding is None and row["access_id"] != formats.access_id(number, row["seq"]):
                    finding = "access_id is not that of lane and seq"
                if finding is not None:
                    findings += 1
                    print(f"lane {number}: {finding}")
    for number in sorted(lanes):
        print(f"lane {number}: {rows[number]} rows, head {lanes[number].seq}")
    print(f"{sum(rows.values())} rows, {len(lanes)} lanes, {findings} findings")
    return 1 if findings else 0


def check_statement(dsn: str, page: pathlib.Path) -> int:
    """Runs the SQL of docs/spec/leaf.md; every leaf must be the one made here."""
    statement = re.search(r"```sql\n(.*?)```", page.read_text(), re.DOTALL).group(1)
    rows, differ = 0, 0
    with connect(dsn) as connection:
        connection.read_only = True
        query = f"SELECT log.*, sql.leaf FROM identity.pii_access_log AS log LEFT JOIN ({statement}) AS sql USING (access_id)"
        with connection.cursor(name="identity_statement") as cursor:
            cursor.execute(query)
            for row in cursor:
                leaf = row.pop("leaf")
                rows += 1
                if leaf is None or leaf.encode() != formats.leaf(row):
                    differ += 1
                    print(f"access_id {row['access_id']}: plain SQL gives another leaf")
    print(f"{rows} rows, {differ} leaves differ")
    return 1 if differ else 0


def open_subject(dsn: str, keys: Keys, candidate: UUID) -> int:
    """Opens every field of one subject; prints `field: value`, or says which do not open."""
    with connect(dsn) as connection:
        installation = installation_id(connection)
        row = connection.execute(
            "SELECT * FROM identity.subjects WHERE candidate_id = %s", [candidate]
        ).fetchone()
    if row is None:
        raise LookupError("no such subject")
    bad = 0
    for field in formats.FIELDS:
        envelope = row[f"{field}_ct"]
        if envelope is None:
            print(f"{field}: not collected")
            continue
        generation = row["erasure_generation"]
        context = formats.field_context(installation, candidate.bytes, field, generation)
        try:
            version = formats.key_version(bytes(envelope))
            key = keys.get("dek", version)
            value = formats.unseal(key, version, context, bytes(envelope))
            print(f"{field}: {value.decode()}")
        except formats.Refused:
            bad += 1
            print(f"{field}: does not open")
    return 1 if bad else 0
