"""The round that unlocks, with everything that must keep the keys where they are."""

import base64
import json
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster import BINDIR, Cluster, run_as_owner, wait_until
from key_services import Answer, Refused, Worker, forms, secret
from unlocking import own, setting, shared  # noqa: F401

# -- functions that are not the extension's -------------------------------------

C = "LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on"
CHALLENGE = "identity.key_challenge(OUT public_key bytea, OUT epoch uuid, OUT system_identifier text) RETURNS record"
FAKES = {
    "plpgsql": (
        f"CREATE OR REPLACE FUNCTION {CHALLENGE} LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS "
        "$$ BEGIN public_key := '\\x{public}'; epoch := gen_random_uuid(); SELECT s.system_identifier::text INTO system_identifier FROM pg_control_system() s; END $$",
        f"CREATE OR REPLACE FUNCTION {CHALLENGE} {C} AS '$libdir/identity_pgx', 'key_challenge'",
    ),
    "another_library": (
        "UPDATE pg_proc SET probin = '/tmp/evil' WHERE proname = 'key_challenge'",
        "UPDATE pg_proc SET probin = '$libdir/identity_pgx' WHERE proname = 'key_challenge'",
    ),
    "another_symbol": (
        "UPDATE pg_proc SET prosrc = 'key_status' WHERE proname = 'key_load'",
        "UPDATE pg_proc SET prosrc = 'key_load' WHERE proname = 'key_load'",
    ),
    "search_path": (
        "ALTER FUNCTION identity.key_challenge() SET search_path = evil, pg_catalog",
        "ALTER FUNCTION identity.key_challenge() SET search_path = pg_catalog, pg_temp; ALTER FUNCTION identity.key_challenge() RESET row_security;"
        " ALTER FUNCTION identity.key_challenge() SET row_security = on",
    ),
    "one_setting_more": (
        "ALTER FUNCTION identity.key_load(text, int, bytea) SET session_replication_role = replica",
        "ALTER FUNCTION identity.key_load(text, int, bytea) RESET session_replication_role",
    ),
    "owner": (
        "ALTER FUNCTION identity.key_challenge() OWNER TO postgres",
        "ALTER FUNCTION identity.key_challenge() OWNER TO identity_keeper",
    ),
    "invoker": (
        "ALTER FUNCTION identity.key_load(text, int, bytea) SECURITY INVOKER",
        "ALTER FUNCTION identity.key_load(text, int, bytea) SECURITY DEFINER",
    ),
    "overload": (
        "CREATE FUNCTION identity.key_load(text, int, text) RETURNS void LANGUAGE sql AS ''",
        "DROP FUNCTION identity.key_load(text, int, text)",
    ),
    "overload_with_a_default": (
        "CREATE FUNCTION identity.key_status(x int DEFAULT 0) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION identity.key_status(int)",
    ),
    "gone": (
        "ALTER FUNCTION identity.key_challenge() RENAME TO key_challenge_old",
        "ALTER FUNCTION identity.key_challenge_old() RENAME TO key_challenge",
    ),
}


@pytest.mark.parametrize("fake", FAKES)
def test_a_superusers_own_function_gets_no_key(setting, fake):
    attack, repair = FAKES[fake]
    setting.wipe()
    before, asked = setting.loads(), len(setting.service.state.requests)
    admin = setting.cluster.connect()
    admin.execute("SET allow_system_table_mods = on")
    public = "09" + "00" * 31  # a point; its secret would be the attacker's
    admin.execute(attack.replace("{public}", public))
    try:
        if fake == "plpgsql":
            assert admin.execute("SELECT encode(public_key, 'hex') FROM identity.key_challenge()").fetchone() == (public,)
        assert "is not the extension's function: nothing is sent" in setting.refused_round("Untrue")
        assert setting.loads() == before
        assert len(setting.service.state.requests) == asked, "nor was a key unwrapped"
    finally:
        admin.execute(repair)
        admin.close()
    assert setting.round()["state"] == "was locked"


def test_a_function_that_is_replaced_and_put_back_meanwhile_gets_no_key(setting):
    """While the key service is asked, after the functions were looked at."""
    setting.wipe()
    before, attack = setting.loads(), FAKES["owner"]

    def meanwhile(request):
        if "/decrypt/" in request.path and not done:
            done.append(True)
            for statement in attack:
                setting.sql(statement)

    done = []
    setting.service.state.intercept = meanwhile
    assert "changed while they were called" in setting.refused_round("Untrue")
    assert done and setting.loads() == before


# -- another database -------------------------------------------------------------


def test_a_copy_of_the_database_elsewhere_gets_no_key(setting):
    """The same system identifier and the same tables, but another line of history: as a stolen backup that was recovered."""
    setting.sql("CHECKPOINT")
    copy = Cluster("copy", setting.settings | {"max_connections": "60"})
    shutil.rmtree(copy.data)
    run_as_owner(BINDIR / "pg_basebackup", "-h", setting.cluster.dir, "-U", "postgres", "-D", copy.data, "-c", "fast")
    try:
        copy.configure({"unix_socket_directories": f"'{copy.dir}'"})
        (copy.data / "standby.signal").touch()
        copy.start()
        assert "standby" in setting.refused_round("Unavailable", copy)
        with copy.connect(dbname="postgres") as admin:
            admin.execute("SELECT pg_promote(true)")
        text = setting.refused_round("Untrue", copy)
        assert "timeline 1 is known" in text and "timeline 2 is there" in text and "forget-database" in text
        assert "key_load" not in copy.log.read_text(errors="replace")
    finally:
        copy.destroy()
    assert setting.round() == {"state": "unlocked"}


def test_another_cluster_gets_no_key_until_a_person_says_so(setting):
    known = json.loads((setting.state / "unlock.json").read_text())
    (setting.state / "unlock.json").write_text(json.dumps(known | {"system_identifier": "1"}))
    setting.wipe()
    before = setting.loads()
    assert "is another one" in setting.refused_round("Untrue")
    (setting.state / "unlock.json").write_text("{")
    assert "is damaged" in setting.refused_round("Configuration")
    assert setting.loads() == before
    (setting.state / "unlock.json").unlink()
    assert setting.round()["state"] == "was locked"
    assert json.loads((setting.state / "unlock.json").read_text()) == known


def test_a_log_without_its_keyring_gets_no_new_keys(setting, own):
    own.unlocked().subject()
    own.wipe()
    own.sql("SET session_replication_role = replica; ALTER TABLE identity.keyring DISABLE TRIGGER ALL; DELETE FROM identity.keyring; ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER append_only; ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER forward_only")
    assert "role_conflict" in own.refused_round("Denied")
    assert own.sql("SELECT * FROM identity.keyring") == []


def test_development_keys_are_not_mixed_with_a_services(setting, fresh):
    cluster = fresh(setting.settings | {"identity_pgx.allow_dev_keys": "on"})
    with cluster.connect() as admin:
        admin.execute("CREATE ROLE t_anchor LOGIN IN ROLE identity_worker")
    (setting.state / "unlock.json").rename(setting.state / "kept")
    try:
        assert "provider development" in setting.refused_round("Configuration", cluster)
    finally:
        (setting.state / "kept").rename(setting.state / "unlock.json")


def test_a_server_that_does_not_know_our_public_key_gets_no_key(setting):
    setting.wipe()
    stranger = Worker(
        setting.directory,
        kek=setting.service.section(),
        unlock={"secret_key_file": secret(setting.directory / "stranger.key", secrets.token_hex(32)), "state_directory": setting.state},
    )
    with pytest.raises(Refused) as refused:
        stranger("round", setting.url())
    assert refused.value.kind == "Untrue" and "signature" in refused.value.text
    assert setting.sql("SELECT bool_or(loaded) FROM identity.key_status()") == [(False,)]


# -- a key service that is wrong ----------------------------------------------------


def unwraps_as(setting, change):
    def intercept(request):
        if "/decrypt/" not in request.path:
            return None
        return change(request)

    setting.service.state.intercept = intercept


def test_a_wrong_key_reaches_no_database(setting):
    setting.wipe()
    before = setting.loads()
    wrong = {"data": {"plaintext": base64.b64encode(secrets.token_bytes(32)).decode()}}
    unwraps_as(setting, lambda request: Answer(body=json.dumps(wrong).encode()))
    assert "is not the keyring's" in setting.refused_round("Untrue")
    assert setting.loads() == before
    assert not setting.health()


def test_a_key_of_another_version_or_kind_reaches_no_database(setting):
    setting.wipe()
    before, answers = setting.loads(), []

    def shifted(request):
        _, answer = setting.service.state.serve(request)
        answers.append(answer)
        return Answer(body=json.dumps(answers[-2] if len(answers) > 1 else answer).encode())

    unwraps_as(setting, shifted)
    assert "is not the keyring's" in setting.refused_round("Untrue")
    assert setting.loads() == before


def test_a_keyring_whose_rows_were_exchanged_unlocks_nothing(own):
    own.unlocked()
    own.wipe()
    own.sql(
        "SET session_replication_role = replica; ALTER TABLE identity.keyring DISABLE TRIGGER forward_only;"
        " UPDATE identity.keyring k SET wrapped = o.wrapped, check_value = o.check_value FROM identity.keyring o WHERE k.kind = 'dek' AND o.kind = 'chain';"
        " ALTER TABLE identity.keyring ENABLE ALWAYS TRIGGER forward_only"
    )
    assert "not wrapped by this key for this use" in own.refused_round("Untrue")
    assert not own.health()


def test_a_sealed_vault_keeps_a_locked_database_waiting(setting):
    setting.wipe()
    setting.service.state.sealed = True
    assert setting.refused_round("Unavailable") == "Vault is sealed"
    setting.service.state.sealed = False
    assert setting.round()["state"] == "was locked"


def test_an_unlocked_database_needs_no_key_service(setting):
    setting.round()
    asked = len(setting.service.state.requests)
    setting.service.state.sealed = True
    assert setting.round() == {"state": "unlocked"}
    assert len(setting.service.state.requests) == asked


# -- no secret anywhere ---------------------------------------------------------------


def test_no_key_and_no_token_is_in_any_log_wal_or_view(own):
    plain, transit = [], own.service.transit.call

    def watched(*arguments):
        answer = transit(*arguments)
        if answer and "plaintext" in answer:
            plain.append(base64.b64decode(answer["plaintext"]))
        return answer

    own.service.transit.call = watched
    vault = own.unlocked()
    vault.subject()
    own.wipe()
    own.round()
    own.worker("rewrap-all", own.url())
    activity = own.sql("SELECT string_agg(query, ' ') FROM pg_stat_activity")[0][0] or ""
    own.cluster.stop()
    own.worker.close()
    assert len(set(plain)) == 4
    log = own.worker.log.read_bytes()
    assert b"key_load(" in log and b"hyper" in log, "the log must hold what libraries say, or this proves nothing"
    words = [*forms(*set(plain), bytes.fromhex(own.key_file.read_text())), *own.service.secrets()]
    server_log = own.cluster.log.read_bytes()
    assert b"statement hidden by identity_pgx" in server_log
    for place, content in [("worker", log), ("server", server_log), ("view", activity.encode())]:
        assert not [word for word in words if word in content], place
    files = [file for file in own.cluster.data.rglob("*") if file.is_file()]
    assert any(file.parent.name == "pg_wal" for file in files)
    for file in files:
        content = file.read_bytes()
        assert not [word for word in words if word in content], file
    assert not [word for file in own.state.iterdir() for word in words if word in file.read_bytes()]


def test_an_unlocking_that_is_cut_off_leaves_no_database_locked(setting):
    """Every key has arrived by then, and none may be used: the next round must not take that for unlocked."""
    setting.wipe()
    with setting.cluster.connect() as admin, ThreadPoolExecutor(1) as pool:
        with admin.transaction():
            admin.execute("LOCK TABLE identity.key_history")
            round_under_way = pool.submit(setting.round)
            waiting = "SELECT pid FROM pg_stat_activity WHERE usename = 't_anchor' AND wait_event_type = 'Lock'"
            ((pid,),) = wait_until(lambda: setting.sql(waiting), "the last key to wait")
            assert setting.sql("SELECT bool_and(loaded AND state = 'locked') FROM identity.key_status()") == [(True,)]
            setting.sql("SELECT pg_terminate_backend(%s, 5000)", pid)
            with pytest.raises(Refused):
                round_under_way.result()
    assert not setting.health()
    assert setting.round()["state"] == "was locked"
    wait_until(setting.health, "the vault to be well")
    setting.vault.verify()
