"""Memory, roles and the server log: defences that are noticed only when one looks for them alone."""
import resource
from pathlib import Path

import psycopg
import pytest

from erasure import erase
from test_canary import memory_of
from test_keys import key
from vault import CLOUD, ONBOX, Vault, read, reason_of, refused, refused_read


def test_server_started_with_core_dumps_allowed_allows_none(fresh):
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("nothing to forbid: core dumps are forbidden for this whole run")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        cluster = fresh(install=False)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    with cluster.connect() as conn:
        for pid in (cluster.pid(), conn.info.backend_pid):
            limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file size"))
            assert limit.split()[4:6] == ["0", "0"], limit


def test_wiped_keys_are_gone_from_memory(fresh):
    vault = Vault(fresh())
    try:
        before = memory_of(vault.cluster.pid())
    except PermissionError:
        pytest.skip("an ordinary user may not look, where the kernel forbids it")
    assert all(key(kind) in before for kind in ("dek", "chain")), "the search does not reach the key region"
    vault.sql("SELECT identity.key_wipe_all()")
    after = memory_of(vault.cluster.pid())
    assert not [kind for kind in ("dek", "chain") if key(kind) in after]


def test_keys_are_loaded_by_workers_and_superusers_only_whatever_is_granted(vault):
    role = vault.login(*CLOUD, "identity_dba")
    vault.sql(f"GRANT EXECUTE ON FUNCTION identity.dev_unlock() TO {role}")
    with vault.connect(role) as conn:
        refused(conn, "SELECT identity.dev_unlock()", None, "42501", "role_conflict")
    vault.leaves(role, denied=1)


def test_many_verticals_never_spill_to_a_file(vault, gateway):
    subject = vault.subject()
    gateway.execute("SET work_mem = '64kB'")
    query = "SELECT count(*) FROM identity.pii_vertical_many(%s)"
    refused(gateway, query, ([subject.id] * 1000,), "22023", "too_many")
    spilled = "SELECT temp_files FROM pg_stat_database WHERE datname = 'identity'"
    before = vault.sql(spilled)
    gateway.execute(query, ([subject.id] * 200,))
    gateway.execute("SELECT pg_stat_force_next_flush()")
    gateway.execute("SELECT 1")
    assert vault.sql(spilled) == before


def test_version_that_is_not_yet_in_effect_decides_nothing(fresh):
    vault = Vault(fresh())  # its own: such a version is on no chain, and the verifier says so from then on
    subject, purpose, gateway = vault.subject(), vault.purpose(fields=["name"]), vault.gateway()
    vault.sql("""INSERT INTO identity.purpose_versions SELECT (jsonb_populate_record(v, jsonb_build_object(
                   'version', 2, 'allowed_fields', ARRAY['name', 'ssn'], 'effective_at', now() + interval '1 day', 'superseded_at', now() + interval '2 days'))).*
                 FROM identity.purpose_versions v WHERE purpose_token = %s""", (purpose,))
    refused_read(gateway, subject, "42501", "field_not_allowed", purpose, ["ssn"])
    read(gateway, subject, purpose)
    assert vault.leaves(gateway, committed=1, denied=1)[-1]["purpose_version"] == 1


def test_erased_subject_has_no_vertical(vault, gateway):
    subject = vault.subject()
    erase(vault, subject)
    refused(gateway, "SELECT * FROM identity.pii_vertical(%s)", (subject.id,), "P0002", "subject_erased")
    vault.leaves(gateway, denied=1)


MALFORMED = [
    ("SELECT identity.pii_register('t.all', %s::text::jsonb)", '{"ssn": %s'),
    ("SELECT identity.pii_register('t.all', %s::jsonb)", '{"ssn": "x", %s}'),
    ("SELECT * FROM identity.pii_resolve(%s::text::uuid, 't.all', '{name}')", "%s"),
    ("SELECT * FROM identity.pii_resolve('0190a000-0000-7000-8000-000000000000', 't.all', %s::text::text[])", '{"%s'),
]


@pytest.mark.parametrize("query, value", MALFORMED, ids=["json", "json_parameter", "uuid", "array"])
def test_what_postgresql_cannot_read_is_not_in_the_server_log(vault, gateway, query, value):
    """PostgreSQL quotes the input it cannot read in MESSAGE, DETAIL and CONTEXT."""
    secret = "Canary" + gateway.info.user.replace("_", "") + "Malformed"
    with pytest.raises(psycopg.DataError) as caught:
        gateway.execute(query, (value.replace("%s", secret),))
    assert caught.value.sqlstate[:2] == "22"
    assert secret not in vault.cluster.log.read_text()


@pytest.mark.parametrize("statement", [
    "SELECT identity.pii_register('t.contact', '{\"ssn\": \"%s\"}')",
    "SELECT identity.pii_register('t.all', '[\"%s\"]')",
    "SELECT identity.pii_resolve('0190a000-0000-7000-8000-000000000000', '%s', '{name}')",
    "SELECT identity.pii_nonsense('%s')",
    "SELECT identity.pii_register('t.all', '{\"ssn\": %s')",
    "SELECT '%s'::int, identity.pii_vertical('0190a000-0000-7000-8000-000000000000')",
], ids=["refused", "bad", "purpose", "no_such_function", "json", "integer"])
def test_a_literal_in_a_statement_that_fails_is_not_in_the_server_log(vault, gateway, statement):
    """STATEMENT comes with every ERROR at default settings."""
    secret = "Canary" + gateway.info.user.replace("_", "") + "Literal"
    with pytest.raises(psycopg.Error):
        gateway.execute(statement % secret)
    assert secret not in vault.cluster.log.read_text()


def test_extension_made_anew_under_a_running_server_begins_its_lanes_anew(fresh):
    """Shared memory remembers the heads of lanes that are no more."""
    vault = Vault(fresh())
    with vault.gateway() as gateway:
        for _ in range(3):
            read(gateway, vault.subject())
        vault.sql("DROP EXTENSION identity_pgx CASCADE")
        vault.sql("DROP SCHEMA IF EXISTS identity CASCADE")
        vault.sql("CREATE EXTENSION identity_pgx")
        vault.sql("SELECT identity.initialize()")
        with pytest.raises(psycopg.Error) as caught:
            vault.subject()
        assert reason_of(caught.value) == ("55000", "locked")
        vault.cluster.unlock()
        vault.purpose("t.all", ["name", "ssn"])
        read(gateway, vault.subject())
        assert vault.sql("SELECT count(*) AS n FROM identity.pii_access_log WHERE seq > 100") == [{"n": 0}]
    vault.verify()


def test_a_wrapper_that_does_not_name_us_is_hidden_once_it_has_reached_us(vault):
    """Its first call is the case that docs/limits.md leaves open; from then on the session is known."""
    role = vault.login(*ONBOX)
    vault.sql(f"ALTER ROLE {role} SET log_min_duration_statement = 0")
    secret = f"Canary{role[2:]}Wrapped"
    with vault.connect(role) as conn:
        conn.execute("""CREATE FUNCTION pg_temp.put(value text) RETURNS uuid LANGUAGE plpgsql AS $$
                        BEGIN RETURN identity.pii_register('t.all', jsonb_build_object('name', value)); END $$""")
        conn.execute("SELECT pg_temp.put(%s)", ("warm",))
        conn.execute("SELECT pg_temp.put(%s)", (secret,))
        conn.execute(f"SELECT pg_temp.put('{secret}')")
        conn.execute(f"SELECT '{secret}'")
    log = vault.cluster.log.read_text()
    assert role in log, "the log is not as chatty as the test believes"
    assert secret not in log
