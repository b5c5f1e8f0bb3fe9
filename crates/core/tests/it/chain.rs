//! What a verifier sees in a lane that was touched.

use identity_core::*;
use proptest::prelude::*;

use crate::support::INSTALLATION;

type Row = (u64, Vec<u8>, [u8; 32]);

fn key() -> ChainKey {
    ChainKey::new(1, &[9; 32])
}

fn lane(number: u32, rows: u64) -> Vec<Row> {
    let mut head = genesis(&INSTALLATION, number);
    (1..=rows)
        .map(|seq| {
            let leaf = format!("{{\"seq\":\"{seq}\"}}").into_bytes();
            head = Head {
                seq,
                mac: link(&key(), &head.mac, &leaf),
            };
            (seq, leaf, head.mac)
        })
        .collect()
}

fn findings(rows: &[Row]) -> Vec<Finding> {
    let mut verifier = LaneVerifier::new(genesis(&INSTALLATION, 0));
    rows.iter()
        .filter_map(|(seq, leaf, mac)| verifier.check(*seq, leaf, mac, &key()).err())
        .collect()
}

#[test]
fn an_untouched_lane_verifies_from_any_verified_head() {
    let rows = lane(0, 20);
    assert_eq!(findings(&rows), []);
    let (seq, _, mac) = rows[9];
    let mut verifier = LaneVerifier::new(Head { seq, mac });
    for (seq, leaf, mac) in &rows[10..] {
        assert_eq!(verifier.check(*seq, leaf, mac, &key()), Ok(()));
    }
    assert_eq!(
        verifier.head(),
        Head {
            seq: 20,
            mac: rows[19].2
        }
    );
}

#[test]
fn an_altered_row_is_one_finding() {
    for at in 0..5 {
        let mut rows = lane(0, 5);
        rows[at].1.push(b' ');
        assert_eq!(findings(&rows), [Finding::Altered { seq: at as u64 + 1 }]);
    }
}

#[test]
fn an_altered_mac_shows_at_the_row_and_the_next() {
    for bit in 0..256 {
        let mut rows = lane(0, 5);
        rows[1].2[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(findings(&rows), [2, 3].map(|seq| Finding::Altered { seq }));
    }
}

#[test]
fn a_removed_row_is_a_gap() {
    let mut rows = lane(0, 6);
    rows.drain(2..4);
    assert_eq!(
        findings(&rows),
        [Finding::Gap {
            expected: 3,
            found: 5
        }]
    );
    rows.remove(0);
    let first = Finding::Gap {
        expected: 1,
        found: 2,
    };
    assert_eq!(
        findings(&rows),
        [
            first,
            Finding::Gap {
                expected: 3,
                found: 5
            }
        ]
    );
}

#[test]
fn a_second_row_in_one_place_is_a_fork() {
    let mut rows = lane(0, 4);
    let leaf = b"{}".to_vec();
    let mac = link(&key(), &rows[1].2, &leaf);
    rows.insert(3, (3, leaf, mac));
    assert_eq!(findings(&rows), [Finding::Fork { seq: 3 }]);
    rows.insert(0, (0, Vec::new(), [0; 32]));
    assert_eq!(
        findings(&rows),
        [Finding::Fork { seq: 0 }, Finding::Fork { seq: 3 }]
    );
}

#[test]
fn rows_of_another_lane_installation_or_key_do_not_verify() {
    let altered = [Finding::Altered { seq: 1 }];
    assert_eq!(findings(&lane(1, 3)), altered);
    assert_ne!(genesis(&INSTALLATION, 0), genesis(&[0; 16], 0));
    let (seq, leaf, mac) = &lane(0, 1)[0];
    let mut verifier = LaneVerifier::new(genesis(&INSTALLATION, 0));
    let other = ChainKey::new(1, &[8; 32]);
    assert_eq!(verifier.check(*seq, leaf, mac, &other), Err(altered[0]));
}

#[test]
fn the_highest_number_is_the_end_of_a_lane() {
    let head = Head {
        seq: u64::MAX - 1,
        mac: [1; 32],
    };
    let mut verifier = LaneVerifier::new(head);
    let mac = link(&key(), &head.mac, b"last");
    assert_eq!(verifier.check(u64::MAX, b"last", &mac, &key()), Ok(()));
    let again = verifier.check(u64::MAX, b"last", &mac, &key());
    assert_eq!(again, Err(Finding::Fork { seq: u64::MAX }));
}

#[test]
fn findings_read_well() {
    for (finding, text) in [
        (
            Finding::Gap {
                expected: 3,
                found: 5,
            },
            "gap: expected seq 3, found 5",
        ),
        (Finding::Fork { seq: 3 }, "fork: seq 3 comes again"),
        (
            Finding::Altered { seq: 3 },
            "altered: the MAC of seq 3 does not match",
        ),
    ] {
        assert_eq!(finding.to_string(), text);
    }
}

proptest! {
    /// Whatever the attacker does to a prefix, other than cutting the tail, is found.
    #[test]
    fn any_shuffle_or_deletion_is_found(order in proptest::collection::vec(1usize..=8, 1..12)) {
        let rows = lane(0, 8);
        let shown: Vec<_> = order.iter().map(|at| rows[at - 1].clone()).collect();
        let prefix = order.iter().enumerate().all(|(at, row)| at + 1 == *row);
        prop_assert_eq!(findings(&shown).is_empty(), prefix);
    }
}
