//! Ledgers of any shape.

use identity_core::replay::*;
use proptest::prelude::*;

use crate::ledger::{DAY, Ledger, NOVEMBER, SECOND};

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
