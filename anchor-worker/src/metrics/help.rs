//! What the database's numbers mean, one line each. The database itself is not asked: its words would be shown to people.

/// The names are those of `docs/functions/metrics.md`.
const HELP: &[(&str, &str)] = &[
    (
        "identity_biometric_files",
        "Uploads with biometrics that are still to be destroyed.",
    ),
    (
        "identity_biometric_files_oldest_seconds",
        "Age of the oldest upload that is to be destroyed.",
    ),
    (
        "identity_biometric_files_stuck",
        "Uploads whose destruction was tried in vain.",
    ),
    (
        "identity_denials_total",
        "Refused calls since the server started, by reason.",
    ),
    (
        "identity_erasures",
        "Erasures that are open, and erased people whose pages are not scrubbed yet.",
    ),
    (
        "identity_erasures_oldest_seconds",
        "How long the oldest of them has waited.",
    ),
    (
        "identity_erasures_overdue",
        "Open erasures that are past their 72 hours.",
    ),
    (
        "identity_key_age_seconds",
        "Age of the key in use, by kind.",
    ),
    (
        "identity_keys_unlocked",
        "1 if the database has its keys, otherwise 0.",
    ),
    (
        "identity_lanes",
        "Lanes of the log used since the server started or was unlocked.",
    ),
    (
        "identity_ledger_anchor_stale",
        "1 while reads are refused because nothing was anchored for too long.",
    ),
    (
        "identity_ledger_anchored_size",
        "Leaves that the newest anchor covers, as the database knows.",
    ),
    (
        "identity_ledger_last_anchor_seconds",
        "Since the newest anchor was recorded.",
    ),
    ("identity_ledger_last_seal_seconds", "Since the last seal."),
    (
        "identity_ledger_oldest_seconds",
        "Age of the oldest row that is not sealed, and of the oldest that no anchor covers.",
    ),
    (
        "identity_ledger_rows",
        "Rows of the log that are sealed, and that are not yet.",
    ),
    ("identity_ledger_tree_size", "Leaves of the tree."),
    (
        "identity_limit_places",
        "How many counters of limits there can be.",
    ),
    ("identity_limit_places_taken", "Counters of limits in use."),
    (
        "identity_limit_turned_away_total",
        "Calls refused because there was no counter left.",
    ),
    ("identity_outbox_channels", "Channels that notices go to."),
    (
        "identity_outbox_dead",
        "Deliveries of notices that were given up.",
    ),
    (
        "identity_outbox_oldest_seconds",
        "How long the oldest delivery has waited.",
    ),
    (
        "identity_outbox_waiting",
        "Deliveries of notices that wait.",
    ),
    (
        "identity_partitions_ahead",
        "Months of the log that are made ahead.",
    ),
    (
        "identity_reads_rolled_back_total",
        "Of the disclosures, those whose transaction was undone.",
    ),
    (
        "identity_reads_total",
        "Subjects whose fields were disclosed.",
    ),
    ("identity_recorder_capacity", "Slots of the recorder."),
    (
        "identity_recorder_running",
        "1 if the recorder runs, otherwise 0.",
    ),
    (
        "identity_recorder_slots",
        "Slots of the recorder in use, by state.",
    ),
    (
        "identity_reencrypt_waiting",
        "Subjects with a ciphertext under an older key.",
    ),
    ("identity_retention_due", "Subjects whose time is over."),
    (
        "identity_retention_without_policy",
        "Subjects whose vertical no policy covers.",
    ),
    (
        "identity_review_queue",
        "Subjects whose vertical waits for a review.",
    ),
    (
        "identity_sweep_last_seconds",
        "Since the last pass of a sweep was over.",
    ),
    (
        "identity_sweep_subjects",
        "Subjects of the last pass of a sweep, or of the one under way, by what became of them.",
    ),
    (
        "identity_volume_callers",
        "Logins that reached half of today's cap, or the cap.",
    ),
];

/// A newer database may have more than we know of.
const ANOTHER: &str = "A number of the database; docs/functions/metrics.md of its version has it.";

pub(super) fn of(name: &str) -> &'static str {
    let found = HELP.iter().find(|(known, _)| *known == name);
    found.map_or(ANOTHER, |(_, help)| help)
}
