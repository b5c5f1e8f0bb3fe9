"""A vault that is audited from outside: a login that may read the ledger and nothing else, and an intruder who may do everything."""

import contextlib
import itertools

from cluster import Cluster
from identityctl import lines, report
from ledger import many_rows, seal, some_rows
from tlog import Signer
from vault import Vault

AUDITOR = "t_outside"
READ = (
    "installation pii_access_log ledger_seals ledger_heads ledger_tiles ledger_leaves ledger_nodes anchor_commits ledger_expired".split()
)
_serial = itertools.count(1)


def audit_login(vault, name: str = AUDITOR, hidden: bool = False) -> str:
    """The role that docs/howto/verify.md has a superuser make."""
    vault.sql(f"CREATE ROLE {name} LOGIN {'NOBYPASSRLS' if hidden else 'BYPASSRLS'}")
    vault.sql(f"GRANT identity_auditor TO {name}")
    vault.sql(f"GRANT SELECT ON {', '.join(f'identity.{table}' for table in READ)} TO {name}")
    return name


def audited(cluster: Cluster) -> Vault:
    """Three cuts: one of several tiles, rows of both kinds in each, and rows that wait for the next."""
    vault = Vault(cluster)
    vault.settings_recorded()
    audit_login(vault)
    many_rows(vault, 2000)
    for _ in range(3):
        vault.ids = some_rows(vault)
        vault.size, _root = seal(vault)
    vault.waiting = some_rows(vault, 2)
    vault.month = vault.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log LIMIT 1")[0]["name"]
    return vault


def url(vault, user: str = AUDITOR, **options) -> str:
    options = {"host": vault.cluster.dir, "port": vault.cluster.port, "user": user, "dbname": "identity"} | options
    return " ".join(f"{name}='{value}'" for name, value in options.items())


def audit(vault, *arguments, **options) -> dict:
    return report("verify", "database", url(vault, **options), *arguments)


def signed(vault, tmp_path, signer: Signer | None = None, change=lambda body: body) -> list:
    """The checkpoint of now, signed outside, as arguments."""
    with vault.connect(vault.worker) as worker:
        body = worker.execute("SELECT identity.ledger_checkpoint()").fetchone()[0]
    body = change(body)
    signer = signer or Signer(body.split("\n", 1)[0])
    file = tmp_path / f"checkpoint{next(_serial)}"
    file.write_text(signer.sign(body))
    return ["--checkpoint", file, "--key", signer.vkey]


def tables(vault) -> list[str]:
    return [vault.month, *(f"identity.{table}" for table in READ if table.startswith(("ledger", "anchor")))]


@contextlib.contextmanager
def intruder(vault):
    """Somebody who owns the server: the guards do not bind him. What he did to rows is taken back."""
    changed = tables(vault)
    for number, table in enumerate(changed):
        vault.sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        vault.sql(f"CREATE TABLE public.kept_{number} AS TABLE {table}")
    try:
        yield vault.sql
    finally:
        for number, table in enumerate(changed):
            vault.sql(f"TRUNCATE {table}")
            vault.sql(f"INSERT INTO {table} SELECT * FROM public.kept_{number}")
            vault.sql(f"DROP TABLE public.kept_{number}")
            vault.sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")


def found(answer: dict) -> set[str]:
    return {line.split(":", 1)[0] for line in lines(answer, "bad")}
