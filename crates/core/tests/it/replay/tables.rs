//! Whatever is stored beside the rows.

use identity_core::replay::*;
use identity_core::{MAX_LANE, MAX_SEQ};

use super::ledger;
use crate::ledger::{Ledger, NOVEMBER};

/// Everything that is stored beside the rows, changed a little; each change is found.
#[test]
fn whatever_is_changed_in_the_tables_is_found() {
    type Change = (&'static str, fn(&mut Ledger), &'static [Fault]);
    let changes: &[Change] = &[
        (
            "seal rows",
            |l| l.cuts.get_mut(&2).unwrap().seals[0].rows += 1,
            &[Fault::BatchRows, Fault::Seal],
        ),
        (
            "seal root",
            |l| l.cuts.get_mut(&2).unwrap().seals[0].root = Some([1; 32]),
            &[Fault::BatchRoot, Fault::Seal],
        ),
        (
            "no seal root",
            |l| l.cuts.get_mut(&2).unwrap().seals[0].root = None,
            &[Fault::BatchRoot, Fault::Seal],
        ),
        (
            "sealed at",
            |l| l.cuts.get_mut(&2).unwrap().seals[0].sealed_at += 1,
            &[Fault::Seal],
        ),
        (
            "batch",
            |l| l.cuts.get_mut(&3).unwrap().seals[0].batch = 9,
            &[
                Fault::BatchOrder,
                Fault::BatchRoot,
                Fault::BatchRows,
                Fault::Foreign,
                Fault::Seal,
                Fault::TileForeign,
            ],
        ),
        (
            "leaf index",
            |l| l.cuts.get_mut(&2).unwrap().seals[0].leaf_index += 1,
            &[Fault::SealPlace],
        ),
        (
            "seal text",
            |l| l.cuts.get_mut(&2).unwrap().seals[0].leaf.push(' '),
            &[Fault::SealText],
        ),
        (
            "seal words",
            |l| {
                let leaf = &mut l.cuts.get_mut(&2).unwrap().seals[0].leaf;
                *leaf = leaf.replace("development", "vault");
            },
            &[Fault::LeafHash],
        ),
        (
            "seal key",
            |l| {
                let leaf = &mut l.cuts.get_mut(&2).unwrap().seals[0].leaf;
                *leaf = leaf.replace("\"chain_version\":\"1\"", "\"chain_version\":\"2\"");
            },
            &[Fault::SealKey],
        ),
        (
            "seal merkle rows",
            |l| {
                let leaf = &mut l.cuts.get_mut(&2).unwrap().seals[0].leaf;
                *leaf = leaf.replace("\"merkle_rows\":\"99\"", "\"merkle_rows\":\"98\"");
            },
            &[Fault::LeafHash, Fault::Seal],
        ),
        (
            "seals",
            |l| l.cuts.get_mut(&3).unwrap().seals.clear(),
            &[
                Fault::CutIncomplete,
                Fault::Foreign,
                Fault::LeafForeign,
                Fault::NodeForeign,
                Fault::RolledBack,
            ],
        ),
        (
            "heads",
            |l| l.cuts.get_mut(&3).unwrap().heads.clear(),
            &[Fault::CutIncomplete, Fault::Missing, Fault::Seal],
        ),
        (
            "cut",
            |l| {
                let mut cut = l.cuts.remove(&3).unwrap();
                cut.number = 4;
                l.cuts.insert(4, cut);
            },
            &[Fault::CutsMissing, Fault::Seal],
        ),
        (
            "head mac",
            |l| l.cuts.get_mut(&2).unwrap().heads[1].mac = Some([1; 32]),
            &[Fault::OtherHead, Fault::Seal],
        ),
        (
            "head back",
            |l| l.cuts.get_mut(&3).unwrap().heads[1].seq = 330,
            &[Fault::HeadGoesBack, Fault::Missing, Fault::Seal],
        ),
        (
            "head too far",
            |l| l.cuts.get_mut(&3).unwrap().heads[1].seq = 335,
            &[Fault::Foreign, Fault::OtherHead, Fault::Seal],
        ),
        (
            "tile hash",
            |l| l.tiles.get_mut(&(2, 0, 1)).unwrap().hashes[5] ^= 1,
            &[Fault::BatchRoot, Fault::NotSealed, Fault::Tile],
        ),
        (
            "tile id",
            |l| l.tiles.get_mut(&(2, 0, 1)).unwrap().access_ids[5] += 1 << 40,
            &[Fault::Foreign, Fault::Missing],
        ),
        (
            "tile short",
            |l| {
                let tile = l.tiles.get_mut(&(2, 0, 0)).unwrap();
                tile.access_ids.pop();
            },
            &[Fault::Tile],
        ),
        (
            "tile bytes",
            |l| {
                l.tiles.get_mut(&(2, 0, 0)).unwrap().hashes.pop();
            },
            &[Fault::Tile],
        ),
        (
            "tile above",
            |l| l.tiles.get_mut(&(2, 1, 0)).unwrap().hashes[5] ^= 1,
            &[Fault::Tile],
        ),
        (
            "no tile above",
            |l| {
                l.tiles.remove(&(2, 1, 0));
                l.cuts.get_mut(&2).unwrap().seals[0].tiles -= 1;
            },
            &[Fault::TileMissing],
        ),
        (
            "another tile",
            |l| l.cuts.get_mut(&2).unwrap().seals[0].tiles += 1,
            &[Fault::TileForeign],
        ),
        (
            "leaf id",
            |l| {
                let leaf = l.leaves.get_mut(&60).unwrap();
                *leaf = Some(leaf.unwrap() + 3);
            },
            &[Fault::Foreign, Fault::Missing],
        ),
        (
            "leaf gone",
            |l| {
                l.leaves.remove(&60);
            },
            &[Fault::LeafMissing],
        ),
        (
            "leaf more",
            |l| {
                l.leaves.insert(999, None);
            },
            &[Fault::LeafForeign],
        ),
        (
            "leaf hash",
            |l| l.nodes.get_mut(&(0, 60)).unwrap()[3] ^= 1,
            &[Fault::Node, Fault::NotSealed],
        ),
        (
            "node",
            |l| l.nodes.get_mut(&(3, 2)).unwrap()[3] ^= 1,
            &[Fault::Node],
        ),
        (
            "node gone",
            |l| {
                l.nodes.remove(&(3, 2));
            },
            &[Fault::NodeMissing],
        ),
        (
            "last node gone",
            |l| {
                let last = l.nodes.range((3, 0)..(4, 0)).next_back().unwrap();
                let place = *last.0;
                l.nodes.remove(&place);
            },
            &[Fault::NodeMissing],
        ),
        (
            "node more",
            |l| {
                l.nodes.insert((3, 900), [0; 32]);
            },
            &[Fault::NodeForeign],
        ),
        (
            "node above",
            |l| {
                l.nodes.insert((50, 0), [0; 32]);
            },
            &[Fault::NodeForeign],
        ),
        (
            "anchor root",
            |l| l.anchors[1].root = Some([1; 32]),
            &[Fault::AnchorRoot],
        ),
        (
            "anchor size",
            |l| l.anchors[1].tree_size -= 1,
            &[Fault::AnchorRoot, Fault::AnchorText],
        ),
        (
            "anchor text",
            |l| l.anchors[1].checkpoint.insert(0, 'x'),
            &[Fault::AnchorText],
        ),
        (
            "anchor order",
            |l| l.anchors[1].commit_id = 9,
            &[Fault::AnchorOrder],
        ),
    ];
    for (what, change, faults) in changes {
        let mut changed = ledger();
        change(&mut changed);
        let found = changed.faults();
        for fault in *faults {
            assert!(
                found.contains(fault),
                "{what}: {fault:?} is not among {found:?}"
            );
        }
    }
}

/// By its place: what a wrong tile leads to elsewhere is found as well, and must not stand for it.
#[test]
fn a_tile_of_the_wrong_shape_is_named() {
    let place = Place::Tile {
        batch: 2,
        level: 0,
        tile: 0,
    };
    let finding = Finding {
        place,
        fault: Fault::Tile,
    };
    type Change = (&'static str, fn(&mut StoredTile));
    let changes: &[Change] = &[
        ("a row without its hash", |tile| {
            tile.hashes.truncate(tile.hashes.len() - 32);
        }),
        ("a hash without its row", |tile| {
            tile.access_ids.pop();
        }),
        ("no whole number of hashes", |tile| {
            tile.hashes.pop();
        }),
        ("wider than a tile", |tile| {
            tile.access_ids.push(tile.access_ids[255] + 1);
            tile.hashes.extend([7; 32]);
        }),
        ("nothing", |tile| {
            tile.access_ids.clear();
            tile.hashes.clear();
        }),
    ];
    assert!(!ledger().findings().contains(&finding));
    for (what, change) in changes {
        let mut changed = ledger();
        change(changed.tiles.get_mut(&(2, 0, 0)).unwrap());
        assert!(changed.findings().contains(&finding), "{what}");
    }
}

/// Only the last tile of a batch may be less than full: a reader that went on would read what no root covers.
#[test]
fn nothing_behind_a_tile_that_is_not_full_is_of_the_batch() {
    let mut changed = ledger();
    let behind = changed.tiles[&(2, 0, 1)].access_ids[0];
    let tile = changed.tiles.get_mut(&(2, 0, 0)).unwrap();
    tile.access_ids.truncate(255);
    tile.hashes.truncate(255 * 32);
    let place = Place::Row(behind);
    let fault = Fault::Foreign;
    assert!(changed.findings().contains(&Finding { place, fault }));
}

#[test]
fn a_head_that_no_id_could_have_is_named() {
    let mut greatest = Ledger::default();
    greatest.add(MAX_LANE, NOVEMBER, false);
    greatest.seal(NOVEMBER);
    assert_eq!(greatest.faults(), []);
    let heads = [
        (MAX_LANE + 1, 1, Fault::HeadGoesBack),
        (7, MAX_SEQ + 1, Fault::HeadGoesBack),
        // It could; its rows are not there.
        (7, MAX_SEQ, Fault::HeadMissing),
    ];
    for (lane, seq, fault) in heads {
        let mut changed = ledger();
        let mac = Some([1; 32]);
        let heads = &mut changed.cuts.get_mut(&2).unwrap().heads;
        heads.push(StoredHead { lane, seq, mac });
        let place = Place::Head { cut: 2, lane };
        let told = changed.findings();
        let told = told.iter().filter(|finding| finding.place == place);
        assert_eq!(told.collect::<Vec<_>>(), [&Finding { place, fault }]);
    }
}
