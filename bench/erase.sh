#!/usr/bin/env bash
# What erasing costs: sweeping subjects beside a bare UPDATE of the same columns, and resolves while a sweep goes on. scrub.sh measures the scrub.
#
#   bench/erase.sh [SUBJECTS]     100000 if none is given, in a cluster of its own
#
# PG_CONFIG picks the PostgreSQL, as for run.sh. Lines go to stdout: what, ours, beside what, ratio, target.
set -euo pipefail
READERS=20000 # subjects that are resolved and not swept
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC1091
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SWEPT=${1:-100000}
SECONDS_A_RUN=8 PAIRS=3 CLIENTS=4
SUBJECTS=$READERS

ms() { # statement: how long it takes the server, in ms
  sql -o /dev/null -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}
line() { # what ours beside target
  awk -v what="$1" -v ours="$2" -v beside="$3" -v ratio="$4" -v least="$5" \
    'BEGIN { printf "%-46s %12.0f %12.0f %6.2f   at least %.1f %s\n", what, ours, beside, ratio, least, (ratio >= least ? "" : "MISSED") }'
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { print a / b }'; }
median() { sort -n | sed -n "$((($1 + 1) / 2))p"; }

# So many new subjects, whose vertical nobody has reviewed, a hundred days old.
register() { # subjects
  for _ in $(seq $(($1 / 1000))); do
    echo "SELECT count(*) FROM identity.pii_register_many('bench_register', (SELECT records FROM public.bench_blocks WHERE n = 1));"
  done | sql -U gw_bench -o /dev/null
  sql -c "UPDATE identity.subjects SET created_at = created_at - interval '100 days' WHERE vertical = 'unknown' AND erased_at IS NULL"
}
policies() { # days for subjects nobody has reviewed
  sql <<SQL >/dev/null
INSERT INTO identity.consent_versions (version, kind, template_hash, template_path) VALUES ('bench-schedule', 'retention_schedule', repeat('ab', 32), 'bench') ON CONFLICT DO NOTHING;
INSERT INTO identity.retention_policies (vertical, kind, days, schedule_version) VALUES ('unknown', 'general', $1, 'bench-schedule')
  ON CONFLICT (vertical, kind) DO UPDATE SET days = excluded.days;
SQL
}

# A whole pass in one session, a transaction a batch. Answers the private memory of its backend after the first batch and at the end, in kB.
pass() { # subjects a batch
  sql <<SQL
CREATE TEMP TABLE memory (kb int);
DO \$\$
DECLARE
  answer jsonb;
BEGIN
  LOOP
    answer := identity.retention_sweep($1);
    COMMIT;
    INSERT INTO memory SELECT substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\s+(\d+)')::int;
    EXIT WHEN NOT (answer ->> 'more')::boolean;
  END LOOP;
END \$\$;
SELECT (SELECT kb FROM memory LIMIT 1) || ' ' || max(kb) FROM memory;
SQL
}

check_tools
make_home
init_cluster
start_cluster
say "loading $READERS subjects to resolve"
load_cluster
say "registering $SWEPT subjects to sweep"
set_fsync off
register "$SWEPT"
sql -c 'CREATE TABLE public.bare (LIKE identity.subjects INCLUDING ALL)' \
  -c "INSERT INTO public.bare SELECT * FROM identity.subjects WHERE vertical = 'unknown'"
set_fsync on
sql -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
# At the start of a server the maintenance process makes up for the night before. It takes no part in what is measured: so it must have seen, in one of
# its rounds of a second, that the night is over, or it would help with the pass.
until [ "$(sql -c 'SELECT count(ended_at) FROM identity.sweep_progress')" -eq 3 ]; do sleep 0.2; done
sleep 3
policies 30

say 'a bare UPDATE of the same columns'
bare=$(ms "UPDATE public.bare SET name_ct = NULL, email_ct = NULL, phone_ct = NULL, address_ct = NULL, ssn_ct = NULL, dob_ct = NULL, lawful_basis = NULL,
  transfer_mechanism = NULL, biometric_classifications_ct = NULL, biometric_data_path = NULL, biometric_collected_at = NULL, biometric_template_hash = NULL,
  biometric_retention_until = NULL, generation = generation + 1, erasure_generation = erasure_generation + 1, erased_at = now(),
  erasure_reason = 'retention_expired', updated_at = now()")
sql -c 'CHECKPOINT'
say 'the sweep'
before=$(date +%s%N)
read -r first most < <(pass 1000 | tail -n 1)
after=$(date +%s%N)
swept=$(sql -c "SELECT count(*) FROM identity.erasure_requests WHERE state = 'done'")
[ "$swept" -eq "$SWEPT" ] || die "the sweep erased $swept subjects, not $SWEPT"
took=$(((after - before) / 1000000))

printf '\n%-46s %12s %12s %6s\n' 'what' 'ours' 'beside' 'ratio'
line 'subjects a second: sweep, bare UPDATE' "$(ratio "$((swept * 1000))" "$took")" "$(ratio "$((SWEPT * 1000))" "$bare")" "$(ratio "$bare" "$took")" 0.3
printf '%-46s %9s kB %9s kB\n' 'memory of the backend: first batch, most' "$first" "$most"

# A sweep of the night: a batch a second. And one that goes as fast as it can.
night() { while sql -o /dev/null -c 'SELECT identity.retention_sweep(1000)' && sleep 1; do :; done; }
rush() { while sql -o /dev/null -c 'SELECT identity.retention_sweep(1000)'; do :; done; }
for pace in night rush; do
  for round in $(seq "$PAIRS"); do
    say "resolves during a sweep ($pace), $round of $PAIRS"
    sql -c 'CHECKPOINT'
    without=$(pgbench_tps ours "$CLIENTS" "$SECONDS_A_RUN")
    set_fsync off
    register "$SWEPT"
    set_fsync on
    sql -c 'CHECKPOINT'
    $pace &
    sweeper=$!
    with=$(pgbench_tps ours "$CLIENTS" "$SECONDS_A_RUN")
    kill "$sweeper"
    wait "$sweeper" 2>/dev/null || true
    printf '%s %s %s\n' "$(ratio "$with" "$without")" "$with" "$without"
  done | as_server tee "$HOME_DIR/$pace" >/dev/null
  kept=$(cut -d' ' -f1 "$HOME_DIR/$pace" | median "$PAIRS")
  with=$(cut -d' ' -f2 "$HOME_DIR/$pace" | median "$PAIRS")
  without=$(cut -d' ' -f3 "$HOME_DIR/$pace" | median "$PAIRS")
  case $pace in
    night) line 'resolves/s: during a sweep of the night, without' "$with" "$without" "$kept" 0.8 ;;
    rush) line 'resolves/s: during one as fast as it can, without' "$with" "$without" "$kept" 0 ;;
  esac
done
findings=$(sql -c 'SELECT check_name, detail FROM identity.ledger_verify(true) WHERE NOT ok') || die 'ledger_verify failed'
[ -z "$findings" ] || die "the log does not verify after the run: $findings"
