//! The tree is RFC 6962's: Certificate Transparency's own vectors.

use identity_core::merkle::*;
use serde::Deserialize;

use crate::support::{hex, unhex, unhex_array};
use crate::trees::{Stored, entry_hash};

#[derive(Deserialize)]
struct Reference {
    tree: ReferenceTree,
    inclusion: Vec<ReferenceInclusion>,
    consistency: Vec<ReferenceConsistency>,
}

#[derive(Deserialize)]
struct ReferenceTree {
    leaves: Vec<String>,
    roots: Vec<String>,
}

#[derive(Deserialize)]
struct ReferenceInclusion {
    name: String,
    index: u64,
    size: u64,
    root: String,
    leaf_hash: String,
    path: Vec<String>,
    valid: bool,
}

#[derive(Deserialize)]
struct ReferenceConsistency {
    name: String,
    old: u64,
    new: u64,
    old_root: String,
    new_root: String,
    path: Vec<String>,
    valid: bool,
}

/// Where they are from stands in the file.
fn reference() -> Reference {
    serde_json::from_str(include_str!("../vectors/rfc6962_transparency_dev.json")).unwrap()
}

fn path(texts: &[String]) -> Vec<Digest> {
    texts.iter().map(|text| unhex_array(text)).collect()
}

#[test]
fn reference_tree_of_certificate_transparency() {
    let tree = reference().tree;
    let hashes: Vec<_> = tree.leaves.iter().map(|l| entry_hash(&unhex(l))).collect();
    let stored = Stored::of(&hashes);
    let mut grown = Frontier::new();
    assert_eq!(hex(&empty_root()), tree.roots[0]);
    for (size, expected) in (0..).zip(&tree.roots) {
        assert_eq!(&hex(&grown.root()), expected);
        assert_eq!(&hex(&root(size, &stored).unwrap()), expected);
        if let Some(hash) = hashes.get(size as usize) {
            grown.append(*hash, &mut |_, _, _| {});
        }
    }
    // The last entry has the length of a salt.
    let salt = unhex_array(&tree.leaves[7]);
    assert_eq!(leaf_hash(&salt, b""), hashes[7]);
    assert_eq!(
        leaf_hash(&salt, b"leaf"),
        entry_hash(&[&salt[..], b"leaf"].concat())
    );
}

#[test]
fn reference_inclusion_proofs_of_certificate_transparency() {
    let cases = reference().inclusion;
    assert_eq!(cases.iter().filter(|v| v.valid).count(), 6);
    for v in cases {
        let (leaf, root) = (unhex_array(&v.leaf_hash), unhex_array(&v.root));
        let shown = verify_inclusion(v.index, v.size, &leaf, &root, &path(&v.path));
        assert_eq!(shown, v.valid, "{}", v.name);
    }
}

#[test]
fn reference_consistency_proofs_of_certificate_transparency() {
    let cases = reference().consistency;
    assert_eq!(cases.iter().filter(|v| v.valid).count(), 5);
    for v in cases {
        let (old, new) = (unhex_array(&v.old_root), unhex_array(&v.new_root));
        let shown = verify_consistency(v.old, v.new, &old, &new, &path(&v.path));
        assert_eq!(shown, v.valid, "{}", v.name);
    }
}
