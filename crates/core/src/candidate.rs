//! Subject ids: UUID version 7 (RFC 9562, section 5.7).

use uuid::Builder;

/// The id made at `unix_ms` milliseconds since 1970-01-01T00:00:00Z (48 bits) from 10 random bytes,
/// of which version and variant take 6 bits.
///
/// Ids are ordered by time for the sake of the index; the 74 random bits keep them from being
/// guessed. The bytes must come from a cryptographic generator.
#[must_use]
pub fn candidate_id(unix_ms: u64, random: &[u8; 10]) -> [u8; 16] {
    Builder::from_unix_timestamp_millis(unix_ms, random)
        .into_uuid()
        .into_bytes()
}
