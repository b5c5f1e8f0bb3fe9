//! One batch: its rows against the tiles of level 0, its tiles against one another, its root.

use core::ops::Range;

use super::finding::{Fault, Finding, Place};
use super::store::{Store, StoredSeal};
use crate::merkle::Digest;
use crate::moment;
use crate::tile::{BatchBuilder, TILE_WIDTH, Tile};

/// A batch whose tiles are read as rows come.
pub(super) struct Batch {
    pub(super) seal: StoredSeal,
    /// Whether its rows were dropped because their time was over.
    pub(super) expired: bool,
    /// Rows of its month that became leaves of their own.
    pub(super) merkle_rows: u64,
    month: Option<(i64, i64)>,
    builder: BatchBuilder,
    /// Tiles of level 0 that were read.
    read: u64,
    ended: bool,
    entries: std::vec::IntoIter<(i64, Digest)>,
    next: Option<(i64, Digest)>,
    built: u64,
}

impl Batch {
    pub(super) fn new(seal: StoredSeal, expired: bool) -> Self {
        Self {
            month: month(&seal.partition),
            seal,
            expired,
            merkle_rows: 0,
            builder: BatchBuilder::new(),
            read: 0,
            ended: false,
            entries: Vec::new().into_iter(),
            next: None,
            built: 0,
        }
    }

    /// Whether rows of this moment belong to it.
    pub(super) fn covers(&self, moment: i64) -> bool {
        self.month
            .is_some_and(|(from, to)| (from..to).contains(&moment))
    }

    /// The next row that it holds, and the hash of its leaf.
    fn peek<S: Store>(
        &mut self,
        store: &mut S,
        found: &mut dyn FnMut(Finding),
    ) -> Result<Option<(i64, Digest)>, S::Error> {
        while self.next.is_none() {
            self.next = self.entries.next();
            if self.next.is_none() {
                if self.ended {
                    break;
                }
                self.read_tile(store, found)?;
            }
        }
        Ok(self.next)
    }

    /// Goes beyond the rows before the end of `gap`. They are missing, unless they lie in the gap and their
    /// time was over: returns how many those are.
    pub(super) fn pass<S: Store>(
        &mut self,
        store: &mut S,
        gap: &Range<i64>,
        found: &mut dyn FnMut(Finding),
    ) -> Result<u64, S::Error> {
        let mut explained = 0;
        while let Some((id, hash)) = self.peek(store, found)?.filter(|(id, _)| *id < gap.end) {
            if self.expired && gap.contains(&id) {
                explained += 1;
            } else {
                found(Finding {
                    place: Place::Row(id),
                    fault: Fault::Missing,
                });
            }
            self.push(store, id, hash, found)?;
        }
        Ok(explained)
    }

    /// Takes a row if it is the next that the batch holds. Returns whether its hash is the one it holds, too; one that is
    /// not known is.
    pub(super) fn take<S: Store>(
        &mut self,
        store: &mut S,
        access_id: i64,
        computed: Option<Digest>,
        found: &mut dyn FnMut(Finding),
    ) -> Result<Option<bool>, S::Error> {
        match self.peek(store, found)? {
            Some((id, hash)) if id == access_id => {
                self.push(store, id, hash, found)?;
                Ok(Some(computed.is_none_or(|computed| computed == hash)))
            }
            _ => Ok(None),
        }
    }

    fn push<S: Store>(
        &mut self,
        store: &mut S,
        access_id: i64,
        hash: Digest,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        self.next = None;
        let mut tiles = Vec::new();
        self.builder
            .push(access_id, hash, &mut |tile| tiles.push(tile));
        self.compare(store, tiles, found)
    }

    /// Compares what it came to with its seal, after its last row.
    pub(super) fn finish<S: Store>(
        mut self,
        store: &mut S,
        found: &mut dyn FnMut(Finding),
    ) -> Result<StoredSeal, S::Error> {
        let mut tiles = Vec::new();
        let builder = core::mem::replace(&mut self.builder, BatchBuilder::new());
        let rows = builder.rows();
        let root = builder.finish(&mut |tile| tiles.push(tile));
        self.compare(store, tiles, found)?;
        let place = Place::Batch(self.seal.batch);
        let mut fault = |fault| found(Finding { place, fault });
        if rows != self.seal.rows {
            fault(Fault::BatchRows);
        }
        if self.seal.root != Some(root) {
            fault(Fault::BatchRoot);
        }
        if self.seal.tiles > self.built {
            fault(Fault::TileForeign);
        }
        Ok(self.seal)
    }

    fn read_tile<S: Store>(
        &mut self,
        store: &mut S,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        let Some(tile) = store.tile(self.seal.batch, 0, self.read)? else {
            self.ended = true;
            return Ok(());
        };
        let hashes = digests(&tile.hashes);
        let place = self.tile(0, self.read);
        // Only the last tile may be less than full, and the one after it would not be asked for.
        if hashes.len() != tile.access_ids.len() || hashes.len() > TILE_WIDTH || hashes.is_empty() {
            found(Finding {
                place,
                fault: Fault::Tile,
            });
        }
        self.ended = hashes.len() < TILE_WIDTH;
        self.read += 1;
        let entries = tile.access_ids.into_iter().zip(hashes);
        self.entries = entries.collect::<Vec<_>>().into_iter();
        Ok(())
    }

    /// Level 0 is what the tiles were built from; the levels above must be what they were built to.
    fn compare<S: Store>(
        &mut self,
        store: &mut S,
        tiles: Vec<Tile>,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        for tile in tiles {
            self.built += 1;
            if tile.level == 0 {
                continue;
            }
            let stored = store.tile(self.seal.batch, tile.level, tile.index)?;
            let fault = match stored {
                None => Fault::TileMissing,
                Some(stored) if digests(&stored.hashes) != tile.hashes => Fault::Tile,
                Some(_) => continue,
            };
            let place = self.tile(tile.level, tile.index);
            found(Finding { place, fault });
        }
        Ok(())
    }

    fn tile(&self, level: u8, tile: u64) -> Place {
        Place::Tile {
            batch: self.seal.batch,
            level,
            tile,
        }
    }
}

/// The hashes in a tile; none if they are not whole.
fn digests(bytes: &[u8]) -> Vec<Digest> {
    match bytes.as_chunks() {
        (digests, []) => digests.to_vec(),
        _ => Vec::new(),
    }
}

/// The first moment of a month written `2026-11`, and that of the next; `None` if it is none.
fn month(partition: &str) -> Option<(i64, i64)> {
    let (year, month) = partition.split_once('-')?;
    let (year, month): (u32, u32) = (year.parse().ok()?, month.parse().ok()?);
    let first =
        |year: u32, month: u32| moment::parse(&format!("{year:04}-{month:02}-01T00:00:00Z"));
    let next = if month == 12 {
        first(year + 1, 1)
    } else {
        first(year, month + 1)
    };
    Some((first(year, month)?, next?))
}
