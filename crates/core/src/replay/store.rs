//! What a replay reads: the rows of the log, digested, and the tables of the ledger.

use crate::merkle::Digest;

/// Where a replay gets what is stored. It asks in order and never twice for the same, so a store
/// may stream; it keeps no more than a cut's tiles of 256 and a head for each lane.
///
/// All answers must come from one snapshot.
pub trait Store {
    /// Why something could not be read.
    type Error;

    /// The lanes that have rows, in ascending order.
    ///
    /// # Errors
    /// Those of the store.
    fn lanes(&mut self) -> Result<Vec<u32>, Self::Error>;

    /// The next row of a lane whose sequence number (by its access id) is not beyond `through`, in
    /// the order of the access ids; `None` when there is no further one.
    ///
    /// # Errors
    /// Those of the store.
    fn row(&mut self, lane: u32, through: u64) -> Result<Option<Row>, Self::Error>;

    /// The first cut whose number is above `after`, of those that have a head or a seal.
    ///
    /// # Errors
    /// Those of the store.
    fn cut(&mut self, after: u64) -> Result<Option<Cut>, Self::Error>;

    /// A tile of a batch.
    ///
    /// # Errors
    /// Those of the store.
    fn tile(&mut self, batch: u64, level: u8, tile: u64) -> Result<Option<StoredTile>, Self::Error>;

    /// Some of the tree's leaves from an index on, in ascending order; none when that was the last.
    ///
    /// # Errors
    /// Those of the store.
    fn leaves(&mut self, from: u64) -> Result<Vec<Leaf>, Self::Error>;

    /// Some of the tree's nodes of a level from an index on, in ascending order; none when that was
    /// the last.
    ///
    /// # Errors
    /// Those of the store.
    fn nodes(&mut self, level: u8, from: u64) -> Result<Vec<(u64, Digest)>, Self::Error>;

    /// Some of the anchors behind a size and number, in ascending order of both; none when that was
    /// the last.
    ///
    /// # Errors
    /// Those of the store.
    fn anchors(&mut self, after: Option<(u64, i64)>) -> Result<Vec<Anchor>, Self::Error>;

    /// The salt of a seal leaf; `None` if the chain key of that version is not there.
    ///
    /// # Errors
    /// Those of the store.
    fn seal_salt(
        &mut self,
        chain_version: i32,
        leaf_index: u64,
    ) -> Result<Option<[u8; 16]>, Self::Error>;
}

/// A row of the log, digested when it was read: it is hashed once, and the replay keeps none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `lane << 48 | seq`.
    pub access_id: i64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub accessed_at: i64,
    /// Whether its outcome is `committed`: the others are written later than the moment they name.
    pub committed: bool,
    /// Whether it is to be a leaf of its own.
    pub merkle: bool,
    /// Its MAC, as it stands.
    pub mac: Digest,
    /// What its columns give.
    pub content: Content,
}

/// What the columns of a row give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A leaf.
    Leaf {
        /// [`crate::merkle::leaf_hash`] of its salt and leaf.
        hash: Digest,
        /// Whether its MAC follows from the row before.
        link: Link,
    },
    /// A column holds what no writer of ours writes, or the access id is not that of lane and seq.
    Malformed,
    /// The chain key of its `chain_version` is not there.
    NoKey,
}

/// Whether a row's MAC follows from the row before it, as [`crate::chain::link`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It does.
    Holds,
    /// It does not.
    Broken,
    /// It was not looked at: the row before is not there, or the reader has no chain key.
    Unknown,
}

/// What one seal took in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Its number.
    pub number: u64,
    /// The heads of the lanes that moved, in ascending order of the lanes.
    pub heads: Vec<StoredHead>,
    /// Its batches, in the order of their leaves in the tree.
    pub seals: Vec<StoredSeal>,
}

/// Where a lane stood after a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredHead {
    /// The lane.
    pub lane: u32,
    /// Its last row taken in.
    pub seq: u64,
    /// That row's MAC; `None` if what is stored is none.
    pub mac: Option<Digest>,
}

/// A batch, as the table of seals has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSeal {
    /// Number of the batch.
    pub batch: u64,
    /// Place of its leaf in the tree.
    pub leaf_index: u64,
    /// Month of its rows, `2026-11`.
    pub partition: String,
    /// How many rows it has.
    pub rows: u64,
    /// Root of its rows; `None` if what is stored is no digest.
    pub root: Option<Digest>,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub sealed_at: i64,
    /// The bytes of its leaf.
    pub leaf: String,
    /// How many tiles are stored of it.
    pub tiles: u64,
}

/// A tile, as the table of tiles has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTile {
    /// The rows, on level 0.
    pub access_ids: Vec<i64>,
    /// The hashes, one behind the other.
    pub hashes: Vec<u8>,
}

/// A leaf of the tree, as the table of leaves has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its place.
    pub index: u64,
    /// The row; `None` is a seal.
    pub access_id: Option<i64>,
}

/// An anchor, as its table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its number.
    pub commit_id: i64,
    /// The size of the tree that was anchored.
    pub tree_size: u64,
    /// Its root; `None` if what is stored is no digest.
    pub root: Option<Digest>,
    /// The signed note.
    pub checkpoint: String,
}

/// A month whose rows were dropped because their time was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// `2026-11`.
    pub partition: String,
    /// Its last batch.
    pub last_batch: u64,
}
