#!/usr/bin/env bash
# Runs the SQL examples of the pages, so that they stay true. Needs the playground: eval "$(make -s up)".
#
# Each ```sql block runs in a psql of its own, as the playground's superuser until it says \connect. A block that ends in
# "-- refused: X" must fail, with reason X in its DETAIL or with SQLSTATE X; any other block must succeed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
: "${PGHOST:?start the playground first: eval \"\$(make -s up)\"}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 ran=0
for page in functions/*.md howto/gateway.md howto/dba.md; do
  rm -f "$work"/block.*
  awk -v dir="$work" '/^```sql$/ { out = sprintf("%s/block.%02d", dir, ++n); next } /^```$/ { if (out) close(out); out = ""; next } out { print > out }' "$page"
  for block in "$work"/block.*; do
    [ -e "$block" ] || continue
    ran=$((ran + 1))
    want=$(sed -n 's/^-- refused: //p' "$block" | tail -n 1)
    output=$(psql -X -q -v ON_ERROR_STOP=1 -v VERBOSITY=verbose -f "$block" 2>&1)
    status=$?
    if [ -z "$want" ] && [ $status -eq 0 ]; then continue; fi
    if [ -n "$want" ] && [ $status -ne 0 ] && grep -qE "reason: $want\$|ERROR:  $want:" <<<"$output"; then continue; fi
    failed=$((failed + 1))
    printf '%s, example %d: %s\n%s\n' "$page" "$((10#${block##*.}))" "${want:+expected refusal $want}" "$output"
  done
done
printf '%d examples, %d failed\n' "$ran" "$failed"
[ "$failed" -eq 0 ]
