//! The replay of a ledger: follows its cuts, as they were made, over the rows that are there now, and
//! says what does not fit. Used inside the database, and by whoever has only its rows.
//!
//! The database is not trusted to be consistent with yesterday: nothing it stores is taken for true,
//! each layer is recomputed from the one below it, and where the two differ the replay goes on with
//! what is stored, so that one thing altered is one finding and not an avalanche. What it cannot see
//! is a history that was rewritten from the rows up to the root by somebody with the chain key; a
//! checkpoint that was anchored outside shows that.
//!
//! It reads each row once, in the order of the cuts, and keeps a tile for each batch of a cut and a
//! head for each lane, however long the log is.

mod anchors;
mod batch;
mod cut;
mod finding;
mod lanes;
mod seals;
mod store;
mod tree;

use std::collections::BTreeMap;

pub use finding::{Check, Fault, Finding, Place};
pub use lanes::LaneWalk;
pub use store::{
    Anchor, Content, Cut, Expired, Leaf, Link, Row, Store, StoredHead, StoredSeal,
    StoredTile,
};

use crate::leaf::MAX_SEQ;
use crate::merkle::Digest;
use anchors::Anchors;
use cut::Lane;
use tree::Tree;

/// How long a row may wait for its seal, in microseconds.
const MAX_UNSEALED: i64 = 3_600_000_000;

/// What a replay is told beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The installation.
    pub installation: &'a [u8; 16],
    /// The months that were dropped because their time was over.
    pub expired: &'a [Expired],
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub now: i64,
}

/// What a replay went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows of the log.
    pub rows: u64,
    /// How far each lane reaches.
    pub lanes: BTreeMap<u32, u64>,
    /// Cuts.
    pub cuts: u64,
    /// Batches.
    pub batches: u64,
    /// Leaves of the tree.
    pub tree_size: u64,
    /// Its root.
    pub root: Digest,
    /// Anchors.
    pub anchors: u64,
    /// Rows that no seal has taken in yet.
    pub unsealed: u64,
}

/// Replays a ledger, and tells `found` of everything that does not fit.
///
/// # Errors
/// Those of the store: then the replay is not complete, and what it found so far is.
pub fn replay<S: Store>(
    store: &mut S,
    context: &Context<'_>,
    found: &mut dyn FnMut(Finding),
) -> Result<Summary, S::Error> {
    let mut replay = Replay {
        context,
        lanes: store
            .lanes()?
            .into_iter()
            .map(|lane| (lane, Lane::default()))
            .collect(),
        tree: Tree::new(Anchors::of(context.installation)),
        batches: 0,
        sealed_at: None,
        summary: Summary::default(),
    };
    replay.tree.begin(store, found)?;
    let mut last = 0;
    while let Some(cut) = store.cut(last)? {
        if cut.number <= last {
            break;
        }
        if cut.number - last > 1 {
            found(Finding {
                place: Place::Cut(cut.number),
                fault: Fault::CutsMissing,
            });
        }
        last = cut.number;
        replay.summary.cuts += 1;
        replay.cut(store, cut, found)?;
    }
    replay.tree.finish(store, found)?;
    replay.rest(store, found)?;
    Ok(replay.summary())
}

struct Replay<'a> {
    context: &'a Context<'a>,
    lanes: BTreeMap<u32, Lane>,
    tree: Tree,
    /// Number of the last batch.
    batches: u64,
    /// The moment of the last seal.
    sealed_at: Option<i64>,
    summary: Summary,
}

impl Replay<'_> {
    /// The rows after the last cut.
    fn rest<S: Store>(
        &mut self,
        store: &mut S,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        let mut oldest: Option<Row> = None;
        for (number, lane) in &mut self.lanes {
            while let Some(row) = store.row(*number, MAX_SEQ)? {
                lane.walk.row(&row, 0, found);
                self.summary.unsealed += 1;
                if oldest.is_none_or(|oldest| row.accessed_at < oldest.accessed_at) {
                    oldest = Some(row);
                }
            }
        }
        self.summary.rows += self.summary.unsealed;
        if let Some(row) = oldest
            && self.context.now.saturating_sub(row.accessed_at) > MAX_UNSEALED
        {
            found(Finding {
                place: Place::Row(row.access_id),
                fault: Fault::Unsealed,
            });
        }
        Ok(())
    }

    fn summary(self) -> Summary {
        Summary {
            lanes: self
                .lanes
                .into_iter()
                .map(|(number, lane)| (number, lane.walk.seq()))
                .collect(),
            batches: self.batches,
            tree_size: self.tree.size(),
            root: self.tree.root(),
            anchors: self.tree.anchors(),
            ..self.summary
        }
    }
}
