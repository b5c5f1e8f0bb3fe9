//! Two other implementations agree on roots and proofs: `tlog_tiles` (Cloudflare) and `ct-merkle`.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use identity_core::merkle::*;
use identity_core::tile::{BatchBuilder, TILE_HEIGHT, Tile, TileNodes};
use proptest::prelude::*;
use sha2::Sha256;
use tlog_tiles::tile::Tile as OtherTile;
use tlog_tiles::tlog::{self, Hash, HashReader};

use crate::trees::{Stored, entry_hash, leaves};

/// Their reader over our storage.
struct Theirs<'a>(&'a Stored);

impl HashReader for Theirs<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let read = |index: &u64| {
            let (level, at) = tlog::split_stored_hash_index(*index);
            Hash(self.0.node(level, at).unwrap())
        };
        Ok(indexes.iter().map(read).collect())
    }
}

fn hashes(path: &[Digest]) -> Vec<Hash> {
    path.iter().map(|hash| Hash(*hash)).collect()
}

fn concatenated(path: &[Digest]) -> Vec<u8> {
    path.concat()
}

fn entries(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 16..40), sizes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ct_merkle_agrees(entries in entries(1..200), index in any::<prop::sample::Index>()) {
        let hashes: Vec<_> = entries.iter().map(|entry| {
            let (salt, leaf) = entry.split_at(16);
            leaf_hash(salt.try_into().unwrap(), leaf)
        }).collect();
        let stored = Stored::of(&hashes);
        let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        for entry in &entries {
            other.push(entry.clone());
            let size = other.len();
            let theirs = other.root();
            prop_assert_eq!(&root(size, &stored).unwrap()[..], &theirs.as_bytes()[..]);
        }
        let (size, at) = (entries.len() as u64, index.index(entries.len()));
        let path = inclusion(at as u64, size, &stored).unwrap();
        let theirs = other.prove_inclusion(at);
        prop_assert_eq!(concatenated(&path), theirs.as_bytes());
        prop_assert!(other.root().verify_inclusion(&entries[at], at as u64, &theirs).is_ok());

        let old = at as u64 + 1;
        let path = consistency(old, size, &stored).unwrap();
        let theirs = other.prove_consistency((size - old) as usize);
        prop_assert_eq!(concatenated(&path), theirs.as_bytes());
    }

    #[test]
    fn tlog_tiles_agrees(size in 1u64..3000, index in any::<prop::sample::Index>()) {
        let leaves = leaves(size);
        let stored = Stored::of(&leaves);
        let theirs = Theirs(&stored);
        let whole = root(size, &stored).unwrap();
        prop_assert_eq!(Hash(whole), tlog::tree_hash(size, &theirs).unwrap());

        let at = index.index(leaves.len()) as u64;
        let leaf = Hash(leaves[at as usize]);
        let path = hashes(&inclusion(at, size, &stored).unwrap());
        prop_assert_eq!(&path, &tlog::prove_record(size, at, &theirs).unwrap());
        prop_assert!(tlog::check_record(&path, size, Hash(whole), at, leaf).is_ok());

        let old = at + 1;
        let begin = Hash(root(old, &stored).unwrap());
        let path = hashes(&consistency(old, size, &stored).unwrap());
        prop_assert_eq!(&path, &tlog::prove_tree(size, old, &theirs).unwrap());
        prop_assert!(tlog::check_tree(&path, size, Hash(whole), old, begin).is_ok());
    }

    /// What is not a proof for one is not a proof for the other: no path is accepted that they refuse.
    #[test]
    fn tlog_tiles_accepts_the_same(
        (size, at, old) in (1u64..40).prop_flat_map(|size| (Just(size), 0..size, 1..=size)),
        claim in (1u64..40, 0u64..40, 1u64..40),
        drop in 0usize..8,
    ) {
        let leaves = leaves(40);
        let stored = Stored::of(&leaves);
        let (claimed_size, claimed_at, claimed_old) = claim;
        let (whole, leaf) = (root(claimed_size, &stored).unwrap(), leaves[claimed_at as usize]);

        let mut path = inclusion(at, size, &stored).unwrap();
        path.truncate(path.len().saturating_sub(drop / 4));
        let theirs = claimed_at < claimed_size
            && tlog::check_record(&hashes(&path), claimed_size, Hash(whole), claimed_at, Hash(leaf)).is_ok();
        prop_assert_eq!(verify_inclusion(claimed_at, claimed_size, &leaf, &whole, &path), theirs);

        let begin = root(claimed_old, &stored).unwrap();
        let path = consistency(old, size, &stored).unwrap();
        let theirs = claimed_old <= claimed_size
            && tlog::check_tree(&hashes(&path), claimed_size, Hash(whole), claimed_old, Hash(begin)).is_ok();
        prop_assert_eq!(verify_consistency(claimed_old, claimed_size, &begin, &whole, &path), theirs);
    }
}

/// C2SP's tiles at every size around the widths, and two levels up.
#[test]
fn tlog_tiles_cuts_the_same_tiles() {
    for size in (0..4).chain(254..259).chain([511, 512, 65_537]) {
        let leaves = leaves(size);
        let stored = Stored::of(&leaves);
        let mut tiles = Vec::new();
        let mut batch = BatchBuilder::new();
        for leaf in &leaves {
            batch.push(0, *leaf, &mut |tile: Tile| tiles.push(tile));
        }
        assert_eq!(batch.rows(), size);
        assert_eq!(
            batch.finish(&mut |tile| tiles.push(tile)),
            root(size, &stored).unwrap()
        );
        tiles.sort_by_key(|tile| (tile.level, tile.index));

        let theirs = OtherTile::new_tiles(TILE_HEIGHT, 0, size);
        let places: Vec<_> = tiles
            .iter()
            .map(|t| (t.level, t.index, t.hashes.len()))
            .collect();
        let expected: Vec<_> = theirs
            .iter()
            .map(|t| (t.level(), t.level_index(), t.width() as usize))
            .collect();
        assert_eq!(places, expected);
        for (ours, theirs) in tiles.iter().zip(theirs) {
            assert_eq!(
                ours.hashes.concat(),
                theirs.read_data(&Theirs(&stored)).unwrap()
            );
        }

        let nodes = TileNodes(|level, index| {
            let tile = tiles.iter().find(|t| (t.level, t.index) == (level, index));
            tile.map(|t| t.hashes.clone()).ok_or((level, index))
        });
        for ((level, index), hash) in stored
            .nodes
            .iter()
            .filter(|((level, index), _)| *level > 5 || *index % 97 == 0)
        {
            assert_eq!(nodes.node(*level, *index), Ok(*hash));
        }
        for index in [0, 1, size / 2, size.saturating_sub(1)]
            .into_iter()
            .filter(|i| *i < size)
        {
            let path = inclusion(index, size, &nodes).unwrap();
            assert_eq!(path, inclusion(index, size, &stored).unwrap());
        }
    }
}

#[test]
fn an_entry_is_hashed_as_theirs() {
    assert_eq!(Hash(entry_hash(b"entry")), tlog::record_hash(b"entry"));
    let (left, right) = (entry_hash(b"l"), entry_hash(b"r"));
    assert_eq!(
        Hash(node_hash(&left, &right)),
        tlog::node_hash(Hash(left), Hash(right))
    );
}
