"""What a test needs to say about a vault: logins, subjects, purposes, refusals and the rows they leave."""

import itertools
import os
import re
import time
import uuid
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg.pq import ExecStatus
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cluster import Cluster, wait_until

FIELDS = ["address", "dob", "email", "name", "phone", "ssn"]
ONBOX = ("identity_gateway", "identity_zone_onbox")
CLOUD = ("identity_gateway", "identity_zone_cloud")
RESOLVE = "SELECT pii, generation, access_id FROM identity.pii_resolve(%s::uuid, %s::text, %s::text[])"
REGISTER = "SELECT identity.pii_register(%s::text, %s::jsonb, %s::jsonb, %s::uuid)"
LOG = "SELECT * FROM identity.pii_access_log"
_serial = itertools.count(1)


@dataclass(frozen=True)
class Subject:
    id: uuid.UUID
    pii: dict = field(default_factory=dict)


def uuid7() -> uuid.UUID:
    value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return uuid.UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


class Vault:
    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.admin = cluster.connect(row_factory=dict_row)
        self.dba = self.login("identity_dba", name="t_dba")
        self.approver = self.login("identity_approver", name="t_approver")
        self.auditor = self.login("identity_auditor", name="t_auditor")
        self.worker = self.login("identity_worker", name="t_worker")
        # Long tests read more than a day's worth.
        self.purpose("t.all", FIELDS, phi_access=True, daily_volume_cap=1_000_000_000)
        self.purpose("t.contact", ["name", "email", "phone"])

    # -- people -------------------------------------------------------------
    def login(self, *groups: str, name: str | None = None) -> str:
        """A fresh role for each test: what it leaves in the log is then exactly countable."""
        role = name or f"t_{next(_serial)}"
        self.admin.execute(f"CREATE ROLE {role} LOGIN")
        for group in groups:
            self.admin.execute(f"GRANT {group} TO {role}")
        return role

    def connect(self, role: str, **kwargs) -> psycopg.Connection:
        return self.cluster.connect(user=role, **kwargs)

    def gateway(self, *groups: str, **kwargs) -> psycopg.Connection:
        return self.connect(self.login(*(groups or ONBOX)), **kwargs)

    # -- content ------------------------------------------------------------
    def subject(self, vertical: str = "general", consent: str = "given", id: uuid.UUID | None = None, **pii) -> Subject:
        candidate = id or uuid7()
        pii = pii or {
            "name": f"Name-{candidate.hex[-12:]}",
            "email": f"{candidate.hex[-12:]}@example.org",
            "ssn": f"900-{candidate.int % 100:02}-{candidate.int % 10000:04}",
        }
        self.change(candidate, pii, vertical, consent)
        return Subject(candidate, pii)

    def change(self, candidate: uuid.UUID, pii: dict | None = None, vertical: str | None = None, consent: str | None = None) -> int:
        return self.admin.execute(
            "SELECT identity._import_subject(%s, %s, %s, %s) AS generation", (candidate, pii and Jsonb(pii), vertical, consent)
        ).fetchone()["generation"]

    def purpose(self, token: str | None = None, fields=("name",), **columns) -> str:
        token = token or f"t.p{next(_serial)}"
        values = {
            "purpose_token": token,
            "description": "a test",
            "allowed_fields": list(fields),
            "auth_tier": "service",
            "allowed_roles": ["identity_gateway"],
        } | columns
        with self.connect(self.dba) as dba:
            dba.execute(
                f"INSERT INTO identity.purpose_definitions ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
                list(values.values()),
            )
        self.approve(token)
        return token

    def pending(self, token: str) -> int | None:
        """The newest version, if it waits for approval."""
        newest = self.sql("SELECT version, needs_approval AND approved_by IS NULL AS waits FROM identity.purpose_versions WHERE purpose_token = %s ORDER BY 1 DESC LIMIT 1", (token,))
        return newest[0]["version"] if newest and newest[0]["waits"] else None

    def approve(self, token: str) -> None:
        """The second person, where one is needed."""
        version = self.pending(token)
        if version is not None:
            with self.connect(self.approver) as approver:
                approver.execute("SELECT identity.purpose_approve(%s, %s)", (token, version))

    def revoke(self, token: str) -> None:
        with self.connect(self.dba) as dba:
            dba.execute("SELECT identity.purpose_revoke(%s, 'a test')", (token,))

    # -- the record ---------------------------------------------------------
    def rows(self, role: str, where: str = "true", params=()) -> list[dict]:
        return self.admin.execute(f"{LOG} WHERE accessor_role = %s AND {where} ORDER BY accessed_at, access_id", (role, *params)).fetchall()

    def outcomes(self, role: str) -> dict[str, int]:
        counted = self.admin.execute(
            "SELECT outcome, sum(repeats)::int AS n FROM identity.pii_access_log WHERE accessor_role = %s GROUP BY 1", (role,)
        )
        return {row["outcome"]: row["n"] for row in counted}

    def leaves(self, conn_or_role, timeout: float = 10, **expected: int) -> list[dict]:
        """The role has left exactly these rows, each outcome counted with its repeats; then return them."""
        role = conn_or_role if isinstance(conn_or_role, str) else conn_or_role.info.user
        expected = {outcome: n for outcome, n in expected.items() if n}
        deadline = time.monotonic() + timeout
        while self.outcomes(role) != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.05)  # a row too many would come now
        left = self.outcomes(role)
        assert left == expected, f"{role} left {left}, not {expected}"
        return self.rows(role)

    def settings_recorded(self) -> None:
        """The maintenance process records them soon after a start, if the machine is slow not at once; from here on the rows are the test's."""
        wait_until(lambda: self.sql("SELECT 1 FROM identity.settings_history"), "the settings on the record")

    def verify(self, *expected: str) -> None:
        """Nothing does not fit, but what these checks are expected to find."""
        wrong = [row for row in self.findings() if not row["ok"]]
        if any(row["check_name"] == "unsealed" for row in wrong):
            # Nobody else seals here, and a long run of tests takes more than an hour.
            with self.connect(self.worker) as worker:
                worker.execute("SELECT identity.ledger_seal()")
            wrong = [row for row in self.findings() if not row["ok"]]
        assert {row["check_name"] for row in wrong} == set(expected), wrong

    def findings(self) -> list[dict]:
        rows = self.admin.execute("SELECT * FROM identity.ledger_verify(true)").fetchall()
        assert rows, "ledger_verify checked nothing"
        return rows

    def wait_well(self) -> None:
        """A recorder that ended comes back a second later."""

        def well() -> bool:
            try:
                return self.sql("SELECT identity.identity_health() AS health")[0]["health"] == {"status": "ok"}
            except psycopg.Error:
                return False

        wait_until(well, "the vault to be well")

    def wait_backend(self, role: str, condition: str) -> int:
        """Wait until a session of this role is in a state; returns its pid."""
        row = wait_until(
            lambda: self.admin.execute(f"SELECT pid FROM pg_stat_activity WHERE usename = %s AND {condition}", (role,)).fetchone(),
            f"{role} with {condition}",
        )
        return row["pid"]

    def name_a_standby_that_is_not_there(self) -> None:
        """From here on commits wait, as soon as the checkpointer has heard of it: until then they do not, whatever a session is told by SHOW."""
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        self.cluster.reload()
        cancelled = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'"
        with self.cluster.connect() as probe:
            probe.execute("SET synchronous_commit = on")

            def waited() -> bool:
                probe.pgconn.send_query(b"SELECT pg_logical_emit_message(true, '', '')")
                seen = False
                while probe.pgconn.is_busy():
                    seen = seen or bool(self.sql(cancelled, (probe.info.backend_pid,)))
                    probe.pgconn.consume_input()
                while probe.pgconn.get_result():
                    pass
                return seen

            wait_until(waited, "a commit to wait")

    def name_no_standby(self) -> None:
        self.sql("ALTER SYSTEM RESET synchronous_standby_names")
        self.cluster.reload()

    def sql(self, query: str, params=None) -> list[dict]:
        done = self.admin.execute(query, params)
        # Not `description`: a result without columns has none, and rows all the same.
        return done.fetchall() if done.pgresult.status == ExecStatus.TUPLES_OK else []


def read(conn: psycopg.Connection, subject: Subject, purpose: str = "t.all", fields=("name",)):
    """One resolve; the answer is checked, the access_id returned."""
    pii, _generation, access_id = conn.execute(RESOLVE, (subject.id, purpose, list(fields))).fetchone()
    assert pii == {name: subject.pii.get(name) for name in fields}
    return access_id


def said(error: psycopg.Error) -> str:
    d = error.diag
    return "\n".join(
        str(part)
        for part in (
            d.message_primary,
            d.message_detail,
            d.message_hint,
            d.context,
            d.internal_query,
            d.column_name,
            d.datatype_name,
            d.constraint_name,
        )
        if part
    )


def reason_of(error: psycopg.Error) -> tuple[str | None, str | None]:
    found = re.match(r"reason: ([a-z_]+)", error.diag.message_detail or "")
    return error.sqlstate, found and found[1]


def refused(conn: psycopg.Connection, query: str, params, sqlstate: str, reason: str, secrets=()) -> psycopg.Error:
    """The call is refused in the contract's words, and no value that went in comes back out."""
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(query, params).fetchall()
    error = caught.value
    assert reason_of(error) == (sqlstate, reason), said(error)
    assert error.diag.message_hint, "an error without a hint"
    assert error.diag.message_primary[0].islower() and "\n" not in error.diag.message_primary
    for secret in secrets:
        assert secret not in said(error)
    return error


def refused_read(conn, subject: Subject, sqlstate: str, reason: str, purpose: str = "t.all", fields=("name",)) -> psycopg.Error:
    return refused(conn, RESOLVE, (subject.id, purpose, list(fields)), sqlstate, reason, secrets=list(subject.pii.values()))
