"""One cluster that most tests share, for each process that runs tests; `fresh` makes others where a test stops, kills or configures the server."""

import os
import signal

import pytest

import independent
import ledger
from ceph import Ceph
from cluster import Cluster, destroy_all, logs
from forget import App
from ministack import Ministack
from vault import Vault


def pytest_configure(config):
    config.addinivalue_line("markers", "long: minutes, not seconds; only with `tests/run.sh long`")


def pytest_collection_modifyitems(config, items):
    if not os.environ.get("IDENTITY_LONG"):
        skipped = pytest.mark.skip(reason="long: tests/run.sh long")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skipped)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure comes with what the servers had to say: some cannot be had a second time."""
    report = yield
    if report.failed and call.when == "call":
        report.sections += [(f"end of {name}", end) for name, end in logs()]
    return report


@pytest.fixture(scope="session")
def vault():
    # wal_level, prepared transactions and the statement view are there so that attacks through them have a chance.
    cluster = Cluster(
        "s",
        {
            "max_connections": "260",
            "max_prepared_transactions": "10",
            "wal_writer_delay": "'10s'",
        },
    )
    try:
        vault = Vault(cluster.start().install())
        yield vault
        independent.verify(vault)
    finally:
        cluster.destroy()


@pytest.fixture
def fresh():
    """fresh(settings, hba=None, install=True) starts a cluster of the test's own."""
    made = []

    def make(settings: dict | None = None, hba: str | None = None, install: bool = True) -> Cluster:
        cluster = Cluster("f", settings, hba)
        made.append(cluster)
        cluster.start()
        return cluster.install() if install else cluster

    yield make
    for cluster in made:
        cluster.destroy()


@pytest.fixture(autouse=True)
def deadline(request):
    """A hanging test fails; it does not hang the run."""

    def expired(*_):
        raise TimeoutError("the test took too long")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(1800 if request.node.get_closest_marker("long") else 180)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def gateway(vault):
    """A gateway whose answers stay on the box; it sees every subject."""
    conn = vault.gateway()
    yield conn
    conn.close()  # not `with`: that would try to commit in a session that the test has cut off


@pytest.fixture(scope="module")
def quiet_ledger():
    """A vault of its own: nobody else seals, and few enough rows that all of them can be looked at."""
    cluster = Cluster("l", {"max_connections": "60", "max_prepared_transactions": "5", "wal_writer_delay": "'10s'"})
    try:
        yield Vault(cluster.start().install())
    finally:
        cluster.destroy()


@pytest.fixture
def sealed(quiet_ledger):
    """After the test the ledger is what the log makes it."""
    yield quiet_ledger
    ledger.seal(quiet_ledger)
    ledger.check(quiet_ledger)


@pytest.fixture
def app(quiet_ledger):
    """An application of the test's own, in a vault where nobody else's tables are on the register."""
    app = App(quiet_ledger)
    yield app
    app.leave()


@pytest.fixture
def moved(vault):
    """moved(token, version, effective, changed): what the row would be had the clock been elsewhere then. Put back at the end: both times are on the chain."""
    before = {}

    def move(token: str, version: int, effective: str, changed: str) -> None:
        row = vault.sql("SELECT effective_at, changed_at FROM identity.purpose_versions WHERE purpose_token = %s AND version = %s", (token, version))
        before.setdefault((token, version), tuple(row[0].values()))
        unguarded(effective, changed, (token, version))

    def unguarded(effective: str, changed: str, parameters: tuple) -> None:
        with vault.admin.transaction():
            vault.sql("ALTER TABLE identity.purpose_versions DISABLE TRIGGER supersede_only")
            vault.sql(
                f"UPDATE identity.purpose_versions SET effective_at = {effective}, changed_at = {changed} WHERE purpose_token = %s AND version = %s",
                parameters,
            )
            vault.sql("ALTER TABLE identity.purpose_versions ENABLE ALWAYS TRIGGER supersede_only")

    yield move
    for place, times in before.items():
        unguarded("%s", "%s", (*times, *place))
    vault.verify()


@pytest.fixture(scope="session")
def ceph():
    service = Ceph()
    try:
        yield service.start()
    finally:
        service.destroy()


@pytest.fixture(scope="session")
def ministack(tmp_path_factory):
    with open(tmp_path_factory.mktemp("ministack") / "log", "wb") as log:
        service = Ministack(log)
        try:
            yield service
        finally:
            service.destroy()


@pytest.fixture
def dba(vault):
    with vault.connect(vault.login("identity_dba")) as conn:
        yield conn


@pytest.fixture
def approver(vault):
    with vault.connect(vault.login("identity_approver")) as conn:
        yield conn


@pytest.fixture
def wide(vault):
    """A purpose that reaches the social security number, approved and in effect."""
    return vault.purpose(fields=["name", "ssn"], daily_volume_cap=100)


@pytest.fixture
def narrow(vault):
    return vault.purpose(fields=["name"], daily_volume_cap=100)


def pytest_unconfigure(config):
    destroy_all()
