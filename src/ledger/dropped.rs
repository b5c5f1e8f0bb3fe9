//! What is left of events whose month was dropped because its time was over. They can no longer be compared with what they recorded: a row that points
//! to one is believed, if the ledger has a leaf of it and months were dropped. Whether that leaf's row may be missing is for the replay to say.

use pgrx::pg_sys;

use crate::query::{Statement, bind};

static EVENT: Statement = Statement::read(
    c"SELECT EXISTS (SELECT FROM identity.ledger_expired)
         AND EXISTS (SELECT FROM identity.ledger_leaves t WHERE t.access_id = $1)
         AND NOT EXISTS (SELECT FROM identity.pii_access_log l WHERE l.access_id = $1)",
    &[pg_sys::INT8OID],
);
/// Not one that follows on a version of a month that is there: it would have been dated back.
static PURPOSE_VERSION: Statement = Statement::read(
    c"SELECT EXISTS (
        SELECT FROM identity.purpose_versions v
          JOIN identity.ledger_expired e ON e.partition = pg_catalog.to_char(v.changed_at AT TIME ZONE 'UTC', 'YYYY-MM')
         WHERE v.purpose_token = $1 AND v.version = $2
           AND NOT EXISTS (SELECT FROM identity.purpose_versions o WHERE o.purpose_token = v.purpose_token AND o.version < v.version AND o.changed_at > v.changed_at))",
    &[pg_sys::TEXTOID, pg_sys::INT4OID],
);
static CONSENT_VERSION: Statement = Statement::read(
    c"SELECT EXISTS (SELECT FROM identity.consent_versions v
        JOIN identity.ledger_expired e ON e.partition = pg_catalog.to_char(v.changed_at AT TIME ZONE 'UTC', 'YYYY-MM') WHERE v.version = $1)",
    &[pg_sys::TEXTOID],
);
static PATTERN_CHANGE: Statement = Statement::read(
    c"SELECT EXISTS (SELECT FROM identity.vertical_pattern_changes c
        JOIN identity.ledger_expired e ON e.partition = pg_catalog.to_char(c.changed_at AT TIME ZONE 'UTC', 'YYYY-MM') WHERE c.change_no = $1)",
    &[pg_sys::INT4OID],
);

/// Whether a row of the log was dropped with its month. Runs inside a call's snapshot, as all of these.
pub fn event(access_id: i64) -> bool {
    EVENT.run(&mut [bind(access_id)]).get(0, 1).unwrap_or(false)
}

/// Whether the event of this version was. An approval goes with it: it is of the same month or a later one.
pub fn purpose_version(token: &str, version: i32) -> bool {
    PURPOSE_VERSION
        .run(&mut [bind(token), bind(version)])
        .get(0, 1)
        .unwrap_or(false)
}

/// Whether the event of this version was.
pub fn consent_version(version: &str) -> bool {
    CONSENT_VERSION
        .run(&mut [bind(version)])
        .get(0, 1)
        .unwrap_or(false)
}

/// Whether the event of this change was.
pub fn pattern_change(number: i32) -> bool {
    PATTERN_CHANGE
        .run(&mut [bind(number)])
        .get(0, 1)
        .unwrap_or(false)
}
