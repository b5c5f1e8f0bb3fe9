//! One encrypted field, version 1: AES-256-GCM with a derived single-use key and key commitment
//! (the construction of the AWS Encryption SDK). Specified in `docs/spec/envelope.md`.
//!
//! An envelope is hostile input: its size is bounded before anything else, what the writer would
//! not produce is refused, and every refusal is the same error.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::aead::{self, TAG_BYTES};
use crate::context::Context;
use crate::kdf::Prk;
use crate::key::DataKey;
use crate::padding::{self, PAD_BYTES, padded};

pub use crate::context::{ClassificationsContext, FieldContext};
pub use crate::padding::MAX_VALUE_BYTES;

/// Longest envelope: that of a value of [`MAX_VALUE_BYTES`].
pub const MAX_ENVELOPE_BYTES: usize = PREFIX_BYTES + padded(MAX_VALUE_BYTES) + TAG_BYTES;

/// By how much an envelope is longer than its value, at least: prefix, length of the value, tag.
pub const SEALED_OVERHEAD_BYTES: usize = PREFIX_BYTES + size_of::<u32>() + TAG_BYTES;

const FORMAT: u8 = 1;
const SCOPE_DEK: u8 = 0;
const MESSAGE_ID_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const HEADER_BYTES: usize = 6;
const PREFIX_BYTES: usize = HEADER_BYTES + MESSAGE_ID_BYTES + 32;

/// An envelope cannot be sealed or opened. It never says why: a reader that tells a bad tag from
/// bad padding is an oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeError;

impl fmt::Display for EnvelopeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("envelope refused")
    }
}

impl core::error::Error for EnvelopeError {}

/// Seals a value of 1 to [`MAX_VALUE_BYTES`] bytes. The envelope hides the length up to a multiple
/// of 32 bytes.
///
/// `message_id` MUST be 32 fresh random bytes: key and nonce of this one message come from it.
///
/// # Errors
/// [`EnvelopeError`] if the value is empty or too long.
pub fn seal(
    key: &DataKey,
    message_id: &[u8; 32],
    ctx: &impl Context,
    value: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    if value.is_empty() || value.len() > MAX_VALUE_BYTES {
        return Err(EnvelopeError);
    }
    let [a, b, c, d] = key.version().to_be_bytes();
    let header = [FORMAT, SCOPE_DEK, a, b, c, d];
    let ctx = ctx.bytes();
    let derived = Derived::new(key, message_id, &header, &ctx)?;

    // Zeroizing until it is ciphertext, and as large as any: growing would leave a copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(MAX_ENVELOPE_BYTES));
    out.extend_from_slice(&header);
    out.extend_from_slice(message_id);
    out.extend_from_slice(derived.commitment.as_ref());
    padding::append(&mut out, value);
    let (prefix, body) = out
        .split_at_mut_checked(PREFIX_BYTES)
        .ok_or(EnvelopeError)?;
    let aad = [&*prefix, &ctx].concat();
    let tag = aead::encrypt(&derived.key, &derived.nonce, &aad, body).ok_or(EnvelopeError)?;
    out.extend_from_slice(&tag);
    Ok(core::mem::take(&mut *out))
}

/// The version of the key that sealed an envelope, from its header. Says nothing about whether it
/// opens.
///
/// # Errors
/// [`EnvelopeError`] if the bytes do not have the shape of an envelope.
pub fn key_version(envelope: &[u8]) -> Result<u32, EnvelopeError> {
    Ok(Parts::of(envelope)?.key_version)
}

/// Opens an envelope.
///
/// # Errors
/// [`EnvelopeError`], always the same, if the shape is not one that [`seal`] produces (size, format,
/// scope, padding), if the key's version is not the header's, if the commitment or the tag does not
/// match (other key, or moved from another subject, field, installation or generation).
pub fn open(
    key: &DataKey,
    ctx: &impl Context,
    envelope: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let parts = Parts::of(envelope)?;
    if parts.key_version != key.version() {
        return Err(EnvelopeError);
    }
    let ctx = ctx.bytes();
    let derived = Derived::new(key, parts.message_id, parts.header, &ctx)?;
    if !bool::from(derived.commitment.ct_eq(parts.commitment)) {
        return Err(EnvelopeError);
    }
    let aad = [parts.prefix, &ctx].concat();
    let mut body = Zeroizing::new(parts.body.to_vec());
    aead::decrypt(&derived.key, &derived.nonce, &aad, &mut body, parts.tag).ok_or(EnvelopeError)?;
    padding::strip(&body).ok_or(EnvelopeError)
}

/// An envelope taken apart, nothing verified but its shape.
struct Parts<'a> {
    prefix: &'a [u8],
    header: &'a [u8; HEADER_BYTES],
    key_version: u32,
    message_id: &'a [u8; MESSAGE_ID_BYTES],
    commitment: &'a [u8],
    body: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
}

impl<'a> Parts<'a> {
    fn of(envelope: &'a [u8]) -> Result<Self, EnvelopeError> {
        if envelope.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError);
        }
        Self::split(envelope).ok_or(EnvelopeError)
    }

    fn split(envelope: &'a [u8]) -> Option<Self> {
        let (prefix, rest) = envelope.split_at_checked(PREFIX_BYTES)?;
        let (body, tag) = rest.split_last_chunk()?;
        let (header, ids) = prefix.split_first_chunk()?;
        let (message_id, commitment) = ids.split_first_chunk()?;
        let &[FORMAT, SCOPE_DEK, a, b, c, d] = header else {
            return None;
        };
        if body.is_empty() || !body.len().is_multiple_of(PAD_BYTES) {
            return None;
        }
        Some(Self {
            prefix,
            header,
            key_version: u32::from_be_bytes([a, b, c, d]),
            message_id,
            commitment,
            body,
            tag,
        })
    }
}

/// What one message id gives under one key, header and context.
struct Derived {
    key: Zeroizing<[u8; 32]>,
    commitment: Zeroizing<[u8; 32]>,
    nonce: [u8; NONCE_BYTES],
}

impl Derived {
    fn new(
        key: &DataKey,
        message_id: &[u8; MESSAGE_ID_BYTES],
        header: &[u8; HEADER_BYTES],
        ctx: &[u8],
    ) -> Result<Self, EnvelopeError> {
        let prk = Prk::extract(message_id, key.expose());
        let expand = |label: &[u8]| prk.expand(&[label, header, ctx]).ok_or(EnvelopeError);
        Ok(Self {
            key: expand(b"identity_pgx/v1/enc")?,
            commitment: expand(b"identity_pgx/v1/com")?,
            nonce: *message_id.last_chunk().ok_or(EnvelopeError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    /// Without the commitment one envelope could be made that opens under two keys. So a false one is refused even where the tag is good.
    #[test]
    fn a_false_commitment_is_refused_though_the_tag_is_good() {
        let key = DataKey::new(1, &[7; 32]);
        let ctx = FieldContext {
            installation: &[1; 16],
            candidate: &[2; 16],
            field: Field::Name,
            erasure_generation: 0,
        };
        let mut envelope = seal(&key, &[9; 32], &ctx, b"Ada").unwrap();
        let good = envelope.clone();
        envelope[PREFIX_BYTES - 1] ^= 1;
        let parts = Parts::of(&good).unwrap();
        let derived = Derived::new(&key, parts.message_id, parts.header, &ctx.bytes()).unwrap();
        let aad = [&envelope[..PREFIX_BYTES], &ctx.bytes()].concat();
        let mut body = Vec::new();
        padding::append(&mut body, b"Ada");
        let tag = aead::encrypt(&derived.key, &derived.nonce, &aad, &mut body).unwrap();
        envelope.truncate(PREFIX_BYTES);
        envelope.extend_from_slice(&body);
        envelope.extend_from_slice(&tag);
        assert!(open(&key, &ctx, &good).is_ok());
        assert_eq!(open(&key, &ctx, &envelope).err(), Some(EnvelopeError));
    }
}
