#!/usr/bin/env bash
# Loads data/workers.csv (or the file given) into the server that PGHOST, PGPORT,
# PGDATABASE and PGUSER name, as a superuser. Workers that are already there are
# left alone, so it can be run again, also after it was interrupted.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
require_postgres

file=${1:-$ROOT/data/workers.csv}
batch=100
bar_width=40

psql=("$PG_BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1)

progress() {
  local done=$1 total=$2 filled
  filled=$((total == 0 ? bar_width : done * bar_width / total))
  if [ -t 1 ]; then
    printf '\r  [%s%s] %d of %d' "$(printf '%*s' "$filled" '' | tr ' ' '#')" \
      "$(printf '%*s' $((bar_width - filled)) '' | tr ' ' '.')" "$done" "$total"
    if [ "$done" -ge "$total" ]; then printf '\n'; fi
  elif [ "$((done % 500))" -eq 0 ] || [ "$done" -ge "$total" ]; then
    printf '  %d of %d\n' "$done" "$total"
  fi
}

# The rows travel by COPY into a temporary table that fits into the session's own
# memory: no value ever stands in the text of a statement, where logs and
# pg_stat_activity would show it.
statements() {
  local from total=$1
  cat <<SQL
SET temp_buffers = '64MB';
SET client_encoding = 'UTF8';
CREATE TEMPORARY TABLE worker (
  n int GENERATED ALWAYS AS IDENTITY, candidate_id uuid, vertical text, consent_status text,
  retention_period_days int, eu_resident boolean,
  name text, email text, phone text, address text, ssn text, dob text);
\copy worker (candidate_id, vertical, consent_status, retention_period_days, eu_resident, name, email, phone, address, ssn, dob) FROM stdin WITH (FORMAT csv, HEADER true)
SQL
  cat "$file"
  printf '\\.\n'
  for ((from = 1; from <= total; from += batch)); do
    cat <<SQL
SELECT 'new ' || count(identity._import_subject(
         w.candidate_id,
         jsonb_strip_nulls(jsonb_build_object('name', w.name, 'email', w.email, 'phone', w.phone,
                                              'address', w.address, 'ssn', w.ssn, 'dob', w.dob)),
         w.vertical, w.consent_status,
         jsonb_build_object('retention_period_days', w.retention_period_days, 'eu_resident', w.eu_resident)))
  FROM worker AS w
 WHERE w.n BETWEEN $from AND $((from + batch - 1))
   AND NOT EXISTS (SELECT FROM identity.subjects AS s WHERE s.candidate_id = w.candidate_id);
SQL
  done
}

load() {
  local total new=0 seen=0 word count
  total=$(($(wc -l <"$file") - 1))
  while read -r word count; do
    [ "$word" = new ] || die "unexpected answer while loading"
    new=$((new + count))
    seen=$((seen + batch < total ? seen + batch : total))
    progress "$seen" "$total"
  done < <(statements "$total" | "${psql[@]}" -f - || echo failed 0)
  [ "$seen" -eq "$total" ] || die "loading stopped after $seen of $total workers"
  printf '  %d workers loaded, %d were already there\n' "$new" "$((total - new))"
}

load
