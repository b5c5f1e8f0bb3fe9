#!/usr/bin/env python3
"""Turns the lines of run.sh (stdin) into the Markdown table (stdout). Standard library only.

A fact is "name<TAB>value"; a result is "section<TAB>mode<TAB>clients<TAB>round<TAB>side<TAB>number".
A ratio is the median of the ratios of each round, and its range: both sides of a round ran back to back, so a slow
minute of the machine hits both.
"""

import statistics
import sys

MODES = {"durable": "durable", "nodisk": "fsync = off"}
TARGETS = {("durable", 16): 0.90, ("nodisk", 16): 0.80}


def read(lines):
    facts, results = {}, {}
    for line in lines:
        cells = line.rstrip("\n").split("\t")
        if len(cells) == 2:
            facts[cells[0]] = cells[1]
        elif len(cells) == 6:
            section, mode, clients, round_, side, number = cells
            results.setdefault((section, mode, int(clients)), {}).setdefault(side, {})[int(round_)] = float(number)
    return facts, results


def ratio(runs, over, under):
    """Median, lowest and highest of over/under, round by round."""
    each = [runs[over][r] / runs[under][r] for r in sorted(runs[over]) if r in runs.get(under, {})]
    return (statistics.median(each), min(each), max(each)) if each else None


def show(value):
    return "–" if value is None else "{:.2f} ({:.2f}–{:.2f})".format(*value)


def tps(runs, side):
    return "{:,.0f}".format(statistics.median(runs[side].values())) if side in runs else "–"


def main():
    facts, results = read(sys.stdin)
    print("| fact | |\n|---|---|")
    for name, label in [
        ("cpu", "CPU"), ("cores", "cores"), ("memory", "memory"), ("kernel", "kernel"), ("filesystem", "file system"), ("load", "load average"),
        ("version", "PostgreSQL"), ("extension", "identity_pgx"), ("subjects", "subjects"), ("run", "measured"), ("settings", "settings"),
    ]:
        print(f"| {label} | {facts.get(name, '?')} |")

    print("\nTransactions per second (median of the rounds), and ratios (median of the pairwise ratios, lowest–highest).")
    print("(a) is pgcrypto with an unchained row, (b) pgcrypto with one global hash chain.\n")
    print("| commit | clients | floor | `pii_resolve` | (a) | (b) | ours / floor | ours / (a) | ours / (b) |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for (section, mode, clients), runs in results.items():
        if section == "main":
            print(f"| {MODES[mode]} | {clients} | {tps(runs, 'floor')} | {tps(runs, 'ours')} | {tps(runs, 'alt_a')} | {tps(runs, 'alt_b')} "
                  f"| {show(ratio(runs, 'ours', 'floor'))} | {show(ratio(runs, 'ours', 'alt_a'))} | {show(ratio(runs, 'ours', 'alt_b'))} |")

    bulk = {key: runs for key, runs in results.items() if key[0] == "bulk"}
    if bulk:
        print("\nBulk: blocks of 1,000 ids. Blocks per second; the floor is one INSERT … SELECT … RETURNING of the same 1,000 rows.\n")
        print("| commit | clients | floor | `pii_resolve_many` | ours / floor |\n|---|--:|--:|--:|--:|")
        for (_, mode, clients), runs in bulk.items():
            print(f"| {MODES[mode]} | {clients} | {tps(runs, 'bulk_floor')} | {tps(runs, 'bulk_ours')} | {show(ratio(runs, 'bulk_ours', 'bulk_floor'))} |")
    registering = {mode: runs for (section, mode, _), runs in results.items() if section == "register"}
    if registering:
        print("\nRegistering: `pii_register_many` in blocks of 1,000 with two fields, against a bare COPY of the same columns; one client.\n")
        print("| commit | COPY, rows/s | subjects/s | ours / COPY |\n|---|--:|--:|--:|")
        for mode, runs in registering.items():
            runs["register"] = {round_: blocks * 1000 for round_, blocks in runs["bulk_register"].items()}
            print(f"| {MODES[mode]} | {tps(runs, 'copy')} | {tps(runs, 'register')} | {show(ratio(runs, 'register', 'copy'))} |")

    cost = {side: number[0] for side, number in results.get(("cost", "nodisk", 1), {}).items()}
    if cost:
        print("\nWhat one call costs the server: CPU time of the backend, and WAL (one client, fsync = off).\n")
        print("| | floor | `pii_resolve` | (a) | (b) | ours / floor |\n|---|--:|--:|--:|--:|--:|")
        for unit, key in [("µs of CPU", "cpu"), ("bytes of WAL", "wal")]:
            cells = " | ".join(f"{cost[f'{side}_{key}']:.0f}" for side in ("floor", "ours", "alt_a", "alt_b"))
            print(f"| {unit} | {cells} | {cost[f'ours_{key}'] / cost[f'floor_{key}']:.2f} |")

    checks = []
    for (mode, clients), least in TARGETS.items():
        runs = results.get(("main", mode, clients))
        if runs:
            got = ratio(runs, "ours", "floor")[0]
            checks.append((f"ours / floor, {clients} clients, {MODES[mode]}", f"≥ {least:.2f}", f"{got:.2f}", got >= least))
    runs = results.get(("main", "durable", 16))
    if runs and "alt_b" in runs:
        got = ratio(runs, "ours", "alt_b")[0]
        checks.append(("ours / (b), 16 clients, durable", "≥ 2.00", f"{got:.2f}", got >= 2))

    for (_, mode, clients), runs in bulk.items():
        got = ratio(runs, "bulk_ours", "bulk_floor")[0]
        checks.append((f"resolve_many / bulk floor, {clients} client{'s' if clients > 1 else ''}, {MODES[mode]}", "≥ 0.50", f"{got:.2f}", got >= 0.5))
    for mode, runs in registering.items():
        rate, share = statistics.median(runs["register"].values()), ratio(runs, "register", "copy")[0]
        met = rate >= 20_000 or share >= 0.3
        checks.append((f"register_many, {MODES[mode]}", "≥ 20,000/s or 0.30 of COPY", f"{rate:,.0f}/s, {share:.2f}", met))

    small, large = results.get(("growth_10k", "durable", 16)), results.get(("growth_1m", "durable", 16))
    if small and large:
        print("\nGrowth: ours / floor, durable, 16 clients. The log grows while it is measured; rows before and after are given.\n")
        print("| rows in the log | floor | `pii_resolve` | ours / floor |\n|---|--:|--:|--:|")
        for runs in (small, large):
            rows = "{:,.0f} → {:,.0f}".format(runs["rows_before"][0], runs["rows_after"][0])
            print(f"| {rows} | {tps(runs, 'floor')} | {tps(runs, 'ours')} | {show(ratio(runs, 'ours', 'floor'))} |")
        got = ratio(large, "ours", "floor")[0] / ratio(small, "ours", "floor")[0]
        checks.append(("ratio with 1 million rows / with 10 thousand", "≥ 0.95", f"{got:.2f}", got >= 0.95))

    memory = results.get(("memory", "nodisk", 1), {}).get("rss_anon_kb")
    if memory and len(memory) == 2:
        (few, before), (many, after) = sorted(memory.items())
        print(f"\nMemory: private memory (RssAnon) of one backend: {before / 1024:.2f} MiB after {few:,} calls, {after / 1024:.2f} MiB after {many:,}.")
        if many >= 1_000_000:
            grown = (after - before) / 1024
            checks.append(("growth over 1 million calls", "< 2 MiB", f"{grown:.2f} MiB", grown < 2))

    print("\n| target | asked | measured | |\n|---|--:|--:|---|")
    for what, asked, measured, good in checks:
        print(f"| {what} | {asked} | {measured} | {'met' if good else '**missed**'} |")


if __name__ == "__main__":
    main()
