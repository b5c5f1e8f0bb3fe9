#!/usr/bin/env bash
# `make check`: everything that must hold before a change goes in, cheapest first.
# Stops at the first step that fails; each runner's own closing line is its result.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

DENY_VERSION=0.20.2

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

# cargo-deny is not in Debian; it is built once, without optimization (about a
# minute), beside the build output.
deny() {
  local tools=$TARGET/tools
  if ! "$tools/bin/cargo-deny" --version 2>/dev/null | grep -qx "cargo-deny $DENY_VERSION"; then
    say "building cargo-deny $DENY_VERSION, once"
    cargo install cargo-deny --version "=$DENY_VERSION" --locked --debug --quiet --root "$tools" --target-dir "$TARGET/tools-build"
    rm -rf "$TARGET/tools-build"
  fi
  # Not `advisories`: its database is a git repository, and this must work without one.
  "$tools/bin/cargo-deny" --locked --workspace check bans licenses sources
}

step setup
scripts/setup.sh check
require_postgres
printf 'PostgreSQL %s (%s), %s\n' "$PG_MAJOR" "$PG_CONFIG" "$(rustc --version)"

step "formatting"
cargo fmt --all --check
step "shell scripts"
shellcheck -x .ci/run scripts/*.sh docker/*.sh docs/*.sh docs/examples/*.sh tests/ceph/*.sh tests/independent/*.sh
step "the committed workers are what their generator makes"
"$TARGET/venv/bin/python" scripts/make_workers.py --check

step "clippy"
PGRX_PG_CONFIG_PATH=$PG_CONFIG cargo clippy --locked --workspace --all-targets \
  --no-default-features --features "pg$PG_MAJOR" -- -D warnings
step "dependencies: bans, licences, sources"
deny

step "core, command line and worker"
cargo test --locked --quiet -p identity_core -p identity_connect -p identityctl -p anchor-worker
step "proofs, as Go and Python read them"
tests/independent/proofs.sh

step "the example of a cache in Rust"
cargo fmt --manifest-path docs/examples/rust-cache/Cargo.toml --check
cargo clippy --quiet --locked --manifest-path docs/examples/rust-cache/Cargo.toml --target-dir "$TARGET/rust-cache" -- -D warnings
cargo build --quiet --locked --manifest-path docs/examples/rust-cache/Cargo.toml --target-dir "$TARGET/rust-cache" # the tests run it

step "build and install"
CARGO_QUIET=yes scripts/build.sh
scripts/install.sh
cargo build --quiet --locked -p anchor-worker --examples # the tests run them

step "against PostgreSQL $PG_MAJOR"
PYTHON=$TARGET/venv/bin/python tests/run.sh check

step "the tour and the documents' examples, in a playground of their own"
export PLAYGROUND_NAME=playground-check
trap 'scripts/playground.sh down' EXIT
eval "$(scripts/playground.sh up)"
scripts/demo.sh >"$TARGET/demo.log" 2>&1 || { tail -n 40 "$TARGET/demo.log"; die "the tour failed; all of it is in $TARGET/demo.log"; }
docs/run-examples.sh
step "done"
