//! One cut: every row of the log that is not sealed yet, under one snapshot, on its way into the tree.
//!
//! Each lane's visible rows are a prefix of it, so what is taken in now leaves nothing behind. Rows are read once, a page at a time, and what a page
//! gave is written before the next one is read: a million rows take no more memory than ten thousand.

use std::collections::BTreeMap;

use identity_core::chain::Head;
use identity_core::key::ChainKey;
use identity_core::leaf::{MAX_SEQ, access_id};
use identity_core::merkle::{Frontier, leaf_hash};
use identity_core::moment;
use identity_core::reason::Reason;
use identity_core::salt::row_salt;
use identity_core::tile::BatchBuilder;
use identity_core::vocabulary::ChainKind;

use super::lanes::{self, Heads};
use super::row::{self, Stored};
use super::tree_store::Additions;
use crate::keys::region;
use crate::query::connected;

const DAY_MICROS: i64 = 86_400_000_000;
/// `2026-11`: what a moment's text begins with.
const MONTH_BYTES: usize = 7;

/// What a cut took in.
pub struct Cut {
    installation: [u8; 16],
    chain_keys: BTreeMap<i32, Option<ChainKey>>,
    pub tree: Frontier,
    pub additions: Additions,
    /// By month.
    pub batches: BTreeMap<String, Batch>,
    /// The lanes that moved.
    pub moved: Heads,
    next_batch: u64,
    /// The day of the row before, and its month: days come by the million, months do not.
    month: (i64, String),
}

/// The rows of one month.
pub struct Batch {
    pub number: u64,
    /// Those that did not become leaves of the tree.
    pub rows: BatchBuilder,
    pub merkle_rows: u64,
}

impl Cut {
    /// An empty cut. Batches are numbered in the order in which their first row is read.
    pub fn new(installation: [u8; 16], tree: Frontier, next_batch: u64) -> Self {
        Self {
            installation,
            chain_keys: BTreeMap::new(),
            tree,
            additions: Additions::default(),
            batches: BTreeMap::new(),
            moved: Heads::new(),
            next_batch,
            month: (i64::MIN, String::new()),
        }
    }

    /// Reads and writes all of it. Runs inside the call's snapshot, outside of `connected`: each page has its own.
    pub fn take(&mut self, sealed: &Heads) -> Result<(), Reason> {
        for lane in connected(lanes::with_rows) {
            let mut last = access_id(lane, sealed.get(&lane).map_or(0, |head| head.seq));
            let end = access_id(lane, MAX_SEQ);
            loop {
                let read = connected(|| {
                    let rows = row::next(last, end, row::PAGE);
                    for at in 0..rows.count {
                        let row = row::stored(&rows, at);
                        last = row.access_id;
                        self.add(&row)?;
                    }
                    self.additions.write();
                    Ok(rows.count)
                })?;
                if read < row::PAGE {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A row that no writer of ours wrote has no leaf, and is nothing to seal.
    fn add(&mut self, stored: &Stored<'_>) -> Result<(), Reason> {
        let row = stored.row.as_ref().ok_or(Reason::Chain)?;
        let key = self.chain_keys.entry(row.chain_version).or_insert_with(|| {
            u32::try_from(row.chain_version)
                .ok()
                .and_then(region::chain_key)
        });
        let key = key.as_ref().ok_or(Reason::Chain)?;
        let salt = row_salt(key, &self.installation, stored.access_id);
        let hash = leaf_hash(&salt, &row.leaf());
        self.moved.insert(
            stored.lane,
            Head {
                seq: stored.seq,
                mac: stored.mac,
            },
        );

        let day = row.accessed_at.div_euclid(DAY_MICROS);
        if self.month.0 != day {
            let mut text = moment::text(row.accessed_at);
            text.truncate(MONTH_BYTES);
            self.month = (day, text);
        }
        if !self.batches.contains_key(&self.month.1) {
            let batch = Batch {
                number: self.next_batch,
                rows: BatchBuilder::new(),
                merkle_rows: 0,
            };
            self.next_batch += 1;
            self.batches.insert(self.month.1.clone(), batch);
        }
        let Some(batch) = self.batches.get_mut(&self.month.1) else {
            return Ok(());
        };
        if row.chain_kind == ChainKind::Merkle {
            self.additions
                .leaf(&mut self.tree, Some(stored.access_id), hash);
            batch.merkle_rows += 1;
        } else {
            let (number, additions) = (batch.number, &mut self.additions);
            batch.rows.push(stored.access_id, hash, &mut |tile| {
                additions.tile(number, tile);
            });
        }
        Ok(())
    }
}
