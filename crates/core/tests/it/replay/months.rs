//! Months that were dropped: what that excuses, and what it does not.

use identity_core::replay::*;

use crate::ledger::{DAY, Ledger, NOVEMBER, SECOND};

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
