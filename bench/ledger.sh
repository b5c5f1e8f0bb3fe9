#!/usr/bin/env bash
# What sealing and verifying cost a row, beside a bare SELECT of the same columns to the same client.
#
#   bench/ledger.sh [ROWS...]     1000000 if none is given; each number of rows in a cluster of its own
#
# PG_CONFIG picks the PostgreSQL, as for run.sh. Lines go to stdout: rows, then for each step seconds, rows a second, and the rate against the SELECT.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC1091
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

IDS=1000 # as many as one call takes
ROUNDS=3

# The median of some rounds, in seconds.
seconds() { # rounds statement
  for _ in $(seq "$1"); do
    sql -o /dev/null -c '\timing on' -c "$2" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
  done | sort -n | sed -n "$((($1 + 1) / 2))p" | awk '{ print $1 / 1000 }'
}

line() { # step seconds
  awk -v step="$1" -v took="$2" -v rows="$rows" -v floor="$floor" \
    'BEGIN { printf "%-28s %8.2f s %10.0f rows/s %6.2f\n", step, took, rows / took, floor / took }'
}

bench() {
  local rows floor
  make_home
  init_cluster
  start_cluster
  as_server "$BINDIR/createdb" -h "$SOCKET_DIR" -U bench identity
  sql -c 'CREATE EXTENSION identity_pgx' -c 'SELECT identity.initialize()' \
    -c 'CREATE ROLE gateway LOGIN IN ROLE identity_gateway, identity_zone_onbox' >/dev/null
  unlock
  say "writing $1 rows"
  # An answer about a vertical leaves a row for each id, whether anybody has it or not.
  for _ in $(seq $(($1 / IDS))); do
    echo "SELECT count(*) FROM identity.pii_vertical_many(ARRAY(SELECT gen_random_uuid() FROM generate_series(1, $IDS)));"
  done | sql -U gateway -o /dev/null
  sql -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
  rows=$(sql -c 'SELECT count(*) FROM identity.pii_access_log')
  printf '\n%s rows\n' "$rows"
  # COPY in binary form: a client reads nothing faster.
  floor=$(seconds $ROUNDS 'COPY (SELECT * FROM identity.pii_access_log ORDER BY access_id) TO STDOUT (FORMAT binary)')
  line 'SELECT of every column' "$floor"
  line 'ledger_verify(true)' "$(seconds $ROUNDS 'SELECT count(*) FROM identity.ledger_verify(true)')"
  line 'ledger_seal()' "$(seconds 1 'SELECT tree_size FROM identity.ledger_seal()')"
  line 'ledger_verify(true), sealed' "$(seconds $ROUNDS 'SELECT count(*) FROM identity.ledger_verify(true)')"
  drop_home
}

check_tools
[ $# -gt 0 ] || set -- 1000000
for number in "$@"; do bench "$number"; done
