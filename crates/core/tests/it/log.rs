//! A log to test with: its tree in memory, its rows, and a key that signs. The example `proofs` writes what it gives for programs in
//! other languages.

use std::collections::BTreeMap;
use std::convert::Infallible;

use ed25519_dalek::{Signer as _, SigningKey};
use identity_core::merkle::{self, Digest, Frontier, Nodes};
use identity_core::note::{VerifierKey, signature_line};
use identity_core::proof::BatchProof;
use identity_core::{Checkpoint, RowProof, SealLeaf, TlogProof, leaf_hash};

pub const ORIGIN: &str = "identity_pgx/0190a3c1-d2e4-7f50-8a9b-b1c2d3e4f506";

/// A key that signs notes, made from one byte.
pub struct Signer {
    pub vkey: VerifierKey,
    key: SigningKey,
}

impl Signer {
    pub fn new(name: &str, seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let vkey = VerifierKey::new(name, key.verifying_key().as_bytes()).unwrap();
        Self { vkey, key }
    }

    pub fn line(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        signature_line(self.vkey.name(), self.vkey.id(), &signature)
    }

    pub fn note(&self, text: &str) -> String {
        format!("{text}\n{}", self.line(text))
    }
}

/// A tree with all its complete subtrees.
#[derive(Default)]
pub struct Tree {
    frontier: Frontier,
    nodes: BTreeMap<(u8, u64), Digest>,
}

impl Nodes for Tree {
    type Error = Infallible;

    fn node(&self, level: u8, index: u64) -> Result<Digest, Infallible> {
        Ok(self.nodes[&(level, index)])
    }
}

impl Tree {
    pub fn append(&mut self, leaf: Digest) {
        let nodes = &mut self.nodes;
        self.frontier.append(leaf, &mut |level, index, hash| {
            nodes.insert((level, index), hash);
        });
    }

    pub fn root(&self, size: u64) -> Digest {
        merkle::root(size, self).unwrap()
    }

    pub fn inclusion(&self, index: u64, size: u64) -> Vec<Digest> {
        merkle::inclusion(index, size, self).unwrap()
    }

    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: self.root(size),
            extensions: Vec::new(),
        }
    }
}

/// What stands in for the leaf of row `number`.
pub fn row_leaf(number: u64) -> String {
    format!(r#"{{"access_id":"{number}","accessed_at":"2026-11-01T12:00:00.000000Z"}}"#)
}

/// What stands in for its salt.
pub fn row_salt(number: u64) -> [u8; 16] {
    (u128::from(number) << 64 | 0x5a17).to_be_bytes()
}

pub fn row_hash(number: u64) -> Digest {
    leaf_hash(&row_salt(number), row_leaf(number).as_bytes())
}

/// A proof of row 1 + `index` of a batch of `rows` rows, whose seal is leaf `index` of a tree of `size`
/// leaves.
pub fn batched(rows: u64, index: u64, size: u64, checkpoint: impl Fn(&str) -> String) -> RowProof {
    let mut batch = Tree::default();
    (1..=rows).for_each(|number| batch.append(row_hash(number)));
    let seal_leaf = SealLeaf {
        batch: 7,
        batch_root: batch.root(rows),
        batch_rows: rows,
        chain_version: 1,
        cut: 5,
        keys: "development",
        lane_heads: [0x1a; 32],
        lsn: 0x16_b374_d848,
        merkle_rows: 0,
        partition: "2026-11",
        sealed_at: 1_793_534_400_123_456,
        settings: [0x5e; 32],
        system_identifier: 7_300_000_000_000_000_000,
        timeline: 1,
    };
    let seal_leaf = String::from_utf8(seal_leaf.leaf()).unwrap();
    let salt = *b"salt of the seal";
    let mut tree = Tree::default();
    for place in 0..size {
        tree.append(match place == index {
            true => leaf_hash(&salt, seal_leaf.as_bytes()),
            false => row_hash(1000 + place),
        });
    }
    RowProof {
        access_id: 1 + index as i64,
        leaf_hash: row_hash(1 + index),
        salt: row_salt(1 + index),
        batch: Some(BatchProof {
            index,
            rows,
            path: batch.inclusion(index, rows),
            seal_leaf,
        }),
        proof: TlogProof {
            extra: Some(salt.to_vec()),
            index,
            path: tree.inclusion(index, size),
            checkpoint: &checkpoint(&tree.checkpoint(size).text()),
        }
        .text(),
    }
}

/// A proof of row `index`, which is a leaf of a tree of `size` leaves itself.
pub fn merkle_row(index: u64, size: u64, checkpoint: impl Fn(&str) -> String) -> RowProof {
    let mut tree = Tree::default();
    (0..size).for_each(|number| tree.append(row_hash(number)));
    RowProof {
        access_id: index as i64,
        leaf_hash: row_hash(index),
        salt: row_salt(index),
        batch: None,
        proof: TlogProof {
            extra: Some(row_salt(index).to_vec()),
            index,
            path: tree.inclusion(index, size),
            checkpoint: &checkpoint(&tree.checkpoint(size).text()),
        }
        .text(),
    }
}
