//! The anchors: each must be the tree's root at its size, and say the same in its checkpoint.

use std::collections::VecDeque;

use super::finding::{Fault, Finding, Place};
use super::store::{Anchor, Store};
use crate::checkpoint::{self, Checkpoint};
use crate::incarnation::split;
use crate::merkle::{Digest, Frontier};

pub(super) struct Anchors {
    /// What the checkpoints of this log may call it: with development keys it is another log.
    origins: [String; 2],
    next: VecDeque<Anchor>,
    ended: bool,
    last: Option<(u64, i64)>,
    seen: u64,
}

impl Anchors {
    pub(super) fn of(installation: &[u8; 16]) -> Self {
        Self {
            origins: [false, true].map(|development| checkpoint::origin(installation, development)),
            next: VecDeque::new(),
            ended: false,
            last: None,
            seen: 0,
        }
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The tree has reached a size: compares the anchors of that size.
    pub(super) fn reached<S: Store>(
        &mut self,
        store: &mut S,
        tree: &Frontier,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        while let Some(anchor) = self.take(store, tree.size())? {
            let place = Place::Anchor(anchor.commit_id);
            let mut fault = |fault| found(Finding { place, fault });
            let root = tree.root();
            if anchor.root != Some(root) {
                fault(Fault::AnchorRoot);
            }
            if !self.says(&anchor, &root) {
                fault(Fault::AnchorText);
            }
            if self.last.is_some_and(|(_, id)| id > anchor.commit_id) {
                fault(Fault::AnchorOrder);
            }
            self.last = Some((anchor.tree_size, anchor.commit_id));
            self.seen += 1;
        }
        Ok(())
    }

    /// What is left covers more than there is.
    pub(super) fn finish<S: Store>(
        &mut self,
        store: &mut S,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        while let Some(anchor) = self.take(store, u64::MAX)? {
            found(Finding {
                place: Place::Anchor(anchor.commit_id),
                fault: Fault::RolledBack,
            });
            self.last = Some((anchor.tree_size, anchor.commit_id));
            self.seen += 1;
        }
        Ok(())
    }

    /// The next anchor, if it covers no more than this.
    fn take<S: Store>(&mut self, store: &mut S, size: u64) -> Result<Option<Anchor>, S::Error> {
        if self.next.is_empty() && !self.ended {
            self.next = store.anchors(self.last)?.into();
            self.ended = self.next.is_empty();
        }
        Ok(self.next.pop_front_if(|anchor| anchor.tree_size <= size))
    }

    /// Whether the note is about this tree, in whatever incarnation of the log: its signature is for whoever has the verifier key.
    fn says(&self, anchor: &Anchor, root: &Digest) -> bool {
        let body = anchor
            .checkpoint
            .split_once("\n\n")
            .map(|(body, _)| format!("{body}\n"));
        body.and_then(|body| Checkpoint::parse(&body))
            .is_some_and(|checkpoint| {
                self.origins
                    .iter()
                    .any(|log| log == split(&checkpoint.origin).0)
                    && checkpoint.size == anchor.tree_size
                    && checkpoint.root == *root
            })
    }
}
