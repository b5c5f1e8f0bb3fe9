//! What a replay finds in a ledger that was tampered with, and that it finds nothing in one that was not.

mod anchors;
mod any;
mod months;
mod rows;
mod tables;

use std::sync::OnceLock;

use identity_core::access_id;
use identity_core::replay::*;

use crate::ledger::{Ledger, NOVEMBER, SECOND};

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
    let anchored = ledger().anchors.pop().unwrap();
    assert_eq!(summary.tree_size, anchored.tree_size);
    assert_eq!(Some(summary.root), anchored.root);
    assert_eq!(Ledger::default().findings(), []);
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
