"""What the worker brings to webhooks and by mail, what it does not, and what it is not held up by."""

import dataclasses
import json
import os
import socket
import ssl
import threading
import time

import psycopg
import pytest

from cluster import wait_until
from key_services import Authority
from receivers import SECRET, Hook, Mail, Raw, context, free_port
from worker import Anchoring, grow

PASSWORD = "hunter2-of-the-mail-server"
HASH = "44a823cffa85aed3cbe323284d6cda75131eacfcd61c23b5e388429f2f7cfb58"


class Posted(Anchoring):
    """A worker with channels."""

    def __init__(self, vault, directory):
        self.channels = ""
        super().__init__(vault, directory)
        self.authority = Authority(directory)
        self.secret = self.file("secret", SECRET)
        self.password = self.file("password", PASSWORD)
        self.open: list = []

    def file(self, name: str, text: str):
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text)
        return path

    def text(self) -> str:
        return super().text() + self.channels

    def hook(self, certificate: tuple | None = None) -> Hook:
        hook = Hook(certificate or self.authority.server())
        self.open.append(hook)
        return hook

    def mail(self, **options) -> Mail:
        mail = Mail(self.authority.server(), **options)
        self.open.append(mail)
        return mail

    def raw(self, speak) -> Raw:
        raw = Raw(speak)
        self.open.append(raw)
        return raw

    def webhook(self, name: str, url: str, **more) -> str:
        entries = {"url": url, "ca_file": self.authority.file, "secret_file": self.secret} | more
        return f'[[outbox]]\nname = "{name}"\nkind = "webhook"\n' + lines(entries)

    def smtp(self, name: str, port: int, **more) -> str:
        entries = {"host": "127.0.0.1", "security": "starttls", "ca_file": self.authority.file, "from": "identity <vault@example.org>"} | more
        return f'[[outbox]]\nname = "{name}"\nkind = "smtp"\nport = {port}\nto = ["ops@example.org", "dpo@example.org"]\n' + lines(entries)

    def serve(self, *channels: str):
        """A worker that runs, once the database knows its channels."""
        self.channels = "".join(channels)
        self.configure()
        running = self.start()
        names = sorted(text.split('"')[1] for text in channels)
        known = "SELECT channel FROM identity.outbox_channels ORDER BY 1"
        wait_until(lambda: [row["channel"] for row in self.vault.sql(known)] == names, f"channels; {running.log.read_text()}", 20)
        return running

    def event(self) -> None:
        """One event, one notice."""
        login = self.vault.login("identity_gateway")
        with self.vault.connect(self.vault.dba) as dba:
            dba.execute("SELECT identity.caller_revoke(%s::name, 'Ada left')", (login,))

    def delivery(self, channel: str) -> dict:
        query = "SELECT * FROM identity.outbox_deliveries WHERE channel = %s ORDER BY queued_at DESC LIMIT 1"
        return (self.vault.sql(query, (channel,)) or [{}])[0]

    def failed(self, channel: str, timeout: float = 30) -> str:
        return wait_until(lambda: self.delivery(channel).get("last_error"), f"a failure of {channel}; {self.logs()[-1500:]}", timeout)

    def arrived(self, channel: str, timeout: float = 30) -> None:
        wait_until(lambda: self.delivery(channel).get("delivered_at"), f"a delivery to {channel}; {self.logs()[-1500:]}", timeout)

    def leave(self) -> None:
        super().leave()
        for server in self.open:
            server.close()
        self.open.clear()
        with self.vault.connect(self.vault.worker) as worker:
            worker.execute("SELECT identity.outbox_serve('{}')")


def lines(entries: dict) -> str:
    return "".join(f'{name} = "{value}"\n' for name, value in entries.items() if value is not None)


@pytest.fixture
def posted(quiet_ledger, tmp_path):
    posted = Posted(quiet_ledger, tmp_path)
    yield posted
    posted.leave()


def test_each_channel_gets_each_notice_in_its_form(posted):
    plain, slack = posted.hook(), posted.hook()
    starttls, tls = posted.mail(password=PASSWORD), posted.mail(starttls=False)
    login = {"username": "worker", "password_file": posted.password}
    running = posted.serve(
        posted.webhook("plain", plain.url),
        posted.webhook("slack", slack.url, form="slack", secret_file=None),
        posted.smtp("starttls", starttls.port, **login),
        posted.smtp("tls", tls.port, security="tls"),
    )
    posted.event()
    for channel in ("plain", "slack", "starttls", "tls"):
        posted.arrived(channel)
    notice = posted.vault.sql("SELECT payload FROM identity.notifications JOIN identity.outbox_deliveries d USING (access_id) WHERE d.channel = 'plain' AND payload ->> 'event_kind' = 'caller_revoke'")[-1]["payload"]
    ((headers, body),) = about(plain)
    assert plain.verified(headers, body) == notice and set(notice) == {"event_kind", "timestamp", "accessor_kind", "integrity_hash"}
    assert headers["X-Identity-Id"] == notice["integrity_hash"] and headers["Content-Type"] == "application/json"
    with pytest.raises(AssertionError):
        plain.verified(headers, body.replace(b"caller_revoke", b"caller_reinst"))
    ((headers, body),) = about(slack)
    assert "X-Identity-Signature" not in headers and set(json.loads(body)) == {"text"}
    assert json.loads(body)["text"] == f"*identity_pgx* caller_revoke at {notice['timestamp']}, row {notice['integrity_hash']}"
    for mail, known in [(starttls, True), (tls, False)]:
        ((sender, to, letter, authenticated),) = [received for received in mail.received if "caller_revoke" in received[2]["Subject"]]
        assert (sender, to, bool(authenticated)) == ("vault@example.org", ["ops@example.org", "dpo@example.org"], known)
        assert letter["Subject"] == "identity_pgx: caller_revoke" and letter["Auto-Submitted"] == "auto-generated"
        assert letter["Message-ID"] == f"<{notice['integrity_hash']}@example.org>"
        assert json.dumps(notice["integrity_hash"]) in letter.get_payload(decode=True).decode() and "Ada" not in letter.as_string()
    assert running.stop() == 0
    said = posted.logs()
    assert PASSWORD not in said and SECRET not in said and "/hook" not in said


def about(hook: Hook) -> list:
    """What arrived of our event; a server that has just started tells of its settings, too."""
    return [received for received in hook.received if b"caller_revoke" in received[1]]


def misbehaving(posted) -> dict:
    """Servers that do not take a notice, and the word for why."""
    elsewhere = posted.hook()

    def hook(behave):
        server = posted.hook()
        server.behave = behave
        return server.url

    def endless(handler):
        handler.send_response(500)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(4096):
            handler.wfile.write(chunk)

    def cut_off(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    def slow(handler):
        time.sleep(12)

    other, outdated = Authority(posted.directory, "other"), posted.authority.server(days=-1, begins=-3)
    nobody = f"https://127.0.0.1:{free_port()}/"
    return elsewhere, {
        "other-ca": (posted.hook(other.server()).url, "tls"),
        "expired": (posted.hook(outdated).url, "tls"),
        "other-name": (posted.hook().url.replace("127.0.0.1", "localhost"), "tls"),
        "redirect": (hook(lambda handler: handler.answer(307, {"Location": elsewhere.url})), "redirect"),
        "broken": (hook(lambda handler: handler.answer(500)), "unavailable"),
        "throttled": (hook(lambda handler: handler.answer(429, {"Retry-After": "2000"})), "throttled"),
        "refused": (hook(lambda handler: handler.answer(403, body=b"x" * 1000)), "refused"),
        "endless": (hook(endless), "unavailable"),
        "cut-off": (hook(cut_off), "unreachable"),
        "slow": (hook(slow), "timeout"),
        "nobody": (nobody, "unreachable"),
    }


def test_what_was_not_taken_waits_and_holds_up_nobody(posted):
    elsewhere, wrong = misbehaving(posted)
    good = posted.hook()
    running = posted.serve(posted.webhook("good", good.url), *(posted.webhook(name, url) for name, (url, _) in wrong.items()))
    grow(posted.vault, 1)
    size = posted.size()
    posted.event()
    posted.arrived("good")
    # While one does not answer, anchors and the other channels go on.
    posted.await_anchor(size + 1)
    if not os.environ.get("IDENTITY_LONG"):
        del wrong["slow"]
        assert not posted.delivery("slow")["delivered_at"]
    for name, (_, word) in wrong.items():
        assert (name, posted.failed(name)) == (name, word)
        assert posted.delivery(name)["delivered_at"] is None
    assert not elsewhere.received and not elsewhere.others
    later = posted.vault.sql("SELECT next_at > clock_timestamp() + interval '25 min' AS l FROM identity.outbox_deliveries WHERE channel = 'throttled'")
    assert later[0]["l"]
    assert [line["word"] for line in running.events("outbox") if line.get("channel") == "broken"] == ["unavailable"]


def test_what_waited_is_sent_once_the_server_takes_it(posted):
    hook = posted.hook()
    hook.behave = lambda handler: handler.answer(503)
    running = posted.serve(posted.webhook("comes-back", hook.url))
    posted.event()
    assert posted.failed("comes-back") == "unavailable"
    hook.behave = None
    posted.vault.sql("SELECT identity.outbox_retry()")
    posted.arrived("comes-back")
    first, *_, last = about(hook)
    # The same notice under the same name, signed anew.
    assert first[1] == last[1] and first[0]["X-Identity-Id"] == last[0]["X-Identity-Id"]
    hook.verified(*last)
    assert running.stop() == 0


def test_a_worker_killed_in_between_sends_it_again(posted):
    hook, go = posted.hook(), threading.Event()
    hook.behave = lambda handler: go.wait(20)
    channel = posted.webhook("killed", hook.url)
    running = posted.serve(channel)
    posted.event()
    wait_until(lambda: hook.received, "the first attempt", 20)
    running.kill()
    hook.behave = None
    go.set()
    posted.serve(channel)
    posted.arrived("killed")
    ids = [headers["X-Identity-Id"] for headers, _ in about(hook)]
    assert len(ids) >= 2 and len(set(ids)) == 1


def test_a_database_that_lies_has_nothing_said(posted):
    """A superuser writes into the outbox what the worker is to carry out of the house."""
    hook, mail = posted.hook(), posted.mail()
    running = posted.serve(posted.webhook("plain", hook.url), posted.smtp("mail", mail.port))
    good = {"event_kind": "caller_revoke", "timestamp": "2026-01-01T00:00:00.000000Z", "accessor_kind": "caller_revoke", "integrity_hash": HASH}
    lies = [
        good | {"event_kind": "123-45-6789"},
        good | {"accessor_kind": "Ada Lovelace"},
        good | {"event_kind": "caller_revoke\r\nBcc: thief@example.org"},
        good | {"integrity_hash": "ada@example.org"},
        good | {"timestamp": "tomorrow"},
        good | {"event_kind": {"name": "Ada"}},
    ]
    for number, lie in enumerate(lies):
        posted.vault.sql("INSERT INTO identity.notifications VALUES (%s, %s)", (-1 - number, json.dumps(lie)))
        posted.vault.sql(
            "INSERT INTO identity.outbox_deliveries (channel, access_id, queued_at, next_at) SELECT channel, %s, now(), now() FROM identity.outbox_channels", (-1 - number,)
        )
    posted.event()
    query = "SELECT count(*) AS n FROM identity.outbox_deliveries WHERE access_id < 0 AND last_error = 'notice' AND delivered_at IS NULL"
    wait_until(lambda: posted.vault.sql(query)[0]["n"] == 2 * len(lies), "the lies to be refused", 30)
    # A true one that was taken together with them is not held up.
    posted.arrived("plain")
    posted.arrived("mail")
    assert not posted.vault.sql("SELECT FROM identity.outbox_deliveries WHERE access_id > 0 AND channel IN ('plain', 'mail') AND last_error IS NOT NULL")
    assert [payload["event_kind"] for payload in hook.payloads()] == ["caller_revoke"]
    assert len(mail.received) == 1 and not any(word in mail.received[0][2].as_string() for word in ("Ada", "thief", "123-45"))
    # Nor does it make the worker's log its mouthpiece.
    assert running.stop() == 0 and not any(word in posted.logs() for word in ("Ada", "thief", "123-45"))


def test_an_alarm_goes_out_without_the_database(posted):
    grow(posted.vault)
    posted.once()
    size = max(posted.notes())
    posted.put(size, posted.note(dataclasses.replace(posted.opened(posted.notes()[size]), root=bytes(32))))
    hook, mail = posted.hook(), posted.mail()
    running = posted.serve(posted.webhook("hook", hook.url), posted.smtp("mail", mail.port))
    running.says("refused")
    (alarm,) = wait_until(lambda: [payload for payload in hook.payloads() if payload["accessor_kind"] == "anchor_worker"], "the alarm", 20)
    assert alarm["event_kind"] == "worker_refused_rewritten" and alarm["integrity_hash"] == ""
    hook.verified(*next(received for received in hook.received if b"anchor_worker" in received[1]))
    wait_until(lambda: [letter for _, _, letter, _ in mail.received if letter["Subject"] == "identity_pgx: worker_refused_rewritten"], "the mail", 20)
    # However often it is refused, it is told once an hour.
    wait_until(lambda: len(running.events("refused")) >= 3, "more rounds", 20)
    assert len(hook.told("worker_refused_rewritten")) == 1
    assert not posted.vault.sql("SELECT 1 FROM identity.notifications WHERE payload ->> 'accessor_kind' = 'anchor_worker'")
    assert running.stop() == 0
    # A single round tells it, too, before it ends.
    posted.once(exit_code=1)
    assert len(hook.told("worker_refused_rewritten")) == 2


def starttls(server, connection, after_220: bytes = b"", certificate: tuple | None = None) -> ssl.SSLSocket | None:
    connection.sendall(b"220 mail\r\n")
    server.hear(connection)
    connection.sendall(b"250-mail\r\n250 STARTTLS\r\n")
    if not server.hear(connection).upper().startswith(b"STARTTLS"):
        return None
    connection.sendall(b"220 go\r\n" + after_220)
    return context(certificate).wrap_socket(connection, server_side=True) if certificate else None


def test_mail_is_never_sent_without_tls(posted):
    """Somebody between the worker and the mail server takes STARTTLS away, or answers in the server's place."""

    def stripped(server, connection):
        connection.sendall(b"220 mail\r\n")
        while server.hear(connection):
            connection.sendall(b"250 mail\r\n")

    def injected(server, connection):
        # Everything that a mail needs, said before TLS begins. Then the true server, which never says a word.
        answers = b"250-mail\r\n250 AUTH PLAIN\r\n235 known\r\n250 from\r\n250 to\r\n250 to\r\n354 go\r\n250 taken\r\n221 bye\r\n"
        secured = starttls(server, connection, answers, posted.authority.server())
        while secured and secured.recv(4096):
            pass

    def endless(server, connection):
        try:
            while True:
                connection.sendall(b"2" * 65536)
                server.heard.append(b"x")
        except OSError:
            pass

    def untrusted(server, connection):
        starttls(server, connection, certificate=Authority(posted.directory, "other").server())

    servers = {name: posted.raw(speak) for name, speak in [("stripped", stripped), ("injected", injected), ("endless", endless), ("untrusted", untrusted)]}
    login = {"username": "worker", "password_file": posted.password}
    posted.serve(*(posted.smtp(name, server.port, **login) for name, server in servers.items()))
    posted.event()
    words = {name: posted.failed(name) for name in servers}
    assert words["stripped"] == words["untrusted"] == "tls" and set(words.values()) <= {"tls", "unreachable", "answer"}
    for name, server in servers.items():
        assert posted.delivery(name)["delivered_at"] is None
        heard = b"".join(server.heard)
        assert b"AUTH" not in heard and b"MAIL" not in heard and PASSWORD.encode() not in heard, name
    # Some socket buffers' worth: it hung up long before the time was over.
    assert len(servers["endless"].heard) < 300


def test_a_mail_server_that_refuses_is_told_apart(posted):
    wrong = posted.file("wrong", "not the password")
    strict, full, busy = posted.mail(password=PASSWORD), posted.mail(refuse="550 no such user"), posted.mail(refuse="452 disk full")
    posted.serve(
        posted.smtp("login", strict.port, username="worker", password_file=wrong),
        posted.smtp("full", full.port),
        posted.smtp("busy", busy.port),
    )
    posted.event()
    assert [posted.failed(name) for name in ("login", "full", "busy")] == ["refused", "refused", "unavailable"]
    assert not strict.received


def test_check_config_reaches_each_channel_and_sends_nothing(posted):
    hook, mail = posted.hook(), posted.mail(password=PASSWORD)
    login = {"username": "worker", "password_file": posted.password}
    good = posted.webhook("hook", hook.url) + posted.smtp("mail", mail.port, **login)
    posted.channels = good
    posted.configure()
    done = posted.command("check-config")
    said = done.stdout
    assert done.returncode == 0, said
    assert "outbox hook: ok: 127.0.0.1 answers" in said and "outbox mail: ok: 127.0.0.1 answers and knows us" in said
    assert not hook.received and not mail.received and hook.others == ["HEAD"]
    wrong = posted.file("wrong", "not the password")
    posted.channels = (
        posted.webhook("nobody", f"https://127.0.0.1:{free_port()}/s3cret")
        + posted.webhook("other-ca", posted.hook(Authority(posted.directory, "other").server()).url)
        + posted.smtp("login", mail.port, username="worker", password_file=wrong)
    )
    posted.configure()
    done = posted.command("check-config")
    assert done.returncode == 2 and done.stdout.count("outbox ") == done.stdout.count("NOT OK") == 3
    assert not any(secret in done.stdout + done.stderr for secret in ("s3cret", "not the password", SECRET, PASSWORD))


@pytest.mark.parametrize(
    "change,said",
    [
        (("https://", "http://"), "[[outbox]] url must be an address that begins with https://"),
        (("https://", "https://ada:pw@"), "[[outbox]] url must be an address"),
        (('name = "hook"', 'name = "The Hook"'), "[[outbox]] name must be"),
        (("secret_file", "#"), '[[outbox]] form "plain" needs secret_file'),
        (("url =", "ulr ="), "[[outbox]] ulr: unknown field `ulr`"),
        (('kind = "webhook"', 'kind = "carrier pigeon"'), "[[outbox]] kind: unknown variant"),
        (("ca_file", 'form = "discord"\nca_file'), "[[outbox]] form: unknown variant"),
        (("[[outbox]]", "[outbox]"), "outbox must be written as [[outbox]]"),
        (("[[outbox]]", '[[outbox]]\nname = "hook"\nkind = "webhook"\nform = "slack"\nurl_file = "/x"\n[[outbox]]'), "another channel has it"),
    ],
)
def test_a_mistake_in_a_channel_is_explained(posted, change, said):
    posted.channels = posted.webhook("hook", "https://127.0.0.1/x").replace(*change)
    posted.configure()
    done = posted.command("check-config")
    assert done.returncode == 2 and any(said in line and "line 1" in line for line in done.stdout.splitlines()), done.stdout


def test_a_secret_that_others_may_read_stops_the_worker(posted):
    posted.secret.chmod(0o644)
    posted.channels = posted.webhook("hook", "https://127.0.0.1/x")
    posted.configure()
    done = posted.command("once")
    assert done.returncode == 2 and "may be read by others" in done.stderr
    posted.secret.chmod(0o600)


def test_identityctl_lists_and_retries(posted):
    from identityctl import run

    hook = posted.hook()
    hook.behave = lambda handler: handler.answer(410)
    running = posted.serve(posted.webhook("hook", hook.url))
    posted.event()
    assert posted.failed("hook") == "refused"
    assert running.stop() == 0
    access_id = posted.delivery("hook")["access_id"]
    worker, auditor = (posted.url.replace(posted.vault.worker, login) for login in (posted.vault.worker, posted.vault.auditor))
    done = run("outbox", "list", auditor)
    assert done.returncode == 0 and f"access_id {access_id}" in done.stdout and "waits" in done.stdout
    with posted.vault.connect(posted.vault.worker) as conn:
        for _ in range(17):
            conn.execute("SELECT identity.outbox_failed('hook', %s, 'refused')", ([access_id],))
    done = run("outbox", "list", auditor, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and [line["detail"] for line in report["checks"] if line["check"] == "dead"][0].startswith("hook: caller_revoke of")
    assert run("outbox", "retry", auditor).returncode == 2
    assert posted.delivery("hook")["dead_at"] is not None
    done = run("outbox", "retry", worker, "--access-id", access_id)
    assert done.returncode == 0 and "1 are sent again" in done.stdout
    hook.behave = None
    posted.start()
    posted.arrived("hook")
    assert run("outbox", "list", auditor).returncode == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege), posted.vault.connect(posted.vault.auditor) as conn:
        conn.execute("SELECT identity.outbox_retry()")
