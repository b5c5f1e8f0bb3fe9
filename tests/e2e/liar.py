"""A superuser who rewrites the log with the guards off, and who may have the chain key: what test_lying_database.py lets loose."""

import base64
import contextlib
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "independent"))
import formats  # noqa: E402

from ledger import seal  # noqa: E402

SEALED = ["ledger_seals", "ledger_heads", "ledger_tiles", "ledger_leaves", "ledger_nodes"]
TABLES = [*SEALED, "anchor_commits", "ledger_expired"]


class Signer:
    """A checkpoint key, which no database holds (C2SP signed-note)."""

    def __init__(self, origin: str):
        self.name = origin
        self.key = Ed25519PrivateKey.generate()
        public = b"\x01" + self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = hashlib.sha256(self.name.encode() + b"\n" + public).digest()[:4]
        self.vkey = f"{self.name}+{self.id.hex()}+{base64.b64encode(public).decode()}"

    def sign(self, body: str) -> str:
        signature = base64.b64encode(self.id + self.key.sign(body.encode())).decode()
        return f"{body}\n\u2014 {self.name} {signature}\n"


def checkpoint(vault) -> str:
    with vault.connect(vault.worker) as worker:
        return worker.execute("SELECT identity.ledger_checkpoint()").fetchone()[0]


def signer_of(vault) -> Signer:
    """Its name is that of the log."""
    return Signer(checkpoint(vault).split("\n")[0])


def anchor(vault, signer: Signer) -> str:
    """What an anchor-worker does with the tree as it is. Returns what lies outside from then on."""
    body = checkpoint(vault)
    note = signer.sign(body)
    with vault.connect(vault.worker) as worker:
        worker.execute("SELECT identity.anchor_record(%s, 's3://anchors/' || %s::text, 'v1', clock_timestamp() + interval '7 years')", (note, body.split("\n")[1]))
    return note


@dataclass
class Marks:
    """Rows that the liar is after, all of one lane and in the order in which they were made; a read that was rolled back; and the end of a lane that
    the server remembers."""

    early: list[int]
    late: list[int]
    rolled_back: int
    remembered: int
    note: str


class Liar:
    """Works on the admin's session, inside whatever transaction that is in."""

    def __init__(self, vault, marks: Marks):
        self.vault, self.marks = vault, marks
        self.log = vault.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log WHERE access_id = %s", (marks.early[0],))[0]["name"]
        self.installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes

    @contextlib.contextmanager
    def unguarded(self):
        """As a careful intruder does: the guards are back when somebody looks."""
        log = self.vault.sql("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'identity.pii_access_log'::regclass")
        tables = ["identity.pii_access_log", *(row["name"] for row in log), *(f"identity.{table}" for table in TABLES)]
        for table in tables:
            self.vault.sql(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
        yield
        for table in tables:
            if self.vault.sql("SELECT to_regclass(%s) IS NOT NULL AS there", (table,))[0]["there"]:
                self.vault.sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")

    # -- what is done -------------------------------------------------------
    def nothing(self):
        pass

    def alter(self):
        self.change(self.marks.early[1], "fields_accessed = '{email}'")

    def delete(self):
        self.remove(self.marks.early[1])

    def insert(self):
        """Room is made for it: the rows after it move up by one."""
        at = self.marks.early[1]
        self.move(at, +1)
        self.vault.sql(
            f"INSERT INTO {self.log} SELECT (jsonb_populate_record(l, jsonb_build_object('access_id', {at}, 'seq', {at} & 281474976710655))).* FROM {self.log} l WHERE access_id = %s",
            (at - 1,),
        )

    def reorder(self):
        """Two rows change places."""
        self.exchange("access_id", "seq")

    def swap(self):
        """Two rows keep their places and exchange one value."""
        self.exchange("request_trace_id")

    def truncate(self):
        """All from the middle of the early rows on, and with them the rest of the lane."""
        self.vault.sql(f"DELETE FROM {self.log} WHERE access_id >> 48 = %s >> 48 AND access_id >= %s", (self.marks.early[2], self.marks.early[2]))

    def truncate_remembered(self):
        self.remove(self.marks.remembered)

    def fork(self):
        """A second row of the same place, in another partition, where no index minds."""
        self.vault.sql(
            """INSERT INTO identity.pii_access_log SELECT (jsonb_populate_record(l, jsonb_build_object('accessed_at', l.accessed_at + interval '1 month'))).*
               FROM identity.pii_access_log l WHERE access_id = %s""",
            (self.marks.early[1],),
        )

    def hide(self):
        """The read that was rolled back never was, and the rows after it close ranks."""
        self.remove(self.marks.rolled_back)
        self.move(self.marks.rolled_back, -1)

    def drop(self):
        self.vault.sql(f"DROP TABLE {self.log}")

    def drop_as_expired(self):
        """The month is gone, and a row says that its time was over, with an event that is another one."""
        self.vault.sql(
            """INSERT INTO identity.ledger_expired (partition, access_id, rows, last_batch, tree_size, expired_at)
               SELECT to_char(l.accessed_at AT TIME ZONE 'UTC', 'YYYY-MM'), l.access_id, 1, 1000000, 1, clock_timestamp() - interval '1 day'
                 FROM identity.pii_access_log l WHERE l.chain_kind = 'merkle' ORDER BY l.access_id LIMIT 1"""
        )
        self.drop()

    def roll_back(self):
        """The tree as it was one cut ago."""
        cut = self.vault.sql("SELECT max(cut) AS cut, min(leaf_index) AS first FROM identity.ledger_seals WHERE cut = (SELECT max(cut) FROM identity.ledger_seals)")[0]["cut"]
        size = self.vault.sql("SELECT max(leaf_index) + 1 AS size FROM identity.ledger_seals WHERE cut < %s", (cut,))[0]["size"] or 0
        self.vault.sql("DELETE FROM identity.ledger_tiles WHERE batch IN (SELECT batch FROM identity.ledger_seals WHERE cut = %s)", (cut,))
        self.vault.sql("DELETE FROM identity.ledger_seals WHERE cut = %s", (cut,))
        self.vault.sql("DELETE FROM identity.ledger_heads WHERE cut = %s", (cut,))
        self.vault.sql("DELETE FROM identity.ledger_leaves WHERE leaf_index >= %s", (size,))
        self.vault.sql("DELETE FROM identity.ledger_nodes WHERE (index + 1) << level > %s", (size,))

    def rewrite(self):
        """Row, chain, seals and tree: all of it as if it had been so from the beginning."""
        self.alter()
        self.chain()
        self.unseal()
        # Within the transaction that the lie is told in.
        self.vault.sql("SELECT * FROM identity.ledger_seal()")

    # -- how ----------------------------------------------------------------
    def change(self, id: int, values: str):
        self.vault.sql(f"UPDATE {self.log} SET {values} WHERE access_id = %s", (id,))

    def remove(self, id: int):
        self.vault.sql(f"DELETE FROM {self.log} WHERE access_id = %s", (id,))

    def move(self, id: int, by: int):
        """The rows of a lane from this one on, by one place."""
        order = "DESC" if by > 0 else "ASC"
        for row in self.vault.sql(f"SELECT access_id FROM {self.log} WHERE access_id >= %s AND access_id >> 48 = %s >> 48 ORDER BY 1 {order}", (id, id)):
            self.change(row["access_id"], f"access_id = access_id + {by}, seq = seq + {by}")

    def exchange(self, *columns: str):
        one, two = self.marks.early[1], self.marks.early[3]
        rows = {row["access_id"]: row for row in self.vault.sql(f"SELECT access_id, {', '.join(columns)} FROM {self.log} WHERE access_id IN (%s, %s)", (one, two))}
        self.vault.sql(f"UPDATE {self.log} SET access_id = -1 WHERE access_id = %s", (one,))
        for place, other in ((two, rows[one]), (-1, rows[two])):
            values = {"access_id": one if place < 0 else two} | {column: other[column] for column in columns}
            self.vault.sql(f"UPDATE {self.log} SET {', '.join(f'{name} = %s' for name in values)} WHERE access_id = %s", (*values.values(), place))

    def chain(self):
        """Every MAC of every lane anew, with the key that dev_unlock() loads."""
        key, mac, lane = formats.development_key("chain"), b"", None
        for row in self.vault.sql("SELECT * FROM identity.pii_access_log ORDER BY access_id"):
            if row["access_id"] >> 48 != lane:
                lane = row["access_id"] >> 48
                mac = formats.genesis(self.installation, lane)
            mac = formats.link(key, mac, formats.leaf(row))
            if mac != bytes(row["integrity_hash"]):
                self.vault.sql("UPDATE identity.pii_access_log SET integrity_hash = %s WHERE access_id = %s AND accessed_at = %s", (mac, row["access_id"], row["accessed_at"]))

    def unseal(self):
        for table in SEALED:
            self.vault.sql(f"DELETE FROM identity.{table}")

    def forget_anchors(self):
        self.vault.sql("DELETE FROM identity.anchor_commits")


@contextlib.contextmanager
def committed(vault):
    """What is done here is committed, for others to see, and then put back as it was."""
    copied = ["pii_access_log", *TABLES]
    month = vault.sql("SELECT (max(accessed_at) AT TIME ZONE 'UTC')::date AS day FROM identity.pii_access_log")[0]["day"]
    vault.sql("CREATE SCHEMA saved")
    for table in copied:
        vault.sql(f"CREATE TABLE saved.{table} AS TABLE identity.{table}")
    try:
        yield
    finally:
        vault.sql("SELECT identity._make_partition(%s)", (month,))
        log = vault.sql("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'identity.pii_access_log'::regclass")
        with vault.admin.transaction():
            guarded = ["identity.pii_access_log", *(row["name"] for row in log), *(f"identity.{table}" for table in TABLES)]
            for table in guarded:
                vault.sql(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
            for table in copied:
                vault.sql(f"DELETE FROM identity.{table}")
                vault.sql(f"INSERT INTO identity.{table} SELECT * FROM saved.{table}")
            for table in guarded:
                vault.sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")
        vault.sql("DROP SCHEMA saved CASCADE")


def history(vault, signer: Signer) -> Marks:
    """Two cuts with an anchor each, of reads that committed, one that did not, and events; after it the server has forgotten how far its lanes were."""
    subject = vault.subject()
    read = "SELECT access_id FROM identity.pii_resolve(%s, 't.all', '{name}', %s)"

    def reads(conn, n: int) -> list[int]:
        return [conn.execute(read, (subject.id, f"trace-{number}")).fetchone()[0] for number in range(n)]

    def rolled_back(n: int) -> str:
        role = vault.login("identity_gateway", "identity_zone_onbox")
        with vault.connect(role) as conn:
            for _ in range(n):
                with conn.transaction(force_rollback=True):
                    reads(conn, 1)
        vault.leaves(role, rolled_back=n)
        return role

    with vault.gateway() as conn:
        early = reads(conn, 6)
        hidden = rolled_back(3)
        seal(vault)
        anchor(vault, signer)
        late = reads(conn, 6)
        rolled_back(2)
        vault.purpose()
        seal(vault)
        note = anchor(vault, signer)
        # As after a restart: what the server remembers of its lanes would give some of it away for as long as it runs. The lane is not used again.
        vault.sql("SELECT identity.key_wipe_all()")
        vault.cluster.unlock()
    unlock = vault.sql("SELECT max(access_id) AS id FROM identity.pii_access_log WHERE accessor_kind = 'key_unlock' AND accessed_at = "
                       "(SELECT max(accessed_at) FROM identity.pii_access_log WHERE accessor_kind = 'key_unlock')")[0]["id"]
    return Marks(early, late, vault.rows(hidden)[1]["access_id"], unlock, note)
