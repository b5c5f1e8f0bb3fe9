"""`identityctl verify database`: an outside tool that reads every row, against somebody who owns the server."""

import subprocess
import time
from pathlib import Path

import pytest

from audited import AUDITOR, audit, audit_login, audited, found, intruder, signed, url
from cluster import Cluster
from identityctl import BARE, PROGRAM, ends, lines, run, shown
from ledger import many_rows, seal, some_rows
from tlog import Signer

CHECKS = ["tables", "chain", "seals", "tree", "anchors", "clock", "unsealed", "count"]


@pytest.fixture(scope="module")
def vault(request):
    cluster = Cluster("o")
    request.addfinalizer(cluster.destroy)
    return audited(cluster.start().install())


def test_a_good_database_is_good(vault):
    answer = audit(vault)
    assert answer["exit"] == 0, shown(answer)
    assert [line["check"] for line in answer["checks"] if line["state"] == "good"] == CHECKS
    (note,) = lines(answer, "note")
    assert note.startswith("checkpoint: none was given")
    rows = vault.sql("SELECT count(*) AS n FROM identity.pii_access_log")[0]["n"]
    assert f"count: {rows} rows, by index and without" in lines(answer, "good")


def test_a_signed_checkpoint_of_now_and_one_of_before(vault, tmp_path):
    arguments = signed(vault, tmp_path)
    for _ in range(2):
        answer = audit(vault, *arguments)
        assert answer["exit"] == 0, shown(answer)
        assert any(f"checkpoint: the first {vault.size} of" in line for line in lines(answer, "good"))
        assert any("DEVELOPMENT" in line for line in lines(answer, "note"))
        some_rows(vault)
        seal(vault)


def test_it_leaves_no_row_and_changes_nothing(vault):
    before = vault.sql("SELECT count(*) AS n FROM identity.pii_access_log")
    ends(0, audit(vault))
    assert vault.sql("SELECT count(*) AS n FROM identity.pii_access_log") == before


LOG = {
    "a column": "UPDATE {log} SET candidate_id = gen_random_uuid() WHERE access_id = {id}",
    "a moment": "UPDATE {log} SET accessed_at = accessed_at + interval '1 microsecond' WHERE access_id = {id}",
    "an outcome": "UPDATE {log} SET outcome = 'denied' WHERE access_id = {id}",
    "a word that is none": "UPDATE {log} SET zone = 'moon' WHERE access_id = {id}",
    "a kind": "UPDATE {log} SET chain_kind = 'merkle' WHERE access_id = {id}",
    "a key version": "UPDATE {log} SET chain_version = 7 WHERE access_id = {id}",
    "a negative key version": "UPDATE {log} SET chain_version = -1 WHERE access_id = {id}",
    "a MAC of a head": "UPDATE {log} SET integrity_hash = sha256('x') WHERE access_id IN (SELECT lane::bigint << 48 | seq FROM identity.ledger_heads WHERE cut = 2)",
    "a lane": "UPDATE {log} SET lane = -1 WHERE access_id = {id}",
    "a negative id": "UPDATE {log} SET access_id = -access_id WHERE access_id = {id}",
    "a number beyond": "UPDATE {log} SET repeats = -1 WHERE access_id = {id}",
    "an infinite moment": "UPDATE {log} SET accessed_at = 'infinity' WHERE access_id = {id}",
    "a row deleted": "DELETE FROM {log} WHERE access_id = {id} - 1",
    "the end of a lane": "DELETE FROM {log} WHERE access_id = {id}",
    "two rows exchanged": "UPDATE {log} AS l SET candidate_id = o.candidate_id, accessed_at = o.accessed_at FROM {log} AS o "
    "WHERE (l.access_id, o.access_id) IN (({id}, {id} - 1), ({id} - 1, {id}))",
    "everything": "DELETE FROM {log}",
}


@pytest.mark.parametrize("change", LOG.values(), ids=LOG.keys())
def test_a_changed_log_is_found(vault, change):
    with intruder(vault) as sql:
        if "infinity" in change:
            sql(f"ALTER TABLE identity.pii_access_log DETACH PARTITION {vault.month}")
        try:
            sql(change.format(log=vault.month, id=vault.ids[-1]))
            answer = audit(vault)
        finally:
            if "infinity" in change:
                sql(f"TRUNCATE {vault.month}")
                sql(f"ALTER TABLE identity.pii_access_log ATTACH PARTITION {vault.month} FOR VALUES FROM {month(vault)}")
    assert answer["exit"] == 1 and {"chain", "seals", "count"} & found(answer), shown(answer)
    ends(0, audit(vault))


def month(vault) -> str:
    first = vault.month[-7:].replace("y", "").replace("m", "-") + "-01"
    next_month = vault.sql(f"SELECT (date '{first}' + interval '1 month')::date::text AS d")[0]["d"]
    return f"('{first} 00:00:00+00') TO ('{next_month} 00:00:00+00')"


def test_it_names_the_row_that_was_changed(vault):
    with intruder(vault) as sql:
        sql(f"UPDATE {vault.month} SET repeats = 2 WHERE access_id = {vault.ids[2]}")
        answer = audit(vault)
    assert answer["findings"] == 1 and f"(access_id {vault.ids[2]})" in lines(answer, "bad")[0], shown(answer)


def test_a_row_put_among_the_sealed_ones_is_found(vault):
    with intruder(vault) as sql:
        sql(f"DELETE FROM {vault.month} WHERE access_id = {vault.ids[2]}")
        seal(vault)
        answer = audit(vault)
        assert "seals" in found(answer), shown(answer)
    with intruder(vault) as sql:
        sql(f"ALTER TABLE {vault.month} DROP CONSTRAINT {vault.month.split('.')[1]}_pkey")
        try:
            sql(f"INSERT INTO {vault.month} SELECT * FROM {vault.month} WHERE access_id = {vault.ids[2]}")
            answer = audit(vault)
        finally:
            sql(f"TRUNCATE {vault.month}")
            sql(f"ALTER TABLE {vault.month} ADD PRIMARY KEY (access_id)")
    assert "chain" in found(answer), shown(answer)
    ends(0, audit(vault))


LEDGER = {
    "a hash in a tile": "UPDATE identity.ledger_tiles SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE (batch, level, tile) = (1, 0, 1)",
    "an id in a tile": "UPDATE identity.ledger_tiles SET access_ids[2] = access_ids[2] + 1 WHERE (batch, level, tile) = (1, 0, 1)",
    "a tile gone": "DELETE FROM identity.ledger_tiles WHERE (batch, level, tile) = (1, 0, 1)",
    "an upper tile": "UPDATE identity.ledger_tiles SET hashes = sha256('x') WHERE (batch, level) = (1, 1)",
    "a tile more": "INSERT INTO identity.ledger_tiles SELECT batch, level, tile + 100, access_ids, hashes FROM identity.ledger_tiles WHERE batch = 1 AND level = 0 LIMIT 1",
    "a giant tile": "UPDATE identity.ledger_tiles SET access_ids = array_fill(7::bigint, '{100000}'), hashes = convert_to(repeat('x', 2000000), 'UTF8') WHERE (batch, level, tile) = (1, 0, 1)",
    "an empty tile": "UPDATE identity.ledger_tiles SET access_ids = '{}', hashes = '' WHERE (batch, level, tile) = (1, 0, 1)",
    "a tile with a NULL": "UPDATE identity.ledger_tiles SET access_ids[2] = NULL WHERE (batch, level, tile) = (1, 0, 1)",
    "a tile in two dimensions": "UPDATE identity.ledger_tiles SET access_ids = ARRAY[access_ids, access_ids] WHERE (batch, level, tile) = (1, 0, 1)",
    "a negative tile": "UPDATE identity.ledger_tiles SET tile = -1 WHERE (batch, level, tile) = (1, 0, 1)",
    "a seal's text": "UPDATE identity.ledger_seals SET leaf = replace(leaf, 'development', 'production') WHERE batch = 2",
    "a seal's text that is none": "UPDATE identity.ledger_seals SET leaf = '' WHERE batch = 2",
    "a giant text": "UPDATE identity.ledger_seals SET leaf = repeat('x', 1000000) WHERE batch = 2",
    "a seal's rows": "UPDATE identity.ledger_seals SET batch_rows = batch_rows - 1 WHERE batch = 2",
    "negative rows": "UPDATE identity.ledger_seals SET batch_rows = -1 WHERE batch = 2",
    "a seal's root": "UPDATE identity.ledger_seals SET batch_root = sha256('x') WHERE batch = 2",
    "a root that is none": "UPDATE identity.ledger_seals SET batch_root = '' WHERE batch = 2",
    "a seal's month": "UPDATE identity.ledger_seals SET partition = '1999-01' WHERE batch = 2",
    "a seal gone": "DELETE FROM identity.ledger_seals WHERE batch = 2",
    "a seal of another cut": "UPDATE identity.ledger_seals SET cut = 9223372036854775807 WHERE batch = 2",
    "a negative cut": "UPDATE identity.ledger_seals SET cut = -1 WHERE batch = 2",
    "a head gone": "DELETE FROM identity.ledger_heads WHERE cut = 2",
    "a head's MAC": "UPDATE identity.ledger_heads SET mac = sha256('x') WHERE cut = 2",
    "a head that is none": "UPDATE identity.ledger_heads SET mac = '' WHERE cut = 2",
    "a head in another lane": "UPDATE identity.ledger_heads SET lane = -lane - 1 WHERE cut = 2",
    "a head beyond": "UPDATE identity.ledger_heads SET seq = 9223372036854775807 WHERE (cut, lane) = (2, (SELECT max(lane) FROM identity.ledger_heads WHERE cut = 2))",
    "a leaf gone": "DELETE FROM identity.ledger_leaves WHERE leaf_index = 0",
    "a leaf more": "INSERT INTO identity.ledger_leaves VALUES (1000000, 7)",
    "a leaf of another row": "UPDATE identity.ledger_leaves SET access_id = access_id + 1000 WHERE leaf_index = 0",
    "a node": "UPDATE identity.ledger_nodes SET hash = sha256('x') WHERE (level, index) = (0, 0)",
    "an upper node": "UPDATE identity.ledger_nodes SET hash = sha256('x') WHERE (level, index) = (2, 0)",
    "a node that is none": "UPDATE identity.ledger_nodes SET hash = '' WHERE (level, index) = (1, 0)",
    "a node gone": "DELETE FROM identity.ledger_nodes WHERE (level, index) = (1, 0)",
    "a node beyond": "INSERT INTO identity.ledger_nodes VALUES (3, 1000, sha256('x'))",
    "the tree rolled back": "DELETE FROM identity.ledger_nodes; DELETE FROM identity.ledger_leaves; DELETE FROM identity.ledger_seals; "
    "DELETE FROM identity.ledger_tiles",
    "an anchor that never was": "INSERT INTO identity.anchor_commits VALUES (1, 'merkle', now(), 1, sha256('x'), 's3://x', now(), 'v', 3, 'x')",
    "an anchor beyond": "INSERT INTO identity.anchor_commits VALUES (1, 'merkle', now(), 1, sha256('x'), 's3://x', now(), 'v', 99999, 'x')",
    "a giant anchor": "INSERT INTO identity.anchor_commits VALUES (1, 'merkle', now(), 1, sha256('x'), 's3://x', now(), 'v', 3, repeat('x', 3000000))",
    "a month that never expired": "INSERT INTO identity.ledger_expired VALUES (to_char(now(), 'YYYY-MM'), 1, 1, 1, 1, now())",
}


@pytest.mark.parametrize("change", LEDGER.values(), ids=LEDGER.keys())
def test_a_changed_ledger_is_found(vault, change):
    with intruder(vault) as sql:
        for statement in change.split("; "):
            sql(statement)
        answer = audit(vault)
    assert answer["exit"] == 1 and lines(answer, "bad"), shown(answer)
    assert not lines(answer, "unchecked"), shown(answer)
    ends(0, audit(vault))


GIANTS = {
    "a tile": "UPDATE identity.ledger_tiles SET hashes = convert_to(repeat('x', 5000000), 'UTF8') WHERE (batch, level, tile) = (1, 0, 1)",
    "an anchor": "INSERT INTO identity.anchor_commits VALUES (1, 'merkle', now(), 1, sha256('x'), 's3://x', now(), 'v', 3, repeat('x', 5000000))",
    "a row": "UPDATE {log} SET application_name = repeat('x', 200000000) WHERE access_id = {id}",
}


@pytest.mark.parametrize("change", GIANTS.values(), ids=GIANTS.keys())
def test_a_giant_value_is_not_taken_in(vault, change):
    """It is neither good nor held in memory: the audit ends, and says that it could not look."""
    with intruder(vault) as sql:
        sql(change.format(log=vault.month, id=vault.ids[2]))
        answer = audit(vault)
        assert answer["exit"] == 2 and any("too large" in line for line in lines(answer, "unchecked")), shown(answer)
        assert peak_memory(vault) < 64 << 10
    ends(0, audit(vault))


def peak_memory(vault) -> int:
    """The most that the process held at once, in kB, as the kernel last told."""
    child = subprocess.Popen([PROGRAM, "verify", "database", url(vault)], env=BARE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.001)
    assert peak
    return peak


SHAPES = {
    "a view": ("ALTER TABLE {0} RENAME TO real; CREATE VIEW {0} AS TABLE identity.real; ALTER VIEW {0} OWNER TO identity_owner", "DROP VIEW {0}; ALTER TABLE identity.real RENAME TO anchor_commits", 1),
    "a table of tables": ("ALTER TABLE {0} RENAME TO real; CREATE TABLE {0} (LIKE identity.real) PARTITION BY LIST (tree_size); ALTER TABLE {0} OWNER TO identity_owner", "DROP TABLE {0}; ALTER TABLE identity.real RENAME TO anchor_commits", 1),
    "a table that a crash empties": ("ALTER TABLE {0} RENAME TO real; CREATE UNLOGGED TABLE {0} (LIKE identity.real); ALTER TABLE {0} OWNER TO identity_owner", "DROP TABLE {0}; ALTER TABLE identity.real RENAME TO anchor_commits", 1),
    "a table with a rule": ("CREATE RULE r AS ON INSERT TO {0} DO INSTEAD NOTHING", "DROP RULE r ON {0}", 1),
    "not there": ("ALTER TABLE {0} RENAME TO real", "ALTER TABLE identity.real RENAME TO anchor_commits", 1),
    "another owner": ("ALTER TABLE {0} OWNER TO postgres", "ALTER TABLE {0} OWNER TO identity_owner", 1),
    "another type": ("ALTER TABLE {0} ALTER COLUMN checkpoint TYPE varchar", "ALTER TABLE {0} ALTER COLUMN checkpoint TYPE text", 2),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_what_stands_in_the_place_of_a_table_is_not_read(vault, shape):
    there, back, exit_code = shape
    for statement in there.format("identity.anchor_commits").split("; "):
        vault.sql(statement)
    vault.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA identity TO {AUDITOR}")
    try:
        answer = audit(vault)
    finally:
        for statement in back.format("identity.anchor_commits").split("; "):
            vault.sql(statement)
        vault.sql(f"DROP OWNED BY {AUDITOR}; DROP ROLE {AUDITOR}")
        audit_login(vault)
    ends(exit_code, answer)
    assert "seals" not in [line["check"] for line in answer["checks"]], shown(answer)
    ends(0, audit(vault))


def test_tables_of_the_same_name_elsewhere_are_not_read(vault):
    """A search_path of the intruder's, set for the login, and functions and operators that say yes."""
    for statement in (
        "CREATE SCHEMA trap",
        "CREATE VIEW trap.pii_access_log AS SELECT * FROM identity.pii_access_log LIMIT 0",
        "CREATE FUNCTION trap.count() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "CREATE FUNCTION trap.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR trap.>= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.always)",
        f"GRANT ALL ON SCHEMA trap TO {AUDITOR}",
        f"ALTER ROLE {AUDITOR} SET search_path = trap, identity, pg_catalog",
        f"ALTER ROLE {AUDITOR} SET row_security = on",
    ):
        vault.sql(statement)
    try:
        with intruder(vault) as sql:
            ends(0, audit(vault))
            sql(f"UPDATE {vault.month} SET repeats = 2 WHERE access_id = {vault.ids[2]}")
            ends(1, audit(vault))
    finally:
        vault.sql("DROP SCHEMA trap CASCADE")
        vault.sql(f"ALTER ROLE {AUDITOR} RESET ALL")


def test_a_log_whose_rows_are_hidden_is_no_empty_log(vault):
    """Without BYPASSRLS policies hide every row: an empty log would be a good one, so that must be an error."""
    hidden = audit_login(vault, "t_hidden", hidden=True)
    ends(2, audit(vault, user=hidden))
    vault.sql(f"CREATE POLICY shown ON identity.installation FOR SELECT TO {hidden} USING (true)")
    try:
        answer = audit(vault, user=hidden)
        ends(2, answer)
        assert any("42501" in line and "BYPASSRLS" in line for line in lines(answer, "unchecked")), shown(answer)
    finally:
        vault.sql("DROP POLICY shown ON identity.installation")


def test_an_index_that_hides_a_row_is_found(vault):
    """The index forgets a row that the table has: reads by index do not see it."""
    with intruder(vault) as sql:
        sql("SET allow_system_table_mods = on")
        name = vault.sql(f"SELECT conname FROM pg_constraint WHERE conrelid = '{vault.month}'::regclass AND contype = 'p'")[0]["conname"]
        sql(f"ALTER TABLE {vault.month} DROP CONSTRAINT {name}")
        try:
            sql(f"CREATE UNIQUE INDEX {name} ON {vault.month} (access_id) WHERE access_id <> {vault.waiting[-1]}")
            # A partial index that says it is whole.
            sql(f"UPDATE pg_index SET indpred = NULL WHERE indexrelid = 'identity.{name}'::regclass")
            sql("ALTER SYSTEM SET enable_seqscan = off")
            vault.cluster.reload()
            answer = audit(vault)
        finally:
            sql("ALTER SYSTEM RESET enable_seqscan")
            vault.cluster.reload()
            sql(f"DROP INDEX identity.{name}")
            sql(f"ALTER TABLE {vault.month} ADD CONSTRAINT {name} PRIMARY KEY (access_id)")
            sql("RESET allow_system_table_mods")
    assert "count" in found(answer), shown(answer)
    ends(0, audit(vault))


def test_a_history_rewritten_as_a_whole_is_shown_by_the_checkpoint_alone(vault, tmp_path):
    """The intruder edits a row, throws the ledger away and seals anew: nothing inside contradicts anything."""
    arguments = signed(vault, tmp_path)
    with intruder(vault) as sql:
        sql(f"UPDATE {vault.month} SET repeats = 2 WHERE access_id = {vault.ids[2]}")
        for table in ("seals", "heads", "tiles", "leaves", "nodes"):
            sql(f"TRUNCATE identity.ledger_{table}")
        seal(vault)
        ends(0, audit(vault))
        answer = audit(vault, *arguments)
        assert found(answer) == {"checkpoint"}, shown(answer)
    ends(0, audit(vault, *arguments))


def test_a_checkpoint_that_says_something_else_is_noticed(vault, tmp_path):
    origin = signed(vault, tmp_path, change=lambda body: body.replace("DEVELOPMENT/", ""))
    larger = signed(vault, tmp_path, change=lambda body: body.replace("\n", "\n1", 1))
    root = signed(vault, tmp_path, change=lambda body: "\n".join([*body.split("\n")[:2], "A" * 43 + "=", ""]))
    other = signed(vault, tmp_path, change=lambda body: body.replace(body.split("\n")[0], "identity_pgx/" + "0" * 8 + "-0000-4000-8000-" + "0" * 12))
    for arguments, said in ((larger, "rolled back"), (root, "rewritten"), (other, "another log")):
        answer = audit(vault, *arguments)
        assert found(answer) == {"checkpoint"} and said in lines(answer, "bad")[0], shown(answer)
    ends(0, audit(vault, *origin))


def test_a_checkpoint_that_is_not_accepted_stops_before_the_database(vault, tmp_path):
    good = signed(vault, tmp_path)
    wrong_key = [*good[:3], Signer(good[3].split("+")[0], b"\x09" * 32).vkey]
    spoiled = tmp_path / "spoiled"
    spoiled.write_text(good[1].read_text().replace("\n", "\n1", 1))
    for arguments, exit_code in (
        (wrong_key, 2),
        (["--checkpoint", tmp_path / "missing", *good[2:]], 2),
        (["--checkpoint", "/dev/zero", *good[2:]], 2),
        (["--checkpoint", spoiled, *good[2:]], 1),
    ):
        answer = audit(vault, *arguments)
        assert answer["exit"] == exit_code and not lines(answer, "good"), shown(answer)


def test_locked_keys_and_a_database_without_a_vault_could_not_be_checked(vault):
    answer = audit(vault, dbname="postgres")
    assert answer["exit"] == 2 and not lines(answer, "good"), shown(answer)
    vault.sql("SELECT identity.key_wipe_all()")
    try:
        answer = audit(vault)
        assert answer["exit"] == 2, shown(answer)
    finally:
        vault.cluster.unlock()
    ends(0, audit(vault))


@pytest.mark.long
def test_a_million_rows_take_no_more_memory_than_ten_thousand(fresh):
    vault = audited(fresh())
    many_rows(vault, 10_000)
    seal(vault)
    before = peak_memory(vault)
    many_rows(vault, 1_000_000)
    seal(vault)
    after = peak_memory(vault)
    ends(0, audit(vault))
    assert after < before + (32 << 10), (before, after)


def test_a_server_that_is_not_there(vault, tmp_path):
    for options in ({"host": "/nonexistent"}, {"host": "127.0.0.1", "port": 1, "sslmode": "disable"}, {"user": "nobody_there"}):
        answer = audit(vault, **options)
        assert answer["exit"] == 2 and not lines(answer, "good"), shown(answer)
    done = run("verify", "database", "host=/a,/b")
    assert done.returncode == 2 and "name one server" in done.stdout


def test_variables_say_where_to_connect_and_a_pipe_has_no_colours_or_progress(vault):
    environment = {"PGHOST": str(vault.cluster.dir), "PGPORT": str(vault.cluster.port), "PGUSER": AUDITOR, "PGDATABASE": "identity"}
    done = run("verify", "database", environment=environment)
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1] == "Everything that was checked is as it should be."
    assert url(vault)
