//! The seal leaf says what a seal says in one way only, and its parser takes nothing else.

use identity_core::seal_leaf::*;
use proptest::prelude::*;

use crate::support::canonical;

fn seal() -> SealLeaf<'static> {
    SealLeaf {
        batch: 12,
        batch_root: [0xab; 32],
        batch_rows: 300,
        chain_version: 1,
        cut: 7,
        keys: "development",
        lane_heads: [0x01; 32],
        lsn: 0x16_0000_0ABC,
        merkle_rows: 3,
        partition: "2026-11",
        sealed_at: 1_793_534_400_123_456,
        settings: [0xcd; 32],
        system_identifier: 7_412_345_678_901_234_567,
        timeline: 1,
    }
}

/// Every number and word as long as it can be.
fn longest() -> SealLeaf<'static> {
    SealLeaf {
        batch: u64::MAX,
        batch_rows: u64::MAX,
        chain_version: i32::MIN,
        cut: u64::MAX,
        keys: "a123456789012345678901234567890123456789012345678901234567890123",
        lsn: u64::MAX,
        merkle_rows: u64::MAX,
        sealed_at: 253_402_300_799_999_999,
        system_identifier: u64::MAX,
        timeline: u32::MAX,
        ..seal()
    }
}

#[test]
fn keys_are_in_canonical_order() {
    for seal in [seal(), longest()] {
        assert_eq!(seal.leaf(), canonical(&seal.leaf()));
        assert_eq!(SealLeaf::parse(&seal.leaf()), Some(seal));
    }
}

#[test]
fn the_longest_leaf_is_taken_and_no_longer_one() {
    assert_eq!(longest().leaf().len(), MAX_SEAL_LEAF_BYTES);
    let longer = longest().leaf().repeat(1000);
    assert_eq!(SealLeaf::parse(&longer), None);
    let year = SealLeaf {
        sealed_at: 253_402_300_800_000_000,
        ..longest()
    };
    assert_eq!(SealLeaf::parse(&year.leaf()), None);
}

/// Nothing in a seal can be altered behind its hash.
#[test]
fn every_member_is_bound() {
    let base = seal();
    let changed = [
        SealLeaf {
            batch: 13,
            ..base.clone()
        },
        SealLeaf {
            batch_root: [0; 32],
            ..base.clone()
        },
        SealLeaf {
            batch_rows: 0,
            ..base.clone()
        },
        SealLeaf {
            chain_version: 2,
            ..base.clone()
        },
        SealLeaf {
            cut: 8,
            ..base.clone()
        },
        SealLeaf {
            keys: "vault",
            ..base.clone()
        },
        SealLeaf {
            lane_heads: [0; 32],
            ..base.clone()
        },
        SealLeaf {
            lsn: 0x16_0000_0ABD,
            ..base.clone()
        },
        SealLeaf {
            merkle_rows: 0,
            ..base.clone()
        },
        SealLeaf {
            partition: "2026-12",
            ..base.clone()
        },
        SealLeaf {
            sealed_at: base.sealed_at + 1,
            ..base.clone()
        },
        SealLeaf {
            settings: [0; 32],
            ..base.clone()
        },
        SealLeaf {
            system_identifier: 1,
            ..base.clone()
        },
        SealLeaf {
            timeline: 2,
            ..base.clone()
        },
    ];
    for (at, one) in changed.iter().enumerate() {
        assert_ne!(one.leaf(), base.leaf());
        assert_eq!(SealLeaf::parse(&one.leaf()).as_ref(), Some(one));
        assert!(changed[..at].iter().all(|other| other.leaf() != one.leaf()));
    }
}

#[test]
fn positions_in_the_log_read_as_postgresql_writes_them() {
    for (lsn, text) in [
        (0, "0/0"),
        (0x16_B374_8000, "16/B3748000"),
        (1 << 32, "1/0"),
        ((1 << 32) - 1, "0/FFFFFFFF"),
        (u64::MAX, "FFFFFFFF/FFFFFFFF"),
    ] {
        let leaf = String::from_utf8(SealLeaf { lsn, ..seal() }.leaf()).unwrap();
        assert!(leaf.contains(&format!("\"lsn\":\"{text}\"")));
    }
}

/// The same to a lenient reader, and yet not what the writer writes.
#[test]
fn nothing_but_the_canonical_form_is_taken() {
    let good = String::from_utf8(seal().leaf()).unwrap();
    for (from, to) in [
        ("\"batch\":\"12\"", "\"batch\":\"012\""),
        ("\"batch\":\"12\"", "\"batch\":\"+12\""),
        ("\"batch\":\"12\"", "\"batch\":\"-12\""),
        ("\"batch\":\"12\"", "\"batch\":\"\""),
        ("\"batch\":\"12\"", "\"batch\":12"),
        ("\"batch\":\"12\"", "\"batch\": \"12\""),
        ("\"batch\":\"12\"", "\"batch\":\"18446744073709551616\""),
        ("\"batch\":\"12\",", ""),
        ("\"batch\":\"12\",", "\"batch\":\"12\",\"batch\":\"12\","),
        ("\"batch\":\"12\"", "\"batch\":\"1\\u0032\""),
        ("\"chain_version\":\"1\"", "\"chain_version\":\"-0\""),
        (
            "\"chain_version\":\"1\"",
            "\"chain_version\":\"2147483648\"",
        ),
        ("abab", "ABAB"),
        ("abab", "ab+b"),
        ("abab", "ab"),
        ("abab", "ababab"),
        ("abab", "abxb"),
        ("abab", "abäab"),
        ("\"development\"", "\"\""),
        ("\"development\"", "\"Vault\""),
        ("\"development\"", "\"a b\""),
        ("\"development\"", "\"a\\\\b\""),
        ("\"development\"", "null"),
        ("16/ABC", "16/abc"),
        ("16/ABC", "016/ABC"),
        ("16/ABC", "16/00000ABC"),
        ("16/ABC", "16ABC"),
        ("16/ABC", "16/"),
        ("16/ABC", "116/100000000"),
        ("2026-11\"", "2026-13\""),
        ("2026-11\"", "2026-00\""),
        ("2026-11\"", "2026-1\""),
        ("2026-11\"", "26-11\""),
        ("2026-11\"", "2026-11-01T00:00:00Z\""),
        ("2026-11\"", "2026_11\""),
        ("seal/v1", "seal/v2"),
        ("seal/v1", "access/v1"),
        ("12:00:00.123456Z", "12:00:00.123456z"),
        ("12:00:00.123456Z", "12:00:00.1234560Z"),
        ("12:00:00.123456Z", "13:00:00.123456+01:00"),
        ("12:00:00.123456Z", "12:00:00Z"),
        ("\"timeline\":\"1\"", "\"timeline\":\"4294967296\""),
        ("\"timeline\":\"1\"", "\"timeline\":\"1\",\"zone\":\"none\""),
        ("\"timeline\":\"1\"", "\"timeline\":\"1\","),
        ("\"timeline\":\"1\"", "\"timeline\":\"1"),
        ("\"settings\"", "\"Settings\""),
        (",\"cut\"", ", \"cut\""),
        (",\"cut\"", "\"cut\""),
        (",\"cut\"", ",,\"cut\""),
        ("{\"batch\"", "{,\"batch\""),
        ("{\"batch\"", "[\"batch\""),
        ("{\"batch\"", "\u{feff}{\"batch\""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert_eq!(SealLeaf::parse(bad.as_bytes()), None, "{to}");
    }
    for bad in [
        format!("{good}\n"),
        format!(" {good}"),
        format!("{good}}}"),
        String::new(),
        "{}".into(),
    ] {
        assert_eq!(SealLeaf::parse(bad.as_bytes()), None, "{bad}");
    }
    for end in 0..good.len() {
        assert_eq!(SealLeaf::parse(&good.as_bytes()[..end]), None);
    }
    let mut bytes = good.into_bytes();
    bytes[10] = 0xff;
    assert_eq!(SealLeaf::parse(&bytes), None);
}

#[test]
fn lane_heads_hold_each_lane_in_its_place() {
    let digest = |heads: &[(u32, u64, [u8; 32])]| {
        let mut all = LaneHeads::default();
        for (lane, seq, mac) in heads {
            all.push(*lane, *seq, mac);
        }
        all.finish()
    };
    let base = [(1, 5, [1; 32]), (2, 6, [2; 32])];
    assert_eq!(digest(&[]), LaneHeads::new().finish());
    for other in [
        vec![],
        vec![base[0]],
        vec![base[1], base[0]],
        vec![(0, 5, [1; 32]), base[1]],
        vec![(1, 4, [1; 32]), base[1]],
        vec![(1, 5, [3; 32]), base[1]],
        vec![base[0], base[1], base[1]],
    ] {
        assert_ne!(digest(&other), digest(&base));
    }
}

fn digits() -> impl Strategy<Value = u64> {
    any::<u64>().prop_flat_map(|number| (0u32..64).prop_map(move |shift| number >> shift))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        numbers in proptest::array::uniform6(digits()),
        digests in proptest::array::uniform3(any::<[u8; 32]>()),
        (chain_version, timeline) in any::<(i32, u32)>(),
        (keys, partition) in ("[a-z][a-z0-9_.-]{0,63}", "[0-9]{4}-(0[1-9]|1[0-2])"),
        sealed_at in -62_135_596_800_000_000i64..=253_402_300_799_999_999,
    ) {
        let [batch, batch_rows, cut, lsn, merkle_rows, system_identifier] = numbers;
        let [batch_root, lane_heads, settings] = digests;
        let seal = SealLeaf {
            batch, batch_root, batch_rows, chain_version, cut, keys: &keys, lane_heads, lsn, merkle_rows,
            partition: &partition, sealed_at, settings, system_identifier, timeline,
        };
        let leaf = seal.leaf();
        prop_assert_eq!(&leaf, &canonical(&leaf));
        prop_assert_eq!(SealLeaf::parse(&leaf), Some(seal));
    }

    /// One byte changed is another seal or none, and never one that writes other bytes.
    #[test]
    fn what_is_read_is_written(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut leaf = seal().leaf();
        let at = at.index(leaf.len());
        leaf[at] = byte;
        if let Some(read) = SealLeaf::parse(&leaf) {
            prop_assert_eq!(read.leaf(), leaf);
        }
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        prop_assert_eq!(SealLeaf::parse(&bytes), None);
    }
}
