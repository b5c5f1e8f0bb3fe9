"""What the tests of limits share: callers at their cap, and a server whose clock can be moved."""

import datetime as dt
import subprocess

import psycopg

from cluster import Cluster, root_dir, wait_until
from vault import ONBOX, RESOLVE, Vault, reason_of

CAP = ("53400", "daily_cap")
RATE = ("53400", "rate_limited")

# The server's wall clock is gettimeofday; the other one, which nobody can set, only ever goes ahead.
CLOCK = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static void offsets(long *wall, long *idle) {
    FILE *file = fopen(getenv("TEST_CLOCK_OFFSET"), "r");
    *wall = *idle = 0;
    if (file) { if (fscanf(file, "%ld %ld", wall, idle) != 2) *wall = *idle = 0; fclose(file); }
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long wall, idle;
    int result = syscall(SYS_gettimeofday, now, zone);
    offsets(&wall, &idle);
    now->tv_sec += wall;
    return result;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    long wall, idle;
    int result = syscall(SYS_clock_gettime, clock, now);
    offsets(&wall, &idle);
    if (clock == CLOCK_MONOTONIC) now->tv_sec += idle;
    return result;
}
"""


def outcome(conn, subject, purpose: str) -> str | tuple:
    """ "ok", or the refusal."""
    try:
        conn.execute(RESOLVE, (subject.id, purpose, ["name"])).fetchall()
        return "ok"
    except psycopg.Error as error:
        return reason_of(error)


def used_up(conn, subject, purpose: str, left: int) -> None:
    """Exactly so many reads are left to this caller."""
    seen = [outcome(conn, subject, purpose) for _ in range(left + 2)]
    assert seen == ["ok"] * left + [CAP] * 2, seen


def back(vault: Vault) -> None:
    """After a restart: unlock, and a session that is alive."""
    vault.cluster.unlock()
    vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)


class Clock:
    """The wall clock of a cluster that is started while this is `worn`."""

    def __init__(self, monkeypatch):
        directory = root_dir()
        self.offset = directory / "clock_offset"
        library = directory / "clock.so"
        if not library.exists():
            source = directory / "clock.c"
            source.write_text(CLOCK)
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
            library.chmod(0o755)
        self.idle = 0
        self.shift(0)
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("TEST_CLOCK_OFFSET", str(self.offset))

    def shift(self, seconds: int) -> None:
        self.wall = seconds
        new = self.offset.with_suffix(".new")
        new.write_text(f"{seconds} {self.idle}")
        new.chmod(0o644)
        new.rename(self.offset)

    def wait_idle(self, seconds: int) -> None:
        """So much time goes by, by the clock that nobody can set; the wall clock stays where it is."""
        self.idle += seconds
        self.shift(self.wall)

    def set(self, moment: str) -> None:
        """Now is this moment (UTC), and time goes on from there."""
        target = dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)
        self.shift(round((target - dt.datetime.now(dt.UTC)).total_seconds()))


def small_cluster() -> Cluster:
    """As few places for counters as can be."""
    return Cluster(
        "l",
        {
            "max_connections": "8",
            "superuser_reserved_connections": "1",
            "autovacuum_max_workers": "1",
            "max_worker_processes": "3",
            "max_wal_senders": "0",
            "max_parallel_workers": "0",
            "max_logical_replication_workers": "0",
        },
    )


def capped(vault: Vault, cap: int | None, **columns) -> str:
    return vault.purpose(daily_volume_cap=cap, **columns)


def caller(vault: Vault) -> psycopg.Connection:
    return vault.connect(vault.login(*ONBOX))


def today_is(vault: Vault, day: str) -> None:
    wait_until(
        lambda: vault.sql("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date::text AS day")[0]["day"] == day,
        f"the server's day to be {day}",
    )
