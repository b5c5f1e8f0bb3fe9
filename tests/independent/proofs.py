#!/usr/bin/env python3
"""Checks checkpoints and proofs of identity_pgx, and that none survives the change of a single bit.

  proofs.py FILE      FILE is what the example `proofs` of crates/core writes

With IDENTITY_LONG in the environment the bits of many more proofs are changed; README.md says of which.

Exit: 0 all as it should be, 1 something is not, 2 could not check.
"""

import collections
import json
import multiprocessing
import os
import sys

import transparency as t
from formats import jcs
from tree import leaf_hash


SMALL, LARGE = 300, 100_000
LONG = bool(os.environ.get("IDENTITY_LONG"))


def corner(n: int) -> bool:
    """A power of two, or beside one."""
    return any(power > 0 and power & (power - 1) == 0 for power in (n - 1, n, n + 1))


# Of which checkpoints and proofs every bit is changed.


def thorough_checkpoint(size: int) -> bool:
    return size < 8 or size in (SMALL, LARGE) or corner(size) and (size > 60 or LONG) or LONG and size < SMALL


def thorough_text(size: int, place: int) -> bool:
    if size > SMALL:
        return place % 10_000 == 0 or LONG and (corner(place) or place % 1000 == 0)
    return size <= 4 or place == size // 3 and (size % 10 == 0 or LONG) or LONG and size <= 16


def thorough_hashes(size: int, place: int) -> bool:
    if size > SMALL:
        return corner(place) or place % 5000 == 0 or LONG and place % 400 == 0
    return size <= 16 or place == size // 3 and size % 3 == 0 or LONG and (size <= 100 or place % 16 == size % 16)


class Checker:
    def __init__(self):
        self.keys = []
        self.good = {}  # notes that were opened: most proofs share theirs
        self.heads = {}
        self.counts = collections.Counter()

    def open(self, note: str) -> t.Checkpoint:
        return self.good.get(note) or t.open_checkpoint(note, self.keys)

    def refused(self, what: str, accept, changed):
        try:
            accept(changed)
        except (t.Refused, UnicodeDecodeError):
            self.counts[what, "refused"] += 1
        else:
            raise ValueError(f"{what}: accepted with one bit changed: {changed!r}")

    def flips(self, what: str, text: bytes, step: int, accept):
        """Calls `accept` with one bit changed at a time, every `step`-th of them."""
        changed = bytearray(text)
        for at in range(0, 8 * len(text), step):
            changed[at // 8] ^= 1 << at % 8
            self.refused(what, accept, bytes(changed))
            changed[at // 8] ^= 1 << at % 8

    def hashes(self, what: str, good: list, size: int, place: int, accept):
        """The same for hashes: every bit, or another one of each in every proof."""
        bits = range(256) if thorough_hashes(size, place) else ((size + place) % 256,)
        for at, hash_ in enumerate(good):
            number = int.from_bytes(hash_, "big")
            for bit in bits:
                changed = good.copy()
                changed[at] = (number ^ 1 << bit).to_bytes(32, "big")
                self.refused(what, accept, changed)

    def learn(self, line: dict):
        """A key or a checkpoint."""
        if line["kind"] == "key":
            self.keys = [t.verifier_key(line["vkey"])]
            return
        note, size = line["note"], line["size"]
        head = t.open_checkpoint(note, self.keys)
        assert head.size == size and head.origin == self.keys[0].name
        self.good[note] = self.heads[size] = head

    def key(self, line: dict):
        pass

    def checkpoint(self, line: dict):
        step = 1 if thorough_checkpoint(line["size"]) else 101
        if line["size"] <= SMALL or step == 1:
            self.flips("checkpoint", line["note"].encode(), step, lambda changed: t.open_checkpoint(changed.decode(), self.keys))

    def inclusion(self, line: dict):
        size, place, proof, leaf = line["size"], line["index"], line["proof"], line["leaf"].encode()

        def accept(text: str):
            parsed = t.tlog_proof(text)
            t.check_tlog_proof(parsed, leaf_hash(parsed.salt, leaf), self.open)

        accept(proof)
        if thorough_text(size, place):
            # The checkpoint in it is the one whose bits were changed above. Together with the proof, for the smallest trees only.
            rest = proof.index("\n\n") + 1 if size > 3 else len(proof)
            self.flips("text", proof[:rest].encode(), 1, lambda changed: accept(changed.decode() + proof[rest:]))
        parsed, head = t.tlog_proof(proof), self.heads[size]
        good = [leaf_hash(parsed.salt, leaf), head.root, *parsed.path]

        def holds(hashes: list):
            t.check_inclusion(place, head._replace(root=hashes[1]), hashes[0], hashes[2:])

        self.hashes("inclusion", good, size, place, holds)
        if thorough_hashes(size, place):
            for bit in range(64):
                self.refused("inclusion", lambda index: t.check_inclusion(index, head, good[0], parsed.path), place ^ 1 << bit)

    def consistency(self, line: dict):
        older, newer = self.heads[line["old"]], self.heads[line["new"]]

        def holds(hashes: list):
            t.check_consistency(older._replace(root=hashes[0]), newer._replace(root=hashes[1]), hashes[2:])

        good = [older.root, newer.root, *(t.of_hex(hash_, 32) for hash_ in line["path"])]
        holds(good)
        self.hashes("consistency", good, newer.size, older.size, holds)

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


def read(name: str):
    with open(name, encoding="utf-8") as file:
        yield from enumerate(file, 1)


def share(name: str, which: int, of: int) -> collections.Counter:
    """Checks every `of`-th line, beginning with the `which`-th."""
    for number, text in read(name):
        if number % of == which:
            line = json.loads(text)
            kind = line["kind"]
            try:
                getattr(checker, kind)(line)
            except (t.Refused, ValueError, AssertionError) as error:
                raise ValueError(f"line {number}, {kind}: {type(error).__name__}: {error}") from None
            checker.counts[kind, "accepted"] += 1
    return checker.counts


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for _, text in read(sys.argv[1]):
            if '"kind":"checkpoint"' in text or '"kind":"key"' in text:
                checker.learn(json.loads(text))
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    except (t.Refused, ValueError, AssertionError) as error:
        print(f"a key or a checkpoint: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    counts, workers = collections.Counter(), os.cpu_count() or 1
    # Forked: the checkpoints are known to each.
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        try:
            for one in pool.starmap(share, [(sys.argv[1], which, workers) for which in range(workers)]):
                counts += one
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
    for kind, least in (("checkpoint", SMALL + 1), ("inclusion", 45_150 + 4000), ("consistency", 45_150 + 2000), ("row", 20)):
        accepted, refused = counts[kind, "accepted"], counts[kind, "refused"]
        if accepted < least:
            print(f"only {accepted} of kind {kind}", file=sys.stderr)
            return 1
        print(f"Python: {kind:11} {accepted:6} accepted, {refused:9} with one bit changed refused")
    print(f"Python: {counts['text', 'refused']:9} texts of inclusion proofs with one bit changed refused")
    return 0


checker = Checker()
if __name__ == "__main__":
    sys.exit(main())
