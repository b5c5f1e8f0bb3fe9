//! Leaves hold texts that clients choose. See README.md for the promise.
#![no_main]

use identity_core::*;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    lane: u16,
    seq: u64,
    accessed_at: i64,
    candidate_id: Option<[u8; 16]>,
    texts: [&'a str; 3],
    optional: [Option<&'a str>; 3],
    digests: [Option<[u8; 32]>; 2],
    versions: [Option<i32>; 3],
    chain_version: i32,
    repeats: u32,
    words: [u8; 9],
    legal: bool,
}

fn pick<T: Copy>(all: &[T], number: u8) -> T {
    all[usize::from(number) % all.len()]
}

fuzz_target!(|input: Input<'_>| {
    let words = input.words;
    let row = AccessRow {
        lane: u32::from(input.lane) & MAX_LANE,
        seq: input.seq & MAX_SEQ,
        accessed_at: input.accessed_at,
        candidate_id: input.candidate_id,
        accessor_kind: pick(AccessorKind::ALL, words[0]),
        accessor_id: input.texts[0],
        accessor_role: input.texts[1],
        accessor_outer: input.texts[2],
        cert_fingerprint: input.digests[0],
        application_name: input.optional[0],
        purpose_token: input.optional[1],
        purpose_version: input.versions[0],
        fields_accessed: FieldSet::from_bits(words[1] & 63).unwrap(),
        phi_fields: FieldSet::from_bits(words[2] & 63).unwrap(),
        request_trace_id: input.optional[2],
        chain_kind: pick(ChainKind::ALL, words[3]),
        is_legal_tier_event: input.legal,
        outcome: pick(Outcome::ALL, words[4]),
        denial: Reason::from_u8(words[5]),
        repeats: input.repeats,
        consent_status: ConsentStatus::from_u8(words[6]),
        vertical: Vertical::from_u8(words[7]),
        zone: pick(Zone::ALL, words[8]),
        generation: input.versions[1],
        key_version: input.versions[2],
        chain_version: input.chain_version,
        event_digest: input.digests[1],
    };
    let leaf = row.leaf();
    let value: serde_json::Value = serde_json::from_slice(&leaf).unwrap();
    assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), leaf);

    let texts = ["accessor_id", "accessor_role", "accessor_outer"];
    for (column, text) in texts.into_iter().zip(input.texts) {
        assert_eq!(value[column].as_str(), Some(text));
    }
    let optional = ["application_name", "purpose_token", "request_trace_id"];
    for (column, text) in optional.into_iter().zip(input.optional) {
        assert_eq!(value.get(column).and_then(|v| v.as_str()), text);
    }
    assert_eq!(value["access_id"], row.access_id().to_string());
    assert_eq!(value["schema"], identity_core::leaf::SCHEMA);
});
