#!/usr/bin/env bash
# How fast the scrub is, against VACUUM FULL of the same table in the same state: subjects that were all erased a moment ago.
#
#   bench/scrub.sh          lines go to stdout: what, ours, beside what, ratio
#
# Marking that many requests as scrubbed is one more statement, which VACUUM FULL has no counterpart of: the second line has it in.
#
# BENCH_SUBJECTS (default 100000) is how many; PG_CONFIG and BENCH_DIR are those of run.sh. Both sides begin with the same files and a cold
# server, and both end with the checkpoint after which the files are clean. Progress goes to stderr.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC1091
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check_tools
make_home
say "loading and erasing $SUBJECTS subjects"
init_cluster
start_cluster
load_cluster
sql >/dev/null <<'SQL'
BEGIN;
UPDATE identity.subjects SET name_ct = NULL, email_ct = NULL, phone_ct = NULL, address_ct = NULL, ssn_ct = NULL, dob_ct = NULL, erased_at = now(),
       erasure_reason = 'retention_expired', generation = generation + 1, erasure_generation = erasure_generation + 1, updated_at = now();
INSERT INTO identity.erasure_requests (request_id, candidate_id, reason, state, requested_at, requested_by, due_at, done_at, access_id)
SELECT gen_random_uuid(), candidate_id, 'retention_expired', 'done', now(), current_user, now(), now(), row_number() OVER () FROM identity.subjects;
INSERT INTO identity.scrub_waits (what, subjects, since) SELECT 'subjects', count(*), now() FROM identity.subjects;
COMMIT;
SQL
stop_cluster
ERASED="$HOME_DIR/erased"
as_server cp -a "$DATA" "$ERASED"

# Seconds of a statement and the checkpoint after it, from the erased state; what the statement says goes to the file SAID.
seconds() { # statement [statement before]
  if [ -f "$DATA/postmaster.pid" ]; then stop_cluster; fi
  as_server rm -rf "$DATA"
  as_server cp -a "$ERASED" "$DATA"
  sync
  start_cluster
  if [ -n "${2:-}" ]; then sql -c "$2" >/dev/null; fi
  local before after
  before=$(date +%s%N)
  sql -c "$1" -c "SELECT regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/status'), '.*RssAnon:\s*(\d+) kB.*', '\1')" >"$SAID"
  sql -c 'CHECKPOINT'
  after=$(date +%s%N)
  awk -v ns=$((after - before)) 'BEGIN { printf "%.2f", ns / 1e9 }'
}
SAID=$(mktemp)
say "the scrub"
# All pages of the table but the first, which the pass is begun with.
most="(SELECT pg_relation_size('identity.subjects') / 8192 - 1)::int"
pages=$(seconds "SELECT a ->> 'state', a ->> 'rewritten' FROM identity.erasure_scrub($most) AS a" 'SELECT identity.erasure_scrub(1)')
IFS='|' read -r state rewritten <"$SAID"
rss=$(sed -n 2p "$SAID")
[ "$state" = "going_on" ] || die "the pass did not come that far: $(cat "$SAID")"
before=$(date +%s%N)
marked=$(sql -c "SELECT identity.erasure_scrub(1000000) ->> 'scrubbed'")
after=$(date +%s%N)
[ "$marked" = "$SUBJECTS" ] || die "$marked requests were marked, not $SUBJECTS"
marking=$(awk -v ns=$((after - before)) 'BEGIN { printf "%.2f", ns / 1e9 }')
say "VACUUM FULL"
full=$(seconds 'VACUUM FULL identity.subjects')
rm -f "$SAID"
awk -v pages="$pages" -v marking="$marking" -v full="$full" -v rewritten="$rewritten" -v rss="$rss" \
  'BEGIN { printf "%-46s %12s %12s %6.2f   at least 0.5\n", "s: scrub of the pages, VACUUM FULL", pages, full, full / pages
           printf "%-46s %12s %12s %6.2f   at least 0.5\n", "s: with the requests marked as scrubbed", pages + marking, full, full / (pages + marking)
           printf "%-46s %12s\n%-46s %9s kB\n", "pages rewritten", rewritten, "memory of the backend", rss }'
