//! How far each lane has come, in the log and in the seals.
//!
//! Lanes are found by skipping from one to the next in the index: grouping would read the whole log.

use std::collections::BTreeMap;

use identity_core::chain::Head;
use pgrx::pg_sys;

use super::tree_store::number;
use crate::query::{Statement, bind};

/// Lanes that have rows in the log.
static LANES: Statement = Statement::read(
    c"WITH RECURSIVE lanes (lane) AS (
          (SELECT access_id >> 48 FROM identity.pii_access_log ORDER BY access_id LIMIT 1)
          UNION ALL
          SELECT (SELECT l.access_id >> 48 FROM identity.pii_access_log l WHERE l.access_id > lanes.lane << 48 | 281474976710655 ORDER BY l.access_id LIMIT 1)
            FROM lanes WHERE lanes.lane IS NOT NULL)
      SELECT lane FROM lanes WHERE lane IS NOT NULL",
    &[],
);
/// The newest sealed head of each lane.
static HEADS: Statement = Statement::read(
    c"WITH RECURSIVE lanes (lane) AS (
          (SELECT lane FROM identity.ledger_heads ORDER BY lane LIMIT 1)
          UNION ALL
          SELECT (SELECT h.lane FROM identity.ledger_heads h WHERE h.lane > lanes.lane ORDER BY h.lane LIMIT 1) FROM lanes WHERE lanes.lane IS NOT NULL)
      SELECT h.lane, h.seq, h.mac
        FROM lanes CROSS JOIN LATERAL (SELECT * FROM identity.ledger_heads n WHERE n.lane = lanes.lane ORDER BY n.seq DESC LIMIT 1) h",
    &[],
);
static ADD_HEADS: Statement = Statement::write(
    c"INSERT INTO identity.ledger_heads (lane, seq, mac, cut) SELECT h.*, $4 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS h",
    &[
        pg_sys::INT4ARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::BYTEAARRAYOID,
        pg_sys::INT8OID,
    ],
);
/// What came after a cut: how many rows, and the time of the oldest that is not the record of an anchor. Of each lane only its ends are looked at: seq
/// counts what lies between.
static AFTER: Statement = Statement::read(
    c"WITH RECURSIVE lanes (lane) AS (
          (SELECT access_id >> 48 FROM identity.pii_access_log ORDER BY access_id LIMIT 1)
          UNION ALL
          SELECT (SELECT l.access_id >> 48 FROM identity.pii_access_log l WHERE l.access_id > lanes.lane << 48 | 281474976710655 ORDER BY l.access_id LIMIT 1)
            FROM lanes WHERE lanes.lane IS NOT NULL),
      ends (sealed, first, last) AS (
          SELECT COALESCE(h.seq, 0), f.accessed_at, n.seq
            FROM lanes
            LEFT JOIN LATERAL (SELECT h.seq FROM identity.ledger_heads h WHERE h.lane = lanes.lane AND h.cut <= $1 ORDER BY h.seq DESC LIMIT 1) h ON true
            LEFT JOIN LATERAL (SELECT l.accessed_at FROM identity.pii_access_log l
                                WHERE l.access_id > lanes.lane << 48 | COALESCE(h.seq, 0) AND l.access_id <= lanes.lane << 48 | 281474976710655
                                  AND l.accessor_kind <> 'anchor'
                                ORDER BY l.access_id LIMIT 1) f ON true
            CROSS JOIN LATERAL (SELECT l.seq FROM identity.pii_access_log l WHERE l.access_id <= lanes.lane << 48 | 281474976710655
                                 ORDER BY l.access_id DESC LIMIT 1) n
           WHERE lanes.lane IS NOT NULL AND n.seq > COALESCE(h.seq, 0))
      SELECT COALESCE(pg_catalog.sum(last - sealed), 0)::bigint, pg_catalog.min(first) FROM ends",
    &[pg_sys::INT8OID],
);

/// Heads by lane.
pub type Heads = BTreeMap<u32, Head>;

/// The lanes that have rows in the log, in their order. Runs inside a call's snapshot.
pub fn with_rows() -> Vec<u32> {
    let rows = LANES.run(&mut []);
    let lane = |row| u32::try_from(rows.get::<i64>(row, 1)?).ok();
    (0..rows.count).filter_map(lane).collect()
}

/// The newest sealed head of each lane. Runs inside a call's snapshot.
pub fn sealed() -> Heads {
    let rows = HEADS.run(&mut []);
    let head = |row| {
        let lane = u32::try_from(rows.get::<i32>(row, 1)?).ok()?;
        let seq = u64::try_from(rows.get::<i64>(row, 2)?).ok()?;
        let mac = rows.bytes(row, 3)?.try_into().ok()?;
        Some((lane, Head { seq, mac }))
    };
    (0..rows.count).filter_map(head).collect()
}

/// Writes down how far the lanes that moved had come in a cut. Runs inside a call's snapshot.
pub fn write(moved: &Heads, cut: u64) {
    let lanes = moved.keys().filter_map(|lane| i32::try_from(*lane).ok());
    let seqs = moved.values().map(|head| number(head.seq));
    let macs = moved.values().map(|head| head.mac.to_vec());
    ADD_HEADS.run(&mut [
        bind(lanes.collect::<Vec<_>>()),
        bind(seqs.collect::<Vec<_>>()),
        bind(macs.collect::<Vec<_>>()),
        bind(number(cut)),
    ]);
}

/// Rows that no cut up to this one holds.
pub struct After {
    pub rows: i64,
    /// The time of the oldest, in PostgreSQL's microseconds. Records of anchors do not count: otherwise each anchor would call for the next one.
    pub oldest: Option<i64>,
}

/// What came after a cut; 0 is before the first. Runs inside a call's snapshot.
pub fn after(cut: i64) -> After {
    let row = AFTER.run(&mut [bind(cut)]);
    After {
        rows: row.get(0, 1).unwrap_or(0),
        oldest: row.last_moment(0),
    }
}
