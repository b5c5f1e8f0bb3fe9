//! The whole log, seals, tree and anchors: every cut replayed over the rows that are there now.

use std::collections::BTreeMap;

use identity_core::replay::{Check, Context, replay};

use super::report::Report;
use super::store::Tables;
use super::{anchored, declared, expired};
use crate::clock;
use crate::keys::region::Keys;
use crate::query::Statement;
use crate::query::connected;

/// Below the first lane there is none.
static OUTSIDE: Statement = Statement::read(
    c"SELECT access_id FROM identity.pii_access_log WHERE access_id < 0 ORDER BY access_id LIMIT 1000",
    &[],
);

/// Replays it, and returns how far each lane reaches. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) -> BTreeMap<u32, u64> {
    let expired = connected(|| {
        let outside = OUTSIDE.run(&mut []);
        for id in (0..outside.count).filter_map(|row| outside.get::<i64>(row, 1)) {
            report.finding(
                Check::Chain.as_str(),
                &format!("access_id {id}: foreign: there is no such lane"),
            );
        }
        anchored::check(keys, report);
        declared::check(keys, report);
        expired::check(keys, report)
    });
    let context = Context {
        installation: &keys.installation,
        expired: &expired,
        now: clock::now_unix_micros(),
    };
    let mut tables = Tables::new(keys);
    let Ok(summary) = replay(&mut tables, &context, &mut |finding| report.found(&finding));
    let good = |check: Check| match check {
        Check::Chain => format!("{} rows in {} lanes", summary.rows, summary.lanes.len()),
        Check::Seals => format!("{} batches in {} cuts", summary.batches, summary.cuts),
        Check::Tree => format!("{} leaves", summary.tree_size),
        Check::Anchors => format!("{} anchored checkpoints", summary.anchors),
        Check::Clock => String::from("no moment lies before an earlier one"),
        Check::Unsealed => format!("{} rows wait for the next seal", summary.unsealed),
    };
    for check in Check::ALL {
        report.close(check.as_str(), &good(*check));
    }
    summary.lanes
}
