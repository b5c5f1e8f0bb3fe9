//! Ledgers that fit in themselves, and not to what lies outside.

use identity_core::replay::*;

use super::{batched, ledger};
use crate::ledger::{Ledger, NOVEMBER};

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
    let (summary, found) = back.replay();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].fault, Fault::RolledBack);
    assert_eq!((summary.tree_size, summary.anchors), (size, 3));
    // And not by what is left of it alone: only the anchor shows that.
    back.anchors.pop();
    assert_eq!(back.faults(), []);
    assert_eq!(whole.faults(), []);
}

#[test]
fn the_empty_tree_may_have_been_anchored() {
    let mut ledger = Ledger::default();
    ledger.anchor();
    ledger.add(0, NOVEMBER, false);
    ledger.seal(NOVEMBER);
    ledger.anchor();
    let (summary, found) = ledger.replay();
    assert_eq!((found, summary.anchors), (vec![], 2));
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
