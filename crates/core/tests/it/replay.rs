//! What a replay finds in a ledger that was tampered with, and that it finds nothing in one that was not.

use std::sync::OnceLock;

use identity_core::access_id;
use identity_core::replay::*;
use proptest::prelude::*;

use crate::ledger::{DAY, HOUR, Ledger, NOVEMBER, SECOND};

/// Three lanes, three cuts, an anchor after each, 1,000 rows of which every seventh is a leaf; and five
/// rows that are not sealed yet.
fn ledger() -> Ledger {
    static LEDGER: OnceLock<Ledger> = OnceLock::new();
    LEDGER.get_or_init(build).clone()
}

fn build() -> Ledger {
    let mut ledger = Ledger::default();
    let mut at = NOVEMBER;
    for (cut, rows) in [300_i64, 690, 10].into_iter().enumerate() {
        for n in 0..rows {
            at += SECOND;
            ledger.add([0, 3, 40][n as usize % 3], at, n % 7 == 0);
        }
        ledger.seal(at + SECOND);
        ledger.anchor();
        at += 2 * SECOND + cut as i64;
    }
    for _ in 0..5 {
        at += SECOND;
        ledger.add(3, at, false);
    }
    ledger
}

/// A row in a batch of the second cut.
fn batched() -> i64 {
    let id = access_id(3, 203);
    assert!(!ledger().row(id).merkle);
    id
}

/// A row that is a leaf of the second cut.
fn leaf() -> i64 {
    let ledger = ledger();
    let leaves = &ledger.leaves;
    let first = ledger.cuts[&1].seals[0].leaf_index + 1;
    leaves[&(first + 50)].unwrap()
}

#[test]
fn an_untouched_ledger_has_nothing_to_find() {
    let (summary, found) = ledger().replay();
    assert_eq!(found, []);
    assert_eq!((summary.rows, summary.unsealed), (1005, 5));
    assert_eq!((summary.cuts, summary.batches, summary.anchors), (3, 3, 3));
    let lanes = [(0, 334), (3, 338), (40, 333)];
    assert_eq!(summary.lanes, lanes.into());
    assert_eq!(Ledger::default().findings(), []);
}

#[test]
fn an_altered_row_is_found_twice_and_no_more() {
    for id in [batched(), leaf()] {
        let mut ledger = ledger();
        ledger.row(id).text.push(' ');
        assert_eq!(ledger.faults(), [Fault::Altered, Fault::NotSealed]);
        assert!(ledger.findings().iter().all(|f| f.place == Place::Row(id)));
    }
}

#[test]
fn a_row_altered_by_who_has_the_chain_key_is_found_by_its_seal() {
    for id in [batched(), leaf()] {
        let mut ledger = ledger();
        ledger.row(id).text.push(' ');
        ledger.chain((id >> 48) as u32);
        assert_eq!(ledger.faults(), [Fault::NotSealed, Fault::OtherHead]);
        assert!(ledger.findings().contains(&Finding {
            place: Place::Row(id),
            fault: Fault::NotSealed
        }));
    }
}

#[test]
fn a_deleted_row_is_missing() {
    for id in [batched(), leaf()] {
        let mut ledger = ledger();
        ledger.remove(|row| row.id != id);
        let seq = id.cast_unsigned() & 0xFFFF_FFFF_FFFF;
        let found = ledger.findings();
        let missing = Finding {
            place: Place::Row(id),
            fault: Fault::Missing,
        };
        let gap = Finding {
            place: Place::Row(id + 1),
            fault: Fault::Gap { expected: seq },
        };
        assert_eq!(found, [missing, gap]);
    }
}

#[test]
fn rows_that_were_exchanged_are_both_found() {
    let mut ledger = ledger();
    let (a, b) = (batched(), access_id(3, 204));
    let text = ledger.row(a).text.clone();
    ledger.row(a).text = ledger.row(b).text.clone();
    ledger.row(b).text = text;
    ledger.chain(3);
    let wrong = |id| Finding {
        place: Place::Row(id),
        fault: Fault::NotSealed,
    };
    let found = ledger.findings();
    assert!(found.contains(&wrong(a)) && found.contains(&wrong(b)));
}

#[test]
fn a_second_row_of_one_place_is_a_fork_and_foreign() {
    for id in [batched(), leaf()] {
        let mut ledger = ledger();
        let twin = ledger.row(id).clone();
        let rows = ledger.rows.get_mut(&((id >> 48) as u32)).unwrap();
        let at = rows.iter().position(|row| row.id == id).unwrap();
        rows.insert(at, twin);
        assert_eq!(ledger.faults(), [Fault::Foreign, Fault::Fork]);
    }
}

#[test]
fn a_lane_cut_off_below_its_seal_is_found_even_with_the_chain_key() {
    let mut ledger = ledger();
    ledger.remove(|row| row.id >> 48 != 40 || row.id < access_id(40, 320));
    assert_eq!(ledger.faults(), [Fault::HeadMissing, Fault::Missing]);
}

#[test]
fn a_lane_that_is_gone_is_found() {
    let mut ledger = ledger();
    ledger.remove(|row| row.id >> 48 != 40);
    assert_eq!(ledger.faults(), [Fault::HeadMissing, Fault::Missing]);
}

#[test]
fn rows_after_the_last_seal_are_found_by_the_chain_alone() {
    let mut ledger = ledger();
    let id = access_id(3, 336);
    ledger.row(id).text.push(' ');
    assert_eq!(ledger.faults(), [Fault::Altered]);
    ledger.chain(3);
    assert_eq!(ledger.faults(), []);
}

#[test]
fn a_tree_rolled_back_is_found_by_its_anchors() {
    let (mut back, whole) = (ledger(), ledger());
    let cut = back.cuts.remove(&3).unwrap();
    let size = back.cuts[&2].seals[0].leaf_index + 1;
    back.tiles
        .retain(|(batch, ..), _| *batch != cut.seals[0].batch);
    back.leaves.retain(|index, _| *index < size);
    back.nodes
        .retain(|(level, index), _| (index + 1) << level <= size);
    assert_eq!(back.faults(), [Fault::RolledBack]);
    // And not by what is left of it alone: only the anchor shows that.
    back.anchors.pop();
    assert_eq!(back.faults(), []);
    assert_eq!(whole.faults(), []);
}

#[test]
fn a_ledger_rewritten_from_the_rows_to_the_root_is_found_by_its_anchors_alone() {
    let mut rewritten = Ledger::default();
    let honest = ledger();
    for (number, cut) in &honest.cuts {
        for head in &cut.heads {
            let rows = honest.rows[&head.lane].iter();
            let known = rewritten.rows.get(&head.lane).map_or(0, Vec::len);
            for row in rows.take(head.seq as usize).skip(known) {
                let id = rewritten.add(head.lane, row.at, row.merkle);
                rewritten.row(id).text = row.text.clone();
                if id == batched() {
                    rewritten.row(id).text.push('!');
                }
            }
            rewritten.chain(head.lane);
        }
        rewritten.seal(cut.seals[0].sealed_at);
        assert_eq!(rewritten.cuts.len() as u64, *number);
    }
    assert_eq!(rewritten.faults(), []);
    rewritten.anchors = honest.anchors.clone();
    assert_eq!(rewritten.faults(), [Fault::AnchorRoot, Fault::AnchorText]);
    // The first cut is as it was.
    assert_eq!(rewritten.findings().len(), 4);
}

#[test]
fn a_dropped_month_is_missing_unless_its_time_was_over() {
    let mut ledger = Ledger::default();
    let turn = NOVEMBER + 30 * DAY;
    for n in 0..400 {
        ledger.add(
            n % 3,
            turn - 200 * SECOND + i64::from(n) * SECOND,
            n % 5 == 0,
        );
    }
    ledger.seal(turn + 200 * SECOND);
    ledger.add(0, turn + 201 * SECOND, false);
    ledger.seal(turn + 202 * SECOND);
    assert_eq!(ledger.faults(), []);
    let mut dropped = ledger.clone();
    dropped.remove(|row| row.at >= turn);
    let gap = |faults: &[Fault]| {
        faults
            .iter()
            .any(|fault| matches!(fault, Fault::Gap { .. }))
    };
    assert!(gap(&dropped.faults()) && dropped.faults().contains(&Fault::Missing));
    dropped.expired.push(Expired {
        partition: "2026-11".to_owned(),
        last_batch: 1,
    });
    assert_eq!(dropped.faults(), []);
    // What is left of another month is not excused by it.
    for merkle in [false, true] {
        let mut more = dropped.clone();
        let gone = more.rows[&1]
            .iter()
            .find(|row| row.merkle == merkle)
            .unwrap()
            .id;
        more.remove(|row| row.id != gone);
        assert!(more.faults().contains(&Fault::Missing), "{merkle}");
    }
    // Nor is a row of that month that came back, or one that was put there since.
    for merkle in [false, true] {
        let mut back = dropped.clone();
        let row = ledger.rows[&1]
            .iter()
            .find(|row| row.at < turn && row.merkle == merkle);
        back.rows.get_mut(&1).unwrap().push(row.unwrap().clone());
        back.rows.get_mut(&1).unwrap().sort_by_key(|row| row.id);
        assert!(back.faults().contains(&Fault::Foreign), "{merkle}");
    }
}

#[test]
fn a_dropped_month_at_either_end_of_a_lane_leaves_no_gap() {
    for (first, second) in [(0, 30), (30, 0)] {
        let mut ledger = Ledger::default();
        for days in [first, second] {
            for n in 0..300 {
                let at = NOVEMBER + days * DAY + n * SECOND;
                let id = ledger.add(0, at, n % 9 == 0);
                ledger.row(id).committed = false;
            }
            ledger.seal(NOVEMBER + 31 * DAY);
        }
        let batch = if first == 0 { 1 } else { 2 };
        ledger.remove(|row| row.at >= NOVEMBER + 30 * DAY);
        ledger.expired.push(Expired {
            partition: "2026-11".to_owned(),
            last_batch: batch,
        });
        let (summary, found) = ledger.replay();
        assert_eq!(found, []);
        assert_eq!(summary.lanes, [(0, 600)].into());
    }
}

#[test]
fn clocks_that_go_back_are_found() {
    let mut back = Ledger::default();
    back.add(0, NOVEMBER + HOUR, false);
    let id = back.add(0, NOVEMBER, false);
    let found = |ledger: &Ledger| ledger.findings();
    let gone_back = Finding {
        place: Place::Row(id),
        fault: Fault::RowGoesBack,
    };
    assert_eq!(found(&back), [gone_back]);
    // A refusal is written after the moment that it names.
    back.row(id).committed = false;
    assert_eq!(found(&back), []);
    back.row(id).committed = true;
    back.row(id).at = NOVEMBER + HOUR - SECOND;
    assert_eq!(found(&back), []);

    let mut late = Ledger::default();
    late.add(0, NOVEMBER + HOUR, false);
    late.seal(NOVEMBER);
    assert_eq!(late.faults(), [Fault::AfterSeal]);
    late.add(0, NOVEMBER + HOUR, false);
    late.seal(NOVEMBER - HOUR);
    assert_eq!(late.faults(), [Fault::AfterSeal, Fault::SealGoesBack]);
}

#[test]
fn rows_that_stay_unsealed_are_found_and_the_oldest_is_named() {
    let mut ledger = ledger();
    ledger.now += HOUR;
    let oldest = access_id(3, 334);
    assert_eq!(
        ledger.findings(),
        [Finding {
            place: Place::Row(oldest),
            fault: Fault::Unsealed
        }]
    );
    ledger.now -= 5 * SECOND;
    assert_eq!(ledger.findings(), []);
}

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

#[test]
fn findings_read_as_one_line_each() {
    let said = |place, fault| Finding { place, fault }.to_string();
    let id = access_id(3, 2);
    let row = "lane 3 seq 2 (access_id 844424930131970)";
    assert_eq!(
        said(Place::Row(id), Fault::Gap { expected: 1 }),
        format!("{row}: gap, expected seq 1, found 2")
    );
    assert_eq!(said(Place::Row(id), Fault::Fork), format!("{row}: fork"));
    assert_eq!(
        said(
            Place::Tile {
                batch: 4,
                level: 1,
                tile: 0
            },
            Fault::TileMissing
        ),
        "batch 4 level 1 tile 0: missing"
    );
    assert_eq!(
        said(Place::Node { level: 2, index: 7 }, Fault::NodeMissing),
        "node 7 of level 2: missing"
    );
    assert_eq!(Fault::RolledBack.check().as_str(), "anchors");
    assert_eq!(Fault::Gap { expected: 1 }.check(), Check::Chain);
}

/// Cuts of random shape: rows of (lane, seconds since the last, merkle), then a seal.
fn shapes() -> impl Strategy<Value = Vec<Vec<(u32, i64, bool)>>> {
    let row = (0_u32..4, 0_i64..3, proptest::bool::weighted(0.2));
    let month = prop_oneof![9 => Just(0_i64), 1 => Just(31 * DAY)];
    let cut = (proptest::collection::vec(row, 0..400), month).prop_map(|(mut rows, leap)| {
        if let Some((_, seconds, _)) = rows.first_mut() {
            *seconds += leap / SECOND;
        }
        rows
    });
    proptest::collection::vec(cut, 1..4)
}

fn built(shape: &[Vec<(u32, i64, bool)>]) -> Ledger {
    let mut ledger = Ledger::default();
    let mut at = NOVEMBER;
    for cut in shape {
        for (lane, seconds, merkle) in cut {
            at += seconds * SECOND;
            ledger.add(*lane, at, *merkle);
        }
        ledger.seal(at);
        ledger.anchor();
    }
    ledger
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_honest_ledger_replays_without_a_finding(shape in shapes()) {
        prop_assert_eq!(built(&shape).findings(), []);
    }

    /// Whoever has the chain key and alters, removes or moves any sealed row is found.
    #[test]
    fn any_sealed_row_that_is_touched_is_found(shape in shapes(), pick: prop::sample::Index, how in 0..4) {
        let mut ledger = built(&shape);
        let ids = ledger.rows.values().flatten().map(|row| row.id).collect::<Vec<_>>();
        prop_assume!(!ids.is_empty());
        let id = ids[pick.index(ids.len())];
        let lane = (id >> 48) as u32;
        match how {
            0 => ledger.row(id).text.push('x'),
            1 => ledger.remove(|row| row.id != id),
            2 => { let row = ledger.row(id); row.merkle = !row.merkle; row.text.push('m'); }
            _ => ledger.row(id).at += 31 * DAY,
        }
        if how != 1 {
            ledger.chain(lane);
        }
        prop_assert!(ledger.findings().iter().any(|f| f.place == Place::Row(id)));
    }
}
