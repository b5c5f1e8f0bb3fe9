# shellcheck shell=bash disable=SC2034,SC2154 # variables and functions of the tour
# A part of the tour (demo.sh): somebody is erased, a backup from before is restored into a cluster of its own, and whoever came back with it is erased again
# there. Needs the worker's chapter ($vkey, run_worker) and the one of the erasure ($schedule). Leaves the playground as it was, but for one more erasure.

restored=${DATA_DIRECTORY%/*}/restored
restored_port=$((PGPORT + 100))
# PostgreSQL refuses root, who lends the playground to "postgres".
as_owner() { if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else (cd / && "$@"); fi; }
stop_restored() {
  if [ -f "$restored/postmaster.pid" ]; then as_owner "$PG_BIN/pg_ctl" -D "$restored" -m immediate -w stop >/dev/null 2>&1 || true; fi
  rm -rf "$restored"
}
# there COMMAND...: the same with the restored cluster.
there() { PGPORT=$restored_port "$@"; }
run_check() {
  printf '\n%s$ identityctl restore-check --config config.toml --key … --database … %s%s\n' "$SQL_COLOR" "$*" "$PLAIN"
  code=0
  answer=$("$PG_BIN/identityctl" restore-check --config "$PLAYGROUND_WORKER" --key "$vkey" \
    --database "postgresql:///$PGDATABASE?host=$PGHOST&port=$restored_port&user=worker_demo" "$@" 2>&1) || code=$?
  show_answer | fold -s -w 110
}

chapter "A backup brings somebody back"
stop_restored
trap stop_restored EXIT
returner=$(value "SELECT candidate_id FROM identity.subjects
     WHERE candidate_id = ANY ('{$candidates}') AND erased_at IS NULL AND vertical = 'general' AND name_ct IS NOT NULL
     ORDER BY candidate_id DESC LIMIT 1")
[ -n "$returner" ] || fail "a worker who is not erased yet; make down begins anew"
tell "Sunday night, the backup:"
printf '\n%s$ pg_basebackup -D restored%s\n' "$SQL_COLOR" "$PLAIN"
as_owner "$PG_BIN/pg_basebackup" -h "$PGHOST" -p "$PGPORT" -U "$SUPERUSER" -D "$restored" -c fast >/dev/null || fail "a backup"
tell "On Monday one of the workers asks to be erased, and is. The anchor-worker comes by, as it does within seconds:"
ask gw_onbox "SELECT identity.erasure_request('$returner', 'rtbf_request') AS request"
expect_no_error
request=$(grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' <<<"$answer")
ask worker_demo "SELECT identity.erasure_authorise('$request', '$schedule') ->> 'erased_at' AS erased_at"
expect_no_error
run_worker once
expect_code 0
expect 'tombstones of erasures were published'
tell "It put down, signed and beside the anchors, that somebody was erased: a keyed hash for each, which tells nobody who has no key of the vault whose it is." \
  "The first lines, and the last:"
list=$(find "$anchors/store/tombstones" -name '[0-9]*[0-9]' | sort | tail -n 1)
printf '\n%s$ cat %s%s\n' "$SQL_COLOR" "…/${list##*/store/}" "$PLAIN"
answer=$( (sed -n '1,4p' "$list"; tail -n 1 "$list") )
show_answer
expect '/tombstones'

tell "On Tuesday the disk breaks, and Sunday's backup is restored, here into a cluster of its own. It comes up locked; once it is unlocked, the worker is there again:"
as_owner tee -a "$restored/postgresql.conf" >/dev/null <<<"port = $restored_port"
as_owner "$PG_BIN/pg_ctl" -D "$restored" -l "$restored/log" -w -t 60 start >/dev/null 2>&1 </dev/null || fail "the restored server"
for ((tries = 0; tries < 100; tries++)); do
  if there value "SELECT identity.dev_unlock(), identity.identity_health()" >/dev/null 2>&1; then break; fi
  sleep 0.1
done
there ask gw_onbox "SELECT pii FROM identity.pii_resolve('$returner', '$reminder', '{name}')"
expect '"name"'
tell "Nobody remembers Monday but the store. What lies there says who came back:"
run_check
expect_code 1
expect "$returner"
tell "That is authority enough to erase them again, with everything that is registered of them, and nobody else:"
run_check --erase
expect_code 0
there ask gw_onbox "SELECT pii FROM identity.pii_resolve('$returner', '$reminder', '{name}')"
expect_refusal subject_erased
there ask auditor_demo "SELECT r ->> 'reason' AS reason, r ->> 'authority' AS authority FROM identity.erasure_receipt('$returner') AS r"
expect restored
tell "What else a restore brings back (consents withdrawn since, logins revoked since) is in docs/howto/restore.md. The restored cluster is thrown away."
stop_restored
trap - EXIT
