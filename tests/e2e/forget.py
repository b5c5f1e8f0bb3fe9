"""An application beside the vault: its tables, what it has on the register, and erasures that clean them or fail."""

import itertools
import re

from psycopg.rows import dict_row

from cluster import wait_until
from consent import template
from erasure import AUTHORISE, VERTICALS
from vault import read, refused

REGISTER = "SELECT identity.forget_register(%s::regclass, %s::name, %s::text, %s::name[])"
UNREGISTER = "SELECT identity.forget_unregister(%s::regclass)"
_serial = itertools.count(1)


class App:
    """A schema, and a login that owns it and is a DBA."""

    def __init__(self, vault):
        self.vault = vault
        self.schema = f"app{next(_serial)}"
        self.owner = vault.login("identity_dba")
        vault.sql(f"CREATE SCHEMA {self.schema} AUTHORIZATION {self.owner}")
        self.conn = vault.connect(self.owner, row_factory=dict_row)
        self.worker = vault.connect(vault.login("identity_worker"))
        self.gateway = vault.gateway()
        self.schedule = template(vault, "retention_schedule")
        for vertical in VERTICALS:
            self.conn.execute(
                "INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES (%s, 'general', 365, %s)"
                " ON CONFLICT (vertical, kind) DO UPDATE SET schedule_version = excluded.schedule_version",
                (vertical, self.schedule),
            )

    # -- its tables ---------------------------------------------------------
    def sql(self, query: str, params=None) -> list[dict]:
        done = self.conn.execute(query.replace("app.", f"{self.schema}."), params)
        return done.fetchall() if done.description else []

    def table(self, name: str = "notes", made_of: str = "subject uuid, note text", **registered) -> str:
        """A table with an index on its subject column, on the register unless said otherwise."""
        self.sql(f"CREATE TABLE app.{name} ({made_of})")
        self.sql(f"CREATE INDEX ON app.{name} (subject)")
        if registered.pop("register", True):
            self.register(name, **registered)
        return f"{self.schema}.{name}"

    def fill(self, subject, rows: int = 3, name: str = "notes", note: str = "note") -> None:
        self.sql(f"INSERT INTO app.{name} (subject, note) SELECT %s, %s FROM generate_series(1, %s)", (subject.id, note, rows))

    def rows(self, subject, name: str = "notes") -> list[dict]:
        """As a superuser, whom no policy hides a row from."""
        return self.vault.sql(f"SELECT * FROM {self.schema}.{name} WHERE subject = %s", (subject.id,))

    def register(self, name: str = "notes", column: str = "subject", action: str = "delete", columns=None, conn=None) -> None:
        (conn or self.conn).execute(REGISTER, (f"{self.schema}.{name}", column, action, columns))

    def unregister(self, name: str = "notes", conn=None) -> None:
        (conn or self.conn).execute(UNREGISTER, (f"{self.schema}.{name}",))

    def trigger(self, body: str, when: str = "BEFORE DELETE", name: str = "notes", level: str = "ROW", **function) -> None:
        """A trigger whose function is the owner's; `RETURN` is added."""
        trigger = f"t{next(_serial)}"
        options = " ".join(function.values())
        self.sql(
            f"CREATE FUNCTION app.{trigger}() RETURNS trigger LANGUAGE plpgsql {options} AS $body$ BEGIN {body};"
            f" RETURN {'NULL' if 'STATEMENT' in level else 'COALESCE(NEW, OLD)'}; END $body$"
        )
        self.sql(f"CREATE TRIGGER {trigger} {when} ON app.{name} FOR EACH {level} EXECUTE FUNCTION app.{trigger}()")

    # -- erasing ------------------------------------------------------------
    def request(self, subject):
        return self.gateway.execute("SELECT identity.erasure_request(%s, 'candidate_request')", (subject.id,)).fetchone()[0]

    def erase(self, subject, worker=None) -> dict:
        """Erases, and returns how many rows each table lost."""
        receipt = (worker or self.worker).execute(AUTHORISE, (self.request(subject), self.schedule)).fetchone()[0]
        erased = self.vault.sql("SELECT erased_at FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]
        assert erased["erased_at"] is not None
        done = self.vault.sql("SELECT forgotten FROM identity.erasure_requests WHERE request_id = %s", (receipt["request_id"],))[0]
        return {name: int(count) for name, count in re.findall(r"([^=,]+)=([0-9]+)", done["forgotten"] or "")}

    def await_refusals(self, subject, count: int) -> None:
        """The recorder writes them, when it comes to it."""
        wait_until(lambda: self.refusals(subject) >= count, "the refusal's row")
        assert self.refusals(subject) == count

    def fails(self, subject, state: str | None = None, worker=None, secrets=("note",)) -> str:
        """The erasure is refused; subject and request are as they were, and a row says so. Returns what the server log has of it."""
        worker = worker or self.worker
        request = self.request(subject)
        before, logged = self.refusals(subject), self.vault.cluster.log.stat().st_size
        refused(worker, AUTHORISE, (request, self.schedule), "55000", "forget_failed", secrets=[*secrets, str(subject.id)])
        read(self.gateway, subject)
        standing = self.vault.sql("SELECT state, access_id FROM identity.erasure_requests WHERE request_id = %s", (request,))
        assert standing == [{"state": "requested", "access_id": None}]
        self.vault.wait_well()
        self.await_refusals(subject, before + 1)
        with open(self.vault.cluster.log, encoding="utf-8", errors="replace") as log:
            log.seek(logged)
            said = log.read()
        lines = [line.split("LOG:  registered table ")[1] for line in said.splitlines() if "LOG:  registered table " in line]
        assert len(lines) == 1, said
        # The table's own name may be such a word.
        assert not any(secret in lines[0].split(": ", 1)[1] for secret in secrets) and str(subject.id) not in said
        if state:
            assert f"SQLSTATE {state}" in lines[0], lines[0]
        return lines[0]

    def refusals(self, subject) -> int:
        return self.vault.sql(
            "SELECT COALESCE(sum(repeats), 0)::int AS n FROM identity.pii_access_log"
            " WHERE candidate_id = %s AND accessor_kind = 'erasure' AND outcome = 'denied' AND denial = 'forget_failed'",
            (subject.id,),
        )[0]["n"]

    def leave(self) -> None:
        """Its tables go, and then nothing of them stays on the register."""
        for conn in (self.conn, self.worker, self.gateway):
            conn.close()
        self.vault.sql(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
        with self.vault.connect(self.vault.dba) as dba:
            for row in self.vault.sql("SELECT relation::oid AS oid FROM identity.forget_tables"):
                dba.execute("SELECT identity.forget_unregister(%s::oid::regclass)", (row["oid"],))
        self.vault.verify()
