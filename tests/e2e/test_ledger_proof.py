"""Proofs: every sealed row can be shown to be in the tree, by a program that trusts none of it; nothing else can."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import formats
from ledger import checkpoint, many_rows, seal, some_rows
from ledger_tree import Checkpoint, TreeProof, consistent, proven, recomputed, root, row_salt, sha256
from vault import Vault, read, refused

PROOF = "SELECT identity.ledger_proof(%s)"
ROWS = "SELECT * FROM identity.pii_access_log ORDER BY access_id"
MOST_BYTES = 8192


@pytest.fixture
def auditor(sealed):
    with sealed.connect(sealed.auditor) as conn:
        yield conn


def prove(conn, access_id: int) -> dict:
    return conn.execute(PROOF, (access_id,)).fetchone()[0]


def rows(vault) -> dict[int, dict]:
    return {row["access_id"]: row for row in vault.sql(ROWS)}


def test_every_row_is_proven_from_its_batch_to_the_root(sealed, auditor):
    for n in (1, 270, 40):
        some_rows(sealed, n)
        seal(sealed)
    tree, kinds = checkpoint(sealed), set()
    log = rows(sealed)
    assert len(log) > 300
    for access_id, row in log.items():
        proof = prove(auditor, access_id)
        assert proven(proof, row, tree) and len(json.dumps(proof)) < MOST_BYTES
        assert ("batch" in proof) == (row["chain_kind"] == "hmac")
        kinds.add(row["chain_kind"])
    assert kinds == {"hmac", "merkle"}


def test_a_proof_of_another_row_or_of_a_changed_one_does_not_hold(sealed, auditor):
    """The verifier above is one that can say no."""
    ids = some_rows(sealed, 3)
    seal(sealed)
    log, tree = rows(sealed), checkpoint(sealed)
    proof, row = prove(auditor, ids[0]), log[ids[0]]
    assert proven(proof, row, tree)
    assert not proven(proof, row | {"purpose_token": "x"}, tree)
    assert not proven(proof, row, Checkpoint(tree.origin, tree.size, sha256(tree.root)))
    other = prove(auditor, ids[1])
    assert not proven(other | {"access_id": proof["access_id"]}, row, tree)
    for place in ("index", "rows"):
        assert not proven(proof | {"batch": proof["batch"] | {place: "2000"}}, row, tree)
    assert not proven(proof | {"batch": proof["batch"] | {"path": proof["batch"]["path"][1:]}}, row, tree)
    altered = proof["batch"]["seal_leaf"].replace('"timeline":"1"', '"timeline":"2"')
    assert not proven(proof | {"batch": proof["batch"] | {"seal_leaf": altered}}, row, tree)


def test_a_proof_tells_nothing_of_its_row(sealed, auditor):
    """Who may not read the row learns a hash and a salt, and nothing that the row says."""
    (access_id,) = some_rows(sealed, 1)
    seal(sealed)
    row, proof = rows(sealed)[access_id], json.dumps(prove(auditor, access_id))
    assert formats.leaf(row).decode() not in proof
    for word in (str(row["candidate_id"]), row["accessor_role"], row["purpose_token"], "outcome"):
        assert word not in proof


def test_every_size_is_consistent_with_every_later_one(sealed, auditor):
    for n in (1, 2, 5, 1, 30):
        some_rows(sealed, n)
        seal(sealed)
    tree = recomputed(sealed)
    sizes = [*range(min(12, len(tree))), *range(len(tree) - 6, len(tree) + 1)]
    roots = {size: root(tree[:size]) for size in sizes}
    for old in sizes:
        for new in (size for size in sizes if size >= old):
            path = auditor.execute("SELECT identity.ledger_consistency(%s, %s)", (old, new)).fetchone()[0]
            assert consistent(old, new, path, roots[old], roots[new])
            if path:
                assert not consistent(old, new, path, sha256(roots[old]), roots[new])
                assert not consistent(old, new, path[:-1], roots[old], roots[new])


def test_proofs_of_a_tree_that_has_grown_since_hold_in_what_it_was(sealed, auditor):
    ids = some_rows(sealed, 4)
    seal(sealed)
    before = prove(auditor, ids[0])
    some_rows(sealed, 4)
    seal(sealed)
    after, row = prove(auditor, ids[0]), rows(sealed)[ids[0]]
    assert TreeProof.parse(after["proof"]).tree().size > TreeProof.parse(before["proof"]).tree().size
    assert proven(before, row) and proven(after, row, checkpoint(sealed))


# -- refusals ----------------------------------------------------------------
def test_an_unsealed_row_is_not_proven(sealed, auditor):
    subject = sealed.subject()
    seal(sealed)
    with sealed.gateway() as gateway:
        access_id = read(gateway, subject)
        refused(auditor, PROOF, (access_id,), "55000", "not_sealed")
        seal(sealed)
        assert proven(prove(auditor, access_id), rows(sealed)[access_id])
        with gateway.transaction(force_rollback=True):
            refused(auditor, PROOF, (read(gateway, subject),), "22023", "bad_argument")


@pytest.mark.parametrize("access_id", [0, -1, 1 << 62, -(1 << 63), (1 << 63) - 1, 5 << 48])
def test_an_unknown_row_is_not_proven(sealed, auditor, access_id):
    refused(auditor, PROOF, (access_id,), "22023", "bad_argument")


def test_nulls_and_impossible_sizes_are_refused(sealed, auditor):
    size, _ = seal(sealed)
    refused(auditor, "SELECT identity.ledger_proof(NULL)", None, "22004", "null_argument")
    for call in ("ledger_consistency(NULL, 1)", "ledger_consistency(0, NULL)", "ledger_salts(NULL, 1)", "ledger_salts('{NULL}', 1)", "ledger_salts('{1}', NULL)"):
        refused(auditor, f"SELECT identity.{call}", None, "22004", "null_argument")
    for old, new in ((-1, 1), (0, -1), (2, 1), (0, size + 1), (size + 1, size + 1), (-(1 << 63), (1 << 63) - 1)):
        refused(auditor, "SELECT identity.ledger_consistency(%s, %s)", (old, new), "22023", "bad_argument")


def test_salts_are_those_of_the_rows(sealed, auditor):
    installation = sealed.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes
    ids = [*rows(sealed), 0, 1 << 62]
    salts = "SELECT identity.ledger_salts(%s::bigint[], %s)"
    assert auditor.execute(salts, (ids, 1)).fetchone()[0] == [row_salt(installation, access_id) for access_id in ids]
    assert auditor.execute(salts, ([], 1)).fetchone()[0] == []
    assert len(auditor.execute(salts, (list(range(10_000)), 1)).fetchone()[0]) == 10_000
    refused(auditor, salts, (list(range(10_001)), 1), "22023", "too_many")
    refused(auditor, "SELECT identity.ledger_salts('{{1}}', 1)", None, "22023", "bad_argument")
    for version in (0, 2, -1):
        refused(auditor, salts, ([1], version), "22023", "bad_argument")


# -- a database that lies ------------------------------------------------------
@pytest.fixture
def lie(sealed, auditor):
    """lie(table, statement) rewrites the ledger past its guards, and puts everything back at the end."""
    sealed.ids = some_rows(sealed, 3)
    seal(sealed)
    log = sealed.sql("SELECT tableoid::regclass::text AS name FROM identity.pii_access_log WHERE access_id = %s", (sealed.ids[0],))[0]["name"]
    undo = []

    def rewrite(table: str, statement: str) -> None:
        table = log if table == "log" else f"identity.{table}"
        sealed.sql(f"CREATE TABLE public.kept_{len(undo)} AS SELECT * FROM {table}")
        undo.append(table)
        unguarded(table, statement.format(table=table, id=sealed.ids[0], lane=sealed.ids[0] >> 48, seq=sealed.ids[0] & 0xFFFFFFFFFFFF))

    def unguarded(table: str, statement: str) -> None:
        with sealed.admin.transaction():
            sealed.sql(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
            sealed.sql(statement)
            sealed.sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")

    yield rewrite
    for number, table in reversed(list(enumerate(undo))):
        unguarded(table, f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM public.kept_{number}; DROP TABLE public.kept_{number}")


BATCH = "(SELECT max(batch) FROM identity.ledger_seals)"
LIES = {
    "row altered": ("log", "UPDATE {table} SET purpose_token = 'x' WHERE access_id = {id}"),
    "row made a leaf of its own": ("log", "UPDATE {table} SET chain_kind = 'merkle' WHERE access_id = {id}"),
    "row unreadable": ("log", "UPDATE {table} SET zone = 'x' WHERE access_id = {id}"),
    "hash in its tile": ("ledger_tiles", "UPDATE {table} SET hashes = sha256(hashes) || substr(hashes, 33) WHERE {id} = ANY (access_ids)"),
    "hash of a neighbour": ("ledger_tiles", "UPDATE {table} SET hashes = substr(hashes, 1, length(hashes) - 32) || sha256(hashes) WHERE {id} = ANY (access_ids)"),
    "tile without the row": ("ledger_tiles", "UPDATE {table} SET access_ids = array_replace(access_ids, {id}, {id} - 1) WHERE {id} = ANY (access_ids)"),
    "no tile": ("ledger_tiles", "DELETE FROM {table} WHERE {id} = ANY (access_ids)"),
    "another seal leaf": ("ledger_seals", f"UPDATE {{table}} SET leaf = replace(leaf, '\"timeline\":\"1\"', '\"timeline\":\"2\"') WHERE batch = {BATCH}"),
    "another batch root": ("ledger_seals", f"UPDATE {{table}} SET leaf = replace(leaf, encode(batch_root, 'hex'), encode(sha256(''), 'hex')) WHERE batch = {BATCH}"),
    "another number of rows": ("ledger_seals", f"UPDATE {{table}} SET batch_rows = batch_rows + 1 WHERE batch = {BATCH}"),
    "another place in the tree": ("ledger_seals", f"UPDATE {{table}} SET leaf_index = leaf_index + 1000 WHERE batch = {BATCH}"),
    "no seal": ("ledger_seals", f"DELETE FROM {{table}} WHERE batch = {BATCH}"),
    "head moved to another cut": ("ledger_heads", "UPDATE {table} SET cut = 1 WHERE lane = {lane} AND seq >= {seq}"),
    "another tree": ("ledger_nodes", "UPDATE {table} SET hash = sha256(hash)"),
    "no tree": ("ledger_nodes", "DELETE FROM {table}"),
    "wrong row of the tree": ("ledger_leaves", "UPDATE {table} SET access_id = {id} WHERE leaf_index = 0"),
}


@pytest.mark.parametrize("what", LIES)
def test_what_does_not_fit_is_never_proven(sealed, auditor, lie, what):
    prove(auditor, sealed.ids[0])
    lie(*LIES[what])
    refused(auditor, PROOF, (sealed.ids[0],), "XX001", "chain")


def test_an_unsealed_row_put_into_a_sealed_range_is_not_proven(sealed, auditor, lie):
    lie("log", "UPDATE {table} SET access_id = access_id + 1000000, seq = seq + 1000000 WHERE access_id = {id}")
    refused(auditor, PROOF, (sealed.ids[0],), "22023", "bad_argument")
    refused(auditor, PROOF, (sealed.ids[0] + 1000000,), "55000", "not_sealed")


# -- anchors -------------------------------------------------------------------
def signed(tree: Checkpoint) -> str:
    """A signed note (C2SP signed-note, Ed25519)."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id = sha256(tree.origin.encode() + b"\n\x01" + public)[:4]
    return f"{tree.text()}\n— {tree.origin} {base64.b64encode(key_id + key.sign(tree.text().encode())).decode()}\n"


def anchor(vault, tree: Checkpoint, note: str | None = None) -> str:
    note = note or signed(tree)
    vault.sql(
        """INSERT INTO identity.anchor_commits (commit_id, chain_kind, checkpoint_at, root_hash, tree_size, checkpoint)
           SELECT COALESCE(max(commit_id), 0) + 1, 'merkle', now(), %s, %s, %s FROM identity.anchor_commits""",
        (tree.root, tree.size, note),
    )
    return note


@pytest.fixture
def anchors(fresh):
    """A vault whose anchors nobody else sees."""
    return Vault(fresh())


def test_a_proof_is_made_under_the_newest_anchor_that_covers_its_row(anchors):
    notes, ids = [], []
    for _ in range(3):
        ids.append(some_rows(anchors, 2)[0])
        seal(anchors)
        notes.append(anchor(anchors, checkpoint(anchors)) if len(notes) < 2 else None)
    log = rows(anchors)
    with anchors.connect(anchors.auditor) as auditor:
        for access_id, note in zip(ids, (notes[1], notes[1], None)):
            proof = prove(auditor, access_id)
            assert proven(proof, log[access_id])
            assert TreeProof.parse(proof["proof"]).checkpoint == (note or checkpoint(anchors).text())
    status = anchors.sql("SELECT state, since FROM identity.identity_status() WHERE item = 'anchor age'")[0]
    after = [row["accessed_at"] for row in log.values() if row["access_id"] >= ids[2] and row["access_id"] >> 48 == ids[2] >> 48]
    assert status["state"].endswith("rows since") and status["since"] <= min(after)


@pytest.mark.parametrize("wrong", ["root", "size", "no checkpoint"])
def test_an_anchor_that_is_not_of_this_tree_proves_nothing(anchors, wrong):
    (access_id,) = some_rows(anchors, 1)
    seal(anchors)
    tree = checkpoint(anchors)
    with anchors.connect(anchors.auditor) as auditor:
        prove(auditor, access_id)
        other = {"root": Checkpoint(tree.origin, tree.size, sha256(tree.root)), "size": Checkpoint(tree.origin, 1, tree.root)}.get(wrong)
        anchor(anchors, tree, signed(other) if other else "x")
        refused(auditor, PROOF, (access_id,), "XX001", "chain")


def test_a_row_of_a_month_that_is_gone_can_still_be_proven(anchors):
    """By whoever kept it; and only if the month is gone because its time was over."""
    some_rows(anchors, 3)
    seal(anchors)
    log = rows(anchors)
    month = anchors.sql("SELECT tableoid::regclass::text AS name, to_char(accessed_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month FROM identity.pii_access_log LIMIT 1")[0]
    with anchors.connect(anchors.auditor) as auditor:
        before = {access_id: prove(auditor, access_id) for access_id in log}
        anchors.sql(f"ALTER TABLE {month['name']} DISABLE TRIGGER ALL; DELETE FROM {month['name']}")
        for access_id in log:
            refused(auditor, PROOF, (access_id,), "22023", "bad_argument")
        anchors.sql("INSERT INTO identity.ledger_expired VALUES (%s, 1, 1, 1, 1, now())", (month["month"],))
        for access_id, row in log.items():
            proof = prove(auditor, access_id)
            assert proof == before[access_id] and proven(proof, row)
        refused(auditor, PROOF, (max(log) + 1,), "22023", "bad_argument")


@pytest.mark.long
def test_a_proof_among_a_million_rows_is_small(fresh):
    vault = Vault(fresh())
    many_rows(vault, 1_000_000)
    seal(vault)
    first, last = vault.sql("SELECT min(access_id), max(access_id) FROM identity.pii_access_log WHERE chain_kind = 'hmac'")[0].values()
    with vault.connect(vault.auditor) as auditor:
        for access_id in (first, last):
            proof = prove(auditor, access_id)
            row = vault.sql("SELECT * FROM identity.pii_access_log WHERE access_id = %s", (access_id,))[0]
            assert proven(proof, row, checkpoint(vault)) and len(json.dumps(proof)) < MOST_BYTES
            assert len(proof["batch"]["path"]) >= 12
