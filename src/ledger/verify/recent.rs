//! Each lane from its first row of the last month on: what can be looked at every day, however long the log is.

use std::collections::BTreeMap;

use identity_core::chain::{Head, genesis};
use identity_core::leaf::{MAX_SEQ, access_id};
use identity_core::replay::LaneWalk;
use pgrx::pg_sys;

use super::reader::Reader;
use super::report::Report;
use crate::clock;
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected};

const RECENT_MICROS: i64 = 31 * 86_400_000_000;

static LANE_STARTS: Statement = Statement::read(
    c"SELECT pg_catalog.min(access_id) FROM identity.pii_access_log WHERE accessed_at >= $1 AND access_id >= 0 GROUP BY access_id >> 48 ORDER BY 1",
    &[pg_sys::TIMESTAMPTZOID],
);
/// The row before the first looked at; or what a seal remembers of it, if its month was dropped.
static BEFORE: Statement = Statement::read(
    c"SELECT integrity_hash FROM identity.pii_access_log WHERE access_id = $1
      UNION ALL
      SELECT h.mac FROM identity.ledger_heads h
       WHERE h.lane = ($1 >> 48)::int AND h.seq = $1 & 281474976710655 AND EXISTS (SELECT FROM identity.ledger_expired)",
    &[pg_sys::INT8OID],
);

/// Follows them, and returns how far each reaches. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) -> BTreeMap<u32, u64> {
    let starts = connected(|| {
        let since = clock::now() - RECENT_MICROS;
        let rows = LANE_STARTS.run(&mut [Some(pg_sys::Datum::from(since))]);
        (0..rows.count)
            .filter_map(|row| rows.get(row, 1))
            .map(|first| start(keys, first))
            .collect::<BTreeMap<_, _>>()
    });
    let mut reader = Reader::new(keys, starts.clone());
    let mut ends = BTreeMap::new();
    let mut rows = 0_u64;
    for (lane, head) in starts {
        let mut walk = LaneWalk::after(head.seq);
        while let Some(row) = reader.next(lane, MAX_SEQ) {
            rows += 1;
            walk.row(&row, 0, &mut |finding| report.found(&finding));
        }
        ends.insert(lane, walk.seq());
    }
    report.close("chain", &format!("{rows} rows in {} lanes", ends.len()));
    report.close("clock", "no moment lies before an earlier one");
    ends
}

/// The lane of a row, and the head before it. Rows after it count whatever their time: a refusal is written after the moment it records, and clocks
/// step back. Without a row before it the chain cannot be joined: starting at the genesis reports the gap.
fn start(keys: &Keys, first: i64) -> (u32, Head) {
    let lane = u32::try_from(first >> 48).unwrap_or(u32::MAX);
    let seq = first.cast_unsigned() & MAX_SEQ;
    let before = BEFORE.run(&mut [bind(access_id(lane, seq.saturating_sub(1)))]);
    let mac = before.bytes(0, 1).and_then(|mac| mac.try_into().ok());
    let head = mac.map(|mac| Head { seq: seq - 1, mac });
    (
        lane,
        head.unwrap_or_else(|| genesis(&keys.installation, lane)),
    )
}
