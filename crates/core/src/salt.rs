//! Salts of tree leaves: derived from the chain key, never stored. Specified in `docs/spec/tree.md`.
//!
//! Whoever may see a leaf can be told its salt; the neighbours whose hashes a proof shows stay
//! unknown, for each has a salt of its own.

use crate::framing::{MacKey, length};
use crate::key::ChainKey;

const ROW: &[u8] = b"identity_pgx/salt/v1";
const SEAL: &[u8] = b"identity_pgx/seal-salt/v1";

/// The salt of a row: the first 16 bytes of `HMAC-SHA-256(key, LP("identity_pgx/salt/v1") ‖
/// installation ‖ i64 BE access_id)`. The key is that of the row's `chain_version`.
#[must_use]
pub fn row_salt(key: &ChainKey, installation: &[u8; 16], access_id: i64) -> [u8; 16] {
    Salts::new(key, installation).row(access_id)
}

/// The salt of a seal leaf: the first 16 bytes of `HMAC-SHA-256(key, LP(
/// "identity_pgx/seal-salt/v1") ‖ installation ‖ u64 BE leaf_index)`, by its place in the tree.
#[must_use]
pub fn seal_salt(key: &ChainKey, installation: &[u8; 16], leaf_index: u64) -> [u8; 16] {
    Salts::new(key, installation).seal(leaf_index)
}

/// The salts of one installation under one chain key, for many rows: [`row_salt`] in half the time.
/// Whoever has it can make MACs, so like a [`ChainKey`] it wipes itself, and cannot be cloned or printed:
/// ```compile_fail
/// fn needs<T: Clone>() {}
/// needs::<identity_core::Salts>();
/// ```
/// ```compile_fail
/// fn needs<T: core::fmt::Debug>() {}
/// needs::<identity_core::Salts>();
/// ```
pub struct Salts {
    /// On the heap, as keys are: moving it leaves no copy behind on the stack.
    key: Box<MacKey>,
    installation: [u8; 16],
}

impl Salts {
    /// Makes the key ready.
    #[must_use]
    pub fn new(key: &ChainKey, installation: &[u8; 16]) -> Self {
        Self {
            key: Box::new(MacKey::new(key.expose())),
            installation: *installation,
        }
    }

    /// [`row_salt`].
    #[must_use]
    pub fn row(&self, access_id: i64) -> [u8; 16] {
        self.derive(ROW, access_id.to_be_bytes())
    }

    /// [`seal_salt`].
    #[must_use]
    pub fn seal(&self, leaf_index: u64) -> [u8; 16] {
        self.derive(SEAL, leaf_index.to_be_bytes())
    }

    /// A tag's length begins with a zero byte, and a [`crate::link`] with another, so that no salt
    /// is ever part of a MAC of the chain.
    fn derive(&self, tag: &[u8], number: [u8; 8]) -> [u8; 16] {
        let parts = [&length(tag), tag, &self.installation, &number];
        let mut salt = [0; 16];
        for (to, from) in salt.iter_mut().zip(self.key.mac(&parts)) {
            *to = from;
        }
        salt
    }
}
