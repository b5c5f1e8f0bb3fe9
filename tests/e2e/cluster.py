"""Throwaway PostgreSQL clusters: Unix socket only, trust, gone when the process ends.

`cluster.py run CMD…` starts one with the vault installed and runs CMD with PGHOST, PGUSER and PGDATABASE set.
"""

import atexit
import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

DATABASE = "identity"
SUPERUSER = "postgres"
_BASE_SETTINGS = {
    "listen_addresses": "''",
    "shared_preload_libraries": "'identity_pgx'",
    "identity_pgx.database": f"'{DATABASE}'",
    "identity_pgx.allow_dev_keys": "on",
    # Nothing anchors here, and clocks are moved.
    "identity_pgx.max_anchor_lag": "0",
    "max_connections": "250",
    "shared_buffers": "'64MB'",
    "logging_collector": "off",
    "log_line_prefix": "'%m [%p] %u@%d '",
    "lc_messages": "'C'",
    # A crash of PostgreSQL does not lose what the kernel has; only tests about a lost machine would need fsync.
    "fsync": "off",
}
# Orphans come to this process and are reaped here: in a container nobody else may do it, and to a
# starting server the zombie of a killed one looks alive and in possession of its lock files.
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

_live: list["Cluster"] = []
_serial = itertools.count(1)


def pg_config(item: str) -> Path:
    program = os.environ.get("PG_CONFIG", "pg_config")
    return Path(subprocess.run([program, f"--{item}"], check=True, capture_output=True, text=True).stdout.strip())


BINDIR = pg_config("bindir")


# The user of the operating system that servers run as.
OWNER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def as_owner(*command) -> list[str]:
    """PostgreSQL refuses root, so root acts as the operating system user `postgres`."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return [*prefix, *map(str, command)]


def run_as_owner(*command, **kwargs) -> subprocess.CompletedProcess:
    done = subprocess.run(as_owner(*command), capture_output=True, text=True, cwd="/", **kwargs)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done


def give_to_owner(path: Path) -> None:
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(path, owner.pw_uid, owner.pw_gid)


_root_dir: Path | None = None


def root_dir() -> Path:
    """One short directory for all clusters of this process: socket paths are limited to 107 bytes."""
    global _root_dir
    if _root_dir is None:
        _root_dir = Path(tempfile.mkdtemp(prefix="idt", dir="/tmp"))
        _root_dir.chmod(0o755)
        give_to_owner(_root_dir)
    return _root_dir


def _template() -> Path:
    """initdb once, with the database in it; every cluster is a copy."""
    data = root_dir() / "template"
    if not data.exists():
        run_as_owner(BINDIR / "initdb", "-D", data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        run_as_owner(BINDIR / "postgres", "--single", "-F", "-D", data, "postgres", input=f"CREATE DATABASE {DATABASE}\n")
    return data


class Cluster:
    def __init__(self, name: str = "c", settings: dict | None = None, hba: str | None = None):
        self.dir = root_dir() / f"{name}{next(_serial)}"
        self.data = self.dir / "data"
        self.log = self.dir / "log"
        self.port = 5432
        self.dir.mkdir()
        give_to_owner(self.dir)
        run_as_owner("cp", "-a", _template(), self.data)
        self.configure({"unix_socket_directories": f"'{self.dir}'"} | _BASE_SETTINGS | (settings or {}))
        if hba:
            (self.data / "pg_hba.conf").write_text(hba)
        _live.append(self)

    def configure(self, settings: dict) -> None:
        """Later lines win. A value of None leaves the setting at its default."""
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            for name, value in settings.items():
                if value is not None:
                    conf.write(f"{name} = {value}\n")

    # -- life ---------------------------------------------------------------
    def start(self) -> "Cluster":
        # pg_ctl hands its output to the server it starts: a pipe would stay open for ever.
        with open(self.dir / "pg_ctl", "wb") as out:
            done = subprocess.run(
                as_owner(BINDIR / "pg_ctl", "-D", self.data, "-l", self.log, "-t", "60", "-w", "start"), stdout=out, stderr=out, cwd="/"
            )
        if done.returncode:
            raise RuntimeError(f"start failed:\n{self.log.read_text()[-4000:]}")
        return self

    def stop(self, mode: str = "fast", timeout: int = 60) -> None:
        run_as_owner(BINDIR / "pg_ctl", "-D", self.data, "-m", mode, "-t", timeout, "-w", "stop")

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def reload(self) -> None:
        with self.connect(dbname="postgres") as admin:
            admin.execute("SELECT pg_reload_conf()")

    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def running(self) -> bool:
        try:
            return _alive(self.pid())
        except (OSError, ValueError, IndexError):
            return False

    def kill(self) -> None:
        """SIGKILL to the postmaster, as the OOM killer would; its children see it and leave."""
        pid = self.pid()
        children = children_of(pid)
        os.kill(pid, signal.SIGKILL)
        for child in [pid, *children]:
            wait_until(lambda: not _alive(child), f"process {child} to leave", timeout=20)

    def destroy(self) -> None:
        if self.running():
            try:
                self.stop("immediate", timeout=20)
            except RuntimeError:
                with contextlib.suppress(OSError, ValueError):
                    self.kill()
        if self in _live:
            _live.remove(self)
        shutil.rmtree(self.dir, ignore_errors=True)

    # -- use ----------------------------------------------------------------
    def connect(self, user: str = SUPERUSER, dbname: str = DATABASE, **kwargs) -> psycopg.Connection:
        options = {"host": str(self.dir), "port": self.port, "user": user, "dbname": dbname, "autocommit": True}
        return psycopg.connect(**(options | kwargs))

    def install(self) -> "Cluster":
        with self.connect() as admin:
            admin.execute("CREATE EXTENSION identity_pgx")
            admin.execute("SELECT identity.initialize()")
        self.unlock()
        return self

    def unlock(self) -> None:
        with self.connect() as admin:
            wait_until(lambda: _succeeds(admin, "SELECT identity.dev_unlock()"), "dev_unlock to work")
            wait_until(lambda: _succeeds(admin, "SELECT identity.identity_health()"), "identity_health to be ok")

    def environment(self) -> dict:
        return os.environ | {"PGHOST": str(self.dir), "PGPORT": str(self.port), "PGUSER": SUPERUSER, "PGDATABASE": DATABASE}


def _succeeds(conn, query) -> bool:
    try:
        conn.execute(query)
        return True
    except psycopg.Error as error:
        _succeeds.last = error
        return False


def wait_until(condition, what: str, timeout: float = 10.0, interval: float = 0.02):
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}; last error: {getattr(_succeeds, 'last', None)}")
        time.sleep(interval)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    if state == "Z":
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return state != "Z"


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rsplit(")", 1)[1].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


def logs(lines: int = 60) -> list[tuple[str, str]]:
    """What the servers that are there last wrote."""
    return [(str(cluster.log), "\n".join(cluster.log.read_text(errors="replace").splitlines()[-lines:])) for cluster in _live if cluster.log.exists()]


def destroy_all() -> None:
    for cluster in list(_live):
        cluster.destroy()
    if _root_dir is not None:
        shutil.rmtree(_root_dir, ignore_errors=True)


atexit.register(destroy_all)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))


def main(argv: list[str]) -> int:
    if len(argv) < 2 or argv[0] != "run":
        print(__doc__, file=sys.stderr)
        return 2
    cluster = Cluster("run").start().install()
    done = subprocess.run(argv[1:], env=cluster.environment())
    if done.returncode:
        print(f"--- end of the server log\n{cluster.log.read_text()[-3000:]}", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
