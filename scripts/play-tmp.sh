#!/usr/bin/env bash
# The playground: a throwaway cluster with the extension installed, initialized
# and unlocked with development keys. Unix socket only, trust, for one person.
#
#   playground.sh up     build, install, start; prints the exports to eval
#   playground.sh down   stop it and delete its data
#   playground.sh env    prints the exports, starts nothing
#
# "up" may be run at any time: it repairs what it finds (not started, half made,
# stale pid file, another PostgreSQL major, library rebuilt since the start).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MAX_SOCKET_PATH_BYTES=107 # sun_path of Linux, less its final zero
SUPERUSER=postgres
DATABASE=identity
NAME=${PLAYGROUND_NAME:-playground} # make check has one of its own

# PostgreSQL refuses to run as root, so root lends the playground to "postgres".
if [ "$(id -u)" -eq 0 ]; then
  OWNER=postgres
  as_owner() { (cd / && runuser -u "$OWNER" -- env -u RUST_BACKTRACE -u RUST_LIB_BACKTRACE "$@"); }
else
  OWNER=$(id -un)
  as_owner() { (cd / && env -u RUST_BACKTRACE -u RUST_LIB_BACKTRACE "$@"); }
fi

checkout_id() { printf '%s' "$TARGET/$NAME" | cksum | cut -d' ' -f1; }

# A directory in a place where anybody may create: refuse one that is not ours.
private_dir() {
  mkdir -m 700 "$1" 2>/dev/null || true
  if [ -L "$1" ] || [ ! -d "$1" ]; then die "$1 exists and is no directory of ours; remove it"; fi
  case $(stat -c %U "$1") in
    "$OWNER") ;;
    root) if [ "$(id -u)" -eq 0 ]; then chown "$OWNER:" "$1"; else die "$1 belongs to root; remove it"; fi ;;
    *) die "$1 belongs to $(stat -c %U "$1"), not to $OWNER; remove it" ;;
  esac
}

# Sets BASE (everything of the playground) and SOCKET_DIR. The same answer each
# time for the same checkout and user.
locate() {
  BASE=$TARGET/$NAME
  mkdir -p "$BASE"
  if [ "$(id -u)" -eq 0 ]; then
    id "$OWNER" >/dev/null 2>&1 || die "there is no user '$OWNER' for the playground to run as; run 'make setup'"
    chown "$OWNER:" "$BASE"
  fi
  if ! as_owner test -w "$BASE" -a -x "$BASE"; then
    BASE=/var/tmp/$EXTENSION-$(id -u)-$(checkout_id)
    private_dir "$BASE"
    MOVED="the playground lies in $BASE, because user '$OWNER' cannot reach $TARGET"
  fi
  DATA=$BASE/data
  WORKER=$BASE/anchor-worker
  LOG=$BASE/server.log
  PORT=$((28800 + PG_MAJOR))
  SOCKET_DIR=$BASE/socket
  if ! fits_a_socket "$SOCKET_DIR"; then
    SOCKET_DIR=/tmp/$EXTENSION-$(id -u)-$(checkout_id)
    private_dir "$SOCKET_DIR"
  fi
}

# Short enough, and free of what unix_socket_directories would split or quote.
fits_a_socket() {
  case $1 in *[!A-Za-z0-9/._+=@-]*) return 1 ;; esac
  [ "$(printf '%s' "$1/.s.PGSQL.$PORT" | wc -c)" -le "$MAX_SOCKET_PATH_BYTES" ]
}

sql() { as_owner "$PG_BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$SOCKET_DIR" -p "$PORT" -U "$SUPERUSER" "$@"; }

# What the running server has loaded, to notice a newer build.
library_sum() { cksum <"$PG_LIB/$EXTENSION.so"; }
script_sum() { cat "$PG_SHARE/extension/$EXTENSION.control" "$PG_SHARE/extension/$EXTENSION--"*.sql | cksum; }
remembers() { [ "$(cat "$BASE/$1" 2>/dev/null)" = "$2" ]; }
remember() { printf '%s\n' "$2" >"$BASE/$1"; }

# The server of this data directory, and no other process that inherited its pid.
# (The command line is readable in containers where /proc/PID/cwd is not.)
server_pid() {
  local pid
  pid=$(head -n1 "$DATA/postmaster.pid" 2>/dev/null || true)
  [ -n "$pid" ] && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF -- "$DATA" >/dev/null && printf '%s\n' "$pid"
}

# Up to five seconds: it may be starting, or somebody removed its socket.
becomes_ready() {
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    if "$PG_BIN/pg_isready" -q -h "$SOCKET_DIR" -p "$PORT" -U "$SUPERUSER" -d postgres; then return; fi
    sleep 0.1
  done
  return 1
}

stop_server() {
  local pid
  if pid=$(server_pid); then
    if ! as_owner "$PG_BIN/pg_ctl" -D "$DATA" -m fast -w -t 30 stop >/dev/null 2>&1; then
      as_owner "$PG_BIN/pg_ctl" -D "$DATA" -m immediate -w -t 30 stop >/dev/null 2>&1 || die "server $pid of $DATA does not stop"
    fi
  fi
}

forget_data() {
  rm -rf "$DATA" "$WORKER" "$SOCKET_DIR/.s.PGSQL.$PORT" "$SOCKET_DIR/.s.PGSQL.$PORT.lock"
  rm -f "$BASE/made" "$BASE/library" "$BASE/script"
}

make_cluster() {
  stop_server
  forget_data
  as_owner mkdir -p "$SOCKET_DIR"
  as_owner chmod 700 "$SOCKET_DIR"
  as_owner "$PG_BIN/initdb" -D "$DATA" -U "$SUPERUSER" --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-instructions \
    >"$BASE/initdb.log" 2>&1 || { cat "$BASE/initdb.log" >&2; die "initdb failed"; }
  # Before the first start: the extension's processes connect to this database as
  # soon as the server is up, and would leave and come back later without it.
  as_owner "$PG_BIN/postgres" --single -D "$DATA" postgres <<<"CREATE DATABASE $DATABASE" >>"$BASE/initdb.log" 2>&1 ||
    { cat "$BASE/initdb.log" >&2; die "the database $DATABASE could not be made"; }
  as_owner tee -a "$DATA/postgresql.conf" >/dev/null <<CONF

# The playground: nobody outside this machine and nobody but its owner.
listen_addresses = ''
unix_socket_directories = '$SOCKET_DIR'
unix_socket_permissions = 0700
port = $PORT
timezone = 'UTC'

shared_preload_libraries = '$EXTENSION'
$EXTENSION.database = '$DATABASE'
# Keys that everybody knows. Never in production.
$EXTENSION.allow_dev_keys = on
# Nothing anchors here by itself: a playground that is a day old would refuse every read.
$EXTENSION.max_anchor_lag = 0
CONF
  remember made "$PG_MAJOR $SOCKET_DIR"
}

start_server() {
  # A server that was killed leaves these; a process that reused its pid would
  # make PostgreSQL believe them.
  rm -f "$DATA/postmaster.pid" "$SOCKET_DIR/.s.PGSQL.$PORT" "$SOCKET_DIR/.s.PGSQL.$PORT.lock"
  as_owner mkdir -p "$SOCKET_DIR"
  if ! as_owner "$PG_BIN/pg_ctl" -D "$DATA" -l "$LOG" -w -t 60 start >/dev/null 2>&1 </dev/null; then
    tail -n 20 "$LOG" >&2
    die "the playground's server did not start; its last lines are above, all of them in $LOG"
  fi
  remember library "$(library_sum)"
}

# The recorder starts with the server and needs a moment; before that every read
# would be refused.
await_health() {
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    if sql -d "$DATABASE" -c "SELECT identity.identity_health()" >"$BASE/health.log" 2>&1; then return; fi
    sleep 0.1
  done
  cat "$BASE/health.log" >&2
  die "the playground runs but is not healthy; its log is $LOG"
}

make_database() {
  if [ "$(sql -d postgres -c "SELECT count(*) FROM pg_database WHERE datname = '$DATABASE'")" = 0 ]; then
    sql -d postgres -c "CREATE DATABASE $DATABASE"
  fi
  if [ "$(sql -d "$DATABASE" -c "SELECT count(*) FROM pg_extension WHERE extname = '$EXTENSION'")" = 0 ]; then
    # One transaction: an extension that exists is an extension that is initialized.
    sql -d "$DATABASE" --single-transaction -o /dev/null -c "CREATE EXTENSION $EXTENSION" -c "SELECT identity.initialize()"
    remember script "$(script_sum)"
  fi
  sql -d "$DATABASE" -o /dev/null -f - <"$ROOT/scripts/playground.sql" 2>&1 | sed 's/^psql:<stdin>:[0-9]*: //' >&2
}

# A worker to try out: nobody runs it but by hand. Its store is a directory, its key a
# file; both belong to this cluster's log, and go with it.
make_worker() {
  if [ -f "$WORKER/config.toml" ]; then return; fi
  mkdir -p "$WORKER/store"
  (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$WORKER/signer.key")
  cat >"$WORKER/config.toml" <<TOML
[database]
url = "postgresql:///$DATABASE?host=$SOCKET_DIR&port=$PORT&user=worker_demo"
[signer]
provider = "file"
key_file = "$WORKER/signer.key"
[store]
kind = "directory"
path = "$WORKER/store"
TOML
}

print_exports() {
  printf 'export PGHOST=%q PGPORT=%q PGDATABASE=%q PGUSER=%q PLAYGROUND_WORKER=%q\n' \
    "$SOCKET_DIR" "$PORT" "$DATABASE" "$SUPERUSER" "$WORKER/config.toml"
}

up() {
  locate
  if ! remembers made "$PG_MAJOR $SOCKET_DIR"; then
    say "making the playground's cluster"
    make_cluster
  elif [ -f "$BASE/script" ] && ! remembers script "$(script_sum)"; then
    say "the extension's SQL changed since the playground was made: making a new one"
    make_cluster
  fi
  if server_pid >/dev/null && ! remembers library "$(library_sum)"; then
    say "the extension was rebuilt: restarting the playground"
    stop_server
  fi
  server_pid >/dev/null || start_server
  if ! becomes_ready; then
    say "the playground's server does not answer: restarting it"
    stop_server
    start_server
    becomes_ready || die "the playground's server does not answer on $SOCKET_DIR; see $LOG"
  fi
  make_database
  make_worker
  await_health
  [ -z "${MOVED:-}" ] || say "$MOVED"
  say "the playground runs: $SOCKET_DIR port $PORT, database $DATABASE"
  print_exports
}

down() {
  if [ -z "$(find_pg_config)" ]; then
    say "there is no PostgreSQL here, so there is no playground"
    return
  fi
  require_postgres
  locate
  stop_server
  forget_data
  rm -rf "${BASE:?}"
  case $SOCKET_DIR in "$BASE"/*) ;; *) rm -rf "${SOCKET_DIR:?}" ;; esac
  say "the playground is gone"
}

case ${1:-} in
  up) require_postgres && up ;;
  down) down ;;
  env) require_postgres && locate && print_exports ;;
  *) die "usage: scripts/playground.sh up|down|env" ;;
esac
