# shellcheck shell=bash
# A throwaway cluster for measurements. Sourced by run.sh and profile.sh; never run by itself.
#
# The data directory lies under /var/tmp, not /tmp: /tmp is often a tmpfs, where fsync costs nothing
# and "durable" would measure memory. Every side runs in the same cluster under the same settings.

PG_CONFIG=${PG_CONFIG:-pg_config}
BINDIR=$("$PG_CONFIG" --bindir)
BENCH_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SUBJECTS=${BENCH_SUBJECTS:-100000}
BLOCKS=50 # of 1,000 ids or records each, for the bulk part
MAC32='\xabababababababababababababababababababababababababababababababab'

die() { printf 'bench: %s\n' "$*" >&2; exit 1; }
say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# PostgreSQL refuses to run as root.
if [ "$(id -u)" -eq 0 ]; then
  as_server() { (cd / && runuser -u postgres -- "$@"); }
else
  as_server() { "$@"; }
fi

check_tools() {
  local tool
  for tool in initdb pg_ctl psql pgbench; do
    [ -x "$BINDIR/$tool" ] || die "$BINDIR/$tool is missing; PG_CONFIG ($PG_CONFIG) chooses the PostgreSQL to measure"
  done
  command -v python3 >/dev/null || die "python3 is missing"
  [ -f "$("$PG_CONFIG" --sharedir)/extension/identity_pgx.control" ] ||
    die "identity_pgx is not installed in this PostgreSQL; run 'make install' first"
}

# The directory of this run, owned by the server's user: data, socket, copies of the scripts.
make_home() {
  HOME_DIR=$(as_server mktemp -d "${BENCH_DIR:-/var/tmp}/identity_bench.XXXXXX")
  SOCKET_DIR=$(as_server mktemp -d /tmp/ib.XXXXXX) # a socket path has at most 107 bytes
  as_server mkdir "$HOME_DIR/scripts"
  local name
  for name in floor.sql ours.sql alt_a.sql alt_b.sql bulk_floor.sql bulk_ours.sql bulk_register.sql memory.sql rss.sh; do # copied: the server's user may not read the checkout
    as_server tee "$HOME_DIR/scripts/$name" <"$BENCH_HERE/scripts/$name" >/dev/null
  done
  as_server chmod +x "$HOME_DIR/scripts/rss.sh"
  DATA="$HOME_DIR/main"
  trap drop_home EXIT
  trap 'exit 130' INT TERM
}

drop_home() {
  if [ -n "${DATA:-}" ] && [ -f "$DATA/postmaster.pid" ]; then
    stop_cluster || as_server "$BINDIR/pg_ctl" -D "$DATA" -m immediate -w stop >/dev/null || true
  fi
  if [ -n "${BENCH_KEEP:-}" ]; then
    say "kept: $HOME_DIR"
  else
    as_server rm -rf "$HOME_DIR"
  fi
  as_server rm -rf "$SOCKET_DIR"
}

init_cluster() {
  as_server "$BINDIR/initdb" -D "$DATA" -U bench -A trust -E UTF8 --locale=C --no-sync >/dev/null
  as_server tee -a "$DATA/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$SOCKET_DIR'
max_connections = 100
shared_preload_libraries = 'identity_pgx'
identity_pgx.database = 'identity'
identity_pgx.allow_dev_keys = on
shared_buffers = '${BENCH_SHARED_BUFFERS:-1GB}'
# One checkpoint at the start of each column, none inside it; no autovacuum in the middle of a run.
checkpoint_timeout = 1h
max_wal_size = '32GB'
autovacuum = off
jit = off
log_min_messages = warning
CONF
}

start_cluster() {
  as_server "$BINDIR/pg_ctl" -D "$DATA" -l "$DATA/server.log" -w -t 120 start >/dev/null ||
    { as_server tail -n 20 "$DATA/server.log" >&2; die "the server did not start"; }
}
stop_cluster() { as_server "$BINDIR/pg_ctl" -D "$DATA" -m fast -w -t 120 stop >/dev/null; }

# psql as the cluster's superuser. SQL comes on stdin or as arguments.
sql() { as_server "$BINDIR/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$SOCKET_DIR" -U bench -d identity "$@"; }

# Unlocks and waits until calls are served: the recorder comes up a second or so after the server, or after its database.
unlock() {
  local try answer=''
  for try in $(seq 100); do
    if answer=$(sql -c 'SET client_min_messages = error' -c 'SELECT identity.dev_unlock()' -c 'SELECT identity.identity_health()' 2>&1); then return 0; fi
    sleep 0.2
  done
  die "not ready after $try tries: $answer"
}

# fsync = on|off for everybody. Reloaded, not restarted: a restart would lock the keys again.
set_fsync() {
  sql -c "ALTER SYSTEM SET fsync = $1" -c 'SELECT pg_reload_conf()' >/dev/null
  local try
  for try in 1 2 3 4 5; do
    if [ "$(sql -c 'SHOW fsync')" = "$1" ]; then return 0; fi
    sleep "0.$try"
  done
  die "fsync did not become $1"
}

# Schema, roles, subjects, and the tables the floor and the alternatives use.
load_cluster() {
  as_server "$BINDIR/createdb" -h "$SOCKET_DIR" -U bench identity
  sql -c 'CREATE EXTENSION identity_pgx' -c 'SELECT identity.initialize()' >/dev/null
  unlock
  set_fsync off
  sql -v subjects="$SUBJECTS" -v blocks="$BLOCKS" <"$BENCH_HERE/setup.sql" >/dev/null
  set_fsync on
  same_answer
}

# A fast wrong answer is no result: all sides must decrypt the same name.
same_answer() {
  local id="'01900000-0000-7000-8000-000000000001'" answers
  answers=$(as_server "$BINDIR/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$SOCKET_DIR" -U gw_bench -d identity \
    -c "SELECT pii->>'name' FROM identity.pii_resolve($id, 'bench_resolving', ARRAY['name'])" \
    -c "SELECT public.alt_a($id)" -c "SELECT public.alt_b($id)" | sort -u)
  [ "$answers" = 'Bench Worker 000001' ] || die "the sides do not answer the same: $answers"
}

# One pgbench run; prints transactions per second. Any failed transaction ends the benchmark.
pgbench_tps() { # script clients seconds
  local out
  out=$(as_server "$BINDIR/pgbench" -n -M prepared -h "$SOCKET_DIR" -U gw_bench -D "mac=$MAC32" -D "subjects=$SUBJECTS" -D "blocks=$BLOCKS" \
    -c "$2" -j "$(threads "$2")" -T "$3" -f "$HOME_DIR/scripts/$1.sql" identity 2>&1) ||
    die "pgbench failed on $1: $out"
  case $out in *' aborted '*) die "pgbench aborted on $1: $out" ;; esac
  printf '%s\n' "$out" | awk '/^number of failed transactions/ && $5 != 0 { bad = 1 }
    /^tps = / { tps = $3 } END { if (bad || tps == "") exit 1; print tps }' ||
    die "pgbench reported failures on $1: $out"
}
# Rows per second of a bare COPY of the subjects, as many as there are, into a table with the same columns and indexes.
copy_rate() {
  local before after
  sql -c "COPY identity.subjects TO '$HOME_DIR/subjects.copy'" -c 'DROP TABLE IF EXISTS public.bench_copy' \
    -c 'CREATE TABLE public.bench_copy (LIKE identity.subjects INCLUDING ALL)' >/dev/null
  sql -c 'CHECKPOINT'
  before=$(date +%s%N)
  sql -c "COPY public.bench_copy FROM '$HOME_DIR/subjects.copy'" >/dev/null
  after=$(date +%s%N)
  awk -v rows="$(sql -c 'SELECT count(*) FROM public.bench_copy')" -v ns=$((after - before)) 'BEGIN { print rows / ns * 1e9 }'
}

threads() { # at most one pgbench thread per core
  local cores
  cores=$(nproc)
  if [ "$1" -lt "$cores" ]; then echo "$1"; else echo "$cores"; fi
}

# What one call costs the server, whatever else the machine is doing: "µs of CPU, bytes of WAL".
# The CPU is that of the finished backend, which the postmaster collects when it ends.
cost_per_call() { # script calls
  local ticks_before wal_before ticks wal postmaster
  postmaster=$(as_server head -n 1 "$DATA/postmaster.pid")
  wal_before=$(sql -c "SELECT pg_current_wal_insert_lsn() - '0/0'")
  ticks_before=$(reaped_ticks "$postmaster")
  as_server "$BINDIR/pgbench" -n -M prepared -h "$SOCKET_DIR" -U gw_bench -D "mac=$MAC32" -D "subjects=$SUBJECTS" -D "blocks=$BLOCKS" \
    -c 1 -t "$2" -f "$HOME_DIR/scripts/$1.sql" identity >/dev/null 2>&1 || die "pgbench failed on $1"
  sleep 0.2
  ticks=$(reaped_ticks "$postmaster")
  wal=$(sql -c "SELECT pg_current_wal_insert_lsn() - '0/0'")
  awk -v ticks="$((ticks - ticks_before))" -v hz="$(getconf CLK_TCK)" -v wal="$((wal - wal_before))" -v calls="$2" \
    'BEGIN { printf "%.1f %.0f\n", ticks / hz * 1e6 / calls, wal / calls }'
}
reaped_ticks() { awk '{ sub(/.*\) /, ""); print $14 + $15 }' "/proc/$1/stat"; } # cutime + cstime
