//! Were the incarnations declared as they stand? A superuser can write one that nobody declared, or take one out of the table; the log's events show it.

use identity_core::replay::Check;

use super::report::Report;
use crate::keys::region::Keys;
use crate::ledger::dropped;
use crate::ledger::incarnation::Declared;
use crate::query::Statement;

static DECLARED: Statement = Statement::read(
    c"SELECT i.access_id, l.event_digest, i.incarnation, i.kept_size, i.kept_root, i.last_size, i.last_root, i.written_at, i.reason, i.declaration, i.declared_at
        FROM identity.ledger_incarnations i
        LEFT JOIN identity.pii_access_log l
          ON l.access_id = i.access_id AND l.accessed_at = i.declared_at AND l.outcome = 'committed' AND l.accessor_kind = 'incarnation'
       ORDER BY i.incarnation",
    &[],
);
static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind = 'incarnation'
         AND NOT EXISTS (SELECT FROM identity.ledger_incarnations i WHERE i.access_id = l.access_id)",
    &[],
);
/// Where a row's own columns begin.
const ROW: i32 = 3;

/// Compares declarations and events. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    let rows = DECLARED.run(&mut []);
    for row in 0..rows.count {
        let access_id = rows.get::<i64>(row, 1).unwrap_or_default();
        let declared = Declared::stored(&rows, row, ROW);
        let digest = declared.map(|declared| declared.digest(&keys.installation));
        let fits = digest.is_some_and(|digest| match rows.bytes(row, 2) {
            Some(recorded) => recorded == digest,
            None => dropped::event(access_id),
        });
        if !fits {
            let number = rows.get::<i64>(row, ROW).unwrap_or_default();
            report.finding(
                Check::Anchors.as_str(),
                &format!("incarnation {number}: it is not what was declared"),
            );
        }
    }
    let lost = LOST.run(&mut []);
    report.events(
        Check::Anchors.as_str(),
        &lost,
        "a declared incarnation that is not there",
    );
}
