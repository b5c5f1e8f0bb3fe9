# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where things are, how to speak, who to be.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
case $TARGET in /*) ;; *) TARGET=$ROOT/$TARGET ;; esac
EXTENSION=identity_pgx
SUPPORTED_MAJORS="15 16 17 18"
NEEDED_RUST=1.95

# rustup puts cargo here and a bare environment (cron, a CI runner) lacks it.
if ! command -v cargo >/dev/null && [ -x "${HOME:-/nonexistent}/.cargo/bin/cargo" ]; then
  PATH=$HOME/.cargo/bin:$PATH
fi

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; shift; for line in "$@"; do printf '       %s\n' "$line" >&2; done; exit 1; }

# The major version of a pg_config, or nothing.
major_of() { "$1" --version 2>/dev/null | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p'; }

is_supported() { case " $SUPPORTED_MAJORS " in *" $1 "*) [ -n "$1" ] ;; *) return 1 ;; esac; }

# Prints the pg_config to use: the one asked for, else the one on PATH, else
# the lowest supported major among Debian's directories.
find_pg_config() {
  local candidate
  if [ -n "${PG_CONFIG:-}" ]; then
    command -v "$PG_CONFIG" || true
    return
  fi
  for candidate in "$(command -v pg_config || true)" /usr/lib/postgresql/1[5-8]/bin/pg_config; do
    if [ -x "$candidate" ] && is_supported "$(major_of "$candidate")" && is_complete "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
}

# Headers and server programs: libpq-dev alone brings a pg_config without either.
is_complete() {
  [ -f "$("$1" --includedir-server)/postgres.h" ] && [ -x "$("$1" --bindir)/initdb" ]
}

# Sets PG_CONFIG, PG_MAJOR, PG_BIN, PG_LIB, PG_SHARE or stops.
require_postgres() {
  local found
  found=$(find_pg_config)
  if [ -z "$found" ]; then
    die "no PostgreSQL (${SUPPORTED_MAJORS// /, }) with headers and server programs found${PG_CONFIG:+ at $PG_CONFIG}" \
      "run 'make setup', or set PG_CONFIG=/path/to/pg_config"
  fi
  PG_CONFIG=$found
  PG_MAJOR=$(major_of "$PG_CONFIG")
  is_supported "$PG_MAJOR" || die "$PG_CONFIG is PostgreSQL ${PG_MAJOR:-unknown}; supported are ${SUPPORTED_MAJORS// /, }"
  is_complete "$PG_CONFIG" || die "$PG_CONFIG has no server headers or no initdb beside it" \
    "on Debian: apt-get install postgresql-$PG_MAJOR postgresql-server-dev-$PG_MAJOR"
  PG_BIN=$("$PG_CONFIG" --bindir)
  PG_LIB=$("$PG_CONFIG" --pkglibdir)
  PG_SHARE=$("$PG_CONFIG" --sharedir)
  export PG_CONFIG PG_MAJOR PG_BIN PG_LIB PG_SHARE
}

extension_version() { sed -nE "s/^default_version *= *'([^']+)'.*/\1/p" "$ROOT/$EXTENSION.control"; }

# Runs a command as root: directly, or through sudo, which may ask for a password
# only where somebody sits to type it.
if [ -t 0 ] && [ -t 2 ]; then SUDO=(sudo --); else SUDO=(sudo -n --); fi
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    "${SUDO[@]}" "$@"
  else
    return 127
  fi
}
