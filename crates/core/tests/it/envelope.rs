//! What does not open: everything but what was sealed, in its place, under its key.

use identity_core::*;
use proptest::prelude::*;

use crate::support::{CANDIDATE, INSTALLATION, context};

const KEY: [u8; 32] = [7; 32];
const ID: [u8; 32] = *b"thirty-two bytes of message id..";

fn sealed(value: &[u8]) -> Vec<u8> {
    seal(&DataKey::new(1, &KEY), &ID, &context(Field::Name), value).unwrap()
}

fn refused(ctx: &FieldContext<'_>, key: &DataKey, envelope: &[u8]) -> bool {
    open(key, ctx, envelope).is_err()
}

#[test]
fn every_length_opens_and_is_hidden_up_to_32_bytes() {
    let key = DataKey::new(1, &KEY);
    for length in 1..=MAX_VALUE_BYTES {
        let value: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let envelope = sealed(&value);
        assert_eq!(envelope.len(), 86 + (4 + length).div_ceil(32) * 32);
        assert_eq!(
            *open(&key, &context(Field::Name), &envelope).unwrap(),
            value
        );
    }
    assert_eq!(sealed(&[0; MAX_VALUE_BYTES]).len(), MAX_ENVELOPE_BYTES);
    assert_eq!(MAX_ENVELOPE_BYTES, 1142);
    // A value that leaves nothing to pad has the overhead and no more.
    assert_eq!(sealed(&[0; 28]).len() - 28, envelope::SEALED_OVERHEAD_BYTES);
}

#[test]
fn empty_and_too_long_values_are_not_sealed() {
    let key = DataKey::new(1, &KEY);
    for length in [0, MAX_VALUE_BYTES + 1, 4 * MAX_VALUE_BYTES] {
        let result = seal(&key, &ID, &context(Field::Name), &vec![b'x'; length]);
        assert_eq!(result, Err(EnvelopeError));
    }
}

#[test]
fn truncated_at_every_length_is_refused() {
    let (key, ctx) = (DataKey::new(1, &KEY), context(Field::Name));
    for value in [&[1u8; 5][..], &[1; 100]] {
        let envelope = sealed(value);
        for length in 0..envelope.len() {
            assert!(refused(&ctx, &key, &envelope[..length]), "{length}");
            assert!(refused(&ctx, &key, &envelope[length + 1..]), "{length}");
        }
    }
}

#[test]
fn lengthened_is_refused() {
    let (key, ctx) = (DataKey::new(1, &KEY), context(Field::Name));
    for more in 1..=96 {
        let mut envelope = sealed(b"value");
        envelope.extend(std::iter::repeat_n(0, more));
        assert!(refused(&ctx, &key, &envelope), "{more}");
    }
    assert!(refused(&ctx, &key, &vec![1; 1 << 20]));
}

#[test]
fn every_flipped_bit_is_refused() {
    let (key, ctx) = (DataKey::new(1, &KEY), context(Field::Name));
    let envelope = sealed("Mária Kovács, fifty bytes or so to fill blocks".as_bytes());
    for bit in 0..envelope.len() * 8 {
        let mut flipped = envelope.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&ctx, &key, &flipped), "{bit}");
    }
    assert!(!refused(&ctx, &key, &envelope));
}

#[test]
fn moved_elsewhere_is_refused() {
    let (key, home) = (DataKey::new(1, &KEY), context(Field::Name));
    let envelope = sealed(b"value");
    for bit in 0..128 {
        let flip = |bytes: &[u8; 16]| {
            let mut other = *bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            other
        };
        let (candidate, installation) = (flip(&CANDIDATE), flip(&INSTALLATION));
        let subject = FieldContext {
            candidate: &candidate,
            ..home
        };
        let installed = FieldContext {
            installation: &installation,
            ..home
        };
        assert!(refused(&subject, &key, &envelope));
        assert!(refused(&installed, &key, &envelope));
    }
    for field in Field::ALL.iter().filter(|field| **field != Field::Name) {
        assert!(refused(&context(*field), &key, &envelope));
    }
    for bit in 0..32 {
        let later = FieldContext {
            erasure_generation: 1 << bit,
            ..home
        };
        assert!(refused(&later, &key, &envelope));
    }
}

#[test]
fn other_keys_and_versions_are_refused() {
    let (ctx, envelope) = (context(Field::Name), sealed(b"value"));
    for bit in 0..256 {
        let mut other = KEY;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&ctx, &DataKey::new(1, &other), &envelope));
    }
    for version in [0, 2, 256, 1 << 24, u32::MAX] {
        assert!(refused(&ctx, &DataKey::new(version, &KEY), &envelope));
        // The same key under another version, its number put into the header.
        let mut relabelled = envelope.clone();
        relabelled[2..6].copy_from_slice(&version.to_be_bytes());
        assert_eq!(key_version(&relabelled), Ok(version));
        assert!(refused(&ctx, &DataKey::new(version, &KEY), &relabelled));
    }
}

#[test]
fn shape_alone_decides_what_has_a_key_version() {
    let shaped = |length: usize| {
        let mut bytes = vec![0xff; length];
        bytes[..6].copy_from_slice(&[1, 0, 0, 0, 1, 2]);
        bytes
    };
    for length in 6..MAX_ENVELOPE_BYTES + 200 {
        let fits = length > 86 && length <= MAX_ENVELOPE_BYTES && (length - 86) % 32 == 0;
        assert_eq!(
            key_version(&shaped(length)),
            if fits { Ok(258) } else { Err(EnvelopeError) }
        );
    }
    for (format, scope) in [(0, 0), (2, 0), (1, 1), (1, 255)] {
        let mut bytes = shaped(118);
        bytes[..2].copy_from_slice(&[format, scope]);
        assert_eq!(key_version(&bytes), Err(EnvelopeError));
    }
}

#[test]
fn the_error_says_nothing() {
    assert_eq!(EnvelopeError.to_string(), "envelope refused");
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        value in proptest::collection::vec(any::<u8>(), 1..=MAX_VALUE_BYTES),
        id: [u8; 32], key: [u8; 32], version: u32, generation: u32, field in 0u8..6,
        installation: [u8; 16], candidate: [u8; 16],
    ) {
        let ctx = FieldContext {
            installation: &installation,
            candidate: &candidate,
            field: Field::from_u8(field).unwrap(),
            erasure_generation: generation,
        };
        let key = DataKey::new(version, &key);
        let envelope = seal(&key, &id, &ctx, &value).unwrap();
        prop_assert_eq!(&*open(&key, &ctx, &envelope).unwrap(), &value);
        prop_assert!(value.len() < 8 || !envelope.windows(8).any(|part| value.windows(8).any(|v| v == part)));
    }

    #[test]
    fn noise_never_opens(noise in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let key = DataKey::new(1, &KEY);
        prop_assert!(open(&key, &context(Field::Name), &noise).is_err());
        let _ = key_version(&noise);
    }
}
