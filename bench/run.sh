#!/usr/bin/env bash
# The benchmark table: pii_resolve against the floor and against what people write by hand.
#
#   bench/run.sh            the full table (about 30 minutes on 2 cores)
#   bench/run.sh --quick    16 clients only, 3 pairs of 2 s (about 3 minutes); for a glance, not for publishing
#
# PG_CONFIG picks the PostgreSQL, which must have identity_pgx and pgcrypto installed. As root the server runs as
# "postgres". BENCH_DIR (default /var/tmp) is where the throwaway cluster lies; BENCH_KEEP=1 keeps it.
# The table goes to stdout, progress to stderr.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC1091
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SECONDS_A_RUN=8 PAIRS=5 CLIENTS='1 16 64' GROWTH=1 MEMORY_CALLS=1000000 COST_CALLS=50000 ERASED=100000
while [ $# -gt 0 ]; do
  case $1 in
    --quick) SECONDS_A_RUN=2 PAIRS=3 CLIENTS=16 GROWTH=0 MEMORY_CALLS=100000 COST_CALLS=20000 ERASED=20000 ;;
    --no-growth) GROWTH=0 ;;
    *) die "unknown option $1 (known: --quick, --no-growth)" ;;
  esac
  shift
done

check_tools
LOAD_BEFORE=$(cut -d' ' -f1 /proc/loadavg)
awk -v load="$LOAD_BEFORE" -v cores="$(nproc)" 'BEGIN { exit !(load > cores / 2) }' &&
  say "load average is $LOAD_BEFORE: somebody else is using this machine, and its disk; do not publish what follows"
make_home
RESULTS="$HOME_DIR/results.tsv"
as_server touch "$RESULTS"
record() { local IFS=$'\t'; printf '%s\n' "$*" | as_server tee -a "$RESULTS" >/dev/null; }

log_rows() { sql -c 'SELECT count(*) FROM identity.pii_access_log'; }
floor_rows() { sql -c 'SELECT count(*) FROM public.floor_log'; }

# PAIRS rounds of floor, ours (and the alternatives), each SECONDS_A_RUN long, after an unmeasured round of 1 s:
# it fills caches and takes the full-page images that follow the checkpoint.
rounds() { # section mode clients sides…
  local section=$1 mode=$2 clients=$3 round side
  shift 3
  sql -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
  for side in "$@"; do pgbench_tps "$side" "$clients" 1 >/dev/null; done
  for round in $(seq "$PAIRS"); do
    for side in "$@"; do
      record "$section" "$mode" "$clients" "$round" "$side" "$(pgbench_tps "$side" "$clients" "$SECONDS_A_RUN")"
    done
  done
  say "$section, $mode, $clients clients: done"
}

verify() { # the numbers count only if the log they left is sound
  local findings
  findings=$(sql -c 'SELECT check_name, detail FROM identity.ledger_verify() WHERE NOT ok') || die 'ledger_verify failed'
  [ -z "$findings" ] || die "the log does not verify after the run: $findings"
}

# ---- the main table
say "loading $SUBJECTS subjects"
init_cluster
start_cluster
load_cluster
if [ "$GROWTH" = 1 ]; then # the growth part starts from the same data, without what the main part appends
  stop_cluster
  as_server cp -a "$DATA" "$HOME_DIR/growth"
  start_cluster
  unlock
fi
for mode in durable nodisk; do
  set_fsync "$([ "$mode" = durable ] && echo on || echo off)"
  for clients in $CLIENTS; do rounds main "$mode" "$clients" floor ours alt_a alt_b; done
done
# ---- the bulk part: a transaction is a block of 1,000. It comes after the main part, whose log it would make longer.
for mode in durable nodisk; do
  set_fsync "$([ "$mode" = durable ] && echo on || echo off)"
  for clients in 1 4; do rounds bulk "$mode" "$clients" bulk_floor bulk_ours; done
  for round in $(seq "$PAIRS"); do # COPY first: registering makes the table that is copied longer
    record register "$mode" 1 "$round" copy "$(copy_rate)"
    record register "$mode" 1 "$round" bulk_register "$(pgbench_tps bulk_register 1 "$SECONDS_A_RUN")"
  done
done
set_fsync off
for side in floor ours alt_a alt_b; do
  cost_per_call "$side" $((COST_CALLS / 10)) >/dev/null
  read -r cpu wal < <(cost_per_call "$side" "$COST_CALLS")
  record cost nodisk 1 0 "${side}_cpu" "$cpu"
  record cost nodisk 1 0 "${side}_wal" "$wal"
done
set_fsync on
verify

# ---- growth and memory, in a log that starts nearly empty
memory() {
  set_fsync off
  say "memory: $MEMORY_CALLS calls on one connection"
  as_server "$BINDIR/pgbench" -n -M prepared -h "$SOCKET_DIR" -U gw_bench -D "subjects=$SUBJECTS" -D i=0 -D first=10000 -D "last=$MEMORY_CALLS" \
    -D "sampler=$HOME_DIR/scripts/rss.sh" -D "samples=$HOME_DIR/rss" -c 1 -t "$MEMORY_CALLS" -f "$HOME_DIR/scripts/memory.sql" identity >"$SOCKET_DIR/memory.out" 2>&1 ||
    { cat "$SOCKET_DIR/memory.out" >&2; die 'pgbench failed in the memory run'; }
  while read -r calls kb; do record memory nodisk 1 "$calls" rss_anon_kb "$kb"; done < <(as_server cat "$HOME_DIR/rss")
  set_fsync on
}

# Importing wrote a row per subject. Nobody but a superuser who switches the guard off can empty the log, and that
# is what this does, in a cluster that is about to be deleted; the lanes then start again from their first row.
empty_logs() {
  sql <"$BENCH_HERE/empty_log.sql" >/dev/null
  stop_cluster
  start_cluster
  unlock
}
fill_logs() { # rows
  local missing=$(($1 - $(log_rows)))
  if [ "$missing" -gt 0 ]; then
    as_server "$BINDIR/pgbench" -n -M prepared -h "$SOCKET_DIR" -U gw_bench -D "subjects=$SUBJECTS" -c 16 -j "$(threads 16)" \
      -t $(((missing + 15) / 16)) -f "$HOME_DIR/scripts/ours.sql" identity >/dev/null 2>&1 || die 'filling the log failed'
  fi
  sql -v missing="$(($1 - $(floor_rows)))" >/dev/null <<'SQL'
INSERT INTO public.floor_log (candidate_id, accessor_kind, accessor_role, purpose_token, fields_accessed, outcome, mac)
  SELECT public.bench_id(1 + floor(random() * (SELECT count(*) FROM public.floor_subjects))::bigint), 'gateway_lookup', 'gw_bench', 'fill_validation', ARRAY['name'], 'committed', decode(repeat('ab', 32), 'hex')
    FROM generate_series(1, :missing);
SQL
}
growth() { # section rows
  set_fsync off
  fill_logs "$2"
  set_fsync on
  record "$1" durable 16 0 rows_before "$(log_rows)"
  rounds "$1" durable 16 floor ours
  record "$1" durable 16 0 rows_after "$(log_rows)"
}
if [ "$GROWTH" = 1 ]; then
  stop_cluster
  as_server rm -rf "$DATA"
  DATA="$HOME_DIR/growth"
  start_cluster
  unlock
  empty_logs
  growth growth_10k 10000
  memory
  growth growth_1m 1000000
  verify
else
  memory
fi

{
  printf 'version\t%s\n' "$(sql -c "SELECT current_setting('server_version')")"
  printf 'extension\t%s\n' "$(sql -c "SELECT extversion FROM pg_extension WHERE extname = 'identity_pgx'")"
  printf 'cpu\t%s\n' "$(awk -F': *' '/^model name/ { print $2; exit }' /proc/cpuinfo)"
  printf 'cores\t%s\n' "$(nproc)"
  printf 'memory\t%s\n' "$(awk '/^MemTotal:/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
  printf 'kernel\t%s\n' "$(uname -sr)"
  printf 'filesystem\t%s\n' "$(df --output=fstype "$HOME_DIR" | tail -n 1)"
  printf 'load\t%s before, %s after\n' "$LOAD_BEFORE" "$(cut -d' ' -f1 /proc/loadavg)"
  printf 'subjects\t%s\n' "$SUBJECTS"
  printf 'run\t%s s a run, %s pairs\n' "$SECONDS_A_RUN" "$PAIRS"
  printf 'settings\t%s\n' "$(sql -c "SELECT string_agg(name || ' = ' || current_setting(name), ', ' ORDER BY name) FROM pg_settings
    WHERE name IN ('shared_buffers', 'max_wal_size', 'checkpoint_timeout', 'synchronous_commit', 'wal_level', 'full_page_writes', 'autovacuum', 'jit', 'identity_pgx.recorder_slots', 'wal_sync_method')")"
} | as_server tee "$HOME_DIR/facts.tsv" >/dev/null
as_server cat "$HOME_DIR/facts.tsv" "$RESULTS" | python3 "$BENCH_HERE/summary.py"

# ---- erasing, in a cluster of its own: its table follows this one
drop_home
trap - EXIT
"$BENCH_HERE/erase.sh" "$ERASED"
BENCH_SUBJECTS=$ERASED exec "$BENCH_HERE/scrub.sh"
