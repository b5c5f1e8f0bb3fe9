# shellcheck shell=bash disable=SC2154 # variables and functions of the tour
# A part of the tour (demo.sh): runs the worker against the playground, with a directory as its store and a key in a file, and lets a superuser rewrite
# the log together with its tree. Leaves the log as it was.

# run_worker COMMAND: runs it, shows what it was asked and what it answered, and keeps the answer; $code is its exit code.
run_worker() {
  printf '\n%s$ anchor-worker --config %s %s%s\n' "$SQL_COLOR" "config.toml" "$*" "$PLAIN"
  code=0
  answer=$("$PG_BIN/anchor-worker" --config "$PLAYGROUND_WORKER" --log text "$@" 2>&1) || code=$?
  # Each line without its time, and the playground's directory by its name.
  answer=$(sed -E "s/^[0-9]{4}-[0-9TZ:.-]+ +//; s#$anchors#…#g" <<<"$answer")
  show_answer | fold -s -w 110
}
expect_code() { [ "$code" -eq "$1" ] || fail "exit code $1, not $code"; }

anchors=${PLAYGROUND_WORKER%/*}

chapter "An anchor, and a history that nobody signs"
tell "A checkpoint is worth something where the database's administrators cannot write. The worker brings it there: it seals, asks a key that the database does not" \
  "have for a signature, and puts the note into a store. In production that is S3 under Object Lock, and the key is Vault's or AWS KMS'; here it is a directory and a file, and it says so:"
run_worker check-config
expect_code 0
expect 'NOT immutable'
vkey=$(sed -nE 's/^signer: ok: anchors are verified with //p' <<<"$answer")
run_worker once
expect_code 0
expect anchored
tell "This is what lies there now, and what an outside party needs, beside the key:"
note=$(find "$anchors/store/checkpoints" -name '[0-9]*[0-9]' | sort | tail -n 1)
printf '\n%s$ cat %s%s\n' "$SQL_COLOR" "…/${note##*/store/}" "$PLAIN"
answer=$(cat "$note")
show_answer
expect '— identity_pgx/'
ask auditor_demo "SELECT item, state FROM identity.identity_status() WHERE item LIKE 'anchor%'"
expect_no_error

tell "The superuser learns. This time he rewrites the tree as well, up to its root, and the checkpoint of the database is that of the new tree:"
ask worker_demo "SELECT identity.ledger_checkpoint()"
before=$answer
rewritten() { # rewritten FROM TO: exchanges the first leaf, and recomputes what hangs on it
  "${PSQL[@]}" -q -U "$SUPERUSER" -v ON_ERROR_STOP=1 <<SQL
BEGIN;
ALTER TABLE identity.ledger_nodes DISABLE TRIGGER append_only;
UPDATE identity.ledger_nodes SET hash = '\\x$1' WHERE level = 0 AND index = 0;
DO \$\$
DECLARE above record;
BEGIN
  FOR above IN SELECT level FROM identity.ledger_nodes WHERE level > 0 AND index = 0 ORDER BY level LOOP
    UPDATE identity.ledger_nodes n
       SET hash = (SELECT sha256('\\x01'::bytea || l.hash || r.hash) FROM identity.ledger_nodes l, identity.ledger_nodes r
                    WHERE (l.level, l.index) = (above.level - 1, 0) AND (r.level, r.index) = (above.level - 1, 1))
     WHERE (n.level, n.index) = (above.level, 0);
  END LOOP;
END \$\$;
ALTER TABLE identity.ledger_nodes ENABLE ALWAYS TRIGGER append_only;
COMMIT;
SQL
}
leaf=$(value "SELECT encode(hash, 'hex') FROM identity.ledger_nodes WHERE level = 0 AND index = 0")
trap 'rewritten "$leaf"' EXIT
rewritten "$(printf 'ab%.0s' {1..32})"
ask worker_demo "SELECT identity.ledger_checkpoint()"
[ "$answer" != "$before" ] || fail "another root"
tell "He could make the rows fit it too: the chain's key is in his server's memory. The worker does not ask what fits inside. It reads the last anchor from the" \
  "store, asks for the proof that this tree continues that one, and there is none:"
signed=$(find "$anchors/store" -type f | wc -l)
run_worker once
expect_code 1
expect 'nothing is signed'
[ "$(find "$anchors/store" -type f | wc -l)" -eq "$signed" ] || fail "nothing in the store"
tell "It names both trees, goes on refusing until a person has looked, and has put nothing there. (The tour puts the tree back as it was.)"
rewritten "$leaf"
trap - EXIT
run_worker once
expect_code 0
printf '\n'
tell "Whoever has this key can check every anchor, with no access to the database: $vkey"
