#!/usr/bin/env bash
# What takes long in the core: every bit of the proofs of small trees, each fuzz
# target for ten minutes, and mutation testing (fewer than 5 % of the mutants may
# survive). Part of `make check-long`.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

FUZZ_VERSION=0.13.2
MUTANTS_VERSION=27.1.0
FUZZ_SECONDS=${FUZZ_SECONDS:-600}
FUZZ_TARGETS=${FUZZ_TARGETS:-envelope leaf seal text tree note checkpoint proof}
MAX_ALIVE_PERCENT=5

tools=$TARGET/tools
export PATH=$tools/bin:$PATH

# tool NAME VERSION: uses the one on PATH if it is that version.
tool() {
  local name=$1 version=$2
  if [ "$("$name" "${name#cargo-}" --version 2>/dev/null)" = "$name $version" ]; then return; fi
  say "building $name $version, once"
  cargo install "$name" --version "=$version" --locked --debug --quiet --root "$tools" --target-dir "$TARGET/tools-build"
  rm -rf "$TARGET/tools-build"
}

# libFuzzer's instrumentation is behind unstable flags: a nightly toolchain if
# there is one, else this one told to accept them.
fuzz() {
  if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    cargo +nightly fuzz "$@"
  else
    RUSTC_BOOTSTRAP=1 cargo fuzz "$@"
  fi
}

# Two targets at a time: each takes one core.
fuzz_all() {
  local target logs=$TARGET/fuzz
  tool cargo-fuzz "$FUZZ_VERSION"
  fuzz build
  mkdir -p "$logs"
  printf '\n== fuzz, %d s each: %s\n' "$FUZZ_SECONDS" "$FUZZ_TARGETS"
  for target in $FUZZ_TARGETS; do
    if [ "$(jobs -pr | wc -l)" -ge 2 ]; then wait -n || die "a fuzz target found something: see $logs"; fi
    fuzz run "$target" -- "-max_total_time=$FUZZ_SECONDS" -print_final_stats=1 -verbosity=0 >"$logs/$target.log" 2>&1 &
  done
  while [ -n "$(jobs -p)" ]; do wait -n || die "a fuzz target found something: see $logs"; done
  grep -H number_of_executed_units "$logs"/*.log | sed 's|.*/||'
}

# cargo-mutants exits 2 when a mutant survives; how many may is decided here.
mutate() {
  local status=0
  tool cargo-mutants "$MUTANTS_VERSION"
  printf '\n== mutation testing of the core\n'
  mkdir -p "$TARGET/mutants"
  # Optimized a little, the tests take a sixth of the time. A mutant that loops for ever may allocate for as long.
  (export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1
    ulimit -v 8000000
    cargo mutants --package identity_core --test-package identity_core --jobs 2 --output "$TARGET/mutants" -- --lib --test it) || status=$?
  case $status in 0 | 2 | 3) ;; *) die "cargo mutants could not run (exit $status)" ;; esac
  "$TARGET/venv/bin/python" - "$TARGET/mutants/mutants.out/outcomes.json" "$MAX_ALIVE_PERCENT" <<'PY'
import json, sys

outcomes, limit = json.load(open(sys.argv[1])), float(sys.argv[2])
caught, missed, timeout = outcomes["caught"], outcomes["missed"], outcomes["timeout"]
viable = caught + missed + timeout
if not viable:
    sys.exit("no mutant was tried")
percent = 100 * missed / viable
print(f"{viable} mutants, {missed} alive ({percent:.1f} %, limit {limit:g} %), {timeout} timed out")
sys.exit(percent >= limit)
PY
}

printf '\n== proofs, as Go and Python read them, bit by bit\n'
IDENTITY_LONG=1 tests/independent/proofs.sh
fuzz_all
mutate
