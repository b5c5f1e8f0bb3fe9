//! The tree: its leaves as cuts append them, every node against the two below it, every anchor against
//! the root at its size.

use std::collections::VecDeque;

use super::anchors::Anchors;
use super::finding::{Fault, Finding, Place};
use super::store::{Leaf, Store};
use crate::merkle::{Digest, Frontier};

/// Levels that nodes are looked for on: those of a tree of 2^63 leaves.
const LEVELS: usize = 64;

pub(super) struct Tree {
    frontier: Frontier,
    leaves: VecDeque<Leaf>,
    leaves_ended: bool,
    levels: Vec<Level>,
    anchors: Anchors,
}

/// The stored nodes of a level, as they are read.
#[derive(Clone, Default)]
struct Level {
    nodes: VecDeque<(u64, Digest)>,
    ended: bool,
}

impl Tree {
    pub(super) fn new(anchors: Anchors) -> Self {
        Self {
            frontier: Frontier::new(),
            leaves: VecDeque::new(),
            leaves_ended: false,
            levels: vec![Level::default(); LEVELS],
            anchors,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn root(&self) -> Digest {
        self.frontier.root()
    }

    pub(super) fn anchors(&self) -> u64 {
        self.anchors.seen()
    }

    /// Before the first leaf: the empty tree may have been anchored.
    pub(super) fn begin<S: Store>(
        &mut self,
        store: &mut S,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        self.anchors.reached(store, &self.frontier, found)
    }

    /// What the next leaf is, if that is said.
    pub(super) fn peek<S: Store>(&mut self, store: &mut S) -> Result<Option<Leaf>, S::Error> {
        let size = self.size();
        if self.leaves.is_empty() && !self.leaves_ended {
            self.leaves = store.leaves(size)?.into();
            self.leaves_ended = self.leaves.is_empty();
        }
        Ok(self
            .leaves
            .front()
            .filter(|leaf| leaf.index == size)
            .copied())
    }

    /// Appends the next leaf. Returns whether its hash is what is stored; one that is not known is.
    ///
    /// What is stored is appended, since a row that was altered leaves the tree as it was.
    pub(super) fn append<S: Store>(
        &mut self,
        store: &mut S,
        computed: Option<Digest>,
        found: &mut dyn FnMut(Finding),
    ) -> Result<bool, S::Error> {
        let index = self.size();
        if self.peek(store)?.is_some() {
            self.leaves.pop_front();
        } else {
            let place = Place::Leaf(index);
            let fault = Fault::LeafMissing;
            found(Finding { place, fault });
        }
        let stored = self.stored(store, 0, index)?;
        if stored.is_none() {
            found(Finding {
                place: Place::Node { level: 0, index },
                fault: Fault::NodeMissing,
            });
        }
        let mut made = Vec::new();
        let leaf = stored.or(computed).unwrap_or_default();
        self.frontier.append(leaf, &mut |level, index, hash| {
            made.push((level, index, hash));
        });
        for (level, index, hash) in made.into_iter().filter(|(level, ..)| *level > 0) {
            let place = Place::Node { level, index };
            match self.stored(store, level, index)? {
                None => found(Finding {
                    place,
                    fault: Fault::NodeMissing,
                }),
                Some(stored) if stored != hash => found(Finding {
                    place,
                    fault: Fault::Node,
                }),
                Some(_) => {}
            }
        }
        self.anchors.reached(store, &self.frontier, found)?;
        Ok(stored.is_none_or(|stored| computed.is_none_or(|computed| computed == stored)))
    }

    /// Looks for what lies beyond the last leaf.
    pub(super) fn finish<S: Store>(
        &mut self,
        store: &mut S,
        found: &mut dyn FnMut(Finding),
    ) -> Result<(), S::Error> {
        let size = self.size();
        self.anchors.finish(store, found)?;
        let mut from = size;
        loop {
            if self.leaves.is_empty() && !self.leaves_ended {
                self.leaves = store.leaves(from)?.into();
            }
            let Some(leaf) = self.leaves.pop_front() else {
                break;
            };
            from = leaf.index.saturating_add(1);
            found(Finding {
                place: Place::Leaf(leaf.index),
                fault: Fault::LeafForeign,
            });
        }
        for level in 0..LEVELS as u8 {
            let index = size >> level;
            let beyond = match self.levels.get_mut(usize::from(level)) {
                Some(known) if !known.nodes.is_empty() => known.nodes.front().copied(),
                Some(known) if known.ended => None,
                _ => store.nodes(level, index)?.first().copied(),
            };
            if let Some((index, _)) = beyond {
                found(Finding {
                    place: Place::Node { level, index },
                    fault: Fault::NodeForeign,
                });
            }
        }
        Ok(())
    }

    fn stored<S: Store>(
        &mut self,
        store: &mut S,
        level: u8,
        index: u64,
    ) -> Result<Option<Digest>, S::Error> {
        let Some(known) = self.levels.get_mut(usize::from(level)) else {
            return Ok(None);
        };
        if known.nodes.is_empty() && !known.ended {
            known.nodes = store.nodes(level, index)?.into();
            known.ended = known.nodes.is_empty();
        }
        let next = known.nodes.pop_front_if(|(at, _)| *at == index);
        Ok(next.map(|(_, hash)| hash))
    }
}
