"""Every tier wants a Unix socket, or TLS with a client certificate that verified."""

import hashlib
import shutil
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest

from cluster import Cluster, give_to_owner, wait_until
from vault import CLOUD, ONBOX, REGISTER, RESOLVE, Vault, read, refused, refused_read

CERTS = Path(__file__).resolve().parents[2] / "docker/certs.sh"
HBA = """
local     all all                 trust
hostssl   all t_strict 127.0.0.1/32 cert
hostssl   all all      127.0.0.1/32 trust
hostnossl all all      127.0.0.1/32 trust
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certificates(cluster: Cluster, *users: str) -> Path:
    directory = cluster.dir / "pki"
    subprocess.run([CERTS, directory, *users], check=True, capture_output=True)
    directory.chmod(0o755)
    for name in ("server.key", "server.crt", "root.crt"):
        give_to_owner(directory / name)
    shutil.rmtree(directory / "offline")  # the root's key is not needed to run
    return directory


@pytest.fixture(scope="module")
def tls(request):
    port = free_port()
    cluster = Cluster("t", {"listen_addresses": "'127.0.0.1'", "port": port}, HBA)
    request.addfinalizer(cluster.destroy)
    cluster.port = port
    pki = certificates(cluster, "t_gw", "t_strict", "t_cloud")
    cluster.configure(
        {"ssl": "on", "ssl_cert_file": f"'{pki}/server.crt'", "ssl_key_file": f"'{pki}/server.key'", "ssl_ca_file": f"'{pki}/root.crt'"}
    )
    vault = Vault(cluster.start().install())
    vault.login(*ONBOX, name="t_gw")
    vault.login(*ONBOX, name="t_strict")
    vault.login(*CLOUD, name="t_cloud")
    vault.pki = pki
    return vault


def connect(vault, user: str = "t_gw", certificate: str | None = None, mode: str = "verify-full"):
    options = {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "sslmode": mode,
        "sslrootcert": str(vault.pki / "root.crt"),
        "sslcert": str(vault.pki / f"{certificate}.crt") if certificate else "/nonexistent",
        "sslkey": str(vault.pki / f"{certificate}.key") if certificate else "/nonexistent",
    }
    return vault.cluster.connect(user, **options)


def refuses_everything(vault, conn) -> None:
    subject = vault.subject()
    before = vault.outcomes("t_gw").get("denied", 0)
    refused_read(conn, subject, "28000", "transport")
    refused(conn, REGISTER, ("t.all", '{"name": "x"}', "{}", None), "28000", "transport")
    refused(conn, "SELECT * FROM identity.pii_vertical(%s)", (subject.id,), "28000", "transport")
    wait_until(lambda: vault.outcomes("t_gw").get("denied", 0) == before + 3, "three denied rows")
    assert {row["denial"] for row in vault.rows("t_gw", "outcome = 'denied'")} == {"transport"}


def test_tcp_without_tls_is_refused(tls):
    with connect(tls, mode="disable") as conn:
        refuses_everything(tls, conn)


def test_tls_without_client_certificate_is_refused(tls):
    with connect(tls) as conn:
        assert tls.sql("SELECT ssl FROM pg_stat_ssl WHERE pid = %s", (conn.info.backend_pid,)) == [{"ssl": True}]
        refuses_everything(tls, conn)


def lp(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def test_tls_with_client_certificate_works_and_the_certificate_is_on_record(tls):
    subject = tls.subject("healthcare")
    with connect(tls, certificate="t_gw") as conn:
        access_id = read(conn, subject)
        shown = tls.sql("SELECT issuer_dn, client_serial::text AS serial FROM pg_stat_ssl WHERE pid = %s", (conn.info.backend_pid,))[0]
    (row,) = tls.rows("t_gw", "access_id = %s", (access_id,))
    fingerprint = hashlib.sha256(lp(b"identity_pgx/cert/v1") + lp(shown["issuer_dn"].encode()) + lp(shown["serial"].encode())).digest()
    assert bytes(row["cert_fingerprint"]) == fingerprint
    assert row["accessor_id"] == f"t_gw+cert:{fingerprint.hex()}"
    tls.verify()


def test_two_certificates_of_one_role_are_told_apart(tls):
    seen = set()
    for certificate in ("t_gw", "t_cloud"):  # hba says trust: the role is not bound to the certificate's name
        with connect(tls, certificate=certificate) as conn:
            access_id = read(conn, tls.subject())
        seen.add(bytes(tls.rows("t_gw", "access_id = %s", (access_id,))[0]["cert_fingerprint"]))
    assert len(seen) == 2


def test_certificate_of_a_foreign_ca_does_not_connect(tls):
    with pytest.raises(psycopg.OperationalError):
        connect(tls, certificate="foreign")


def test_certificate_of_a_foreign_ca_does_not_connect_even_where_no_certificate_is_asked_for(tls):
    with pytest.raises(psycopg.OperationalError):
        connect(tls, "t_cloud", certificate="foreign")


def test_cert_authentication_works(tls):
    with connect(tls, "t_strict", certificate="t_strict") as conn:
        read(conn, tls.subject())
    with pytest.raises(psycopg.OperationalError):
        connect(tls, "t_strict", certificate="t_gw")


def test_certificate_gives_no_zone(tls):
    with connect(tls, "t_cloud", certificate="t_cloud") as conn:
        refused_read(conn, tls.subject("healthcare"), "P0002", "subject_unavailable")


def test_unix_socket_works_and_names_no_certificate(tls):
    with tls.connect("t_gw") as conn:
        access_id = read(conn, tls.subject())
    (row,) = tls.rows("t_gw", "access_id = %s", (access_id,))
    assert (row["cert_fingerprint"], row["accessor_id"]) == (None, "t_gw")


def test_client_cannot_talk_its_way_past_transport(tls):
    with connect(tls, mode="disable") as conn:
        for attempt in (
            "SET identity_pgx.require_mtls = off",
            "SELECT set_config('identity_pgx.require_mtls', 'off', false)",
            "ALTER ROLE t_gw SET identity_pgx.require_mtls = off",
        ):
            with pytest.raises(psycopg.Error):
                conn.execute(attempt)
        refuses_everything(tls, conn)
    with pytest.raises(psycopg.Error):
        connect_with_option(tls)


def connect_with_option(vault):
    return vault.cluster.connect("t_gw", host="127.0.0.1", sslmode="disable", options="-c identity_pgx.require_mtls=off")


def test_auditor_and_worker_need_the_transport_too(tls):
    for user, query in (
        (tls.worker, "SELECT identity.key_wipe_all()"),
        (tls.auditor, "SELECT * FROM identity.ledger_verify(true)"),
        (tls.auditor, "SELECT * FROM identity.identity_status()"),
        (tls.dba, "SELECT identity.purpose_revoke('t.all', 'x')"),
    ):
        with connect(tls, user, mode="disable") as conn:
            refused(conn, query, None, "28000", "transport")
    assert tls.sql("SELECT identity.identity_health()")


def test_requirement_switched_off_in_the_configuration_is_recorded_and_shown(tls):
    def events() -> int:
        return tls.sql("SELECT count(*) AS n FROM identity.pii_access_log WHERE accessor_kind = 'settings_change'")[0]["n"]

    before = events()
    tls.sql("ALTER SYSTEM SET identity_pgx.require_mtls = off")
    tls.cluster.reload()
    try:
        with connect(tls, mode="disable") as conn:
            wait_until(lambda: conn.execute("SHOW identity_pgx.require_mtls").fetchone()[0] == "off", "the reload")
            conn.execute(RESOLVE, (tls.subject().id, "t.all", ["name"]))
        wait_until(lambda: events() == before + 1, "the settings event")
        with tls.connect(tls.auditor) as auditor:
            rows = auditor.execute(
                "SELECT item, state FROM identity.identity_status() WHERE item || state || hint ILIKE '%mtls%'"
            ).fetchall()
        assert rows and not any(state == "ok" for _, state in rows), rows
    finally:
        tls.sql("ALTER SYSTEM RESET identity_pgx.require_mtls")
        tls.cluster.reload()
    wait_until(lambda: events() == before + 2, "the settings event back")
    tls.verify()
