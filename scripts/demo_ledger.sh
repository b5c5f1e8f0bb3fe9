# shellcheck shell=bash disable=SC2154 # variables and functions of the tour
# A part of the tour (demo.sh): seals the log, shows a proof, and lets a superuser rewrite one old row. Expects $partition and $trace of the
# chapter before, and leaves the log as it was.

chapter "The ledger: sealed, proven, and rewritten in vain"
tell "Every ten minutes a worker seals what was recorded: the rows become one tree of hashes" \
  "(RFC 6962), which only ever grows."
ask worker_demo "SELECT tree_size, encode(root, 'hex') AS root FROM identity.ledger_seal()"
expect_no_error
tell "These three lines stand for the whole log. Whoever keeps them outside can tell later" \
  "whether it was rewritten:"
ask worker_demo "SELECT identity.ledger_checkpoint()"
expect identity_pgx/
tell "Any row can be shown to be in that tree, without showing the row: from its hash to the" \
  "root of its batch, and from the leaf that seals the batch"
row=$(value "SELECT access_id FROM identity.pii_access_log WHERE request_trace_id = '$trace-first'")
ask auditor_demo "SELECT proof ->> 'leaf_hash' AS leaf, proof #>> '{batch,index}' AS index, proof #>> '{batch,rows}' AS rows,
       jsonb_array_length(proof #> '{batch,path}') AS hashes, octet_length(proof::text) AS bytes
     FROM identity.ledger_proof($row) AS proof"
expect_no_error
tell "to the root in the checkpoint. That half has a form that other people's tools read, C2SP tlog-proof:"
ask auditor_demo "SELECT identity.ledger_proof($row) ->> 'proof' AS proof"
expect c2sp.org/tlog-proof@v1

tell "Now a superuser takes the guard off. Let us say the phone number never was read:"
ask auditor_demo "SELECT * FROM identity.ledger_verify(true)"
expect_no_error
expect_not '| f '

put_back() {
  "${PSQL[@]}" -q -U "$SUPERUSER" -v ON_ERROR_STOP=1 -c "BEGIN; ALTER TABLE $partition DISABLE TRIGGER append_only;
    UPDATE $partition SET fields_accessed = '{name,phone}' WHERE access_id = $row;
    ALTER TABLE $partition ENABLE ALWAYS TRIGGER append_only; COMMIT"
}
trap put_back EXIT
session "$SUPERUSER" "ALTER TABLE $partition DISABLE TRIGGER append_only;" \
  "UPDATE $partition SET fields_accessed = '{name}' WHERE access_id = $row;" \
  "ALTER TABLE $partition ENABLE ALWAYS TRIGGER append_only;"
expect_no_error
tell "Verification names the row:"
ask auditor_demo "SELECT * FROM identity.ledger_verify(true) WHERE NOT ok"
expect '| f '
expect "access_id $row"
tell "and what it says now cannot be proven:"
ask auditor_demo "SELECT identity.ledger_proof($row)"
expect_refusal chain
tell "(The tour puts the row back as it was.)"
trap - EXIT
put_back
ask auditor_demo "SELECT bool_and(ok) AS verified FROM identity.ledger_verify(true)"
expect ' t'
ask auditor_demo "SELECT identity.ledger_proof($row) ->> 'leaf_hash' AS proven"
expect_no_error
