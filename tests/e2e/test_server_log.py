"""The server log gets no value that was resolved, whatever happens to it afterwards; and what is not ours is logged as ever."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from cluster import Cluster, pg_config, root_dir, wait_until
from vault import REGISTER, RESOLVE, Vault, said

LOGGING = {
    "log_destination": "'stderr,csvlog,jsonlog'",
    "logging_collector": "on",
    "log_directory": "'log'",
    "log_rotation_size": "0",
    "log_min_error_statement": "'info'",
    "log_error_verbosity": "verbose",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
}
DURATIONS = {"log_min_duration_statement": "0"}
STATEMENTS = {"log_statement": "'all'", "log_duration": "on"}
# Values that cannot be taken for each other, or for a part of anything else in the log.
PII = {
    "name": "Zebedee Quux",
    "email": "zq.7731@example.org",
    "phone": "15557731999",
    "ssn": "900-77-3199",
    "dob": "1977-31-99",
    "address": "7731 Elm",
}
MARKS = ["Zebedee", "Quux", "zq.7731", "15557731999", "900-77-3199", "1977-31-99", "7731 Elm"]
RESOLVED = "identity.pii_resolve(%s::uuid, 't.all', '{name,email,phone,ssn,dob,address}')"


def vault_with(request, settings: dict) -> Vault:
    cluster = Cluster("l", LOGGING | settings)
    request.addfinalizer(cluster.destroy)
    vault = Vault(cluster.start().install())
    vault.sql("""CREATE TABLE public.keeps (v text CHECK (v IS NULL OR length(v) < 3), n text UNIQUE, p text NOT NULL DEFAULT '', r text);
                 CREATE TABLE public.refers (v text PRIMARY KEY);
                 CREATE TABLE public.excludes (v text, EXCLUDE USING hash (v WITH =));
                 CREATE TABLE public.parted (v text) PARTITION BY LIST (v);
                 ALTER TABLE public.keeps ADD FOREIGN KEY (r) REFERENCES public.refers;
                 CREATE VIEW public.checked AS SELECT p AS v FROM public.keeps WHERE p = 'x' WITH CHECK OPTION;
                 CREATE DOMAIN public.short AS text CHECK (length(VALUE) < 3);
                 CREATE TYPE public.mood AS ENUM ('sad');
                 GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC""")
    return vault


@pytest.fixture(scope="module", params=[DURATIONS, STATEMENTS], ids=["durations", "statements"])
def logged(request):
    return vault_with(request, request.param)


@pytest.fixture
def reader(logged):
    with logged.gateway() as conn:
        conn.subject = logged.subject(**PII)
        conn.before = sizes(logged.cluster)
        yield conn


def files(cluster) -> list[Path]:
    return [path for path in (cluster.data / "log").iterdir() if path.suffix in (".log", ".csv", ".json")]


def sizes(cluster) -> dict[Path, int]:
    return {path: path.stat().st_size for path in files(cluster)}


def log(cluster, since: dict[Path, int] | None = None) -> str:
    """What was logged until now, in every format: the collector writes with a delay, so wait for a line of ours."""
    mark = f"mark_{time.monotonic_ns()}"
    with cluster.connect(dbname="postgres") as admin:
        admin.execute(f"DO $$ BEGIN RAISE LOG '{mark}'; END $$")
    texts = lambda: [path.read_bytes()[(since or {}).get(path, 0) :].decode() for path in files(cluster)]
    wait_until(lambda: len(texts()) == 3 and all(mark in text for text in texts()), "the log collector")
    return "".join(texts())


def shown(text: str) -> list[str]:
    return [line for line in text.splitlines() if any(mark in line for mark in MARKS)]


ERRORS = {
    "22003 integer": ("SELECT (pii->>'phone')::int FROM {}", "15557731999"),
    "22P02 integer": ("SELECT (pii->>'name')::int FROM {}", "Zebedee Quux"),
    "22P02 uuid": ("SELECT (pii->>'email')::uuid FROM {}", "zq.7731"),
    "22P02 boolean": ("SELECT (pii->>'ssn')::boolean FROM {}", "900-77-3199"),
    "22P02 enum": ("SELECT (pii->>'name')::public.mood FROM {}", "Zebedee Quux"),
    "22P02 json": ("SELECT (pii->>'name')::jsonb FROM {}", "Zebedee"),
    "22P02 array": ("SELECT (pii->>'name')::text[] FROM {}", "Zebedee Quux"),
    "22P02 record": ("SELECT jsonb_populate_record(NULL::public.numbers, pii) FROM {}", "Zebedee Quux"),
    "22007 date": ("SELECT (pii->>'name')::date FROM {}", "Zebedee Quux"),
    "22008 date": ("SELECT (pii->>'dob')::date FROM {}", "1977-31-99"),
    "22007 to_date": ("SELECT to_date(pii->>'name', 'YYYY') FROM {}", "Zebe"),
    "22023 time zone": ("SELECT now() AT TIME ZONE (pii->>'name') FROM {}", "Zebedee Quux"),
    "2201B regexp": ("SELECT 'x' ~ ('(' || (pii->>'name')) FROM {}", None),
    "22P02 inet": ("SELECT (pii->>'address')::inet FROM {}", "7731 Elm"),
    "22001 length": ("INSERT INTO public.narrow SELECT pii->>'name' FROM {}", None),
    "23514 check": ("INSERT INTO public.keeps (v) SELECT pii->>'ssn' FROM {}", "900-77-3199"),
    "23514 domain": ("SELECT (pii->>'name')::public.short FROM {}", None),
    "23514 partition": ("INSERT INTO public.parted SELECT pii->>'ssn' FROM {}", "900-77-3199"),
    "23505 unique": ("INSERT INTO public.keeps (n) SELECT pii->>'email' FROM {}, generate_series(1, 2)", "zq.7731"),
    "23502 not null": ("INSERT INTO public.keeps (n, p) SELECT pii->>'ssn', NULL FROM {}", "900-77-3199"),
    "23503 foreign key": ("INSERT INTO public.keeps (r) SELECT pii->>'name' FROM {}", "Zebedee Quux"),
    "23P01 exclusion": ("INSERT INTO public.excludes SELECT pii->>'ssn' FROM {}, generate_series(1, 2)", "900-77-3199"),
    "44000 check option": ("INSERT INTO public.checked SELECT pii->>'ssn' FROM {}", "900-77-3199"),
}


# Errors of other classes that quote what they were given all the same.
OTHERS = {
    "42P01 regclass": "SELECT ('\"' || (pii->>'name') || '\"')::regclass FROM {}",
    "42704 regrole": "SELECT ('\"' || (pii->>'name') || '\"')::regrole FROM {}",
    "42601 tsquery": "SELECT (pii->>'name')::tsquery FROM {}",
    "42704 set_config": "SELECT set_config(pii->>'name', 'x', true) FROM {}",
}


@pytest.mark.parametrize("name", OTHERS)
def test_error_of_another_class_tells_no_value_either(logged, reader, name):
    with pytest.raises(psycopg.Error) as caught:
        run(reader, OTHERS[name].format(RESOLVED), "extended")
    assert "Zebedee" in said(caught.value), said(caught.value)
    assert shown(log(logged.cluster, reader.before)) == []


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared", "plpgsql"])
def test_error_about_a_resolved_value_tells_the_client_only(logged, reader, name, protocol):
    logged.sql("CREATE TABLE IF NOT EXISTS public.narrow (v varchar(3)); CREATE TABLE IF NOT EXISTS public.numbers (name int)")
    logged.sql("GRANT ALL ON public.narrow, public.numbers TO PUBLIC")
    query, told = ERRORS[name]
    query = query.format(RESOLVED)
    with pytest.raises(psycopg.Error) as caught:
        run(reader, query, protocol)
    assert caught.value.sqlstate == name.split()[0], said(caught.value)
    if told:
        assert told in said(caught.value), "the client is not told what is wrong with its own statement"
    written = log(logged.cluster, reader.before)
    assert shown(written) == []
    assert f"ERROR {name.split()[0]}: " in written and "values hidden by identity_pgx" in written, "that something failed is hidden too"


def run(conn, query: str, protocol: str) -> None:
    params = (conn.subject.id,)
    if protocol == "simple":
        psycopg.ClientCursor(conn).execute(query, params)
    elif protocol == "plpgsql":
        query = query.replace("%s", f"'{conn.subject.id}'")
        loop = f"DECLARE r record; BEGIN FOR r IN {query} LOOP NULL; END LOOP; END"
        conn.execute(f"DO $do$ {loop if query.startswith('SELECT') else f'BEGIN {query}; END'} $do$")
    else:
        conn.execute(query, params, prepare=protocol == "prepared")


def test_durations_stay_and_say_that_something_is_hidden(logged, reader):
    reader.execute(RESOLVE, (reader.subject.id, "t.all", ["name", "ssn"]))
    candidate = reader.execute(REGISTER, ("t.all", Jsonb(PII), Jsonb({}), None)).fetchone()[0]
    psycopg.ClientCursor(reader).execute(REGISTER, ("t.all", Jsonb(PII), Jsonb({}), None))
    reader.execute("SELECT %s::text", ("Zebedee in a session that was here",))
    assert candidate
    written = log(logged.cluster, reader.before)
    assert shown(written) == []
    mine = [line for line in written.splitlines() if f"{reader.info.user}@identity" in line]
    assert any(re.search(r"duration: \d+\.\d+ ms", line) for line in mine), "no duration of a session that called us"
    assert any("statement hidden by identity_pgx" in line for line in mine)
    if logged.sql("SHOW log_statement")[0]["log_statement"] == "all":
        assert any(re.search(r"LOG: .*statement \(statement hidden", line) for line in mine)


def test_what_names_nothing_of_ours_is_logged_as_ever(logged):
    with logged.cluster.connect(logged.login()) as plain:
        plain.execute("SELECT 'seen_1', %s::text", ("seen_2",))
        with pytest.raises(psycopg.Error):
            plain.execute("SELECT %s::text::int", ("seen_3",))
    written = log(logged.cluster)
    for seen in ("seen_1", "$1 = 'seen_2'", 'invalid input syntax for type integer: "seen_3"'):
        assert seen in written


def test_another_database_is_none_of_our_business(logged):
    """There a comment that names us hides nothing: else whoever wants to be unseen would write one."""
    logged.sql("DROP DATABASE IF EXISTS elsewhere")
    logged.sql("CREATE DATABASE elsewhere")
    mark = f"{time.monotonic_ns()}"
    with logged.cluster.connect(logged.login(), dbname="elsewhere") as other:
        other.execute(f"SELECT 'a{mark}' /* pii_ */")
        other.execute(f"/* identity.pii_resolve */ SELECT 'b{mark}', %s::text", (f"c{mark}",))
        other.execute(f"SELECT 'd{mark}' AS purpose_revoke", prepare=True)
        with pytest.raises(psycopg.Error):
            other.execute("SELECT %s::text::int /* pii_resolve */", (f"e{mark}",))
        with pytest.raises(psycopg.Error):
            other.execute(f"SELECT identity.pii_resolve('f{mark}')")
    written = log(logged.cluster)
    for letter in "abcdef":
        assert f"{letter}{mark}" in written, letter


def test_why_a_login_is_revoked_is_not_logged(logged):
    """It may be about a person; and the very first statement of a session is logged before our code runs."""
    role, mark = logged.login("identity_gateway"), f"left-{time.monotonic_ns()}"
    with logged.cluster.connect(logged.dba, options="-c search_path=identity") as dba:
        dba.execute(f"SELECT caller_revoke('{role}', '{mark}')")
    assert mark not in log(logged.cluster)


# -- other languages -----------------------------------------------------------------
def german(directory: Path, monkeypatch) -> str | None:
    """A German locale for the server: the machine's own, or one made for this test. Otherwise the reason why there is none."""
    locale = Path("/usr/share/i18n/locales/de_DE")
    messages = list((pg_config("localedir") / "de" / "LC_MESSAGES").glob("postgres-*.mo"))
    if not messages:
        return "this PostgreSQL has no German messages"
    names = subprocess.run(["locale", "-a"], check=False, capture_output=True, text=True).stdout.split()
    if any(name.lower().startswith("de_de.utf") for name in names):
        return None
    if not (locale.exists() and shutil.which("localedef")):
        return "no locale de_DE.UTF-8, and no localedef to make it"
    subprocess.run(["localedef", "--no-archive", "-i", "de_DE", "-f", "UTF-8", directory / "de_DE.UTF-8"], check=False, capture_output=True)
    for path in Path("/usr/lib/locale").glob("C.utf8"):
        (directory / "C.UTF-8").symlink_to(path)
    monkeypatch.setenv("LOCPATH", str(directory))
    return None


def test_lines_are_recognised_in_another_language(request, monkeypatch):
    directory = root_dir() / "locale"
    directory.mkdir(exist_ok=True)
    why_not = german(directory, monkeypatch)
    if why_not:
        pytest.skip(why_not)
    settings = DURATIONS | STATEMENTS | {"log_duration": "off", "log_statement": "none", "lc_messages": "'de_DE.UTF-8'"}
    vault = vault_with(request, settings)
    try:
        with vault.cluster.connect(vault.login()) as plain:
            plain.execute("SELECT %s::text", ("deutsch",))
        if "Dauer: " not in log(vault.cluster):
            pytest.skip("the server does not speak German")
        for log_statement in ("none", "all"):
            vault.sql(f"ALTER SYSTEM SET log_statement = '{log_statement}'")
            vault.cluster.reload()
            time.sleep(0.5)
            subject = vault.subject(**PII)
            vault.admin.close()
            vault.admin = vault.cluster.connect(row_factory=psycopg.rows.dict_row)
            with vault.gateway() as conn:
                conn.execute(REGISTER, ("t.all", Jsonb(PII), Jsonb({}), None))
                psycopg.ClientCursor(conn).execute(REGISTER, ("t.all", Jsonb(PII), Jsonb({}), None))
                conn.execute(REGISTER, ("t.all", Jsonb(PII), Jsonb({}), None), prepare=True)
                for query, _ in ERRORS.values():
                    if "narrow" not in query and "numbers" not in query:
                        with pytest.raises(psycopg.Error):
                            conn.execute(query.format(RESOLVED), (subject.id,))
        written = log(vault.cluster)
        assert "statement hidden by identity_pgx" in written and "values hidden by identity_pgx" in written
        assert shown(written) == []
    finally:
        vault.cluster.destroy()


# -- auto_explain -----------------------------------------------------------------------
def test_auto_explain_shows_no_value(request):
    if not (pg_config("pkglibdir") / "auto_explain.so").exists():
        pytest.skip("this PostgreSQL has no auto_explain")
    vault = vault_with(
        request,
        {
            "shared_preload_libraries": "'identity_pgx,auto_explain'",
            "auto_explain.log_min_duration": "0",
            "auto_explain.log_nested_statements": "on",
            "auto_explain.log_analyze": "on",
            "auto_explain.log_verbose": "on",
        },
    )
    with vault.cluster.connect(vault.login()) as plain:
        plain.execute("SELECT 'seen_1'")
    with vault.cluster.connect() as admin:
        admin.execute("""CREATE FUNCTION public.wrapped(candidate uuid, secret text) RETURNS jsonb LANGUAGE plpgsql AS
                         $$ DECLARE r jsonb; BEGIN SELECT pii INTO r FROM identity.pii_resolve(candidate, 't.all', '{name,ssn}'); PERFORM secret; RETURN r; END $$""")
        subject = vault.subject(**PII)
    with vault.gateway() as conn:  # the wrapper's first call in its session
        psycopg.ClientCursor(conn).execute("SELECT wrapped(%s, %s)", (subject.id, "Zebedee as a literal"))
    with vault.gateway() as conn:
        client = psycopg.ClientCursor(conn)
        client.execute(REGISTER, ("t.all", Jsonb(PII), Jsonb({}), None))
        client.execute("SELECT * FROM " + RESOLVED + " WHERE pii->>'ssn' = %s", (subject.id, PII["ssn"]))
        client.execute("SELECT %s", ("Quux after a call",))
        conn.execute("SELECT * FROM " + RESOLVED + " WHERE pii->>'name' = %s", (subject.id, PII["name"]))
    written = log(vault.cluster)
    assert "seen_1" in written and "Query Text" in written, "auto_explain logs nothing"
    assert shown(written) == []
    assert re.search(r"duration: [\d.]+ ms \(statement hidden by identity_pgx\)", written)
