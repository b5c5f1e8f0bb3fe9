//! Proofs come from whoever wants something believed. See README.md for the promise.
#![no_main]

use identity_core::merkle::*;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    size: u16,
    index: u16,
    claims: [u64; 2],
    root: [u8; 32],
    path: Vec<[u8; 32]>,
    /// Where, and with what, a good path is damaged.
    at: u8,
    with: u8,
}

/// Leaves that differ, and nodes made of them when they are asked for.
struct Made;

impl Nodes for Made {
    type Error = ();

    fn node(&self, level: u8, index: u64) -> Result<Digest, ()> {
        if level == 0 {
            return Ok(leaf_hash(&[0; 16], &index.to_be_bytes()));
        }
        let (left, right) = (
            self.node(level - 1, 2 * index)?,
            self.node(level - 1, 2 * index + 1)?,
        );
        Ok(node_hash(&left, &right))
    }
}

fuzz_target!(|input: Input| {
    let [a, b] = input.claims;
    let (root_claimed, path) = (&input.root, &input.path);
    assert!(!verify_inclusion(a, b, &[0; 32], root_claimed, path));
    if a != 0 && a != b {
        assert!(!verify_consistency(a, b, root_claimed, &[0; 32], path));
    }

    let size = u64::from(input.size % 600) + 1;
    let index = u64::from(input.index) % size;
    let whole = root(size, &Made).unwrap();
    let leaf = Made.node(0, index).unwrap();
    let mut path = inclusion(index, size, &Made).unwrap();
    assert!(verify_inclusion(index, size, &leaf, &whole, &path));
    assert!(a == index || !verify_inclusion(a, size, &leaf, &whole, &path));
    if damage(&mut path, &input) {
        assert!(!verify_inclusion(index, size, &leaf, &whole, &path));
    }

    let old = index + 1;
    let begin = root(old, &Made).unwrap();
    let mut path = consistency(old, size, &Made).unwrap();
    assert!(verify_consistency(old, size, &begin, &whole, &path));
    if damage(&mut path, &input) {
        assert!(!verify_consistency(old, size, &begin, &whole, &path));
    }
});

fn damage(path: &mut [Digest], input: &Input) -> bool {
    let bytes = path.as_flattened_mut();
    let length = bytes.len().max(1);
    match bytes.get_mut(usize::from(input.at) % length) {
        Some(byte) => *byte ^= input.with,
        None => return false,
    }
    input.with != 0
}
