#!/usr/bin/env bash
# Where one call's time goes: perf samples of a single backend under pgbench, fsync = off so that the disk is not in it; and what 16 backends
# wait for, as pg_stat_activity shows it.
#
#   bench/profile.sh [ours|floor|alt_a|alt_b|bulk_ours|bulk_register] [seconds]      default: ours, 10
#
# Needs perf (Debian: linux-perf) and the right to use it (root, or kernel.perf_event_paranoid <= 1).
# BENCH_CALLERS=1 adds inclusive costs (slower). BENCH_TOP, BENCH_HZ: lines shown, samples a second. Names
# inside PostgreSQL are good only as far as its symbols are installed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC1091
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SIDE=${1:-ours} DURATION=${2:-10}
case $SIDE in ours | floor | alt_a | alt_b | bulk_ours | bulk_register) ;; *) die "unknown side $SIDE" ;; esac
command -v perf >/dev/null || die 'perf is missing (Debian: apt-get install linux-perf)'
check_tools
make_home
say "loading $SUBJECTS subjects"
init_cluster
start_cluster
load_cluster
set_fsync off
pgbench_tps "$SIDE" 1 2 >/dev/null
sql -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
pgbench_tps "$SIDE" 1 1 >/dev/null
read -r CPU WAL < <(cost_per_call "$SIDE" "$(case $SIDE in bulk_*) echo 200 ;; *) echo 20000 ;; esac)")
printf '%s: %s µs of CPU and %s bytes of WAL a call\n' "$SIDE" "$CPU" "$WAL"

pgbench_tps "$SIDE" 1 $((DURATION + 3)) >"/tmp/ib.$$.tps" &
BENCH_PID=$!
sleep 1.5
BACKEND=$(sql -c "SELECT pid FROM pg_stat_activity WHERE usename = 'gw_bench' AND backend_type = 'client backend' LIMIT 1")
[ -n "$BACKEND" ] || die 'no backend to look at'
PERF_DATA=$(mktemp /tmp/ib.XXXXXX)
GRAPH=()
if [ -n "${BENCH_CALLERS:-}" ]; then GRAPH=(--call-graph 'dwarf,16384'); fi
perf record -q -F "${BENCH_HZ:-999}" "${GRAPH[@]}" -p "$BACKEND" -o "$PERF_DATA" -- sleep "$DURATION" >&2
wait "$BENCH_PID"
printf '%s: %s transactions per second on one connection, fsync = off\n' "$SIDE" "$(cat "/tmp/ib.$$.tps")"
rm -f "/tmp/ib.$$.tps"

# awk and not head: head would end the pipe, and with it the script.
report() { # lines, then perf's own options
  local lines=$1
  shift
  perf report -i "$PERF_DATA" --stdio -g none "$@" 2>/dev/null |
    awk -v lines="$lines" '/^#/ || /^ *$/ { next } ++shown <= lines { sub(/ +- +- *$/, ""); print }'
}
printf '\n# by binary\n'
report 8 --no-children --sort dso
printf '\n# by function, its own time\n'
report "${BENCH_TOP:-45}" --no-children --sort dso,symbol
if [ -n "${BENCH_CALLERS:-}" ]; then
  printf '\n# by function, with what it calls (first column)\n'
  report "${BENCH_TOP:-90}" --children --sort symbol
fi
rm -f "$PERF_DATA"

printf '\n# 16 clients: share of the samples in which a backend ran or waited\n'
pgbench_tps "$SIDE" 16 $((DURATION + 3)) >"/tmp/ib.$$.tps" &
BENCH_PID=$!
sleep 1.5
sql -v "rounds=$((DURATION * 50))" <<'SQL'
CREATE TEMPORARY TABLE seen (what text);
SELECT set_config('bench.rounds', :'rounds', false) \g /dev/null
DO $$
BEGIN
    FOR round IN 1 .. current_setting('bench.rounds')::int LOOP
        PERFORM pg_stat_clear_snapshot();
        INSERT INTO seen SELECT coalesce(wait_event_type || ' ' || wait_event, 'runs') FROM pg_stat_activity WHERE usename = 'gw_bench' AND state = 'active';
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;
SELECT format('%s%%  %s', round(100.0 * count(*) / sum(count(*)) OVER (), 1), what) FROM seen GROUP BY what ORDER BY count(*) DESC LIMIT 8;
SQL
wait "$BENCH_PID"
printf '%s: %s transactions per second on 16 connections, fsync = off\n' "$SIDE" "$(cat "/tmp/ib.$$.tps")"
rm -f "/tmp/ib.$$.tps"
