//! Where a row lies in what was sealed.

use identity_core::merkle::{Digest, Nodes};
use identity_core::reason::Reason;
use identity_core::seal_leaf::SealLeaf;
use identity_core::tile::TILE_WIDTH;
use pgrx::pg_sys;

use super::tree_store::{self, number};
use crate::query::{Rows, Statement, bind};

/// The cut that a row of a lane is of: the first whose head it does not lie beyond.
static CUT: Statement = Statement::read(
    c"SELECT cut FROM identity.ledger_heads WHERE lane = $1 AND seq >= $2 ORDER BY seq LIMIT 1",
    &[pg_sys::INT4OID, pg_sys::INT8OID],
);
static LEAF: Statement = Statement::read(
    c"SELECT leaf_index FROM identity.ledger_leaves WHERE access_id = $1",
    &[pg_sys::INT8OID],
);
static BATCHES: Statement = Statement::read(
    c"SELECT batch, batch_rows, leaf_index, leaf FROM identity.ledger_seals WHERE cut = $1",
    &[pg_sys::INT8OID],
);
static TILE: Statement = Statement::read(
    c"SELECT tile, access_ids, hashes FROM identity.ledger_tiles
       WHERE batch = $1 AND level = 0 AND access_ids[1] <= $2 ORDER BY access_ids[1] DESC LIMIT 1",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

static EXPIRED: Statement = Statement::read(
    c"SELECT s.leaf FROM identity.ledger_seals s JOIN identity.ledger_expired e ON e.partition = s.partition WHERE s.cut = $1 LIMIT 1",
    &[pg_sys::INT8OID],
);

/// A sealed row.
pub struct Place {
    pub cut: i64,
    /// The leaf hash that was sealed.
    pub hash: Digest,
    /// The leaf of the tree that proves it: its own, or the seal's.
    pub leaf_index: u64,
    /// `None` for a row that is a leaf of the tree.
    pub batch: Option<InBatch>,
}

/// A row's place in its batch.
pub struct InBatch {
    pub batch: u64,
    pub index: u64,
    pub rows: u64,
    pub seal_leaf: String,
}

/// Where the row is; `None` if it is not sealed yet. Runs inside a call's snapshot.
pub fn find(access_id: i64) -> Result<Option<Place>, Reason> {
    let (lane, seq) = (access_id >> 48, access_id & 0xFFFF_FFFF_FFFF);
    let lane = i32::try_from(lane).map_err(|_| Reason::BadArgument)?;
    let Some(cut) = CUT.run(&mut [bind(lane), bind(seq)]).get::<i64>(0, 1) else {
        return Ok(None);
    };
    if let Some(leaf_index) = unsigned(LEAF.run(&mut [bind(access_id)]).get(0, 1)) {
        let hash = tree_store::Stored.node(0, leaf_index)?;
        return Ok(Some(Place {
            cut,
            hash,
            leaf_index,
            batch: None,
        }));
    }
    let batches = BATCHES.run(&mut [bind(cut)]);
    (0..batches.count)
        .find_map(|row| in_batch(cut, &batches, row, access_id))
        // Its lane was sealed beyond it, and nothing holds it: it was not there then.
        .map_or(Err(Reason::Chain), |place| Ok(Some(place)))
}

/// If a month that the cut took rows of was dropped because its time was over: the chain key's version that the seal says.
pub fn expired_with(cut: i64) -> Option<i32> {
    let leaf = EXPIRED.run(&mut [bind(cut)]).get::<String>(0, 1)?;
    Some(SealLeaf::parse(leaf.as_bytes())?.chain_version)
}

fn in_batch(cut: i64, batches: &Rows, row: usize, access_id: i64) -> Option<Place> {
    let batch = unsigned(batches.get(row, 1))?;
    let tile = TILE.run(&mut [bind(number(batch)), bind(access_id)]);
    let ids = tile.get::<Vec<Option<i64>>>(0, 2)?;
    let offset = ids.iter().position(|id| *id == Some(access_id))?;
    let hash = *tree_store::hashes(tile.bytes(0, 3)?).get(offset)?;
    Some(Place {
        cut,
        hash,
        leaf_index: unsigned(batches.get(row, 3))?,
        batch: Some(InBatch {
            batch,
            index: unsigned(tile.get(0, 1))? * TILE_WIDTH as u64 + offset as u64,
            rows: unsigned(batches.get(row, 2))?,
            seal_leaf: batches.get(row, 4)?,
        }),
    })
}

fn unsigned(number: Option<i64>) -> Option<u64> {
    u64::try_from(number?).ok()
}
