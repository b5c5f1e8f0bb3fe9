"""pgbouncer in transaction mode hands one session to many clients: what leaks between them opens nothing."""

import shutil
import subprocess

import psycopg
import pytest

from cluster import as_owner, give_to_owner, wait_until
from vault import CLOUD, ONBOX, RESOLVE, read, refused_read

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"


class Pool:
    """One server connection for each login, shared by all clients of it."""

    def __init__(self, vault):
        self.vault = vault
        self.dir = vault.cluster.dir / "pool"
        self.dir.mkdir()
        (self.dir / "users").write_text("")
        (self.dir / "ini").write_text(f"""
[databases]
identity = host={vault.cluster.dir} port={vault.cluster.port} dbname=identity
[pgbouncer]
listen_port = 6432
unix_socket_dir = {self.dir}
unix_socket_mode = 0777
auth_type = trust
auth_file = {self.dir}/users
pool_mode = transaction
default_pool_size = 1
max_client_conn = 100
logfile = {self.dir}/log
""")
        for path in (self.dir, *self.dir.iterdir()):
            give_to_owner(path)

    def start(self) -> "Pool":
        self.process = subprocess.Popen(
            as_owner(PGBOUNCER, "-q", self.dir / "ini"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        wait_until(lambda: (self.dir / ".s.PGSQL.6432").exists(), "pgbouncer to listen")
        return self

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def login(self, *groups: str) -> str:
        role = self.vault.login(*groups)
        with open(self.dir / "users", "a", encoding="utf-8") as users:
            users.write(f'"{role}" ""\n')
        subprocess.run(["kill", "-HUP", self.pid()], check=True)
        wait_until(lambda: self.knows(role), f"pgbouncer to know {role}")
        return role

    def pid(self) -> str:
        # runuser stands between us and pgbouncer
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        return children[0] if children else str(self.process.pid)

    def knows(self, role: str) -> bool:
        try:
            self.connect(role).close()
            return True
        except psycopg.OperationalError:
            return False

    def connect(self, role: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self.dir), port=6432, user=role, dbname="identity", autocommit=True, prepare_threshold=None)


@pytest.fixture(scope="module")
def pool(vault):
    started = Pool(vault).start()
    yield started
    started.stop()
    shutil.rmtree(started.dir)


def test_set_role_that_leaks_to_the_next_client_only_narrows(vault, pool):
    subject = vault.subject("healthcare")
    narrow = vault.login("identity_gateway")
    role = pool.login(*ONBOX, narrow)
    with pool.connect(role) as first, pool.connect(role) as second:
        read(second, subject)
        first.execute(f"SET ROLE {narrow}")
        assert second.execute("SELECT current_user").fetchone() == (narrow,), "nothing leaked: the test proves nothing"
        refused_read(second, subject, "P0002", "subject_unavailable")
        first.execute("RESET ROLE")
        read(second, subject)
    rows = vault.leaves(role, committed=2, denied=1)
    assert {(row["accessor_role"], row["accessor_outer"]) for row in rows} == {(role, role), (role, narrow)}


def test_set_role_that_leaks_to_the_next_client_does_not_widen(vault, pool):
    subject = vault.subject("healthcare")
    wide = vault.login(*ONBOX)
    role = pool.login(*CLOUD, wide)
    with pool.connect(role) as first, pool.connect(role) as second:
        first.execute(f"SET ROLE {wide}")
        assert second.execute("SELECT current_user").fetchone() == (wide,), "nothing leaked: the test proves nothing"
        refused_read(second, subject, "P0002", "subject_unavailable")
        second.execute("RESET ROLE")
    vault.leaves(role, denied=1)


def test_two_logins_never_share_a_session(vault, pool):
    subject = vault.subject("healthcare")
    onbox, cloud = pool.login(*ONBOX), pool.login(*CLOUD)
    with pool.connect(onbox) as first, pool.connect(cloud) as second:
        for _ in range(5):
            read(first, subject)
            refused_read(second, subject, "P0002", "subject_unavailable")
    vault.leaves(onbox, committed=5)
    vault.leaves(cloud, denied=5)


def test_settings_that_leak_to_the_next_client_change_nothing(vault, pool):
    subject, role = vault.subject("healthcare"), pool.login(*ONBOX)
    with pool.connect(role) as first, pool.connect(role) as second:
        for setting in (
            "row_security = off",
            "synchronous_commit = off",
            "search_path = pg_temp",
            "enable_indexscan = off",
            "DateStyle = 'German'",
            "bytea_output = escape",
        ):
            first.execute(f"SET {setting}")
        assert second.execute("SHOW synchronous_commit").fetchone() == ("off",), "nothing leaked: the test proves nothing"
        read(second, subject)
        refused_read(second, vault.subject(consent="withdrawn"), "42501", "consent")
        first.execute("RESET ALL")
    vault.leaves(role, committed=1, denied=1)


def test_transactions_of_many_clients_in_turn_leave_their_rows(vault, pool):
    subject, role = vault.subject(), pool.login(*ONBOX)
    clients = [pool.connect(role) for _ in range(10)]
    for n, client in enumerate(clients):
        with client.transaction(force_rollback=n % 2 == 1):
            read(client, subject)
            with client.transaction(force_rollback=True):
                read(client, subject)
    for client in clients:
        client.close()
    vault.leaves(role, committed=5, rolled_back=15)
    vault.verify()


def test_client_that_vanishes_behind_the_pooler_leaves_a_row(vault, pool):
    subject, role = vault.subject(), pool.login(*ONBOX)
    client = pool.connect(role)
    client.execute("BEGIN")
    client.execute(RESOLVE, (subject.id, "t.all", ["name"]))
    client.close()
    vault.leaves(role, rolled_back=1)


def test_revocation_of_a_caller_binds_a_pooled_session(vault, pool, dba):
    role, subject = pool.login(*ONBOX), vault.subject()
    with pool.connect(role) as first, pool.connect(role) as second:
        read(first, subject)
        read(second, subject)
        dba.execute("SELECT identity.caller_revoke(%s, 'x')", (role,))
        for conn in (first, second):
            refused_read(conn, subject, "42501", "caller_revoked")
        dba.execute("SELECT identity.caller_reinstate(%s)", (role,))
        read(second, subject)
    vault.leaves(role, committed=3, denied=2)
