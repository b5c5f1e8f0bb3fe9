#!/usr/bin/env bash
# Compiles the extension, the command line and the worker, and puts the install script together.
# Result: $TARGET/extension/ holds exactly the files that install.sh copies.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
require_postgres
cd "$ROOT"

PGRX_PG_CONFIG_PATH=$PG_CONFIG CARGO_TARGET_DIR=$TARGET \
  cargo build --release --locked --no-default-features --features "pg$PG_MAJOR" ${CARGO_QUIET:+--quiet} >&2
# By themselves: the features that the programs ask of a crate must not be switched on for the extension.
CARGO_TARGET_DIR=$TARGET cargo build --release --locked -p identityctl -p anchor-worker ${CARGO_QUIET:+--quiet} >&2

version=$(extension_version)
out=$TARGET/extension
mkdir -p "$out"

# Unchanged files keep their time, so that a second `make up` finds nothing to do.
put() { cmp -s "$1" "$2" || cp "$1" "$2"; }

put "$TARGET/release/lib$EXTENSION.so" "$out/$EXTENSION.so"
for program in identityctl anchor-worker; do put "$TARGET/release/$program" "$out/$program"; done
put "$EXTENSION.control" "$out/$EXTENSION.control"
script=$(mktemp)
trap 'rm -f "$script"' EXIT
for file in sql/[0-9]*.sql; do
  printf -- '-- %s\n' "$file"
  cat "$file"
  printf '\n'
done >"$script"
put "$script" "$out/$EXTENSION--$version.sql"
