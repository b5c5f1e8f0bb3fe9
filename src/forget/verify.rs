//! What the register says must be what was put on the chain.

use std::collections::BTreeSet;

use pgrx::pg_sys;

use super::event::Event;
use crate::keys::region::Keys;
use crate::ledger::dropped;
use crate::ledger::verify::Report;
use crate::query::{Statement, bind};

const CHECK: &str = "forget_tables";

/// The time narrows the search to one partition; it is the same in both.
static HISTORY: Statement = Statement::read(
    c"SELECT h.access_id, h.registration, h.relation, h.relation_oid, h.subject_column::text, h.action, h.columns::text, h.changed_by::text, h.changed_at,
             l.event_digest
        FROM identity.forget_history h
        LEFT JOIN identity.pii_access_log l
          ON l.access_id = h.access_id AND l.accessed_at = h.changed_at AND l.outcome = 'committed'
         AND l.accessor_kind = CASE h.registration WHEN h.access_id THEN 'forget_register' ELSE 'forget_unregister' END
       WHERE h.access_id > $1 ORDER BY h.access_id LIMIT 5000",
    &[pg_sys::INT8OID],
);
static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind IN ('forget_register', 'forget_unregister')
         AND NOT EXISTS (SELECT FROM identity.forget_history h WHERE h.access_id = l.access_id)",
    &[],
);
/// Registrations that stand and are not on the register as they were made, and what is on it without one. The same table is the one with the same oid or,
/// after a restore, the one with the same name. A dump leaves out registrations of tables that are gone, so one may be missing that has no table.
static UNRECORDED: Statement = Statement::read(
    c"SELECT COALESCE(t.relation::text, h.relation)
        FROM identity.forget_tables t
        FULL JOIN (SELECT r.* FROM identity.forget_history r
                    WHERE r.registration = r.access_id
                      AND NOT EXISTS (SELECT FROM identity.forget_history u WHERE u.registration = r.access_id AND u.access_id <> r.access_id)) h
          ON h.access_id = t.access_id
        LEFT JOIN pg_catalog.pg_class c ON c.oid = t.relation
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE CASE WHEN t.access_id IS NULL
                  THEN EXISTS (SELECT FROM pg_catalog.pg_class k
                                 JOIN pg_catalog.pg_namespace m ON m.oid = k.relnamespace
                                 JOIN pg_catalog.pg_attribute a ON a.attrelid = k.oid AND a.attname = h.subject_column
                                WHERE m.nspname <> 'identity'
                                  AND (k.oid = h.relation_oid OR pg_catalog.format('%I.%I', m.nspname, k.relname) = h.relation))
                  ELSE (t.subject_column, t.action, t.columns, t.registered_by, t.registered_at)
                           IS DISTINCT FROM (h.subject_column, h.action, h.columns, h.changed_by, h.changed_at)
                       OR NOT (t.relation = h.relation_oid OR COALESCE(pg_catalog.format('%I.%I', n.nspname, c.relname) = h.relation, false)) END
       ORDER BY 1",
    &[],
);

/// Compares all of it, and says by name what does not fit. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    let mut ends = BTreeSet::new();
    let mut last = i64::MIN;
    loop {
        let rows = HISTORY.run(&mut [bind(last)]);
        for row in 0..rows.count {
            last = rows.get(row, 1).unwrap_or(i64::MAX);
            let event = Event::stored(&rows, row);
            let digest = event.as_ref().map(|event| event.digest(&keys.installation));
            let known = rows.bytes(row, 10);
            let fits = digest.is_some_and(|digest| match known {
                Some(known) => known == digest,
                None => dropped::event(last),
            });
            // A registration ends once.
            let again = event
                .and_then(|event| event.ends)
                .is_some_and(|registration| !ends.insert(registration));
            if !fits || again {
                report.finding(
                    CHECK,
                    &format!("access_id {last}: it is not what was recorded"),
                );
            }
        }
        if rows.count == 0 {
            break;
        }
    }
    let lost = LOST.run(&mut []);
    report.events(CHECK, &lost, "its readable row is not there");
    let unrecorded = UNRECORDED.run(&mut []);
    for table in (0..unrecorded.count).filter_map(|row| unrecorded.get::<&str>(row, 1)) {
        report.finding(
            CHECK,
            &format!("{table}: the register does not say what was last recorded of it"),
        );
    }
    report.close(CHECK, "the register and what was recorded of it agree");
}
