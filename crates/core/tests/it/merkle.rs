//! Proofs show what they say and nothing else, of trees of any size, and each costs O(log n).

use identity_core::merkle::*;

use crate::trees::{Missing, Stored, Uniform, entry_hash, leaves};

/// Every way to damage a path by one hash: one bit changed, one left out, one doubled, one more.
fn damaged(path: &[Digest]) -> Vec<Vec<Digest>> {
    let mut all = vec![[path, &[[0; 32]]].concat(), [&[[0; 32]], path].concat()];
    for at in 0..path.len() {
        let mut flipped = path.to_vec();
        flipped[at][at % 32] ^= 1 << (at % 8);
        let mut shorter = path.to_vec();
        let hash = shorter.remove(at);
        let mut longer = path.to_vec();
        longer.insert(at, hash);
        all.extend([flipped, shorter, longer]);
    }
    all
}

fn one_bit_off(digest: &Digest) -> Digest {
    let mut other = *digest;
    other[31] ^= 1;
    other
}

#[test]
fn an_inclusion_proof_shows_one_leaf_in_one_place_of_one_tree() {
    let hashes = leaves(34);
    let stored = Stored::of(&hashes);
    for size in 0..=34 {
        let root = root(size, &stored).unwrap();
        for index in 0..size {
            let (leaf, path) = (
                &hashes[index as usize],
                inclusion(index, size, &stored).unwrap(),
            );
            let shows = |index, size| verify_inclusion(index, size, leaf, &root, &path);
            assert!(shows(index, size));
            assert!(!verify_inclusion(
                index,
                size,
                &one_bit_off(leaf),
                &root,
                &path
            ));
            assert!(!verify_inclusion(
                index,
                size,
                leaf,
                &one_bit_off(&root),
                &path
            ));
            for bad in damaged(&path) {
                assert!(!verify_inclusion(index, size, leaf, &root, &bad));
            }
            for other in (0..=2 * size + 1).filter(|other| *other != index) {
                assert!(!shows(other, size), "{index} of {size} as {other}");
            }
        }
        assert_eq!(inclusion(size, size, &stored), Ok(vec![]));
        assert_eq!(inclusion(u64::MAX, size, &stored), Ok(vec![]));
        assert!(!verify_inclusion(size, size, &root, &root, &[]));
        assert!(!verify_inclusion(u64::MAX, size, &root, &root, &[]));
    }
}

#[test]
fn a_consistency_proof_shows_one_tree_in_one_other() {
    let hashes = leaves(34);
    let stored = Stored::of(&hashes);
    let roots: Vec<_> = (0..=34).map(|size| root(size, &stored).unwrap()).collect();
    for new in 0..=34 {
        for old in 0..=new {
            let path = consistency(old, new, &stored).unwrap();
            let (from, to) = (&roots[old as usize], &roots[new as usize]);
            assert!(verify_consistency(old, new, from, to, &path));
            assert!(!verify_consistency(old, new, &one_bit_off(from), to, &path));
            if old != 0 {
                assert!(!verify_consistency(old, new, from, &one_bit_off(to), &path));
            }
            for bad in damaged(&path) {
                assert!(!verify_consistency(old, new, from, to, &bad));
            }
            for other in (1..=new + 1).filter(|other| *other != old) {
                assert!(
                    !verify_consistency(other, new, from, to, &path),
                    "{old} as {other} in {new}"
                );
            }
        }
        assert_eq!(consistency(new + 1, new, &stored), Ok(vec![]));
        let (from, to) = (&roots[new as usize], &roots[(new as usize + 1) % 35]);
        assert!(!verify_consistency(new + 1, new, to, from, &[]));
        assert!(!verify_consistency(new + 1, new, from, from, &[]));
    }
}

/// Every tree begins with the empty one, and only the empty one has its root.
#[test]
fn the_empty_tree_is_the_beginning_of_every_tree() {
    let other = entry_hash(b"");
    assert!(verify_consistency(0, 0, &empty_root(), &empty_root(), &[]));
    assert!(verify_consistency(0, 9, &empty_root(), &other, &[]));
    assert!(!verify_consistency(0, 9, &other, &other, &[]));
    assert!(!verify_consistency(0, 9, &empty_root(), &other, &[other]));
    assert!(!verify_consistency(0, 0, &empty_root(), &other, &[]));
    assert!(!verify_consistency(0, 0, &other, &other, &[]));
    assert!(!verify_consistency(
        0,
        0,
        &empty_root(),
        &empty_root(),
        &[other]
    ));
}

#[test]
fn a_loaded_tree_grows_as_the_one_that_was_stored() {
    let hashes = leaves(100);
    let all = Stored::of(&hashes);
    for size in 0..=100u64 {
        let mut tree = Frontier::load(size, &all).unwrap();
        assert_eq!(
            (tree.size(), tree.root()),
            (size, root(size, &all).unwrap())
        );
        for (index, leaf) in (size..).zip(&hashes[size as usize..]) {
            let mut first = true;
            tree.append(*leaf, &mut |level, at, hash| {
                assert_eq!(all.nodes.get(&(level, at)), Some(&hash));
                // The leaf itself comes first, then what it completes.
                assert_eq!(first, (level, at) == (0, index));
                first = false;
            });
            assert_eq!(tree.size(), index + 1);
        }
        assert_eq!(tree, Frontier::load(100, &all).unwrap());
    }
}

#[test]
fn appending_gives_every_complete_subtree_once() {
    for size in 0..40u64 {
        let stored = Stored::of(&leaves(size));
        let complete: u64 = (0..64).map(|level| size >> level).sum();
        assert_eq!(stored.nodes.len() as u64, complete);
        for (level, index) in stored.nodes.keys() {
            assert!((index + 1) << level <= size);
        }
    }
}

#[test]
fn what_is_asked_of_storage_grows_with_the_logarithm() {
    for size in [1, 1000, 1 << 20, (1 << 20) - 1, (1 << 40) - 1, u64::MAX] {
        let tree = Uniform::new();
        let count = |run: &dyn Fn()| {
            tree.reads.set(0);
            run();
            tree.reads.get()
        };
        let log = 64 - size.leading_zeros();
        assert_eq!(
            count(&|| _ = Frontier::load(size, &tree)),
            size.count_ones()
        );
        assert_eq!(count(&|| _ = root(size, &tree)), size.count_ones());
        for index in [0, size / 3, size / 2, size - 1] {
            assert!(count(&|| _ = inclusion(index, size, &tree)) <= 2 * log);
            assert!(count(&|| _ = consistency(index, size, &tree)) <= 2 * log);
            assert!(inclusion(index, size, &tree).unwrap().len() <= log as usize);
            assert!(consistency(index, size, &tree).unwrap().len() <= log as usize + 1);
        }
    }
}

#[test]
fn trees_of_any_size_are_proven() {
    let tree = Uniform::new();
    let sizes = [
        1 << 32,
        (1 << 53) + 1,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    for size in sizes {
        let whole = root(size, &tree).unwrap();
        for index in [0, 1, size / 2, size - 2, size - 1] {
            let path = inclusion(index, size, &tree).unwrap();
            assert!(verify_inclusion(index, size, &tree.leaf(), &whole, &path));
            let old = index + 1;
            let path = consistency(old, size, &tree).unwrap();
            let begin = root(old, &tree).unwrap();
            assert!(verify_consistency(old, size, &begin, &whole, &path));
        }
    }
}

#[test]
fn a_node_that_storage_cannot_give_is_its_error() {
    let mut stored = Stored::of(&leaves(13));
    stored.nodes.remove(&(2, 2));
    let missing = Missing(2, 2);
    assert_eq!(root(13, &stored), Err(missing));
    assert_eq!(Frontier::load(13, &stored), Err(missing));
    assert_eq!(inclusion(0, 13, &stored), Err(missing));
    assert_eq!(inclusion(12, 13, &stored), Err(missing));
    assert_eq!(consistency(8, 13, &stored), Err(missing));
    assert_eq!(consistency(13, 13, &stored), Ok(vec![]));
    assert_eq!(consistency(0, 13, &stored), Ok(vec![]));
    assert!(root(8, &stored).is_ok());
}
