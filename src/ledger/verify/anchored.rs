//! Were the anchors recorded as they stand? A superuser can write an anchor that nobody made, or take one out of the table; the log's events show it.

use std::collections::BTreeMap;

use identity_core::replay::Check;
use pgrx::pg_sys;

use super::report::Report;
use crate::keys::region::Keys;
use crate::ledger::anchor;
use crate::query::{Statement, bind};

const PAGE: usize = 500;

static EVENTS: Statement = Statement::read(
    c"SELECT access_id, event_digest FROM identity.pii_access_log WHERE accessor_kind = 'anchor' AND outcome = 'committed' ORDER BY access_id",
    &[],
);
/// A page of them, with whether the month of the event was dropped because its time was over.
static ANCHORS: Statement = Statement::read(
    c"SELECT a.commit_id, a.tree_size, a.root_hash, a.checkpoint, a.s3_object_uri, a.version_id, a.s3_lock_until, a.checkpoint_at,
             EXISTS (SELECT FROM identity.ledger_expired e WHERE e.partition = pg_catalog.to_char(a.checkpoint_at AT TIME ZONE 'UTC', 'YYYY-MM'))
        FROM identity.anchor_commits a WHERE a.commit_id > $1 ORDER BY a.commit_id LIMIT 500",
    &[pg_sys::INT8OID],
);

/// Compares anchors and events. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    let rows = EVENTS.run(&mut []);
    let mut events = (0..rows.count)
        .filter_map(|row| Some((rows.bytes(row, 2)?.to_vec(), rows.get::<i64>(row, 1)?)))
        .collect::<BTreeMap<_, _>>();
    let mut last = i64::MIN;
    loop {
        let rows = ANCHORS.run(&mut [bind(last)]);
        for row in 0..rows.count {
            last = rows.get(row, 1).unwrap_or(i64::MAX);
            let digest = anchor::digest(&keys.installation, &rows, row);
            let event = digest.and_then(|digest| events.remove(&digest[..]));
            let dropped = rows.get(row, 9).unwrap_or(false);
            if event.is_none() && !dropped {
                report.finding(
                    Check::Anchors.as_str(),
                    &format!("anchor {last}: it is not what was recorded"),
                );
            }
        }
        if rows.count < PAGE {
            break;
        }
    }
    for id in events.into_values() {
        report.finding(
            Check::Anchors.as_str(),
            &format!("access_id {id}: a recorded anchor that is not there"),
        );
    }
}
