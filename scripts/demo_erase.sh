# shellcheck shell=bash disable=SC2154 # variables and functions of the tour
# A part of the tour (demo.sh): erases a worker on request, and looks for the bytes in the data directory before and after. Each run takes another of
# the invented workers, the last ones first; the rest of the tour uses the first ones. Expects $reminder, a purpose that works.

DATA_DIRECTORY=$(value "SHOW data_directory")

# on_disk HEX: the files below the data directory that hold these bytes. A checkpoint first, so that memory is on disk.
on_disk() {
  value CHECKPOINT >/dev/null
  # shellcheck disable=SC2016 # perl's variables
  find "$DATA_DIRECTORY" -type f -exec perl -e '
    $/ = undef;
    my ($root, $bytes) = (shift, pack "H*", shift);
    for my $path (@ARGV) {
      open my $file, "<:raw", $path or next; # gone since it was listed
      my $content = <$file>;
      print substr($path, 1 + length $root), "\n" if index($content // "", $bytes) >= 0;
    }' "$DATA_DIRECTORY" "$1" {} + | sort
}
# look WHAT HEX: shows them, with the table's name where it is one's file.
look() {
  local file
  printf '\n%s$ which files below %s hold the bytes of %s?%s\n' "$SQL_COLOR" "$DATA_DIRECTORY" "$1" "$PLAIN"
  answer=$(on_disk "$2" | while read -r file; do
    case $file in
      base/*) printf '%s  (%s)\n' "$file" "$(value "SELECT COALESCE(pg_filenode_relation(0, $(basename "${file%%.*}"))::text, 'no table now')")" ;;
      *) printf '%s\n' "$file" ;;
    esac
  done)
  show_answer
}

chapter "Erasing somebody, and looking for the bytes"
candidates=$(awk -F, '$2 == "general" && $3 == "given" { print $1 }' "$WORKERS" | tail -n 500 | paste -sd, -)
leaver=$(value "SELECT candidate_id FROM identity.subjects
     WHERE candidate_id = ANY ('{$candidates}') AND erased_at IS NULL AND vertical = 'general' AND name_ct IS NOT NULL AND phone_ct IS NOT NULL
     ORDER BY candidate_id DESC LIMIT 1")
[ -n "$leaver" ] || fail "a worker who is not erased yet; make down begins anew"
tell "One of the workers, as the gateway sees him or her, and what the application wrote down:"
ask gw_onbox "SELECT pii FROM identity.pii_resolve('$leaver', '$reminder', '{name,phone}')"
expect '"name"'
note="likes the early shift, asked not to be called on Sundays ($run)"
ask gw_onbox "INSERT INTO app.notes (candidate_id, body) VALUES ('$leaver', '$note')"
expect 'INSERT 0 1'
tell "The encrypted name lies in the data directory: in the table's file and in WAL, as long as WAL is kept. The note lies there in clear."
name_bytes=$(value "SELECT encode(name_ct, 'hex') FROM identity.subjects WHERE candidate_id = '$leaver'")
note_bytes=$(value "SELECT encode(convert_to('$note', 'UTF8'), 'hex')")
look "the encrypted name" "$name_bytes"
expect '(identity.subjects)'
look "the note" "$note_bytes"
expect '(app.notes)'

tell "The worker asks to be erased. A gateway records that; 72 hours begin:"
ask gw_onbox "SELECT identity.erasure_request('$leaver', 'rtbf_request') AS request"
expect_no_error
request=$(grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' <<<"$answer")
ask auditor_demo "SELECT state, requested_at, due_at FROM identity.erasure_status('$leaver')"
expect requested
tell "Who erases does it under a schedule that was published, and under no other:"
ask worker_demo "SELECT identity.erasure_authorise('$request', 'because I say so')"
expect_refusal authority
tell "A DBA publishes one (the hash of its text), and says how long people of each kind are kept under it:"
schedule=schedule_$run
session dba_demo "BEGIN;" \
  "INSERT INTO identity.consent_versions (version, kind, template_hash, template_path) VALUES ('$schedule', 'retention_schedule', encode(sha256('Two years.'), 'hex'), 'retention/$schedule.md');" \
  "UPDATE identity.retention_policies SET schedule_version = '$schedule';" \
  "COMMIT;"
expect_no_error
ask dba_demo "SELECT vertical, kind, days, schedule_version FROM identity.retention_policies WHERE vertical = 'general' ORDER BY kind"
expect "$schedule"
tell "Application tables that belong to people are on a list:"
ask dba_demo "SELECT relation, subject_column, action FROM identity.forget_tables"
expect app.notes
tell "Now it is done, in one transaction with the note:"
ask worker_demo "SELECT identity.erasure_authorise('$request', '$schedule') ->> 'forgotten' AS forgotten"
expect_no_error
expect 'app.notes'
ask gw_onbox "SELECT count(*) AS notes FROM app.notes WHERE candidate_id = '$leaver'"
expect ' 0'
tell "From this moment on nobody is shown anything of that worker, on the box or off it:"
ask gw_onbox "SELECT pii FROM identity.pii_resolve('$leaver', '$reminder', '{name}')"
expect_refusal subject_erased

tell "PostgreSQL does not overwrite what it no longer needs. The scrub does, page by page, as soon as no transaction can see the old rows any more:"
for ((tries = 0; tries < 100; tries++)); do
  answer=$("${PSQL[@]}" -U worker_demo -c "SELECT jsonb_pretty(identity.erasure_scrub(100000)) AS scrub" 2>&1) || true
  [ "$(value "SELECT count(scrubbed_at) FROM identity.erasure_requests WHERE request_id = '$request'")" = 0 ] || break
  sleep 0.3
done
show_sql worker_demo "SELECT jsonb_pretty(identity.erasure_scrub(100000)) AS scrub"
show_answer
expect_no_error
ask auditor_demo "SELECT state, done_at, scrubbed_at, residual_in_backups_until FROM identity.erasure_status('$leaver')"
expect "done"
tell "The same search again. Only WAL may still have the bytes, until it is overwritten (docs/runbooks/wal-and-backups.md shows how to be rid of it at once):"
for what in "the encrypted name" "the note"; do
  case $what in "the note") look "$what" "$note_bytes" ;; *) look "$what" "$name_bytes" ;; esac
  [ -n "$answer" ] || printf '  (none)\n'
  if grep -qv '^pg_wal/' <<<"${answer:-pg_wal/}"; then fail "no file but those of pg_wal"; fi
done

tell "The receipt says what was done, when, under which authority, and until when a backup may still have it. It names nobody:"
ask auditor_demo "SELECT jsonb_pretty(identity.erasure_receipt('$leaver')) AS receipt"
expect erasure.receipt.v1
expect "$schedule"
expect_not "$leaver"
tell "Its event is on the log, and can be proven after the next seal:"
ask worker_demo "SELECT tree_size FROM identity.ledger_seal()"
expect_no_error
ask auditor_demo "SELECT split_part(identity.ledger_proof((identity.erasure_receipt('$leaver') ->> 'access_id')::bigint) ->> 'proof', E'\n', 1) AS proof"
expect c2sp.org/tlog-proof@v1
tell "And everything that was recorded before still holds together:"
ask auditor_demo "SELECT * FROM identity.ledger_verify(true)"
expect_no_error
expect_not '| f '
