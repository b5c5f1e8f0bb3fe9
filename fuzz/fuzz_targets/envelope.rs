//! Envelopes are hostile input. See README.md for the promise.
#![no_main]

use identity_core::*;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    key: [u8; 32],
    version: u32,
    message_id: [u8; 32],
    field: u8,
    generation: u32,
    /// Where, and with what, a good envelope is damaged.
    at: u16,
    with: u8,
    cut: u16,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let key = DataKey::new(input.version, &input.key);
    let ctx = FieldContext {
        installation: &[1; 16],
        candidate: &[2; 16],
        field: Field::ALL[usize::from(input.field) % Field::ALL.len()],
        erasure_generation: input.generation,
    };

    // Noise as an envelope, raw and behind a header that fits: nobody finds a commitment by chance.
    assert!(open(&key, &ctx, input.bytes).is_err());
    let [a, b, c, d] = input.version.to_be_bytes();
    let headed = [&[1, 0, a, b, c, d], input.bytes].concat();
    assert!(open(&key, &ctx, &headed).is_err());
    if let Ok(version) = key_version(&headed) {
        assert_eq!(version, input.version);
    }

    // Noise as a value.
    let Ok(good) = seal(&key, &input.message_id, &ctx, input.bytes) else {
        assert!(input.bytes.is_empty() || input.bytes.len() > MAX_VALUE_BYTES);
        return;
    };
    assert!(good.len() <= MAX_ENVELOPE_BYTES);
    assert_eq!(*open(&key, &ctx, &good).unwrap(), input.bytes);

    let mut damaged = good.clone();
    damaged[usize::from(input.at) % good.len()] ^= input.with;
    damaged.truncate(good.len() - usize::from(input.cut) % good.len());
    assert_eq!(open(&key, &ctx, &damaged).is_ok(), damaged == good);
});
