//! Months that were dropped because their time was over: each must have been recorded when it was, or its rows are simply missing.

use std::collections::BTreeMap;

use identity_core::replay::{Check, Expired};
use pgrx::pg_sys;

use super::report::Report;
use super::store;
use crate::keys::region::Keys;
use crate::ledger::expire;
use crate::query::{Statement, bind};

/// An event may be gone itself, with its month: then that month has expired later, and the newest event is always there.
static EXPIRED: Statement = Statement::read(
    c"SELECT e.partition, e.rows, e.last_batch, e.tree_size, l.event_digest,
             NOT EXISTS (SELECT FROM identity.pii_access_log o WHERE o.access_id = e.access_id)
             AND EXISTS (SELECT FROM identity.ledger_leaves t WHERE t.access_id = e.access_id),
             pg_catalog.to_char(e.expired_at AT TIME ZONE 'UTC', 'YYYY-MM'), e.expired_at
        FROM identity.ledger_expired e
        LEFT JOIN identity.pii_access_log l ON l.access_id = e.access_id AND l.accessor_kind = 'log_expire' AND l.outcome = 'committed'
       ORDER BY e.expired_at DESC, e.partition DESC",
    &[],
);
static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.accessor_kind = $1 AND l.outcome = 'committed'
         AND NOT EXISTS (SELECT FROM identity.ledger_expired e WHERE e.access_id = l.access_id)
       ORDER BY 1",
    &[pg_sys::TEXTOID],
);

/// The months that were dropped as it was recorded. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) -> Vec<Expired> {
    let mut expired = BTreeMap::new();
    let rows = EXPIRED.run(&mut []);
    for row in 0..rows.count {
        let partition = rows.get::<String>(row, 1).unwrap_or_default();
        let number = |column| rows.get::<i64>(row, column).unwrap_or_default();
        let month = expire::Month {
            partition: partition.clone(),
            rows: number(2),
            last_batch: number(3),
            tree_size: number(4),
        };
        let at = rows.last_moment(row).unwrap_or(i64::MAX);
        let digest = month.digest(&keys.installation, at);
        // Newest first: the month that took the event with it was looked at before.
        let gone = rows.get(row, 6) == Some(true)
            && rows
                .get::<String>(row, 7)
                .is_some_and(|month| partition < month && expired.contains_key(&month));
        if rows.bytes(row, 5) == Some(&digest[..]) || gone {
            expired.insert(partition, month.last_batch);
        } else {
            report.finding(
                Check::Seals.as_str(),
                &format!("{partition}: that it expired is not what was recorded"),
            );
        }
    }
    let lost = LOST.run(&mut [bind("log_expire")]);
    for id in (0..lost.count).filter_map(|row| lost.get::<i64>(row, 1)) {
        report.finding(
            Check::Seals.as_str(),
            &format!("access_id {id}: a recorded expiry that is not there"),
        );
    }
    expired
        .iter()
        .map(|(partition, last_batch)| store::expired(partition, *last_batch))
        .collect()
}
