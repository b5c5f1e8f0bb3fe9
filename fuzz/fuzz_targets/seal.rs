//! Seal leaves are read back from tables that somebody may have changed. See README.md for the promise.
#![no_main]

use identity_core::seal_leaf::{MAX_SEAL_LEAF_BYTES, SealLeaf};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    numbers: [u64; 6],
    digests: [[u8; 32]; 3],
    versions: (i32, u32),
    month: u16,
    sealed_at: i64,
    keys: &'a str,
    /// Where, and with what, a good leaf is damaged.
    at: u16,
    with: u8,
    bytes: &'a [u8],
}

/// The instants that have a year of four digits.
const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;

fn read(bytes: &[u8]) -> bool {
    let seal = SealLeaf::parse(bytes);
    if let Some(seal) = &seal {
        assert!(bytes.len() <= MAX_SEAL_LEAF_BYTES);
        assert_eq!(seal.leaf(), bytes);
    }
    seal.is_some()
}

fuzz_target!(|input: Input<'_>| {
    read(input.bytes);

    let partition = format!("{:04}-{:02}", input.month % 9999 + 1, input.month % 12 + 1);
    let seal = SealLeaf {
        batch: input.numbers[0],
        batch_root: input.digests[0],
        batch_rows: input.numbers[1],
        chain_version: input.versions.0,
        cut: input.numbers[2],
        keys: input.keys,
        lane_heads: input.digests[1],
        lsn: input.numbers[3],
        merkle_rows: input.numbers[4],
        partition: &partition,
        sealed_at: input.sealed_at.clamp(FIRST, LAST),
        settings: input.digests[2],
        system_identifier: input.numbers[5],
        timeline: input.versions.1,
    };
    let mut leaf = seal.leaf();
    assert_eq!(read(&leaf), identity_core::is_purpose_token(input.keys));
    if read(&leaf) {
        assert_eq!(SealLeaf::parse(&leaf), Some(seal));
    }
    let at = usize::from(input.at) % leaf.len();
    leaf[at] ^= input.with;
    read(&leaf);
});
