//! The tree, and the batches beside it, in their tables.
//!
//! Nodes are kept by (level, index), not in one row of stored hashes: any node is one look-up by the primary key, and whoever audits can
//! recompute the table in plain SQL.

use std::cell::RefCell;
use std::collections::BTreeMap;

use identity_core::merkle::{Frontier, Nodes};
use identity_core::reason::Reason;
use identity_core::tile::{Tile, TileNodes};
use pgrx::pg_sys;

use crate::query::{Statement, bind};

pub const HASH_BYTES: usize = 32;

static NODE: Statement = Statement::read(
    c"SELECT hash FROM identity.ledger_nodes WHERE level = $1 AND index = $2",
    &[pg_sys::INT2OID, pg_sys::INT8OID],
);
static SIZE: Statement = Statement::read(
    c"SELECT COALESCE(pg_catalog.max(leaf_index) + 1, 0) FROM identity.ledger_leaves",
    &[],
);
static TILE: Statement = Statement::read(
    c"SELECT hashes FROM identity.ledger_tiles WHERE batch = $1 AND level = $2 AND tile = $3",
    &[pg_sys::INT8OID, pg_sys::INT2OID, pg_sys::INT8OID],
);
static ADD_NODES: Statement = Statement::write(
    c"INSERT INTO identity.ledger_nodes (level, index, hash) SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))",
    &[pg_sys::INT2ARRAYOID, pg_sys::INT8ARRAYOID, pg_sys::BYTEAARRAYOID],
);
static ADD_LEAVES: Statement = Statement::write(
    c"INSERT INTO identity.ledger_leaves (leaf_index, access_id) SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))",
    &[pg_sys::INT8ARRAYOID, pg_sys::INT8ARRAYOID],
);
static ADD_TILE: Statement = Statement::write(
    c"INSERT INTO identity.ledger_tiles (batch, level, tile, access_ids, hashes) VALUES ($1, $2, $3, $4, $5)",
    &[
        pg_sys::INT8OID,
        pg_sys::INT2OID,
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::BYTEAOID,
    ],
);

/// The tree as it is stored. Works inside a call's snapshot; a node that is not there is `Reason::Chain`.
pub struct Stored;

impl Nodes for Stored {
    type Error = Reason;

    fn node(&self, level: u8, index: u64) -> Result<[u8; HASH_BYTES], Reason> {
        let row = NODE.run(&mut [bind(i16::from(level)), bind(number(index))]);
        let hash = row.bytes(0, 1).and_then(|hash| hash.try_into().ok());
        hash.ok_or(Reason::Chain)
    }
}

/// How many leaves the tree has. Runs inside a call's snapshot.
pub fn size() -> u64 {
    let size = SIZE.run(&mut []).get::<i64>(0, 1);
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}

/// The tiles of one batch, each read once.
pub fn batch(number: u64) -> TileNodes<impl Fn(u8, u64) -> Result<Vec<[u8; HASH_BYTES]>, Reason>> {
    let known = RefCell::new(BTreeMap::new());
    TileNodes(move |level, tile| {
        let mut known = known.borrow_mut();
        if let Some(hashes) = known.get(&(level, tile)) {
            return Ok(Vec::clone(hashes));
        }
        let row = TILE.run(&mut [
            bind(self::number(number)),
            bind(i16::from(level)),
            bind(self::number(tile)),
        ]);
        let hashes = row.bytes(0, 1).map(hashes).ok_or(Reason::Chain)?;
        known.insert((level, tile), hashes.clone());
        Ok(hashes)
    })
}

/// The hashes that lie one after another.
pub fn hashes(bytes: &[u8]) -> Vec<[u8; HASH_BYTES]> {
    bytes.as_chunks().0.to_vec()
}

/// What is to be written, as it comes.
#[derive(Default)]
pub struct Additions {
    nodes: (Vec<i16>, Vec<i64>, Vec<Vec<u8>>),
    leaves: (Vec<i64>, Vec<Option<i64>>),
    tiles: Vec<(u64, Tile)>,
}

impl Additions {
    /// Appends a leaf: a row of the log, or, without an access id, a seal. Returns its index.
    pub fn leaf(
        &mut self,
        tree: &mut Frontier,
        access_id: Option<i64>,
        hash: [u8; HASH_BYTES],
    ) -> u64 {
        let index = tree.size();
        self.leaves.0.push(number(index));
        self.leaves.1.push(access_id);
        let (levels, indexes, hashes) = &mut self.nodes;
        tree.append(hash, &mut |level, index, hash| {
            levels.push(i16::from(level));
            indexes.push(number(index));
            hashes.push(hash.to_vec());
        });
        index
    }

    pub fn tile(&mut self, batch: u64, tile: Tile) {
        self.tiles.push((batch, tile));
    }

    /// Writes what has come. Runs inside a call's snapshot.
    pub fn write(&mut self) {
        let Self {
            nodes: (levels, indexes, hashes),
            leaves: (leaves, access_ids),
            tiles,
        } = std::mem::take(self);
        if !leaves.is_empty() {
            ADD_LEAVES.run(&mut [bind(leaves), bind(access_ids)]);
            ADD_NODES.run(&mut [bind(levels), bind(indexes), bind(hashes)]);
        }
        for (batch, tile) in tiles {
            ADD_TILE.run(&mut [
                bind(number(batch)),
                bind(i16::from(tile.level)),
                bind(number(tile.index)),
                (tile.level == 0).then_some(tile.access_ids).and_then(bind),
                bind(tile.hashes.concat()),
            ]);
        }
    }
}

/// Numbers of ours as PostgreSQL has them: none comes near the sign bit.
pub fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
