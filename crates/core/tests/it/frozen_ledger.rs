//! The frozen vectors of the sealed ledger, made and checked by the Python in `tests/independent`.

use identity_core::merkle::{self, Digest, Frontier, verify_consistency, verify_inclusion};
use identity_core::seal_leaf::{LaneHeads, SealLeaf};
use identity_core::tile::{BatchBuilder, Tile};
use identity_core::{ChainKey, leaf_hash, row_salt, seal_salt};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::support::{hex, unhex_array};
use crate::trees::Stored;

#[derive(Deserialize)]
struct Frozen {
    salts: Vec<Salt>,
    tree_leaves: Vec<TreeLeaf>,
    trees: Vec<Tree>,
    batches: Vec<Batch>,
    lane_heads: Vec<Heads>,
    seals: Vec<Seal>,
}

#[derive(Deserialize)]
struct Salt {
    kind: String,
    key: String,
    installation: String,
    number: u64,
    salt: String,
}

#[derive(Deserialize)]
struct TreeLeaf {
    salt: String,
    leaf: String,
    hash: String,
}

#[derive(Deserialize)]
struct Tree {
    size: u64,
    root: String,
    inclusion: Vec<Inclusion>,
    consistency: Vec<Consistency>,
}

#[derive(Deserialize)]
struct Inclusion {
    index: u64,
    path: Vec<String>,
}

#[derive(Deserialize)]
struct Consistency {
    old: u64,
    path: Vec<String>,
}

#[derive(Deserialize)]
struct Batch {
    rows: u64,
    root: String,
    tiles: Vec<BatchTile>,
}

#[derive(Deserialize)]
struct BatchTile {
    level: u8,
    index: u64,
    width: usize,
    sha256: String,
}

#[derive(Deserialize)]
struct Heads {
    heads: Vec<Head>,
    digest: String,
}

#[derive(Deserialize)]
struct Head {
    lane: u32,
    seq: u64,
    mac: String,
}

#[derive(Deserialize)]
struct Seal {
    seal: Members,
    leaf: String,
}

#[derive(Deserialize)]
struct Members {
    batch: u64,
    batch_root: String,
    batch_rows: u64,
    chain_version: i32,
    cut: u64,
    keys: String,
    lane_heads: String,
    lsn: u64,
    merkle_rows: u64,
    partition: String,
    sealed_at: i64,
    settings: String,
    system_identifier: u64,
    timeline: u32,
}

fn frozen() -> Frozen {
    serde_json::from_str(include_str!("../vectors/frozen.json")).unwrap()
}

/// The leaf hashes of the vectors' trees: the i-th leaf is `i` in decimal, its salt 16 bytes of i.
fn numbered(size: u64) -> Vec<Digest> {
    let hash = |i: u64| leaf_hash(&u128::from(i).to_be_bytes(), i.to_string().as_bytes());
    (0..size).map(hash).collect()
}

fn hexes(path: &[Digest]) -> Vec<String> {
    path.iter().map(|hash| hex(hash)).collect()
}

#[test]
fn salts_agree() {
    for v in frozen().salts {
        let key = ChainKey::new(1, &unhex_array(&v.key));
        let installation = unhex_array(&v.installation);
        let salt = match &*v.kind {
            "row" => row_salt(&key, &installation, i64::try_from(v.number).unwrap()),
            _ => seal_salt(&key, &installation, v.number),
        };
        assert_eq!(hex(&salt), v.salt);
    }
}

#[test]
fn leaf_hashes_agree() {
    for v in frozen().tree_leaves {
        let hash = leaf_hash(&unhex_array(&v.salt), v.leaf.as_bytes());
        assert_eq!(hex(&hash), v.hash);
    }
}

#[test]
fn trees_agree() {
    for v in frozen().trees {
        let leaves = numbered(v.size);
        let stored = Stored::of(&leaves);
        let root = merkle::root(v.size, &stored).unwrap();
        assert_eq!(hex(&root), v.root);
        assert_eq!(Frontier::load(v.size, &stored).unwrap().root(), root);
        for proof in v.inclusion {
            let path = merkle::inclusion(proof.index, v.size, &stored).unwrap();
            assert_eq!(hexes(&path), proof.path);
            let leaf = &leaves[usize::try_from(proof.index).unwrap()];
            assert!(verify_inclusion(proof.index, v.size, leaf, &root, &path));
        }
        for proof in v.consistency {
            let path = merkle::consistency(proof.old, v.size, &stored).unwrap();
            assert_eq!(hexes(&path), proof.path);
            let old = merkle::root(proof.old, &stored).unwrap();
            assert!(verify_consistency(proof.old, v.size, &old, &root, &path));
        }
    }
}

#[test]
fn batches_agree() {
    for v in frozen().batches {
        let mut tiles: Vec<Tile> = Vec::new();
        let mut batch = BatchBuilder::new();
        for leaf in numbered(v.rows) {
            batch.push(0, leaf, &mut |tile| tiles.push(tile));
        }
        assert_eq!(hex(&batch.finish(&mut |tile| tiles.push(tile))), v.root);
        for expected in v.tiles {
            let place = (expected.level, expected.index);
            let tile = tiles.iter().find(|t| (t.level, t.index) == place).unwrap();
            let digest = hex(&Sha256::digest(tile.hashes.concat()));
            assert_eq!(
                (tile.hashes.len(), digest),
                (expected.width, expected.sha256)
            );
        }
    }
}

#[test]
fn lane_heads_agree() {
    for v in frozen().lane_heads {
        let mut all = LaneHeads::new();
        for head in v.heads {
            all.push(head.lane, head.seq, &unhex_array(&head.mac));
        }
        assert_eq!(hex(&all.finish()), v.digest);
    }
}

#[test]
fn seals_agree() {
    for v in frozen().seals {
        let seal = SealLeaf {
            batch: v.seal.batch,
            batch_root: unhex_array(&v.seal.batch_root),
            batch_rows: v.seal.batch_rows,
            chain_version: v.seal.chain_version,
            cut: v.seal.cut,
            keys: &v.seal.keys,
            lane_heads: unhex_array(&v.seal.lane_heads),
            lsn: v.seal.lsn,
            merkle_rows: v.seal.merkle_rows,
            partition: &v.seal.partition,
            sealed_at: v.seal.sealed_at,
            settings: unhex_array(&v.seal.settings),
            system_identifier: v.seal.system_identifier,
            timeline: v.seal.timeline,
        };
        assert_eq!(String::from_utf8(seal.leaf()).unwrap(), v.leaf);
        assert_eq!(SealLeaf::parse(v.leaf.as_bytes()), Some(seal));
    }
}
