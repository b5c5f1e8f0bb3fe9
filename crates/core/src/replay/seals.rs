//! The seals of a cut: what each says must be what was taken in, and its leaf must be the tree's next.

use super::Replay;
use super::cut::Open;
use super::finding::{Fault, Finding, Place};
use super::lanes::TOLERANCE;
use super::store::{Store, StoredSeal};
use crate::merkle::{Digest, leaf_hash};
use crate::seal_leaf::{LaneHeads, SealLeaf};

/// What a seal must say beside what its own row in the table says.
struct Expected {
    cut: u64,
    lane_heads: Digest,
    /// `None` if rows that would be counted are not there.
    merkle_rows: Option<u64>,
}

impl Replay<'_> {
    /// Closes the batches of a cut, after its rows.
    pub(super) fn seals<S: Store>(
        &mut self,
        store: &mut S,
        open: Open,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        let lane_heads = self.lane_heads();
        let counted = !open.leaf_rows_missing && open.dropped_met == open.dropped_leaves;
        self.order(&open, found);
        for batch in open.batches {
            let expected = Expected {
                cut: open.number,
                lane_heads,
                merkle_rows: (counted && !batch.expired).then_some(batch.merkle_rows),
            };
            let seal = batch.finish(store, found)?;
            let hash = self.text(store, &seal, &expected, found)?;
            let place = Place::Leaf(self.tree.size());
            let stands = self.tree.peek(store)?;
            if seal.leaf_index != self.tree.size()
                || stands.is_some_and(|leaf| leaf.access_id.is_some())
            {
                found(Finding {
                    place: Place::Batch(seal.batch),
                    fault: Fault::SealPlace,
                });
            }
            if !self.tree.append(store, hash, found)? {
                found(Finding {
                    place,
                    fault: Fault::LeafHash,
                });
            }
        }
        Ok(())
    }

    /// Over every lane that ever had a row, as of this cut.
    fn lane_heads(&self) -> Digest {
        let mut heads = LaneHeads::new();
        for (number, lane) in &self.lanes {
            if let Some((seq, mac)) = &lane.head {
                heads.push(*number, *seq, mac);
            }
        }
        heads.finish()
    }

    /// Batches are numbered through, within a cut in any order; seals follow one another.
    fn order(&mut self, open: &Open, found: &mut dyn FnMut(Finding)) {
        let seals = || open.batches.iter().map(|batch| &batch.seal);
        let mut numbers = seals().map(|seal| seal.batch).collect::<Vec<_>>();
        numbers.sort_unstable();
        for number in numbers {
            if number != self.batches.saturating_add(1) {
                found(Finding {
                    place: Place::Batch(number),
                    fault: Fault::BatchOrder,
                });
            }
            self.batches = number;
        }
        for seal in seals() {
            let before = self.sealed_at.replace(seal.sealed_at);
            if before.is_some_and(|before| before.saturating_sub(seal.sealed_at) > TOLERANCE) {
                found(Finding {
                    place: Place::Batch(seal.batch),
                    fault: Fault::SealGoesBack,
                });
            }
        }
    }

    /// Compares the text of the leaf. Returns its hash, if there is a key for its salt.
    fn text<S: Store>(
        &self,
        store: &mut S,
        seal: &StoredSeal,
        expected: &Expected,
        found: &mut dyn FnMut(Finding),
    ) -> Result<Option<Digest>, S::Error> {
        let place = Place::Batch(seal.batch);
        let mut fault = |fault| found(Finding { place, fault });
        let text = seal.leaf.as_bytes();
        let Some(leaf) = SealLeaf::parse(text) else {
            fault(Fault::SealText);
            return Ok(None);
        };
        let agrees = leaf.batch == seal.batch
            && Some(leaf.batch_root) == seal.root
            && leaf.batch_rows == seal.rows
            && leaf.partition == seal.partition
            && leaf.sealed_at == seal.sealed_at
            && leaf.cut == expected.cut
            && leaf.lane_heads == expected.lane_heads
            && expected
                .merkle_rows
                .is_none_or(|rows| rows == leaf.merkle_rows);
        if !agrees {
            fault(Fault::Seal);
        }
        let salt = store.seal_salt(leaf.chain_version, self.tree.size())?;
        if salt.is_none() {
            fault(Fault::SealKey);
        }
        Ok(salt.map(|salt| leaf_hash(&salt, text)))
    }
}
