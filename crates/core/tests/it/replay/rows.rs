//! Rows that were changed, removed, moved or added, with the chain key and without.

use identity_core::access_id;
use identity_core::replay::*;

use super::{batched, leaf, ledger};
use crate::ledger::{HOUR, Ledger, NOVEMBER, SECOND};

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

    // A second is no time between clocks.
    let mut late = Ledger::default();
    late.add(0, NOVEMBER + SECOND, false);
    late.seal(NOVEMBER);
    late.add(0, NOVEMBER, false);
    late.seal(NOVEMBER - SECOND);
    assert_eq!(late.faults(), []);
    late = Ledger::default();
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
    // In whichever lane it lies; of two as old, the one in the first.
    let at = ledger.row(oldest).at;
    for (ago, named) in [(0, oldest), (SECOND, access_id(40, 334))] {
        let mut more = ledger.clone();
        more.add(40, at - ago, false);
        let place = Place::Row(named);
        let fault = Fault::Unsealed;
        assert_eq!(more.findings(), [Finding { place, fault }]);
    }
    ledger.now -= 5 * SECOND;
    assert_eq!(ledger.findings(), []);
}
