//! A key on its way into the database: sealed by the worker to the key pair of one run of one server, and by nobody else. Specified
//! in `docs/spec/unlock.md`.
//!
//! HPKE (RFC 9180) in Auth mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The sealed bytes are hostile input: whoever
//! may call SQL hands them in.

use hpke::aead::{AeadTag, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256 as Dh;
pub use hpke::rand_core::CryptoRng;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::framing::length;
use crate::key::KeyKind;

/// An encapsulated key, 32 bytes of ciphertext, a tag.
pub const SEALED_BYTES: usize = 32 + 32 + 16;

/// What a sealed key is bound to: it opens as nothing else, and nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct KeyLoad<'a> {
    /// Whose keyring the key is of.
    pub installation: [u8; 16],
    /// The database cluster, in decimal as PostgreSQL prints it.
    pub system_identifier: &'a str,
    /// Which key pair of the server it is sealed to: another one after each start and each wipe.
    pub epoch: [u8; 16],
    /// What the key is for.
    pub kind: KeyKind,
    /// Which of its kind.
    pub version: u32,
}

/// An X25519 private key. Wiped when dropped; it cannot be cloned or printed:
/// ```compile_fail
/// fn needs<T: Clone>() {}
/// needs::<identity_core::sealing::SealingSecret>();
/// ```
/// ```compile_fail
/// fn needs<T: core::fmt::Debug>() {}
/// needs::<identity_core::sealing::SealingSecret>();
/// ```
pub struct SealingSecret(Box<Zeroizing<[u8; 32]>>);

impl ZeroizeOnDrop for SealingSecret {}

impl SealingSecret {
    /// Takes a copy of 32 random bytes; wiping the original is the caller's.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut boxed = Box::new(Zeroizing::new([0; 32]));
        boxed.copy_from_slice(bytes);
        Self(boxed)
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.private()
            .map_or([0; 32], |private| Dh::sk_to_pk(&private).to_bytes().into())
    }

    /// Any 32 bytes are a private key; the library asks only for their number.
    fn private(&self) -> Option<<Dh as Kem>::PrivateKey> {
        <Dh as Kem>::PrivateKey::from_bytes(&self.0[..]).ok()
    }
}

/// Seals a key to the server that showed `server_public`. `None` if that is no point to agree on a secret with.
#[must_use]
pub fn seal_key(
    worker: &SealingSecret,
    server_public: &[u8; 32],
    load: &KeyLoad<'_>,
    key: &[u8; 32],
    rng: &mut impl CryptoRng,
) -> Option<[u8; SEALED_BYTES]> {
    let mut body = Zeroizing::new(*key);
    let (encapsulated, tag) = seal(
        worker,
        server_public,
        (&info(load), &[]),
        &mut body[..],
        rng,
    )?;
    let mut sealed = [0; SEALED_BYTES];
    let parts: [&[u8]; 3] = [&encapsulated, &body[..], &tag];
    for (to, from) in sealed.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    Some(sealed)
}

/// Opens what the worker with this public key sealed to this server for this purpose; `None` for everything else.
#[must_use]
pub fn open_key(
    server: &SealingSecret,
    worker_public: &[u8; 32],
    load: &KeyLoad<'_>,
    sealed: &[u8],
) -> Option<Zeroizing<[u8; 32]>> {
    let sealed: &[u8; SEALED_BYTES] = sealed.try_into().ok()?;
    let (encapsulated, rest) = sealed.split_first_chunk::<32>()?;
    let (body, tag) = rest.split_first_chunk::<32>()?;
    let mut key = Zeroizing::new(*body);
    let bound_to = (&*info(load), &[][..]);
    open(
        server,
        worker_public,
        bound_to,
        encapsulated,
        &mut key[..],
        tag,
    )?;
    Some(key)
}

/// Encrypts in place, bound to info and associated data; the encapsulated key and the tag.
fn seal(
    worker: &SealingSecret,
    server_public: &[u8; 32],
    (info, associated): (&[u8], &[u8]),
    body: &mut [u8],
    rng: &mut impl CryptoRng,
) -> Option<([u8; 32], [u8; 16])> {
    let private = worker.private()?;
    let public = Dh::sk_to_pk(&private);
    let (encapsulated, mut context) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, Dh>(
        &OpModeS::Auth((private, public)),
        &<Dh as Kem>::PublicKey::from_bytes(server_public).ok()?,
        info,
        rng,
    )
    .ok()?;
    let tag = context
        .seal_inout_detached(InOutBuf::from(body), associated)
        .ok()?;
    Some((encapsulated.to_bytes().into(), tag.to_bytes().into()))
}

/// The other way.
fn open(
    server: &SealingSecret,
    worker_public: &[u8; 32],
    (info, associated): (&[u8], &[u8]),
    encapsulated: &[u8; 32],
    body: &mut [u8],
    tag: &[u8],
) -> Option<()> {
    let mut context = hpke::setup_receiver::<AesGcm256, HkdfSha256, Dh>(
        &OpModeR::Auth(<Dh as Kem>::PublicKey::from_bytes(worker_public).ok()?),
        &server.private()?,
        &<Dh as Kem>::EncappedKey::from_bytes(encapsulated).ok()?,
        info,
    )
    .ok()?;
    let tag = AeadTag::<AesGcm256>::from_bytes(tag).ok()?;
    context
        .open_inout_detached(InOutBuf::from(body), associated, &tag)
        .ok()
}

/// `LP("identity_pgx/key-load/v1") ‖ installation ‖ LP(system identifier) ‖ epoch ‖ LP(kind) ‖ u32 BE version`
fn info(load: &KeyLoad<'_>) -> Vec<u8> {
    const TAG: &[u8] = b"identity_pgx/key-load/v1";
    let system = load.system_identifier.as_bytes();
    let kind = load.kind.as_str().as_bytes();
    let parts: [&[u8]; 9] = [
        &length(TAG),
        TAG,
        &load.installation,
        &length(system),
        system,
        &load.epoch,
        &length(kind),
        kind,
        &load.version.to_be_bytes(),
    ];
    parts.concat()
}

#[cfg(test)]
mod tests;
