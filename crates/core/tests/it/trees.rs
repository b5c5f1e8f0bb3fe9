//! Trees to test with: one that stores what it is given, and ones too large to store.

use std::cell::Cell;
use std::collections::HashMap;

use identity_core::merkle::{Digest, Frontier, Nodes, node_hash};
use sha2::{Digest as _, Sha256};

/// RFC 6962's hash of an entry, by another way than the library's.
pub fn entry_hash(entry: &[u8]) -> Digest {
    Sha256::digest([&[0], entry].concat()).into()
}

/// Leaf hashes 0 to size - 1, all different.
pub fn leaves(size: u64) -> Vec<Digest> {
    (0..size).map(|i| entry_hash(&i.to_be_bytes())).collect()
}

/// Every node that appending gave; asking for another fails.
#[derive(Default)]
pub struct Stored {
    pub nodes: HashMap<(u8, u64), Digest>,
    pub reads: Cell<u32>,
}

/// A node that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub u8, pub u64);

impl Stored {
    pub fn of(leaves: &[Digest]) -> Self {
        let mut stored = Self::default();
        let mut tree = Frontier::new();
        for leaf in leaves {
            tree.append(*leaf, &mut |level, index, hash| {
                assert_eq!(stored.nodes.insert((level, index), hash), None);
            });
        }
        stored
    }
}

impl Nodes for Stored {
    type Error = Missing;

    fn node(&self, level: u8, index: u64) -> Result<Digest, Missing> {
        self.reads.set(self.reads.get() + 1);
        let found = self.nodes.get(&(level, index));
        found.copied().ok_or(Missing(level, index))
    }
}

/// A tree of any size whose leaves are all the same: only the level decides what a node is.
pub struct Uniform {
    levels: Vec<Digest>,
    pub reads: Cell<u32>,
}

impl Uniform {
    pub fn new() -> Self {
        let mut levels = vec![entry_hash(b"all the same")];
        for level in 0..63 {
            levels.push(node_hash(&levels[level], &levels[level]));
        }
        Self {
            levels,
            reads: Cell::new(0),
        }
    }

    pub fn leaf(&self) -> Digest {
        self.levels[0]
    }
}

impl Nodes for Uniform {
    type Error = ();

    fn node(&self, level: u8, _: u64) -> Result<Digest, ()> {
        self.reads.set(self.reads.get() + 1);
        Ok(self.levels[usize::from(level)])
    }
}
