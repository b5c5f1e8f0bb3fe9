//! Salts of tree leaves: derived from the chain key, never stored. Specified in `docs/spec/tree.md`.
//!
//! Whoever may see a leaf can be told its salt; the neighbours whose hashes a proof shows stay
//! unknown, for each has a salt of its own.

use crate::framing::{hmac_sha256, length};
use crate::key::ChainKey;

const ROW: &[u8] = b"identity_pgx/salt/v1";
const SEAL: &[u8] = b"identity_pgx/seal-salt/v1";

/// The salt of a row: the first 16 bytes of `HMAC-SHA-256(key, LP("identity_pgx/salt/v1") ‖
/// installation ‖ i64 BE access_id)`. The key is that of the row's `chain_version`.
#[must_use]
pub fn row_salt(key: &ChainKey, installation: &[u8; 16], access_id: i64) -> [u8; 16] {
    derive(key, ROW, installation, access_id.to_be_bytes())
}

/// The salt of a seal leaf: the first 16 bytes of `HMAC-SHA-256(key, LP(
/// "identity_pgx/seal-salt/v1") ‖ installation ‖ u64 BE leaf_index)`, by its place in the tree.
#[must_use]
pub fn seal_salt(key: &ChainKey, installation: &[u8; 16], leaf_index: u64) -> [u8; 16] {
    derive(key, SEAL, installation, leaf_index.to_be_bytes())
}

/// A tag's length begins with a zero byte, and a [`crate::link`] with another, so that no salt is
/// ever part of a MAC of the chain.
fn derive(key: &ChainKey, tag: &[u8], installation: &[u8; 16], number: [u8; 8]) -> [u8; 16] {
    let mac = hmac_sha256(key.expose(), &[&length(tag), tag, installation, &number]);
    let mut salt = [0; 16];
    for (to, from) in salt.iter_mut().zip(mac) {
        *to = from;
    }
    salt
}
