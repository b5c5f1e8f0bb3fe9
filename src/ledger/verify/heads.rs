//! A running server remembers how far each lane had come. A lane that ends before that has lost its tail.

use std::collections::BTreeMap;
use std::time::Duration;

use identity_core::leaf::{MAX_SEQ, access_id};
use pgrx::pg_sys;

use super::report::Report;
use crate::lane;
use crate::query::{Statement, bind, connected, with_latest_snapshot};

const CHECK: &str = "heads";

static LANE_END: Statement = Statement::read(
    c"SELECT access_id FROM identity.pii_access_log WHERE access_id >= $1 AND access_id <= $2 ORDER BY access_id DESC LIMIT 1",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

/// Compares how far the lanes reach in the log with what the server remembers. Runs outside of the snapshot that they were followed in.
pub fn check(ends: &BTreeMap<u32, u64>, report: &mut Report) {
    let heads = lane::published();
    for (lane, seq) in &heads {
        if ends.get(lane).copied().unwrap_or(0) < *seq && !appears(*lane, *seq) {
            report.finding(
                CHECK,
                &format!("lane {lane} should reach seq {seq} and ends before it: rows are missing"),
            );
        }
    }
    report.close(
        CHECK,
        &format!("{} lanes reach as far as the server remembers", heads.len()),
    );
}

/// A head is published just before its transaction becomes visible, and rows committed while we read: so look again for a second.
fn appears(lane: u32, seq: u64) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let (from, to) = (access_id(lane, seq), access_id(lane, MAX_SEQ));
        with_latest_snapshot(|| {
            connected(|| LANE_END.run(&mut [bind(from), bind(to)]).count > 0)
        })
    })
}
