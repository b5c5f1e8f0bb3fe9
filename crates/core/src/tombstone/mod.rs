//! Tombstones: what is published of an erasure, so that a database restored from an older backup can be purged again of who came back with it. Specified in
//! `docs/spec/tombstone.md`.
//!
//! A keyed hash of an id: whoever does not hold the key can neither tell whose it is nor make one. So a tombstone is its own authority: it is there because
//! somebody with the key erased that subject.

mod list;

use crate::framing::MacKey;
use crate::kdf::Prk;
use crate::key::ChainKey;

pub use list::{Head, List, MAX_OBJECT_BYTES, MAX_TOMBSTONES, Tombstone, Wrong, body, digest};

const INFO: &[u8] = b"identity_pgx/tombstone/v1";
/// The chain key that all tombstones are made with: of its kind no version ever retires, and the first is in every backup.
pub const KEY_VERSION: u32 = 1;

crate::words::words! {
    /// What was erased.
    pub enum What : as_str {
        /// A subject with all that is of it.
        Subject = "subject",
        /// Its biometrics alone; the subject stayed.
        Biometric = "biometric",
    }
}

impl What {
    const fn tag(self) -> u8 {
        match self {
            Self::Subject => 0x01,
            Self::Biometric => 0x02,
        }
    }
}

/// The key of one installation's tombstones. Like a [`ChainKey`] it wipes itself, and cannot be cloned or printed:
/// ```compile_fail
/// fn needs<T: Clone>() {}
/// needs::<identity_core::tombstone::Tombstones>();
/// ```
/// ```compile_fail
/// fn needs<T: core::fmt::Debug>() {}
/// needs::<identity_core::tombstone::Tombstones>();
/// ```
pub struct Tombstones {
    /// On the heap, as keys are: moving it leaves no copy behind on the stack.
    key: Box<MacKey>,
}

impl Tombstones {
    /// `HKDF-SHA-256(ikm = key, salt = "", info = "identity_pgx/tombstone/v1" ‖ installation)`. `None` of another version than the first: what it made would not be found
    /// again.
    #[must_use]
    pub fn new(key: &ChainKey, installation: &[u8; 16]) -> Option<Self> {
        if key.version() != KEY_VERSION {
            return None;
        }
        let derived = Prk::extract(&[], key.expose()).expand(&[INFO, installation])?;
        Some(Self {
            key: Box::new(MacKey::new(&derived)),
        })
    }

    /// `HMAC-SHA-256(key, 0x01 ‖ candidate)`.
    #[must_use]
    pub fn subject(&self, candidate: &[u8; 16]) -> [u8; 32] {
        self.key.mac(&[&[What::Subject.tag()], candidate])
    }

    /// `HMAC-SHA-256(key, 0x02 ‖ candidate ‖ i64 BE collected_at)`, the moment in microseconds since 1970: those that are collected of the same person later have
    /// another one.
    #[must_use]
    pub fn biometric(&self, candidate: &[u8; 16], collected_at: i64) -> [u8; 32] {
        let tag = [What::Biometric.tag()];
        self.key
            .mac(&[&tag, candidate, &collected_at.to_be_bytes()])
    }
}
