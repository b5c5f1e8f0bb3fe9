//! Are approvals and revocations of logins those that were recorded? A superuser can write both tables past their guards; the log's digests show it.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use super::dropped;
use crate::caller_revocation;
use crate::purpose::approve;
use crate::query::{Statement, bind};

static EVENTS: Statement = Statement::read(
    c"SELECT access_id, event_digest FROM identity.pii_access_log WHERE accessor_kind = ANY ($1) AND outcome = 'committed' ORDER BY access_id",
    &[pg_sys::TEXTARRAYOID],
);
static APPROVED: Statement = Statement::read(
    c"SELECT purpose_token, version, approved_by::text, pg_catalog.to_char(approved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
        FROM identity.purpose_versions WHERE approved_by IS NOT NULL ORDER BY 1, 2",
    &[],
);
static CALLERS: Statement = Statement::read(
    c"SELECT access_id, role, changed_by::text, reason, pg_catalog.string_agg(revocation::text, ',' ORDER BY revocation)
        FROM identity.caller_revocations GROUP BY access_id, role, changed_by, reason ORDER BY 1",
    &[],
);

/// What is wrong with approvals. Runs inside a call's snapshot.
pub fn approvals(installation: &[u8; 16]) -> Vec<String> {
    let mut recorded = events(&["purpose_approve"])
        .into_values()
        .collect::<Vec<_>>();
    let mut wrong = Vec::new();
    let rows = APPROVED.run(&mut []);
    for row in 0..rows.count {
        let digest = approve::digest(installation, &rows, row);
        let known = recorded
            .iter()
            .position(|known| digest.is_some_and(|digest| known == &digest));
        if let Some(known) = known {
            recorded.swap_remove(known);
            continue;
        }
        let token = rows.get::<&str>(row, 1).unwrap_or_default();
        let version = rows.get::<i32>(row, 2).unwrap_or_default();
        if !dropped::purpose_version(token, version) {
            wrong.push(format!(
                "{token} version {version}: nobody approved it as it says"
            ));
        }
    }
    if !recorded.is_empty() {
        wrong.push(format!(
            "{} recorded approvals are not there",
            recorded.len()
        ));
    }
    wrong
}

/// What is wrong with revocations of logins. Runs inside a call's snapshot.
pub fn callers(installation: &[u8; 16]) -> Vec<String> {
    let mut recorded = events(&["caller_revoke", "caller_reinstate"]);
    let mut wrong = Vec::new();
    let rows = CALLERS.run(&mut []);
    for row in 0..rows.count {
        let id = rows.get::<i64>(row, 1).unwrap_or_default();
        let known = recorded.remove(&id);
        let digest = caller_revocation::stored_digest(installation, &rows, row, 2);
        let fits = match (known, digest) {
            (Some(known), Some(digest)) => known == digest,
            (None, Some(_)) => dropped::event(id),
            (_, None) => false,
        };
        if !fits {
            wrong.push(format!(
                "{}: a revocation or reinstatement is not what was recorded",
                rows.get::<&str>(row, 2).unwrap_or_default()
            ));
        }
    }
    if !recorded.is_empty() {
        wrong.push(format!(
            "{} recorded revocations or reinstatements of logins are not there",
            recorded.len()
        ));
    }
    wrong
}

/// The digests recorded for these kinds of events, by the access id of their rows.
fn events(kinds: &[&str]) -> BTreeMap<i64, Vec<u8>> {
    let rows = EVENTS.run(&mut [bind(kinds.to_vec())]);
    (0..rows.count)
        .filter_map(|row| Some((rows.get(row, 1)?, rows.get(row, 2)?)))
        .collect()
}
