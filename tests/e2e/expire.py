"""What a test needs to let a month of the log grow old."""

import tempfile
from pathlib import Path

from clock import Clock
from cluster import root_dir, wait_until
from ledger import seal
from liar import signer_of
from vault import Vault, read

EXPIRE = "SELECT identity.ledger_expire()"
MONTHS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'identity.pii_access_log'::regclass ORDER BY 1"


def month_over(fresh, monkeypatch) -> Vault:
    """A vault whose first month is sealed, and will be long over."""
    clock = Clock(Path(tempfile.mkdtemp(prefix="clock", dir=root_dir())), monkeypatch)
    vault = Vault(fresh({"identity_pgx.log_retention": "'1d'"}))
    vault.clock, vault.signer = clock, signer_of(vault)
    vault.kept = vault.subject()
    vault.lane = vault.login("identity_gateway", "identity_zone_onbox")
    with vault.connect(vault.lane) as gateway:
        vault.ids = [read(gateway, vault.kept) for _ in range(5)]
        with gateway.transaction(force_rollback=True):
            read(gateway, vault.kept)
    vault.leaves(vault.lane, committed=5, rolled_back=1)
    vault.then = vault.sql("SELECT to_char(max(accessed_at) AT TIME ZONE 'UTC', 'YYYY-MM') AS month FROM identity.pii_access_log")[0]["month"]
    seal(vault)
    vault.row = vault.rows(vault.lane)[0]
    return vault


def now(vault) -> None:
    """The rest of the time passes; somebody reads."""
    vault.clock.set(100)
    vault.sql("SELECT identity._make_partitions()")
    with vault.gateway() as gateway:
        read(gateway, vault.kept)
    seal(vault)


def retention(vault, value: str) -> None:
    """Set, and seen by the process that records it."""
    vault.sql(f"ALTER SYSTEM SET identity_pgx.log_retention = '{value}'")
    vault.cluster.reload()
    minutes = "SELECT setting || 'min' AS kept FROM pg_settings WHERE name = 'identity_pgx.log_retention'"
    recorded = "SELECT settings ->> 'log_retention' AS kept FROM identity.settings_history ORDER BY recorded_at DESC LIMIT 1"
    wait_until(lambda: vault.sql(minutes + f" AND setting::int * 60 = EXTRACT(epoch FROM interval '{value.replace('d', ' days')}')"), "the setting")
    wait_until(lambda: vault.sql(minutes) == vault.sql(recorded), "the setting to be recorded")


def age_of_its_end(vault) -> int:
    """How many minutes ago the month ended that is long over."""
    ends = "((%s || '-01')::timestamp + interval '1 month') AT TIME ZONE 'UTC'"
    return vault.sql(f"SELECT (EXTRACT(epoch FROM clock_timestamp() - {ends}) / 60)::int AS minutes", (vault.then,))[0]["minutes"]


def expire(vault) -> dict[str, dict]:
    with vault.connect(vault.worker) as worker:
        return {month["partition"]: month for month in worker.execute(EXPIRE).fetchone()[0]["months"]}
