//! The Merkle tree of RFC 6962, section 2.1: append, root, and both proofs, each in O(log n) reads. Specified
//! in `docs/spec/tree.md`.
//!
//! Storage is a question that the tree asks: the hash of the complete subtree at `(level, index)`.
//! Why not one running index, as Go's `sumdb/tlog` has it: a database finds `(level, index)` as it
//! stands by its primary key, tiles are found by shifting it, and a complete subtree never
//! changes, so what was written once answers for every later size and for every earlier one.
//!
//! The storage is not trusted to tell the truth: what it answers goes into hashes that are compared with a root
//! from elsewhere.

use crate::framing::Hash;

mod verify;

pub use verify::{verify_consistency, verify_inclusion};

/// SHA-256 of something.
pub type Digest = [u8; 32];

/// First byte of what is hashed: a leaf can never pass for a node.
const LEAF: u8 = 0x00;
const NODE: u8 = 0x01;

/// `SHA-256(0x00 ‖ salt ‖ leaf)`: RFC 6962's hash of the entry `salt ‖ leaf`. Proofs show the hashes
/// of neighbours, and without the salt a neighbour that can be guessed could be confirmed.
#[must_use]
pub fn leaf_hash(salt: &[u8; 16], leaf: &[u8]) -> Digest {
    Hash::default().raw(&[LEAF]).raw(salt).raw(leaf).finish()
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Hash::default().raw(&[NODE]).raw(left).raw(right).finish()
}

/// The root of the empty tree: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    Hash::default().finish()
}

/// Where complete subtrees are kept.
pub trait Nodes {
    /// Why a hash could not be given.
    type Error;

    /// The root of the `index`-th subtree of `2^level` leaves. Only complete subtrees of the tree
    /// at hand are asked for.
    ///
    /// # Errors
    /// When the storage has no answer.
    fn node(&self, level: u8, index: u64) -> Result<Digest, Self::Error>;
}

/// The root of the first `size` leaves.
///
/// # Errors
/// Those of the storage.
pub fn root<N: Nodes>(size: u64, nodes: &N) -> Result<Digest, N::Error> {
    range_root(0, size, nodes)
}

/// The path that shows leaf `index` in the tree of the first `size` leaves (RFC 6962, section
/// 2.1.1), its sibling first.
///
/// An `index` that is not below `size` has no path; what comes back is empty, and
/// [`verify_inclusion`] refuses it.
///
/// # Errors
/// Those of the storage.
pub fn inclusion<N: Nodes>(index: u64, size: u64, nodes: &N) -> Result<Vec<Digest>, N::Error> {
    let mut path = Vec::new();
    let (mut low, mut high) = (0, size);
    if index >= size {
        return Ok(path);
    }
    while let Some(middle) = split(low, high) {
        if index < middle {
            path.push(range_root(middle, high, nodes)?);
            high = middle;
        } else {
            path.push(range_root(low, middle, nodes)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The path that shows that the tree of `new` leaves begins with the tree of `old` leaves (RFC 6962,
/// section 2.1.2). It is empty when `old` is 0 or equal to `new`.
///
/// An `old` above `new` has no path; what comes back is empty, and [`verify_consistency`] refuses it.
///
/// # Errors
/// Those of the storage.
pub fn consistency<N: Nodes>(old: u64, new: u64, nodes: &N) -> Result<Vec<Digest>, N::Error> {
    let mut path = Vec::new();
    let (mut low, mut high) = (0, new);
    if old == 0 || old >= new {
        return Ok(path);
    }
    while old != high {
        let Some(middle) = split(low, high) else {
            break;
        };
        if old <= middle {
            path.push(range_root(middle, high, nodes)?);
            high = middle;
        } else {
            path.push(range_root(low, middle, nodes)?);
            low = middle;
        }
    }
    // A complete subtree from the first leaf on is the old tree itself, whose root the verifier has.
    if low != 0 {
        path.push(range_root(low, high, nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// A tree that grows: the roots of the complete subtrees it consists of, largest first, at most 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of the first `size` leaves of a stored one.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn load<N: Nodes>(size: u64, nodes: &N) -> Result<Self, N::Error> {
        let peaks = peaks(0, size, nodes)?;
        Ok(Self { size, peaks })
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash, and gives `out` every node that becomes complete as `(level,
    /// index, hash)`: the leaf itself, at level 0, first.
    pub fn append(&mut self, leaf: Digest, out: &mut impl FnMut(u8, u64, Digest)) {
        let (mut level, mut index, mut hash) = (0, self.size, leaf);
        out(level, index, hash);
        // An odd index has a left neighbour, and it is the last peak.
        while index & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            hash = node_hash(&left, &hash);
            level += 1;
            index >>= 1;
            out(level, index, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold(&self.peaks)
    }
}

/// Where the tree over leaves `low` to `high` divides: the largest power of two below its size.
fn split(low: u64, high: u64) -> Option<u64> {
    let size = high - low;
    (size > 1).then(|| low + (1 << (size - 1).ilog2()))
}

/// The root over leaves `low` to `high`, `low` being where a subtree of that many can begin.
fn range_root<N: Nodes>(low: u64, high: u64, nodes: &N) -> Result<Digest, N::Error> {
    Ok(fold(&peaks(low, high, nodes)?))
}

/// The roots of the complete subtrees that leaves `low` to `high` consist of, largest first.
fn peaks<N: Nodes>(mut low: u64, high: u64, nodes: &N) -> Result<Vec<Digest>, N::Error> {
    let mut peaks = Vec::new();
    while let Some(level) = (high - low).checked_ilog2() {
        // At most 63.
        peaks.push(nodes.node(level as u8, low >> level)?);
        low += 1 << level;
    }
    Ok(peaks)
}

/// The root over peaks, largest first.
fn fold(peaks: &[Digest]) -> Digest {
    let mut smaller = peaks.iter().rev();
    match smaller.next() {
        None => empty_root(),
        Some(last) => smaller.fold(*last, |right, left| node_hash(left, &right)),
    }
}
