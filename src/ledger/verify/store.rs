//! The tables of the ledger, for the replay to read.

use std::convert::Infallible;

use identity_core::merkle::Digest;
use identity_core::replay::{
    Anchor, Cut, Expired, Leaf, Row, Store, StoredHead, StoredSeal, StoredTile,
};
use identity_core::salt::seal_salt;
use pgrx::pg_sys;

use super::reader::Reader;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::keys::region::{self, Keys};
use crate::ledger::tree_store::number;
use crate::query::{Rows, Statement, bind, connected};

static CUT: Statement = Statement::read(
    c"SELECT LEAST((SELECT h.cut FROM identity.ledger_heads h WHERE h.cut > $1 ORDER BY h.cut LIMIT 1),
                   (SELECT s.cut FROM identity.ledger_seals s WHERE s.cut > $1 ORDER BY s.cut LIMIT 1))",
    &[pg_sys::INT8OID],
);
static HEADS: Statement = Statement::read(
    c"SELECT lane, seq, mac FROM identity.ledger_heads WHERE cut = $1 ORDER BY lane, seq",
    &[pg_sys::INT8OID],
);
static SEALS: Statement = Statement::read(
    c"SELECT batch, leaf_index, partition, batch_rows, batch_root, leaf, (SELECT pg_catalog.count(*) FROM identity.ledger_tiles t WHERE t.batch = s.batch), sealed_at
        FROM identity.ledger_seals s WHERE cut = $1 ORDER BY leaf_index",
    &[pg_sys::INT8OID],
);
static TILE: Statement = Statement::read(
    c"SELECT access_ids, hashes FROM identity.ledger_tiles WHERE batch = $1 AND level = $2 AND tile = $3",
    &[pg_sys::INT8OID, pg_sys::INT2OID, pg_sys::INT8OID],
);
static LEAVES: Statement = Statement::read(
    c"SELECT leaf_index, access_id FROM identity.ledger_leaves WHERE leaf_index >= $1 ORDER BY leaf_index LIMIT 2000",
    &[pg_sys::INT8OID],
);
static NODES: Statement = Statement::read(
    c"SELECT index, hash FROM identity.ledger_nodes WHERE level = $1 AND index >= $2 ORDER BY index LIMIT 1000",
    &[pg_sys::INT2OID, pg_sys::INT8OID],
);
static ANCHORS: Statement = Statement::read(
    c"SELECT commit_id, tree_size, root_hash, checkpoint FROM identity.anchor_commits
       WHERE (tree_size, commit_id) > ($1, $2) ORDER BY tree_size, commit_id LIMIT 500",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);
static LANES: Statement = Statement::read(
    c"WITH RECURSIVE lanes (lane) AS (
          (SELECT access_id >> 48 FROM identity.pii_access_log WHERE access_id >= 0 ORDER BY access_id LIMIT 1)
          UNION ALL
          SELECT (SELECT l.access_id >> 48 FROM identity.pii_access_log l WHERE l.access_id > lanes.lane << 48 | 281474976710655 ORDER BY l.access_id LIMIT 1)
            FROM lanes WHERE lanes.lane IS NOT NULL)
      SELECT lane FROM lanes WHERE lane IS NOT NULL",
    &[],
);

pub struct Tables<'a> {
    keys: &'a Keys,
    reader: Option<Reader<'a>>,
}

impl<'a> Tables<'a> {
    pub fn new(keys: &'a Keys) -> Self {
        Self { keys, reader: None }
    }
}

/// What cannot be read is an ERROR of PostgreSQL's, which no value here stands for.
impl Store for Tables<'_> {
    type Error = Infallible;

    fn lanes(&mut self) -> Result<Vec<u32>, Infallible> {
        let lanes = connected(|| {
            let rows = LANES.run(&mut []);
            let lane = |row| u32::try_from(rows.get::<i64>(row, 1)?).ok();
            (0..rows.count).filter_map(lane).collect::<Vec<_>>()
        });
        self.reader = Some(Reader::whole(self.keys, &lanes));
        Ok(lanes)
    }

    fn row(&mut self, lane: u32, through: u64) -> Result<Option<Row>, Infallible> {
        Ok(self
            .reader
            .as_mut()
            .and_then(|reader| reader.next(lane, through)))
    }

    fn cut(&mut self, after: u64) -> Result<Option<Cut>, Infallible> {
        Ok(connected(|| {
            let cut = CUT.run(&mut [bind(number(after))]).get::<i64>(0, 1)?;
            let (heads, seals) = (HEADS.run(&mut [bind(cut)]), SEALS.run(&mut [bind(cut)]));
            Some(Cut {
                number: unsigned(Some(cut)),
                heads: (0..heads.count).map(|row| head(&heads, row)).collect(),
                seals: (0..seals.count).map(|row| seal(&seals, row)).collect(),
            })
        }))
    }

    fn tile(&mut self, batch: u64, level: u8, tile: u64) -> Result<Option<StoredTile>, Infallible> {
        Ok(connected(|| {
            let (batch, tile) = (number(batch), number(tile));
            let row = TILE.run(&mut [bind(batch), bind(i16::from(level)), bind(tile)]);
            Some(StoredTile {
                hashes: row.bytes(0, 2)?.to_vec(),
                access_ids: ids(&row).unwrap_or_default(),
            })
        }))
    }

    fn leaves(&mut self, from: u64) -> Result<Vec<Leaf>, Infallible> {
        Ok(connected(|| {
            let Ok(from) = i64::try_from(from) else {
                return Vec::new();
            };
            let rows = LEAVES.run(&mut [bind(from)]);
            let leaf = |row| Leaf {
                index: unsigned(rows.get(row, 1)),
                access_id: rows.get(row, 2),
            };
            (0..rows.count).map(leaf).collect()
        }))
    }

    fn nodes(&mut self, level: u8, from: u64) -> Result<Vec<(u64, Digest)>, Infallible> {
        Ok(connected(|| {
            let rows = NODES.run(&mut [bind(i16::from(level)), bind(number(from))]);
            let node = |row| {
                (
                    unsigned(rows.get(row, 1)),
                    digest(&rows, row, 2).unwrap_or_default(),
                )
            };
            (0..rows.count).map(node).collect()
        }))
    }

    fn anchors(&mut self, after: Option<(u64, i64)>) -> Result<Vec<Anchor>, Infallible> {
        let (size, id) = after.map_or((i64::MIN, i64::MIN), |(size, id)| (number(size), id));
        Ok(connected(|| {
            let rows = ANCHORS.run(&mut [bind(size), bind(id)]);
            let anchor = |row| Anchor {
                commit_id: rows.get(row, 1).unwrap_or_default(),
                tree_size: unsigned(rows.get(row, 2)),
                root: digest(&rows, row, 3),
                checkpoint: rows.get(row, 4).unwrap_or_default(),
            };
            (0..rows.count).map(anchor).collect()
        }))
    }

    fn seal_salt(&mut self, version: i32, leaf_index: u64) -> Result<Option<[u8; 16]>, Infallible> {
        Ok(u32::try_from(version)
            .ok()
            .and_then(region::chain_key)
            .map(|key| seal_salt(&key, &self.keys.installation, leaf_index)))
    }
}

/// The months that were dropped, as the replay takes them.
pub fn expired(partition: &str, last_batch: i64) -> Expired {
    Expired {
        partition: partition.to_owned(),
        last_batch: unsigned(Some(last_batch)),
    }
}

fn head(rows: &Rows, row: usize) -> StoredHead {
    StoredHead {
        lane: rows
            .get::<i32>(row, 1)
            .and_then(|lane| u32::try_from(lane).ok())
            .unwrap_or(u32::MAX),
        seq: unsigned(rows.get(row, 2)),
        mac: digest(rows, row, 3),
    }
}

fn seal(rows: &Rows, row: usize) -> StoredSeal {
    StoredSeal {
        batch: unsigned(rows.get(row, 1)),
        leaf_index: unsigned(rows.get(row, 2)),
        partition: rows.get(row, 3).unwrap_or_default(),
        rows: unsigned(rows.get(row, 4)),
        root: digest(rows, row, 5),
        leaf: rows.get(row, 6).unwrap_or_default(),
        tiles: unsigned(rows.get(row, 7)),
        sealed_at: rows
            .last_moment(row)
            .and_then(|at| at.checked_add(UNIX_EPOCH_MICROS))
            .unwrap_or(i64::MAX),
    }
}

/// None of them if one is NULL.
fn ids(tile: &Rows) -> Option<Vec<i64>> {
    let ids = tile.get::<Vec<Option<i64>>>(0, 1)?;
    ids.into_iter().collect()
}

/// A number that a writer of ours would not write is beyond all that it would.
fn unsigned(number: Option<i64>) -> u64 {
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(u64::MAX)
}

fn digest(rows: &Rows, row: usize, column: i32) -> Option<Digest> {
    rows.bytes(row, column)?.try_into().ok()
}
