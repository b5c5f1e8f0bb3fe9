#!/usr/bin/env bash
# The tour: types real SQL at the playground, shows the real answers, and stops
# with exit code 1 as soon as an answer is not the one it tells about.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
require_postgres
eval "$("$ROOT/scripts/playground.sh" env)"

WORKERS=$ROOT/data/workers.csv
SUPERUSER=$PGUSER
PSQL=("$PG_BIN/psql" -X -P pager=off -P footer=off)

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$'\e[1m' SQL_COLOR=$'\e[36m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
  BOLD='' SQL_COLOR='' RED='' PLAIN=''
fi

# ---------------------------------------------------------------- narrating

answer=
chapters=0

chapter() {
  chapters=$((chapters + 1))
  printf '\n%s%d. %s%s\n' "$BOLD" "$chapters" "$*" "$PLAIN"
}
tell() { printf '\n%s\n' "$*" | fold -s -w 78; }
show_sql() { printf '\n%s%s=> %s%s\n' "$SQL_COLOR" "$1" "$2" "$PLAIN"; }
show_answer() { printf '%s\n' "$answer" | sed '/^$/d; s/^/  /'; }

# ask ROLE SQL: types one statement, keeps what came back in $answer.
ask() {
  show_sql "$1" "$2"
  answer=$("${PSQL[@]}" -U "$1" -c "$2" 2>&1) || true
  show_answer
}

# The same, again and again for ten seconds until the answer contains TEXT: the
# recorder writes rows of reads that did not commit a moment after the fact.
ask_until() {
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    answer=$("${PSQL[@]}" -U "$1" -c "$2" 2>&1) || true
    case $answer in *"$3"*) break ;; esac
    sleep 0.1
  done
  show_sql "$1" "$2"
  show_answer
}

# session ROLE STATEMENT...: one connection. A statement "OTHER: SQL" is typed by
# OTHER in a connection of its own while the first one waits.
session() {
  local role=$1 statement other
  shift
  answer=$(
    for statement in "$@"; do
      if [[ $statement =~ ^([a-z_]+):\ (.*)$ ]]; then
        other=${BASH_REMATCH[1]} statement=${BASH_REMATCH[2]}
        printf '\\! printf "\\n%%s\\n" %q\n' "@$other=> $statement"
        printf '\\! %s -U %q -c %q 2>&1\n' "$(printf '%q ' "${PSQL[@]}")" "$other" "$statement"
      else
        printf '\\! printf "\\n%%s\\n" %q\n%s\n' "@$role=> $statement" "$statement"
      fi
    done | "${PSQL[@]}" -U "$role" -f - 2>&1 | sed -E 's/^psql:<stdin>:[0-9]+: //; /^$/d'
  ) || true
  printf '%s\n' "$answer" | sed -E "s/^/  /; s/^  @(.*)/\n$SQL_COLOR\1$PLAIN/"
}

fail() {
  printf '\n%sThe tour stops: this is not the answer it tells about. Expected %s.%s\n' "$RED" "$*" "$PLAIN" >&2
  exit 1
}
expect() { case $answer in *"$1"*) ;; *) fail "\"$1\"" ;; esac; }
expect_not() { case $answer in *"$1"*) fail "no \"$1\"" ;; esac; }
expect_no_error() { expect_not ERROR; }
expect_refusal() { expect "ERROR:"; expect "reason: $1"; }

# value SQL: one value, not shown.
value() { "${PSQL[@]}" -q -A -t -v ON_ERROR_STOP=1 -U "$SUPERUSER" -c "$1"; }

# The first committed worker of that vertical and consent.
worker() { awk -F, -v vertical="$1" -v consent="$2" '$2 == vertical && $3 == consent { print $1; exit }' "$WORKERS"; }

# ---------------------------------------------------------------- the tour

tell "${BOLD}identity_pgx: a tour${PLAIN}"
tell "A PostgreSQL $PG_MAJOR with the extension runs in the playground. Every line behind a" \
  "\"=>\" below is typed as the role before it, and what follows is what came back."

tell "First, ${BOLD}2,000 invented workers${PLAIN} from data/workers.csv:"
"$ROOT/scripts/load_workers.sh"

clerk=$(worker general given)
nurse=$(worker healthcare given)
newly_met_nurse=$(worker healthcare pending_first_contact)
withdrawn=$(worker general withdrawn)
nobody=019b8d5d-0000-7000-8000-000000000000
started=$(value "SELECT clock_timestamp()")

# A purpose is never deleted, so each run of the tour uses names of its own.
run=$(value "SELECT 1 + count(*) FROM identity.purpose_definitions WHERE purpose_token ~ '^shift_reminder_[0-9]+$'")
reminder=shift_reminder_$run
newsletter=newsletter_$run
care=care_team_$run
agreement=general_$run
trace=tour-$run

chapter "A purpose says who may read what"
tell "A DBA adds one with a plain INSERT, as any migration would."
ask dba_demo "INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, daily_volume_cap)
     VALUES ('$reminder', 'Call workers about a shift', '{name,phone}', '{identity_gateway}', 500)"
expect_no_error
ask dba_demo "SELECT version, allowed_fields, allowed_roles, accepted_consent, phi_access, changed_by
     FROM identity.purpose_versions WHERE purpose_token = '$reminder'"
expect '{name,phone}'

chapter "A worker registers"
tell "From here on a gateway holds this id, and no name."
ask gw_onbox "SELECT identity.pii_register('$reminder', '{\"name\": \"Títílayọ̀ Zúñiga\", \"phone\": \"+1 312 555 0142\"}')"
expect_no_error
id=$(grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' <<<"$answer")
ask gw_onbox "SELECT * FROM identity.pii_vertical('$id')"
expect onbox_only
tell "Nobody has said what this worker's vertical is, so it counts as healthcare, and" \
  "health information is not shown before the first contact:"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$id', '$reminder', '{name}')"
expect_refusal consent
tell "A reviewer, who is no gateway, looks at the application and says what it is:"
ask reviewer_demo "SELECT identity.vertical_review('$id', 'general', 'warehouse work, no care')"
expect_no_error
tell "The worker signs the text that a DBA has published, and the gateway records that:"
ask dba_demo "INSERT INTO identity.consent_versions (version, kind, valid_for, template_hash, template_path)
     VALUES ('$agreement', 'general', interval '2 years', encode(sha256('We call you about shifts.'), 'hex'), 'consent/$agreement.md')"
expect_no_error
ask gw_onbox "SELECT identity.consent_record('$id', 'general', 'given', '$agreement', '{\"channel\": \"paper form\"}')"
expect_no_error
ask gw_onbox "SELECT * FROM identity.pii_resolve('$id', '$reminder', '{name,phone}', '$trace-first')"
expect Títílayọ̀
expect '+1 312 555 0142'

chapter "What is refused, and how it says so"
tell "One field too many refuses the whole call:"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$id', '$reminder', '{name,ssn}')"
expect_refusal field_not_allowed
tell "A purpose that nobody defined:"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$id', 'curiosity', '{name}')"
expect_refusal unknown_purpose
tell "A purpose of the legal tier:"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$id', 'audit_subject_response', '{name}')"
expect_refusal tier
tell "A purpose that is open to somebody else:"
ask dba_demo "INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, daily_volume_cap)
     VALUES ('$newsletter', 'Send the monthly letter', '{email}', '{gw_cloud}', 5000)"
expect_no_error
ask gw_onbox "SELECT * FROM identity.pii_resolve('$clerk', '$newsletter', '{email}')"
expect_refusal purpose_role
tell "A role that is no gateway does not get as far as our code; neither does anyone who" \
  "tries to read the table:"
ask dba_demo "SELECT * FROM identity.pii_resolve('$id', '$reminder', '{name}')"
expect "permission denied for function pii_resolve"
ask gw_onbox "SELECT * FROM identity.subjects"
expect "permission denied for table subjects"

chapter "Where the answer goes decides whom it may be about"
tell "gw_cloud sends what it reads off the machine. A clerk is no problem:"
ask gw_cloud "SELECT * FROM identity.pii_resolve('$clerk', '$reminder', '{name}')"
expect_no_error
tell "A nurse does not exist for it. These are the words for an id that nobody has:"
ask gw_cloud "SELECT * FROM identity.pii_resolve('$nobody', '$reminder', '{name}')"
expect_refusal subject_unavailable
words=$answer
tell "and these for the nurse:"
ask gw_cloud "SELECT * FROM identity.pii_resolve('$nurse', '$reminder', '{name}')"
[ "$answer" = "$words" ] || fail "the same words"
tell "On the box itself the nurse is there, but the purpose does not reach health information:"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$nurse', '$reminder', '{name}')"
expect_refusal phi_access
tell "One that does is sensitive: it takes a second person, and until then it does not work."
ask dba_demo "INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, phi_access, daily_volume_cap)
     VALUES ('$care', 'Staff a ward', '{name,phone}', '{gw_onbox}', true, 200)"
expect "waits for a second person's approval"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$nurse', '$care', '{name}')"
expect_refusal purpose_unapproved
tell "Its author cannot approve it, not even with the right to approve:"
value "GRANT identity_approver TO dba_demo" >/dev/null
ask dba_demo "SELECT identity.purpose_approve('$care', 1)"
value "REVOKE identity_approver FROM dba_demo" >/dev/null
expect_refusal role_conflict
tell "Somebody else can:"
ask approver_demo "SELECT identity.purpose_approve('$care', 1)"
expect_no_error
ask gw_onbox "SELECT * FROM identity.pii_resolve('$nurse', '$care', '{name}', '$trace-phi')"
expect_no_error
tell "What gw_onbox may use now, as it can ask itself:"
ask gw_onbox "SELECT * FROM identity.my_purposes()"
expect "$care"
expect_not "$newsletter"
ask "$SUPERUSER" "SELECT accessor_role, zone, vertical, consent_status, fields_accessed, phi_fields
     FROM identity.pii_access_log WHERE request_trace_id = '$trace-phi'"
expect '{name} '

chapter "Consent"
tell "A clerk who withdrew:"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$withdrawn', '$reminder', '{name}')"
expect_refusal consent
tell "A nurse nobody has talked to yet, under the purpose that may see health information:"
ask gw_onbox "SELECT * FROM identity.pii_resolve('$newly_met_nurse', '$care', '{name}')"
expect_refusal consent
tell "Who withdraws is out of reach from the next call on, of everybody. Here the call comes" \
  "while gw_onbox has a transaction open:"
session gw_onbox "BEGIN ISOLATION LEVEL REPEATABLE READ;" \
  "SELECT pii FROM identity.pii_resolve('$id', '$reminder', '{name}');" \
  "gw_cloud: SELECT identity.consent_record('$id', 'general', 'withdrawn', NULL, '{\"channel\": \"phone\"}')" \
  "SELECT pii FROM identity.pii_resolve('$id', '$reminder', '{name}');" \
  "ROLLBACK;"
expect '"name"'
expect_refusal consent
tell "The form that was signed before does not bring it back:"
ask gw_onbox "SELECT identity.consent_record('$id', 'general', 'given', '$agreement', '{\"given_at\": \"2026-01-02T10:00:00Z\"}')"
expect_refusal consent
tell "A new one does:"
signed=$(value "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
ask gw_onbox "SELECT identity.consent_record('$id', 'general', 'given', '$agreement', '{\"given_at\": \"$signed\"}')"
expect_no_error
ask gw_onbox "SELECT pii FROM identity.pii_resolve('$id', '$reminder', '{name}')"
expect '"name"'

chapter "What a text gives away"
tell "A call log mentions a hospital. From here on the worker is healthcare:"
ask gw_onbox "SELECT identity.text_observe('$id', 'call_log', 'Can do Tuesdays, works nights as a registered nurse at County Hospital')"
expect healthcare
tell "and no longer there for whoever sends answers off the machine:"
ask gw_cloud "SELECT * FROM identity.pii_resolve('$id', '$reminder', '{name}')"
expect_refusal subject_unavailable
tell "No reviewer brings that down again:"
ask reviewer_demo "SELECT identity.vertical_review('$id', 'general', 'a misunderstanding')"
expect_refusal role_conflict

chapter "No read without a record"
tell "A read that commits leaves its row in the same transaction. What about one that" \
  "takes the answer and rolls back?"
session gw_onbox "BEGIN;" \
  "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}', '$trace-rollback');" \
  "ROLLBACK;"
expect '"name"'
tell "The recorder, a process of its own, has it:"
ask_until "$SUPERUSER" "SELECT outcome, accessor_role, purpose_token, fields_accessed
     FROM identity.pii_access_log WHERE request_trace_id = '$trace-rollback'" rolled_back
expect rolled_back
tell "The same with a savepoint, in a transaction that does commit another read:"
session gw_onbox "BEGIN;" \
  "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}', '$trace-savepoint');" \
  "SAVEPOINT s;" \
  "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{phone}', '$trace-savepoint');" \
  "ROLLBACK TO s;" \
  "COMMIT;"
expect_no_error
ask_until "$SUPERUSER" "SELECT outcome, fields_accessed
     FROM identity.pii_access_log WHERE request_trace_id = '$trace-savepoint' ORDER BY outcome" rolled_back
expect committed
expect rolled_back
tell "And every refusal so far left a row as well, but for the two that PostgreSQL itself" \
  "refused:"
ask_until "$SUPERUSER" "SELECT denial, sum(repeats) AS times, array_agg(DISTINCT accessor_role) AS who
     FROM identity.pii_access_log WHERE outcome = 'denied' AND accessed_at >= '$started' GROUP BY denial ORDER BY denial" 'consent             |     5'
for denial in 'consent             |     5' 'field_not_allowed' 'phi_access' 'purpose_role' 'purpose_unapproved' 'role_conflict' 'subject_unavailable |     3' 'tier' 'unknown_purpose'; do
  expect "$denial"
done

chapter "What a gateway keeps may be stale, and it can tell"
tell "Each answer has a generation. A gateway that keeps one keeps that with it:"
ask gw_onbox "SELECT pii, generation FROM identity.pii_resolve('$clerk', '$reminder', '{name,phone}')"
expect_no_error
kept=$(awk -F'|' '/"phone"/ { print $2 + 0 }' <<<"$answer")
tell "Meanwhile another gateway writes down a new phone number:"
ask gw_cloud "SELECT identity.pii_update('$clerk', '$reminder', '{\"phone\": \"+1 312 555 0187\"}') AS generation"
expect_no_error
tell "Before it serves what it has kept, the first one asks, which costs no decryption and no row:"
ask gw_onbox "SELECT generation FROM identity.subject_generations('{$clerk}')"
now=$(grep -oE '^ +[0-9]+$' <<<"$answer" | tr -d ' ')
[ "${now:-0}" -gt "${kept:-0}" ] || fail "a later generation than $kept"
tell "Kept: generation $kept. Committed: $now. The kept answer is refused and overwritten. A cache that does not want to ask each time follows" \
  "the feed of changes; docs/examples has one in Python and one in Rust:"
ask_until gw_onbox "SELECT generation FROM identity.subject_changes(0) WHERE candidate_id = '$clerk'" " $now"
expect " $now"

chapter "Revoking a purpose binds the next call, of everybody"
tell "Even inside a REPEATABLE READ transaction that began before. While gw_onbox has one" \
  "open, the DBA revokes the purpose from another session:"
session gw_onbox "BEGIN ISOLATION LEVEL REPEATABLE READ;" \
  "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}');" \
  "dba_demo: SELECT identity.purpose_revoke('$reminder', 'tour')" \
  "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}');" \
  "ROLLBACK;"
expect '"name"'
expect_refusal purpose_revoked
tell "A new version of the purpose reinstates it:"
ask dba_demo "UPDATE identity.purpose_definitions SET description = 'Call workers about a shift (reviewed)'
     WHERE purpose_token = '$reminder'"
expect_no_error
ask gw_onbox "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}')"
expect '"name"'

chapter "Revoking a login"
tell "The same for a login, wherever it is connected: here in the middle of a transaction."
session gw_cloud "BEGIN ISOLATION LEVEL REPEATABLE READ;" \
  "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}');" \
  "dba_demo: SELECT identity.caller_revoke('gw_cloud', 'tour')" \
  "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}');" \
  "ROLLBACK;"
expect '"name"'
expect_refusal caller_revoked
ask dba_demo "SELECT identity.caller_reinstate('gw_cloud')"
expect_no_error
ask gw_cloud "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}')"
expect '"name"'

chapter "The log"
tell "Each row is chained to the one before it in its lane (one lane for each place a" \
  "connection can have in the server) by an HMAC."
ask auditor_demo "SELECT count(*) FROM identity.pii_access_log"
expect "permission denied"
tell "Not even the auditor reads them: that somebody was looked up is itself sensitive. The" \
  "superuser of this playground can."
ask "$SUPERUSER" "SELECT lane, seq, accessor_kind AS kind, accessor_role AS who, purpose_token AS purpose, fields_accessed AS fields,
       outcome, denial, left(encode(integrity_hash, 'hex'), 12) AS mac
     FROM identity.pii_access_log WHERE accessed_at >= '$started' ORDER BY accessed_at DESC LIMIT 8"
expect caller_revoked
tell "Nobody changes them, the superuser included:"
ask "$SUPERUSER" "UPDATE identity.pii_access_log SET fields_accessed = '{}' WHERE request_trace_id = '$trace-first'"
expect_refusal append_only
partition=$(value "SELECT tableoid::regclass FROM identity.pii_access_log WHERE request_trace_id = '$trace-first'")
ask "$SUPERUSER" "TRUNCATE $partition"
expect_refusal append_only

# shellcheck source=scripts/demo_ledger.sh
. "$ROOT/scripts/demo_ledger.sh"

# shellcheck source=scripts/demo_anchor.sh
. "$ROOT/scripts/demo_anchor.sh"

# shellcheck source=scripts/demo_erase.sh
. "$ROOT/scripts/demo_erase.sh"

# shellcheck source=scripts/demo_restore.sh
. "$ROOT/scripts/demo_restore.sh"

chapter "Keys"
tell "Keys live in memory that is locked and kept out of core dumps, never in a table."
ask auditor_demo "SELECT kind, version, state, provider, rows FROM identity.key_status()"
expect dek
tell "Wiping them locks everything, at once and for everybody, while PostgreSQL itself stays up:"
ask "$SUPERUSER" "SELECT identity.key_wipe_all()"
expect_no_error
ask gw_onbox "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}')"
expect_refusal locked
tell "The playground's keys are ones that everybody knows, so getting them back is easy:"
ask "$SUPERUSER" "SELECT identity.dev_unlock()"
expect_no_error
ask gw_onbox "SELECT pii FROM identity.pii_resolve('$clerk', '$reminder', '{name}')"
expect '"name"'
tell "The refusal in between could not be chained without a key. It waited, and is there now:"
ask_until "$SUPERUSER" "SELECT outcome, denial, accessor_role, purpose_token
     FROM identity.pii_access_log WHERE denial = 'locked' AND accessed_at >= '$started'" locked
expect gw_onbox

cat <<END

${BOLD}That was the tour.${PLAIN} The playground keeps running. To go on by yourself:

  cd $(printf '%q' "$ROOT")
  eval "\$(make -s up)"
  psql -U gw_onbox          a gateway on the box
  psql -U gw_cloud          a gateway whose answers leave it
  psql -U dba_demo          writes purposes, consent texts and retention, revokes logins
  psql -U approver_demo     approves what dba_demo wrote
  psql -U reviewer_demo     reviews verticals
  psql -U auditor_demo      status, keys, verification
  psql -U worker_demo       seals the log, authorises erasures, sweeps and scrubs
  psql                      the superuser $SUPERUSER

  docs/howto/playground.md  things to try
  make down                 stop it and throw its data away
END
