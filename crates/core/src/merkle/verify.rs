//! Is a proof a proof? The algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
//!
//! All but the roots comes from whoever wants to be believed.

use super::{Digest, empty_root, node_hash};

/// Whether `path` shows a leaf with this hash at `index` of the tree with this size and root: RFC
/// 9162, section 2.1.3.2. A path too long or too short shows nothing.
#[must_use]
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf_hash: &Digest,
    root: &Digest,
    path: &[Digest],
) -> bool {
    if index >= size {
        return false;
    }
    let mut walk = Walk {
        index,
        last: size - 1,
    };
    let mut hash = *leaf_hash;
    for sibling in path {
        match walk.step() {
            None => return false,
            Some(Side::Left) => hash = node_hash(sibling, &hash),
            Some(Side::Right) => hash = node_hash(&hash, sibling),
        }
    }
    walk.at_root() && hash == *root
}

/// Whether `path` shows that the tree with `new_root` begins with the tree with `old_root`: RFC
/// 9162, section 2.1.4.2, and for the empty tree, which every tree begins with, an empty path. A
/// path too long or too short shows nothing.
#[must_use]
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Digest,
    new_root: &Digest,
    path: &[Digest],
) -> bool {
    if old > new || (old == 0 && *old_root != empty_root()) {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty();
    }
    // The last leaf of the old tree, up to the largest subtree that ends with it: one side of the
    // walk makes the old root, the other the new one.
    let last = old - 1;
    let up = last.trailing_ones();
    let mut walk = Walk {
        index: last >> up,
        last: (new - 1) >> up,
    };
    let (start, rest) = if old.is_power_of_two() {
        (old_root, path)
    } else {
        match path.split_first() {
            Some(parts) => parts,
            None => return false,
        }
    };
    let (mut old_hash, mut new_hash) = (*start, *start);
    for sibling in rest {
        match walk.step() {
            None => return false,
            Some(Side::Left) => {
                old_hash = node_hash(sibling, &old_hash);
                new_hash = node_hash(sibling, &new_hash);
            }
            Some(Side::Right) => new_hash = node_hash(&new_hash, sibling),
        }
    }
    walk.at_root() && old_hash == *old_root && new_hash == *new_root
}

/// Which side of the running hash the next hash of a path stands on.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: its place and that of the last node, level by level.
struct Walk {
    index: u64,
    last: u64,
}

impl Walk {
    /// Goes up to the next level with a sibling, and says where it stands; `None` at the root.
    fn step(&mut self) -> Option<Side> {
        if self.at_root() {
            return None;
        }
        // The last node of a level, when it has no right neighbour, moves up as it is until it is
        // somebody's right neighbour itself.
        if self.index == self.last {
            let alone = self.index.trailing_zeros();
            self.index >>= alone;
            self.last >>= alone;
        }
        let side = if self.index & 1 == 1 {
            Side::Left
        } else {
            Side::Right
        };
        self.index >>= 1;
        self.last >>= 1;
        Some(side)
    }

    fn at_root(&self) -> bool {
        self.last == 0
    }
}
