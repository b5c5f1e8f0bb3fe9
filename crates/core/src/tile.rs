//! Batch trees in tiles of 256 hashes, as C2SP `tlog-tiles` cuts a tree. Specified in
//! `docs/spec/tree.md`.
//!
//! A batch is a tree of its own, over rows that share one seal leaf. Kept as tiles, a proof for any of its
//! rows reads one tile per eight levels, and the batch costs little more than its leaf hashes.

use core::fmt;

use crate::merkle::{Digest, Frontier, Nodes, node_hash};

/// Levels of the tree in one tile.
pub const TILE_HEIGHT: u8 = 8;

/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;

/// Up to [`TILE_WIDTH`] hashes that lie side by side: at level 0 those of leaves, at each level above the
/// roots of full tiles below. Only the last tile of a level may be partial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Level of tiles: its hashes are roots over `256^level` leaves.
    pub level: u8,
    /// Position within the level.
    pub index: u64,
    /// The rows, at level 0: one for each hash. Empty above.
    pub access_ids: Vec<i64>,
    /// The hashes.
    pub hashes: Vec<Digest>,
}

/// Builds the tiles of one batch while its rows stream by: memory is one tile per level.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    tree: Frontier,
    /// The tile being filled on each level.
    open: Vec<Tile>,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next row, and gives `out` the tiles that become full.
    pub fn push(&mut self, access_id: i64, leaf_hash: Digest, out: &mut impl FnMut(Tile)) {
        let open = &mut self.open;
        self.tree.append(leaf_hash, &mut |level, _, hash| {
            if !level.is_multiple_of(TILE_HEIGHT) {
                return;
            }
            let level = level / TILE_HEIGHT;
            if open.len() == usize::from(level) {
                open.push(Tile::empty(level, 0));
            }
            let Some(tile) = open.get_mut(usize::from(level)) else {
                return;
            };
            tile.hashes.push(hash);
            if level == 0 {
                tile.access_ids.push(access_id);
            }
            if tile.hashes.len() == TILE_WIDTH {
                let next = Tile::empty(level, tile.index + 1);
                out(core::mem::replace(tile, next));
            }
        });
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tree.size()
    }

    /// Gives `out` the partial tiles, lowest level first, and returns the root of the batch.
    pub fn finish(self, out: &mut impl FnMut(Tile)) -> Digest {
        for tile in self.open {
            if !tile.hashes.is_empty() {
                out(tile);
            }
        }
        self.tree.root()
    }
}

impl Tile {
    fn empty(level: u8, index: u64) -> Self {
        Self {
            level,
            index,
            access_ids: Vec::new(),
            hashes: Vec::new(),
        }
    }
}

/// The nodes of a tree that is stored as tiles. The storage is a function that gives the hashes of
/// the tile at `(level, index)`; it is asked for each node, so it keeps the last few tiles where
/// reading one is slow.
#[derive(Clone, Copy, Debug)]
pub struct TileNodes<S>(pub S);

/// Why tiles have no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileError<E> {
    /// The storage failed.
    Storage(E),
    /// A tile holds fewer hashes than the tree has there.
    Short,
}

impl<E: fmt::Display> fmt::Display for TileError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(out),
            Self::Short => out.write_str("a tile is too short"),
        }
    }
}

impl<S, E> Nodes for TileNodes<S>
where
    S: Fn(u8, u64) -> Result<Vec<Digest>, E>,
{
    type Error = TileError<E>;

    fn node(&self, level: u8, index: u64) -> Result<Digest, Self::Error> {
        let within = level % TILE_HEIGHT;
        // A tile holds 2^(8 - within) subtrees of this level, and each is 2^within of its hashes.
        let per_tile = TILE_HEIGHT - within;
        let tile = index >> per_tile;
        let position = index & ((1 << per_tile) - 1);
        let hashes = (self.0)(level / TILE_HEIGHT, tile).map_err(TileError::Storage)?;
        usize::try_from(position)
            .ok()
            .and_then(|position| hashes.chunks_exact(1 << within).nth(position))
            .and_then(complete)
            .ok_or(TileError::Short)
    }
}

/// The root over a power of two of hashes; `None` over nothing.
fn complete(hashes: &[Digest]) -> Option<Digest> {
    if let [hash] = hashes {
        return Some(*hash);
    }
    if hashes.is_empty() {
        return None;
    }
    let (left, right) = hashes.split_at(hashes.len() / 2);
    Some(node_hash(&complete(left)?, &complete(right)?))
}
