//! What `ledger_verify` asks: are the retention policies the ones that their recorded changes make?

use super::change::Change;
use crate::keys::region::Keys;
use crate::ledger::dropped;
use crate::ledger::verify::Report;
use crate::query::{Rows, Statement};

const CHECK: &str = "retention";

static UNRECORDED: Statement = Statement::read(
    c"SELECT COALESCE(p.vertical, c.vertical), COALESCE(p.kind, c.kind)
        FROM identity.retention_policies p
        FULL JOIN (SELECT DISTINCT ON (n.vertical, n.kind) * FROM identity.retention_policy_changes n ORDER BY n.vertical, n.kind, n.change_no DESC) c
          ON c.vertical = p.vertical AND c.kind = p.kind
       WHERE CASE WHEN p.vertical IS NULL THEN c.state <> 'removed'
                  ELSE (p.days, p.schedule_version, p.changed_by, p.changed_at) IS DISTINCT FROM (c.days, c.schedule_version, c.changed_by, c.changed_at) END
       ORDER BY 1, 2",
    &[],
);
static CHANGES: Statement = Statement::read(
    c"SELECT c.access_id, c.change_no, c.vertical, c.kind, c.state, c.days, c.schedule_version, c.changed_by::text, c.changed_at, l.event_digest
        FROM identity.retention_policy_changes c
        LEFT JOIN identity.pii_access_log l
          ON l.access_id = c.access_id AND l.accessed_at = c.changed_at AND l.accessor_kind = 'retention_policy' AND l.outcome = 'committed'
       ORDER BY c.change_no",
    &[],
);
static LOST: Statement = Statement::read(
    c"SELECT pg_catalog.count(*) FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind = 'retention_policy'
         AND NOT EXISTS (SELECT FROM identity.retention_policy_changes c WHERE c.access_id = l.access_id)",
    &[],
);

/// Compares all of it, and says by name what does not fit. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    let rows = UNRECORDED.run(&mut []);
    for row in 0..rows.count {
        let word = |column| rows.get::<&str>(row, column).unwrap_or_default();
        report.finding(
            CHECK,
            &format!(
                "the {} policy of {} is not what its last change says",
                word(2),
                word(1)
            ),
        );
    }
    let rows = CHANGES.run(&mut []);
    for row in 0..rows.count {
        if !as_recorded(&keys.installation, &rows, row) {
            let number = rows.get::<i32>(row, 2).unwrap_or_default();
            report.finding(
                CHECK,
                &format!("change {number} of the policies is not the one that was recorded"),
            );
        }
    }
    let lost = LOST.run(&mut []).get::<i64>(0, 1).unwrap_or_default();
    if lost > 0 {
        report.finding(
            CHECK,
            &format!("{lost} recorded changes of the policies are not there"),
        );
    }
    report.close(CHECK, "policies, their changes and the log agree");
}

fn as_recorded(installation: &[u8; 16], rows: &Rows, row: usize) -> bool {
    let Some(digest) = digest(installation, rows, row) else {
        return false;
    };
    match rows.bytes(row, 10) {
        Some(known) => known == digest,
        None => dropped::event(rows.get(row, 1).unwrap_or_default()),
    }
}

fn digest(installation: &[u8; 16], rows: &Rows, row: usize) -> Option<[u8; 32]> {
    let change = Change {
        number: rows.get(row, 2)?,
        vertical: rows.get(row, 3)?,
        kind: rows.get(row, 4)?,
        set: rows.get(row, 6).zip(rows.get(row, 7)),
        by: rows.get(row, 8)?,
        at: rows.moment(row, 9)?,
    };
    (rows.get(row, 5) == Some(change.state())).then(|| change.digest(installation))
}
