//! Keys that cannot be printed, cloned or serialized, and the values that tell a wrong key.

use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::framing::{Hash, hmac_sha256, length};
use crate::words::words;

words! {
    /// What a key is for.
    pub enum KeyKind : as_str {
        /// Field encryption: [`DataKey`].
        Dek = "dek",
        /// MAC chain: [`ChainKey`].
        Chain = "chain",
        /// Blind indexes. It can be brought and rotated; what uses it comes with a later version.
        Index = "index",
        /// Signatures of answers. It can be brought and rotated; what uses it comes with a later version.
        Signing = "signing",
    }
}

/// The bytes on the heap: moving a key moves a pointer, and leaves no copy behind on the stack.
struct Secret {
    version: u32,
    bytes: Box<Zeroizing<[u8; 32]>>,
}

impl Secret {
    fn new(version: u32, bytes: &[u8; 32]) -> Self {
        let mut boxed = Box::new(Zeroizing::new([0; 32]));
        boxed.copy_from_slice(bytes);
        Self {
            version,
            bytes: boxed,
        }
    }
}

/// A data encryption key (AES-256, through HKDF) with its version. Wiped when dropped.
///
/// It cannot be cloned:
/// ```compile_fail
/// fn needs<T: Clone>() {}
/// needs::<identity_core::DataKey>();
/// ```
/// nor printed:
/// ```compile_fail
/// fn needs<T: core::fmt::Debug>() {}
/// needs::<identity_core::DataKey>();
/// ```
/// and it wipes itself:
/// ```
/// fn needs<T: zeroize::ZeroizeOnDrop>() {}
/// needs::<identity_core::DataKey>();
/// ```
pub struct DataKey(Secret);

/// A chain key (HMAC-SHA-256) with its version. Wiped when dropped; like [`DataKey`] it cannot be
/// cloned or printed:
/// ```compile_fail
/// fn needs<T: Clone>() {}
/// needs::<identity_core::ChainKey>();
/// ```
/// ```compile_fail
/// fn needs<T: core::fmt::Debug>() {}
/// needs::<identity_core::ChainKey>();
/// ```
pub struct ChainKey(Secret);

impl ZeroizeOnDrop for DataKey {}
impl ZeroizeOnDrop for ChainKey {}

impl DataKey {
    /// Takes a copy of the 32 bytes; wiping the original is the caller's.
    #[must_use]
    pub fn new(version: u32, bytes: &[u8; 32]) -> Self {
        Self(Secret::new(version, bytes))
    }

    /// The version, which envelopes carry in their header.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// [`check_value`] of this key.
    #[must_use]
    pub fn check_value(&self) -> [u8; 32] {
        check_value(KeyKind::Dek, self.0.version, &self.0.bytes)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0.bytes
    }
}

impl ChainKey {
    /// Takes a copy of the 32 bytes; wiping the original is the caller's.
    #[must_use]
    pub fn new(version: u32, bytes: &[u8; 32]) -> Self {
        Self(Secret::new(version, bytes))
    }

    /// The version, which rows carry as `chain_version`.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// [`check_value`] of this key.
    #[must_use]
    pub fn check_value(&self) -> [u8; 32] {
        check_value(KeyKind::Chain, self.0.version, &self.0.bytes)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0.bytes
    }
}

/// The key-check value kept in the keyring, so that a wrong key is refused before it is used:
/// `HMAC-SHA-256(key, LP("identity_pgx/key-check/v1") ‖ LP(kind) ‖ u32 BE version)`.
#[must_use]
pub fn check_value(kind: KeyKind, version: u32, bytes: &[u8; 32]) -> [u8; 32] {
    const TAG: &[u8] = b"identity_pgx/key-check/v1";
    let kind = kind.as_str().as_bytes();
    hmac_sha256(
        bytes,
        &[
            &length(TAG),
            TAG,
            &length(kind),
            kind,
            &version.to_be_bytes(),
        ],
    )
}

/// The fixed key that `dev_unlock()` loads: `SHA-256(LP("identity_pgx/development-key/v1") ‖
/// LP(kind))`. Public by design: whoever reads this page has it.
#[must_use]
pub fn development_key(kind: KeyKind) -> Zeroizing<[u8; 32]> {
    let hash = Hash::tagged("identity_pgx/development-key/v1").lp(kind.as_str().as_bytes());
    Zeroizing::new(hash.finish())
}

/// Whether these are the bytes of the key with this [`check_value`]; in constant time.
#[must_use]
pub fn is_key(kind: KeyKind, version: u32, bytes: &[u8; 32], expected: &[u8]) -> bool {
    check_value(kind, version, bytes).ct_eq(expected).into()
}
