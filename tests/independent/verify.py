#!/usr/bin/env python3
"""Checks identity_pgx from outside, with no code of its own.

  verify.py                                            the frozen vectors of crates/core
  verify.py --dsn DSN (--development | --chain-key V:HEX …)   every row of the access log
  verify.py --dsn DSN --sql                            the statement of docs/spec/leaf.md, every row
  verify.py --dsn DSN --open UUID (--development | --dek V:HEX …)   the fields of one subject

DSN is a libpq connection string of a superuser: no other role reads these tables. `--open` prints
plaintext. Needs `cryptography`; with --dsn also `psycopg`.

Exit: 0 all good, 1 something does not verify, 2 could not check.
"""

import argparse
import json
import pathlib
import sys
from datetime import datetime, timedelta, timezone
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import formats
import tombstones
import transparency
import tree

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
VECTORS = REPOSITORY / "crates/core/tests/vectors/frozen.json"


def check_vectors(path: pathlib.Path) -> int:
    """Recomputes every vector; prints one line per section, and one per vector that differs."""
    vectors = json.loads(path.read_text())
    bad = 0
    for section, recompute in SECTIONS.items():
        wrong = [index for index, vector in enumerate(vectors[section]) if not recompute(vector)]
        for index in wrong:
            print(f"{section}[{index}]: differs")
        print(f"{section}: {len(vectors[section]) - len(wrong)} of {len(vectors[section])} agree")
        bad += len(wrong)
        if not vectors[section]:
            raise ValueError(f"no vectors for {section}")
    return 1 if bad else 0


def of_hex(vector: dict, *names: str) -> tuple:
    return tuple(bytes.fromhex(vector[name]) for name in names)


def key_agrees(v: dict) -> bool:
    key, check = of_hex(v, "key", "check_value")
    known = not v["development"] or formats.development_key(v["kind"]) == key
    return known and formats.check_value(v["kind"], v["version"], key) == check


def genesis_agrees(v: dict) -> bool:
    installation, mac = of_hex(v, "installation", "mac")
    return formats.genesis(installation, v["lane"]) == mac


def envelope_agrees(v: dict) -> bool:
    names = ("key", "message_id", "installation", "candidate", "value", "envelope")
    key, message_id, installation, candidate, value, envelope = of_hex(v, *names)
    context = formats.field_context(installation, candidate, v["field"], v["erasure_generation"])
    sealed = formats.seal(key, v["key_version"], message_id, context, value)
    return sealed == envelope and formats.unseal(key, v["key_version"], context, sealed) == value


def refusal_agrees(v: dict) -> bool:
    """Authentic under the key, and yet not what the writer would produce."""
    key, installation, candidate, envelope = of_hex(v, "key", "installation", "candidate", "envelope")
    context = formats.field_context(installation, candidate, v["field"], v["erasure_generation"])
    try:
        formats.unseal(key, v["key_version"], context, envelope)
    except formats.Refused:
        return True
    return False


def leaf_agrees(v: dict) -> bool:
    row = dict(v["row"])
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    row["accessed_at"] = epoch + timedelta(microseconds=row["accessed_at"])
    row["access_id"] = formats.access_id(row["lane"], row["seq"])
    for column in ("cert_fingerprint", "event_digest"):
        row[column] = row[column] and bytes.fromhex(row[column])
    row["candidate_id"] = row["candidate_id"] and UUID(row["candidate_id"])
    return formats.leaf(row) == v["leaf"].encode()


def chain_agrees(v: dict) -> bool:
    installation, key = of_hex(v, "installation", "key")
    mac = formats.genesis(installation, v["lane"])
    for row in v["rows"]:
        mac = formats.link(key, mac, row["leaf"].encode())
        if mac.hex() != row["mac"]:
            return False
    return True


def event_agrees(v: dict) -> bool:
    installation, digest = of_hex(v, "installation", "digest")
    return formats.event_digest(installation, v["kind"], v["pairs"]) == digest


def evidence_agrees(v: dict) -> bool:
    salt, digest = of_hex(v, "salt", "digest")
    return formats.evidence_digest(salt, v["text"]) == digest


def subject_agrees(v: dict) -> bool:
    return formats.subject_digest(*of_hex(v, "installation", "candidate")).hex() == v["digest"]


def certificate_agrees(v: dict) -> bool:
    return formats.cert_fingerprint(v["issuer"], v["serial"]).hex() == v["fingerprint"]


def candidate_agrees(v: dict) -> bool:
    return str(formats.candidate_id(v["unix_ms"], *of_hex(v, "random"))) == v["id"]


def hex_list(hashes: list) -> list:
    return [value.hex() for value in hashes]


def salt_agrees(v: dict) -> bool:
    derive = {"row": tree.row_salt, "seal": tree.seal_salt}[v["kind"]]
    return derive(*of_hex(v, "key", "installation"), v["number"]).hex() == v["salt"]


def tree_leaf_agrees(v: dict) -> bool:
    return tree.leaf_hash(*of_hex(v, "salt"), v["leaf"].encode()).hex() == v["hash"]


def tree_agrees(v: dict) -> bool:
    leaves = tree.numbered(v["size"])
    paths = [hex_list(tree.inclusion(proof["index"], leaves)) for proof in v["inclusion"]]
    paths += [hex_list(tree.consistency(proof["old"], leaves)) for proof in v["consistency"]]
    given = [proof["path"] for proof in v["inclusion"] + v["consistency"]]
    return tree.root(leaves).hex() == v["root"] and paths == given


def batch_agrees(v: dict) -> bool:
    leaves = tree.numbered(v["rows"])
    tiles = {
        (level, index): (len(hashes), formats.sha256(b"".join(hashes)).hex())
        for level, index, hashes in tree.tiles(leaves)
    }
    given = [tiles[t["level"], t["index"]] == (t["width"], t["sha256"]) for t in v["tiles"]]
    return tree.root(leaves).hex() == v["root"] and all(given)


def lane_heads_agree(v: dict) -> bool:
    heads = [(head["lane"], head["seq"], *of_hex(head, "mac")) for head in v["heads"]]
    return tree.lane_heads(heads).hex() == v["digest"]


def seal_agrees(v: dict) -> bool:
    return tree.seal_leaf(v["seal"]) == v["leaf"].encode()


def note_agrees(v: dict) -> bool:
    private = Ed25519PrivateKey.from_private_bytes(*of_hex(v, "private_key"))
    key = transparency.verifier_key(v["vkey"])
    written = transparency.vkey_text(v["name"], private) == v["vkey"] and transparency.sign(v["text"], v["name"], private) == v["note"]
    return written and transparency.open_note(v["note"], [key]) == (v["text"], [v["name"]])


def checkpoint_agrees(v: dict) -> bool:
    head = transparency.Checkpoint(v["origin"], v["size"], *of_hex(v, "root"))
    return transparency.checkpoint_text(head, v["extensions"]) == v["text"] and transparency.checkpoint(v["text"]) == head


def tlog_proof_agrees(v: dict) -> bool:
    path = [bytes.fromhex(hash_) for hash_ in v["path"]]
    proof = transparency.TlogProof(*of_hex(v, "extra"), v["index"], path, v["checkpoint"])
    return transparency.tlog_proof_text(proof) == v["text"] and transparency.tlog_proof(v["text"]) == proof


def row_proof_agrees(v: dict) -> bool:
    keys = [transparency.verifier_key(v["vkey"])]

    def open_(note: str) -> transparency.Checkpoint:
        return transparency.open_checkpoint(note, keys)

    try:
        return transparency.check_row_proof(v["json"], v["leaf"].encode(), open_).size == v["signed_size"]
    except transparency.NotSigned:
        return v["signed_size"] is None


def tombstone_agrees(v: dict) -> bool:
    first_chain_key, installation, candidate = of_hex(v, "key", "installation", "candidate")
    key = tombstones.key(first_chain_key, installation)
    if v["collected_at"] is None:
        return tombstones.subject(key, candidate).hex() == v["tombstone"]
    return tombstones.biometric(key, candidate, v["collected_at"]).hex() == v["tombstone"]


def tombstone_list_agrees(v: dict) -> bool:
    listed = [(letter, bytes.fromhex(value)) for letter, value in v["tombstones"]]
    digest = formats.sha256(tombstones.body(listed).encode())
    head = tombstones.Head(v["origin"], v["from"], v["to"], *of_hex(v, "previous"), digest)
    return tombstones.open_list(v["object"].encode(), [transparency.verifier_key(v["vkey"])]) == (head, listed)


SECTIONS = {
    "keys": key_agrees,
    "genesis": genesis_agrees,
    "envelopes": envelope_agrees,
    "classifications": envelope_agrees,
    "refused": refusal_agrees,
    "leaves": leaf_agrees,
    "chains": chain_agrees,
    "events": event_agrees,
    "evidence": evidence_agrees,
    "subjects": subject_agrees,
    "certificates": certificate_agrees,
    "candidates": candidate_agrees,
    "salts": salt_agrees,
    "tree_leaves": tree_leaf_agrees,
    "trees": tree_agrees,
    "batches": batch_agrees,
    "lane_heads": lane_heads_agree,
    "seals": seal_agrees,
    "notes": note_agrees,
    "checkpoints": checkpoint_agrees,
    "tlog_proofs": tlog_proof_agrees,
    "row_proofs": row_proof_agrees,
    "tombstones": tombstone_agrees,
    "tombstone_lists": tombstone_list_agrees,
}


def versioned_key(text: str) -> tuple:
    version, _, key = text.partition(":")
    if len(bytes.fromhex(key)) != 32:
        raise ValueError("a key has 32 bytes")
    return int(version), bytes.fromhex(key)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=pathlib.Path, default=VECTORS)
    parser.add_argument("--dsn")
    parser.add_argument("--open", type=UUID, metavar="UUID")
    parser.add_argument("--sql", action="store_true")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--chain-key", type=versioned_key, action="append", default=[])
    parser.add_argument("--dek", type=versioned_key, action="append", default=[])
    options = parser.parse_args()
    try:
        if options.dsn is None:
            return check_vectors(options.vectors)
        import database

        keys = database.Keys(options.development, options.chain_key, options.dek)
        if options.sql:
            return database.check_statement(options.dsn, REPOSITORY / "docs/spec/leaf.md")
        if options.open is not None:
            return database.open_subject(options.dsn, keys, options.open)
        return database.check_log(options.dsn, keys)
    except Exception as error:  # noqa: BLE001 (whatever it is, nothing was verified)
        print(f"could not check: {type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
