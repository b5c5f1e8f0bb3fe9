"""What a worker tells whoever monitors it: true, for this machine alone, and whatever the database would like it to say."""

import socket
import time

import pytest

import ledger
from cluster import wait_until
from ledger_tree import Checkpoint
from limit_helpers import capped, used_up
from monitoring import NAMES, Dashboard, Page, Prometheus, promtool
from s3 import ROOT, free_ports
from vault import Vault
from worker import Anchoring, grow

METRICS = "SELECT name, labels, value FROM identity.metrics()"


class Monitored(Anchoring):
    """A worker that tells its numbers."""

    def __init__(self, vault, directory):
        self.port = free_ports(1)
        self.page = Page(self.port)
        super().__init__(vault, directory)

    def text(self) -> str:
        return f'{super().text()}[metrics]\nlisten = "127.0.0.1:{self.port}"\n'

    def begin(self):
        running = self.start()
        wait_until(self.page.is_there, f"the page; {self.logs()[-1500:]}", 20)
        return running


@pytest.fixture(scope="module")
def monitored(quiet_ledger, tmp_path_factory):
    """Everything that has a row only once it has happened has happened before anybody asks: the database is asked again after ten seconds."""
    monitored, vault = Monitored(quiet_ledger, tmp_path_factory.mktemp("monitored")), quiet_ledger
    monitored.subject, monitored.purpose = vault.subject(name="Ada Lovelace"), capped(vault, 1)
    with vault.gateway() as gateway:
        used_up(gateway, monitored.subject, monitored.purpose, 1)
        monitored.caller = gateway.info.user
    with vault.connect(vault.worker) as worker:
        worker.execute("SELECT identity.retention_sweep()")
    monitored.begin()
    size = monitored.await_anchor()
    grow(vault)
    monitored.await_anchor(size + 2)
    yield monitored
    monitored.leave()


@pytest.fixture
def own(fresh, tmp_path):
    monitored = Monitored(Vault(fresh()), tmp_path)
    grow(monitored.vault)
    yield monitored
    monitored.leave()


def told(monitored, name: str, *labels) -> float | None:
    return monitored.page.numbers().get((name, *labels))


def test_every_number_is_documented_and_the_other_way_round(monitored):
    pages = [(ROOT / "docs" / page).read_text().splitlines() for page in ("howto/monitoring.md", "functions/metrics.md")]
    # The first column of a table.
    documented = {name for page in pages for line in page if line.startswith("| `identity_") for name in NAMES.findall(line.split("|")[1])}
    types = {line.split(" ")[2] for line in monitored.page.text().splitlines() if line.startswith("# TYPE ")}
    assert types <= documented
    rare = {name for name in documented if name not in types}
    assert rare <= Dashboard.SELDOM | {"identity_worker_refusals_total"}
    assert Dashboard.SELDOM <= rare


def test_the_real_promtool_has_nothing_to_say_about_it(monitored):
    assert promtool("check", "metrics", stdin=monitored.page.text()) == ""


def test_the_worker_tells_what_it_did(monitored):
    now = wait_until(
        lambda: (found := monitored.page.numbers()) and found[("identity_worker_anchored_size",)] == monitored.recorded()[-1] and found, "the last anchor", 20
    )
    assert now[("identity_worker_leads",)] == now[("identity_worker_healthy",)] == now[("identity_worker_database_up",)] == 1
    assert now[("identity_worker_refused",)] == now[("identity_worker_alarms_total",)] == 0
    assert 0 <= time.time() - now[("identity_worker_last_anchor_time_seconds",)] < 60
    assert 0 <= time.time() - now[("identity_worker_last_round_time_seconds", ("event", "anchor"))] < 60
    assert now[("identity_worker_rounds_total", ("event", "anchor"))] >= 2
    for effect in ("seal", "checkpoint", "key", "read_last", "consistency", "sign", "put", "record"):
        assert now[("identity_worker_effect_seconds_count", ("effect", effect))] >= 1
        assert now[("identity_worker_effect_seconds_sum", ("effect", effect))] > 0
    # No worker has more anchors than there are in the store.
    assert now[("identity_worker_effect_seconds_count", ("effect", "put"))] <= len(monitored.notes())
    assert monitored.page.ask("/healthz") == (200, "ok: leads\n")


def test_the_databases_numbers_are_the_databases(monitored):
    with monitored.vault.connect(monitored.vault.auditor) as auditor:
        own = {(name, *sorted(labels.items())) for name, labels, _ in auditor.execute(METRICS)}
    assert len(own) > 20
    # What is told may be ten seconds old.
    there = wait_until(lambda: own <= set(found := monitored.page.numbers()) and found, "each of them", 30, 0.5)
    assert there[("identity_recorder_capacity",)] == 4096
    assert 0 <= there[("identity_worker_database_age_seconds",)] < 12


def test_nobody_and_nothing_secret_is_named(monitored):
    assert told(monitored, "identity_volume_callers", ("level", "cap"), ("purpose", monitored.purpose)) == 1
    said = monitored.page.text() + "".join(monitored.page.ask(path)[1] for path in ("/healthz", "/", "/x"))
    for word in ("Lovelace", str(monitored.subject.id), monitored.caller, monitored.vault.worker, monitored.key_file.read_text(), str(monitored.directory), monitored.url):
        assert word not in said


def test_only_this_machine_can_ask(monitored):
    def of_this_machine() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: it only asks which of our addresses leads there.
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]

    for address in {"127.0.0.2", of_this_machine()}:
        with pytest.raises(OSError):
            socket.create_connection((address, monitored.port), timeout=2)
    for listen in ("0.0.0.0:9187", "[::]:9187", "192.0.2.1:9187", "[::ffff:127.0.0.1]:9187", "127.0.0.1:0", "localhost", "127.0.0.1"):
        monitored.configure(monitored.text().replace(f"127.0.0.1:{monitored.port}", listen))
        for command in ("check-config", "run"):
            done = monitored.command(command)
            assert done.returncode == 2 and "[metrics] listen" in done.stdout + done.stderr, listen
    monitored.configure()
    assert "metrics: ok" in monitored.command("check-config").stdout


def test_a_page_of_another_name_in_a_browser_cannot_ask(monitored):
    """It has its name point to this machine; the browser then says that name."""
    for host in ("evil.example", f"evil.example:{monitored.port}", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1"):
        for path in ("/metrics", "/healthz"):
            status, said = monitored.page.ask(path, host=host)
            assert status == 421 and "identity_" not in said
    for host in ("localhost", "127.0.0.1", f"127.0.0.1:{monitored.port}", "[::1]", f"localhost:{monitored.port}"):
        assert monitored.page.ask("/healthz", host=host)[0] == 200


def test_nothing_can_be_changed_and_nothing_else_is_there(monitored):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert monitored.page.ask("/metrics", method)[0] == 405
    assert monitored.page.ask("/metrics", "HEAD") == (200, "")
    for path in ("/", "/metrics/", "/-/quit", "/../etc/passwd", "/debug"):
        assert monitored.page.ask(path)[0] == 404


def test_who_says_nothing_keeps_nobody_out_for_long(monitored):
    idle = [socket.create_connection(("127.0.0.1", monitored.port)) for _ in range(20)]
    try:
        for each in idle[:10]:
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        idle.append(socket.create_connection(("127.0.0.1", monitored.port)))
        idle[-1].sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000)
        assert monitored.page.ask("/healthz", timeout=60)[0] == 200
    except ConnectionError:
        assert monitored.page.ask("/healthz", timeout=60)[0] == 200
    finally:
        for each in idle:
            each.close()
    # It did its work meanwhile.
    size = monitored.recorded()[-1]
    grow(monitored.vault)
    monitored.await_anchor(size + 2)


def test_a_real_prometheus_scrapes_it_and_every_panel_and_alert_has_its_numbers(monitored, tmp_path):
    dashboard = Dashboard()
    prometheus = Prometheus(tmp_path, monitored.port)
    try:
        wait_until(lambda: [row for row in prometheus.query("up") if row["value"][1] == "1"], "a scrape", 60, 0.5)
        (target,) = prometheus.api("targets")["activeTargets"]
        assert target["lastError"] == "" and target["health"] == "up"
        assert prometheus.query("identity_worker_leads")[0]["value"][1] == "1"
        rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
        assert rules
        wait_until(lambda: all(rule["health"] == "ok" for group in prometheus.api("rules")["groups"] for rule in group["rules"]), "each rule to be looked at", 60, 0.5)
        there = set(prometheus.api("label/__name__/values"))
        assert not there & dashboard.SELDOM
        panels = dashboard.expressions()
        for expression in [rule["query"] for rule in rules] + panels:
            prometheus.query(expression)
            for name in NAMES.findall(expression):
                assert name in there or name in dashboard.SELDOM, f"{name} of {expression}"
        assert len(panels) > 20
    finally:
        prometheus.close()


def test_the_dashboard_is_whole():
    dashboard = Dashboard()
    ids = [panel["id"] for panel in dashboard.panels]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in dashboard.panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or all(target["expr"] and target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert {variable["name"] for variable in dashboard.whole["templating"]["list"]} == {"datasource", "job"}


def test_a_database_cannot_speak_for_the_worker(own):
    own.begin()
    forged = "('identity_worker_refused', '{}'::jsonb, 5::float8), ('identity_reads_total', '{}', 7)"
    own.vault.sql("ALTER FUNCTION identity.metrics() RENAME TO old")
    own.vault.sql("CREATE SEQUENCE public.asked")
    own.vault.sql("GRANT USAGE ON public.asked TO PUBLIC")
    own.vault.sql(
        f"CREATE FUNCTION identity.metrics() RETURNS TABLE (name text, labels jsonb, value float8) LANGUAGE sql AS $$ SELECT nextval('public.asked'); VALUES {forged} $$"
    )
    own.vault.sql("GRANT EXECUTE ON FUNCTION identity.metrics() TO PUBLIC")
    # It does say so to whoever asks it.
    with own.vault.connect(own.vault.worker) as worker:
        assert ("identity_worker_refused", {}, 5.0) in worker.execute(METRICS).fetchall()
    untrue = ("identity_worker_failures_total", ("event", "metrics"), ("kind", "untrue"))
    wait_until(lambda: told(own, *untrue), "the lie to be noticed", 30, 0.2)
    now = own.page.numbers()
    assert now[("identity_worker_refused",)] == 0 and ("identity_reads_total",) not in now
    assert now[("identity_worker_database_up",)] == 0 and now[("identity_worker_alarms_total",)] == 1
    # Anybody on this machine may ask for it as often as he likes: the database is asked seldom.
    before = own.vault.sql("SELECT last_value FROM public.asked")[0]["last_value"]
    for _ in range(50):
        own.page.text()
    assert own.vault.sql("SELECT last_value FROM public.asked")[0]["last_value"] - before <= 1


def test_a_database_that_does_not_answer_costs_neither_numbers_nor_anchors(own):
    own.begin()
    size = own.await_anchor()
    holder = own.vault.cluster.connect()
    # Who counts subjects waits; who seals does not.
    holder.execute("BEGIN; LOCK TABLE identity.subjects IN ACCESS EXCLUSIVE MODE")
    waits = "SELECT FROM pg_stat_activity WHERE application_name = 'anchor-worker' AND wait_event_type = 'Lock' AND query LIKE '%%identity.metrics%%'"
    wait_until(lambda: own.page.text() and own.vault.sql(waits, ()), "the question to wait", 30, 0.2)
    grow(own.vault)
    own.await_anchor(size + 2)
    assert own.page.ask("/healthz")[0] == 200
    assert told(own, "identity_worker_leads") == 1
    own.vault.cluster.stop("immediate")
    for session in (holder, own.vault.admin):
        session.close()
    wait_until(lambda: told(own, "identity_worker_failures_total", ("event", "database"), ("kind", "unreachable")), "the database to be missed", 30, 0.5)
    now = wait_until(lambda: (found := own.page.numbers())[("identity_worker_database_up",)] == 0 and found, "its numbers to be gone", 30, 0.5)
    assert not [name for name, *_ in now if not name.startswith("identity_worker_")]
    own.vault.cluster.start()
    ledger.again(own.vault)
    wait_until(lambda: told(own, "identity_worker_database_up") == 1, "the database to be back", 60, 0.5)


def test_a_refusal_is_seen_by_whoever_looks(own):
    own.once()
    newest = own.opened(own.notes()[own.recorded()[-1]])
    longer = Checkpoint(newest.origin, newest.size + 50, newest.root)
    own.put(longer.size, own.note(longer))
    worker = own.begin()
    worker.says("refused")
    status, said = own.page.ask("/healthz")
    assert status == 503 and said == "not ok: refused to sign (shorter): nothing is anchored until a person has looked\n"
    now = own.page.numbers()
    assert now[("identity_worker_refused",)] == 1 and now[("identity_worker_healthy",)] == 0
    assert now[("identity_worker_refusals_total", ("code", "shorter"))] >= 1
    assert now[("identity_worker_alarms_total",)] >= 1
    assert time.time() - now[("identity_worker_last_alarm_time_seconds",)] < 60


def test_without_the_section_nothing_listens(own):
    own.configure(Anchoring.text(own))
    own.start().says("leads")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", own.port), timeout=2)
    with own.vault.cluster.connect() as admin:
        sessions = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%identity.metrics%' AND pid <> pg_backend_pid()").fetchone()
    assert sessions == (0,)


def test_an_address_that_is_taken_stops_the_start(own):
    with socket.create_server(("127.0.0.1", own.port)):
        done = own.command("run")
        assert done.returncode == 2 and str(own.port) in done.stderr
        assert "somebody listens there now" in own.command("check-config").stdout
