//! One cut: the rows between the heads before it and its own, each in its place in a batch or in the
//! tree.

use core::ops::Range;

use super::batch::Batch;
use super::finding::{Fault, Finding, Place, seq};
use super::lanes::{LaneWalk, TOLERANCE};
use super::store::{Content, Cut, Row, Store, StoredHead, StoredSeal};
use super::{Context, Replay};
use crate::leaf::{MAX_LANE, MAX_SEQ, access_id};
use crate::merkle::Digest;
use crate::seal_leaf::SealLeaf;

/// A lane while the cuts pass by.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) walk: LaneWalk,
    /// Its head in the last cut that it moved in.
    pub(super) head: Option<(u64, Digest)>,
}

/// The cut at hand.
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) batches: Vec<Batch>,
    pub(super) sealed_at: i64,
    /// Leaves of rows that were dropped because their time was over, as its seals say; and how many were
    /// met.
    pub(super) dropped_leaves: u64,
    pub(super) dropped_met: u64,
    /// Whether a leaf's row is missing that should be there.
    pub(super) leaf_rows_missing: bool,
}

impl Replay<'_> {
    pub(super) fn cut<S: Store>(
        &mut self,
        store: &mut S,
        cut: Cut,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        if cut.heads.is_empty() || cut.seals.is_empty() {
            found(Finding {
                place: Place::Cut(cut.number),
                fault: Fault::CutIncomplete,
            });
        }
        let mut open = Open::of(cut.number, cut.seals, self.context);
        for head in &cut.heads {
            self.lane(store, &mut open, head, found)?;
        }
        self.pass(store, &mut open, i64::MAX..i64::MAX, found)?;
        self.seals(store, open, found)
    }

    /// The rows of a lane up to its head.
    fn lane<S: Store>(
        &mut self,
        store: &mut S,
        open: &mut Open,
        head: &StoredHead,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        let place = Place::Head {
            cut: open.number,
            lane: head.lane,
        };
        let lane = self.lanes.entry(head.lane).or_default();
        if lane.head.is_some_and(|(seq, _)| seq >= head.seq)
            || head.seq > MAX_SEQ
            || head.lane > MAX_LANE
        {
            found(Finding {
                place,
                fault: Fault::HeadGoesBack,
            });
            return Ok(());
        }
        lane.head = Some((head.seq, head.mac.unwrap_or_default()));
        let mut walk = lane.walk;
        let mut last = None;
        while let Some(row) = store.row(head.lane, head.seq)? {
            self.summary.rows += 1;
            let expected = access_id(head.lane, walk.seq() + 1);
            let explained = if row.access_id > expected {
                self.pass(store, open, expected..row.access_id, found)?
            } else {
                0
            };
            walk.row(&row, explained, found);
            if row.committed && row.accessed_at.saturating_sub(open.sealed_at) > TOLERANCE {
                found(Finding {
                    place: Place::Row(row.access_id),
                    fault: Fault::AfterSeal,
                });
            }
            self.row(store, open, &row, found)?;
            last = Some((seq(row.access_id), row.mac));
        }
        if walk.seq() < head.seq {
            let missing = access_id(head.lane, walk.seq() + 1)..access_id(head.lane, head.seq + 1);
            let count = head.seq - walk.seq();
            if self.pass(store, open, missing, found)? < count {
                found(Finding {
                    place,
                    fault: Fault::HeadMissing,
                });
            } else {
                walk.skip_to(head.seq);
            }
        } else if last.is_some_and(|(seq, mac)| seq == head.seq && Some(mac) != head.mac) {
            found(Finding {
                place,
                fault: Fault::OtherHead,
            });
        }
        self.lanes.entry(head.lane).or_default().walk = walk;
        Ok(())
    }

    /// One row of the cut, in its place.
    fn row<S: Store>(
        &mut self,
        store: &mut S,
        open: &mut Open,
        row: &Row,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        let hash = match row.content {
            Content::Leaf { hash, .. } => Some(hash),
            Content::Malformed => Some(Digest::default()),
            Content::NoKey => None,
        };
        let before = row.access_id..row.access_id;
        let month = open
            .batches
            .iter()
            .position(|batch| batch.covers(row.accessed_at));
        let sealed = if row.merkle {
            self.pass_leaves(store, open, &before, found)?;
            let stands = self.tree.peek(store)?.and_then(|leaf| leaf.access_id);
            if stands == Some(row.access_id) {
                Some(self.tree.append(store, hash, found)?)
            } else {
                None
            }
        } else if let Some(batch) = month.and_then(|at| open.batches.get_mut(at)) {
            batch.pass(store, &before, found)?;
            batch.take(store, row.access_id, hash, found)?
        } else {
            None
        };
        // A row of a month that was dropped cannot be there, even if it was once.
        let batch = month.and_then(|at| open.batches.get_mut(at));
        let dropped = batch.is_none_or(|batch| {
            batch.merkle_rows += u64::from(row.merkle && sealed.is_some());
            batch.expired
        });
        let fault = match sealed {
            Some(true) if !dropped => return Ok(()),
            Some(false) => Fault::NotSealed,
            _ => Fault::Foreign,
        };
        found(Finding {
            place: Place::Row(row.access_id),
            fault,
        });
        Ok(())
    }

    /// Goes beyond all that was sealed before the end of `gap`. What was sealed is missing, but for rows in the gap of
    /// months whose time was over: returns how many those are.
    fn pass<S: Store>(
        &mut self,
        store: &mut S,
        open: &mut Open,
        gap: Range<i64>,
        found: &mut dyn FnMut(Finding),
    ) -> Result<u64, S::Error> {
        let mut explained = self.pass_leaves(store, open, &gap, found)?;
        for batch in &mut open.batches {
            explained += batch.pass(store, &gap, found)?;
        }
        Ok(explained)
    }

    fn pass_leaves<S: Store>(
        &mut self,
        store: &mut S,
        open: &mut Open,
        gap: &Range<i64>,
        found: &mut dyn FnMut(Finding),
    ) -> Result<u64, S::Error> {
        let mut explained = 0;
        while let Some(id) = self
            .tree
            .peek(store)?
            .and_then(|leaf| leaf.access_id)
            .filter(|id| *id < gap.end)
        {
            if gap.contains(&id) && open.dropped_met < open.dropped_leaves {
                open.dropped_met += 1;
                explained += 1;
            } else {
                open.leaf_rows_missing = true;
                found(Finding {
                    place: Place::Row(id),
                    fault: Fault::Missing,
                });
            }
            self.tree.append(store, None, found)?;
        }
        Ok(explained)
    }
}

impl Open {
    fn of(number: u64, seals: Vec<StoredSeal>, context: &Context<'_>) -> Self {
        let sealed_at = seals.iter().map(|seal| seal.sealed_at).max();
        let batches = seals
            .into_iter()
            .map(|seal| {
                let expired = context
                    .expired
                    .iter()
                    .any(|month| month.partition == seal.partition && seal.batch <= month.last_batch);
                Batch::new(seal, expired)
            })
            .collect::<Vec<_>>();
        let dropped_leaves = batches
            .iter()
            .filter(|batch| batch.expired)
            .filter_map(|batch| SealLeaf::parse(batch.seal.leaf.as_bytes()))
            .map(|leaf| leaf.merkle_rows)
            .sum();
        Self {
            number,
            batches,
            sealed_at: sealed_at.unwrap_or(i64::MAX),
            dropped_leaves,
            dropped_met: 0,
            leaf_rows_missing: false,
        }
    }
}
