#!/usr/bin/env bash
# Runs the examples of the pages, so that they stay true. Needs the playground: eval "$(make -s up)", and the workers that make demo loads.
#
#   docs/run-examples.sh              all of them, in this order: later pages use what earlier ones made
#   docs/run-examples.sh PAGE...      these, named from docs/: runbooks/erasure.md
#
# Each ```sql block runs in a psql of its own, as the playground's superuser until it says \connect. A block that ends in
# "-- refused: X" must fail, with reason X in its DETAIL or with SQLSTATE X; any other block must succeed. Of one that ends in "-- shows: X" some line
# of the answer must be X, blanks at its ends apart.
# Each ```sh block runs in a shell of its own; those of one page share a directory, which is like the top of the repository
# but for what they write. The last command of one that ends in "# exit: N" must end with N; any other must succeed.
set -uo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
require_postgres
PATH=$PG_BIN:$PATH
cd "$ROOT/docs" || exit 1
: "${PGHOST:?start the playground first: eval \"\$(make -s up)\"}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# -eq 0 ]; then
  set -- functions/*.md howto/gateway.md howto/dba.md howto/verify.md howto/outage.md policies/*.md howto/erasure.md runbooks/*.md
fi

failed=0 ran=0
for page in "$@"; do
  [ -f "$page" ] || { printf "%s: no such page\n" "$page"; failed=$((failed + 1)); continue; }
  rm -rf "$work/block".* "$work/page"
  mkdir "$work/page"
  ln -s "$ROOT/docs" "$work/page/docs"
  awk -v dir="$work" '/^```(sql|sh)$/ { out = sprintf("%s/block.%02d.%s", dir, ++n, substr($0, 4)); next } /^```$/ { if (out) close(out); out = ""; next } out { print > out }' "$page"
  for block in "$work"/block.*; do
    [ -e "$block" ] || continue
    ran=$((ran + 1))
    number=${block##*block.}
    case $block in
      *.sql)
        want=$(sed -n 's/^-- refused: //p' "$block" | tail -n 1)
        output=$(psql -X -q -v ON_ERROR_STOP=1 -v VERBOSITY=verbose -f "$block" 2>&1)
        status=$?
        shows=$(sed -n 's/^-- shows: //p' "$block" | tail -n 1)
        if [ -z "$want" ] && [ $status -eq 0 ] && { [ -z "$shows" ] || sed 's/^ *//; s/ *$//' <<<"$output" | grep -qxF -- "$shows"; }; then continue; fi
        if [ -n "$want" ] && [ $status -ne 0 ] && grep -qE "reason: $want\$|ERROR:  $want:" <<<"$output"; then continue; fi
        want=${want:+expected refusal $want}${shows:+expected a line $shows}
        ;;
      *.sh)
        want=$(sed -n 's/^# exit: //p' "$block" | tail -n 1)
        output=$(cd "$work/page" && bash -euo pipefail "$block" 2>&1)
        status=$?
        if [ $status -eq "${want:-0}" ]; then continue; fi
        want="expected exit code ${want:-0}, not $status"
        ;;
    esac
    failed=$((failed + 1))
    printf '%s, example %d: %s\n%s\n' "$page" "$((10#${number%%.*}))" "$want" "$output"
  done
done
printf '%d examples, %d failed\n' "$ran" "$failed"
[ "$failed" -eq 0 ]
