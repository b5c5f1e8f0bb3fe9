"""How `identityctl verify database` reaches a server: TLS that verifies whom it speaks to, and servers that are none."""

import contextlib
import socket
import struct
import threading

import pytest

from audited import AUDITOR, audit, audited, url
from cluster import Cluster
from identityctl import ends, lines, report, shown
from test_transport import HBA, certificates, free_port


@pytest.fixture(scope="module")
def tls(request):
    port = free_port()
    cluster = Cluster("y", {"listen_addresses": "'127.0.0.1'", "port": port}, HBA.replace("t_strict", AUDITOR))
    request.addfinalizer(cluster.destroy)
    cluster.port = port
    pki = certificates(cluster, AUDITOR, "t_gw")
    cluster.configure(
        {"ssl": "on", "ssl_cert_file": f"'{pki}/server.crt'", "ssl_key_file": f"'{pki}/server.key'", "ssl_ca_file": f"'{pki}/root.crt'"}
    )
    vault = audited(cluster.start().install())
    vault.pki = pki
    # This login is let in without a certificate; the vault's functions then refuse it.
    vault.sql("CREATE ROLE t_bare LOGIN BYPASSRLS IN ROLE identity_auditor, t_outside")
    return vault


def over_tcp(vault, certificate: str | None = AUDITOR, **options) -> dict:
    client = {"sslcert": vault.pki / f"{certificate}.crt", "sslkey": vault.pki / f"{certificate}.key"} if certificate else {}
    server = {"host": "localhost", "hostaddr": "127.0.0.1", "sslrootcert": vault.pki / "root.crt"}
    return audit(vault, **(server | client | options))


@pytest.mark.parametrize("mode", [{}, {"sslmode": "verify-full"}, {"sslmode": "require"}, {"host": "127.0.0.1"}], ids=str)
def test_a_client_certificate_is_shown(tls, mode):
    ends(0, over_tcp(tls, **mode))


def test_as_a_url_and_from_variables(tls):
    pki = tls.pki
    where = f"postgresql://{AUDITOR}@localhost:{tls.cluster.port}/identity"
    files = {"sslrootcert": f"{pki}/root.crt", "sslcert": f"{pki}/{AUDITOR}.crt", "sslkey": f"{pki}/{AUDITOR}.key"}
    ends(0, report("verify", "database", f"{where}?hostaddr=127.0.0.1&{'&'.join(f'{k}={v}' for k, v in files.items())}"))
    variables = {f"PG{name.upper()}": value for name, value in files.items()} | {"PGHOSTADDR": "127.0.0.1"}
    ends(0, report("verify", "database", where, environment=variables))


def test_without_a_certificate_the_vault_gives_no_salts(tls):
    for options in ({"certificate": None}, {"certificate": None, "sslmode": "disable"}):
        answer = over_tcp(tls, user="t_bare", **options)
        ends(2, answer)
        assert any("28000" in line and "transport" in line for line in lines(answer, "unchecked")), shown(answer)


REFUSED = {
    "no certificate where one is asked for": {"certificate": None},
    "a certificate of somebody else": {"certificate": "t_gw"},
    "a certificate of a foreign authority": {"certificate": "foreign"},
    "a key of another certificate": {"sslkey": "{pki}/t_gw.key"},
    "a server of an authority that we do not know": {"sslrootcert": "{pki}/foreign.crt"},
    "a server of that name elsewhere": {"host": "elsewhere.example"},
    "no authorities": {"sslrootcert": "/nonexistent"},
    "authorities that are none": {"sslrootcert": "{pki}/server.key"},
    "a mode that is none": {"sslmode": "yes"},
}


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED.keys())
def test_who_is_not_verified_is_not_spoken_to(tls, options):
    options = {name: value and value.format(pki=tls.pki) for name, value in options.items()}
    answer = over_tcp(tls, **options)
    ends(2, answer)
    assert not lines(answer, "good"), shown(answer)


@contextlib.contextmanager
def impostor(*answers: bytes):
    """Listens, answers one message with one, and keeps what it was told."""
    told = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                peer, _ = listener.accept()
                with peer:
                    peer.settimeout(5)
                    for answer in answers:
                        told.append(peer.recv(65536))
                        peer.sendall(answer)
                    told.append(peer.recv(65536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], told
        thread.join(10)


def test_a_server_without_tls_learns_nothing(tls):
    with impostor(b"N") as (port, told):
        answer = over_tcp(tls, port=port, sslmode="prefer", password="hunter2")
    ends(2, answer)
    assert told == [struct.pack("!II", 8, 80877103), b""]  # the question for TLS, and goodbye
    assert "hunter2" not in shown(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"R" + struct.pack("!I", 0x7FFFFFFF),
        b"D" + struct.pack("!I", 0xFFFFFFFF),
        b"R" + struct.pack("!I", 0),
        b"R" + struct.pack("!II", 8, 99),
        b"E" + struct.pack("!I", 4),
        b"\xff" * 64,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
        b"R" + struct.pack("!II", 8, 0) + b"Z" + struct.pack("!I", 5) + b"I" + b"T" + struct.pack("!IH", 6, 0xFFFF),
    ],
    ids=range(9),
)
def test_a_server_that_speaks_nonsense_ends_the_audit(tls, answer):
    with impostor(answer, b"", b"") as (port, _told):
        told = report("verify", "database", url(tls, host="127.0.0.1", port=port, sslmode="disable", connect_timeout=3))
    ends(2, told)
    assert not lines(told, "good") and not lines(told, "bad"), shown(told)


def test_a_message_that_moves_the_cursor_is_shown_as_text(tls):
    said = b"SFATAL\0C28000\0M\x1b[2K\x1b[32mgood    everything\0\0"
    with impostor(b"E" + struct.pack("!I", len(said) + 4) + said) as (port, _told):
        answer = report("verify", "database", url(tls, host="127.0.0.1", port=port, sslmode="disable"))
    ends(2, answer)
    assert "28000" in shown(answer) and "\x1b" not in shown(answer)
