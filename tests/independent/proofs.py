#!/usr/bin/env python3
"""Checks checkpoints and proofs of identity_pgx, and that none survives the change of a single bit.

  proofs.py FILE      FILE is what the example `proofs` of crates/core writes

Exit: 0 all as it should be, 1 something is not, 2 could not check.
"""

import collections
import json
import sys

import transparency as t
from formats import jcs
from tree import leaf_hash


class Checker:
    def __init__(self):
        self.keys = []
        self.good = {}  # notes that were opened: most proofs share theirs
        self.heads = {}
        self.counts = collections.Counter()

    def open(self, note: str) -> t.Checkpoint:
        return self.good.get(note) or t.open_checkpoint(note, self.keys)

    def flips(self, kind: str, text: bytes, step: int, accept):
        """Calls `accept` with one bit changed at a time, every `step`-th of them."""
        changed = bytearray(text)
        for at in range(0, 8 * len(text), step):
            changed[at // 8] ^= 1 << at % 8
            try:
                accept(bytes(changed))
            except (t.Refused, UnicodeDecodeError):
                self.counts[kind, "refused"] += 1
            else:
                raise ValueError(f"accepted with bit {at} changed: {bytes(changed)!r}")
            changed[at // 8] ^= 1 << at % 8

    def key(self, line: dict):
        self.keys = [t.verifier_key(line["vkey"])]

    def checkpoint(self, line: dict):
        note, size = line["note"], line["size"]
        head = t.open_checkpoint(note, self.keys)
        assert head.size == size and head.origin == self.keys[0].name
        self.good[note] = self.heads[size] = head
        near_power = any(n & (n - 1) == 0 for n in (size - 1, size, size + 1))
        step = 1 if size < 8 or size > 299 or size > 60 and near_power else 101
        self.flips("checkpoint", note.encode(), step, lambda changed: t.open_checkpoint(changed.decode(), self.keys))

    def inclusion(self, line: dict):
        size, proof, leaf = line["size"], line["proof"], line["leaf"].encode()

        def accept(text: str):
            parsed = t.tlog_proof(text)
            t.check_tlog_proof(parsed, leaf_hash(parsed.salt, leaf), self.open)

        accept(proof)
        # The checkpoint in it is the one whose bits were changed above. Together with the proof, for the smallest trees only.
        rest = proof.index("\n\n") + 1 if size > 3 else len(proof)
        one = line["index"] == size // 3
        step = 1 if size <= 8 or one and size % 10 == 0 else 7 if one else 2503
        self.flips("inclusion", proof[:rest].encode(), step, lambda changed: accept(changed.decode() + proof[rest:]))

    def consistency(self, line: dict):
        older, newer = self.heads[line["old"]], self.heads[line["new"]]

        def accept(path: bytes):
            t.check_consistency(older, newer, [path[at : at + 32] for at in range(0, len(path), 32)])

        path = b"".join(t.of_hex(hash_, 32) for hash_ in line["path"])
        accept(path)
        one = line["old"] == line["new"] // 3 + 1
        step = 1 if line["new"] <= 8 or one and line["new"] % 10 == 0 else 7 if one else 1021
        self.flips("consistency", path, step, accept)

    def row(self, line: dict):
        proof, leaf = jcs(line["proof"]), line["leaf"].encode()
        t.check_row_proof(proof, leaf, self.open)
        step = 1 if b'"rows":"3"' in proof else 17
        self.flips("row", proof, step, lambda changed: t.check_row_proof(changed, leaf, self.open))
        self.flips("row", leaf, 1, lambda changed: t.check_row_proof(proof, changed, self.open))

    def unsigned(self, line: dict):
        try:
            t.check_row_proof(jcs(line["proof"]), line["leaf"].encode(), self.open)
        except t.NotSigned:
            return
        raise ValueError("a checkpoint without signature was accepted")


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    checker = Checker()
    try:
        file = open(sys.argv[1], encoding="utf-8")
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    for number, text in enumerate(file, 1):
        line = json.loads(text)
        kind = line["kind"]
        try:
            getattr(checker, kind)(line)
        except (t.Refused, ValueError, AssertionError) as error:
            print(f"line {number}, {kind}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        checker.counts[kind, "accepted"] += 1
    for kind, least in (("checkpoint", 301), ("inclusion", 45150), ("consistency", 45150), ("row", 20)):
        accepted, refused = checker.counts[kind, "accepted"], checker.counts[kind, "refused"]
        if accepted < least:
            print(f"only {accepted} of kind {kind}", file=sys.stderr)
            return 1
        print(f"Python: {kind:11} {accepted:6} accepted, {refused:7} with one bit changed refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
