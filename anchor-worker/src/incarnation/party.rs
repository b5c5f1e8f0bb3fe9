//! The parties' own keys and signatures. Nothing here needs a network: it is done where the key is.

use std::path::Path;

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use identity_core::incarnation::{Declaration, Parties, Role};
use identity_core::note::{MAX_NOTE_BYTES, Note, VerifierKey, signature_line};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use crate::secret_file;
use crate::trouble::{Kind, Trouble};

/// A secret key, as `openssl genpkey -algorithm ed25519` writes it, in a file that only its owner may read.
///
/// # Errors
/// `Configuration`.
pub fn secret_key(file: &Path) -> Result<SigningKey, Trouble> {
    let pem = secret_file::read(file)?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok();
    let key = der.and_then(|der| SigningKey::from_pkcs8_der(der.secret_pkcs8_der()).ok());
    key.ok_or_else(|| wrong(file, "is no secret key of Ed25519 in PEM"))
}

/// The public half, as `openssl pkey -pubout` writes it, under a name.
///
/// # Errors
/// `Configuration`.
pub fn public_key(file: &Path, name: &str) -> Result<VerifierKey, Trouble> {
    let pem = std::fs::read(file).map_err(|_| wrong(file, "cannot be read"))?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem).ok();
    let key = der.and_then(|der| VerifyingKey::from_public_key_der(&der).ok());
    let key = key.ok_or_else(|| wrong(file, "is no public key of Ed25519 in PEM"))?;
    VerifierKey::new(name, key.as_bytes())
        .ok_or_else(|| wrong(file, "cannot be used, or not under this name"))
}

/// Signs a declaration, or one that was signed before.
///
/// # Errors
/// `Configuration` if the key is nobody's; as [`add`].
pub fn sign(note: &str, key: &SigningKey, parties: &Parties) -> Result<(String, Role), Trouble> {
    let public = key.verifying_key();
    let role = parties.role_of(public.as_bytes()).ok_or_else(|| {
        Trouble::new(
            Kind::Configuration,
            "the key is neither party's: it says nothing",
        )
    })?;
    let signature = key.sign(text(note)?.as_bytes()).to_bytes();
    Ok((add(note, &signature, role, parties)?, role))
}

/// Adds a signature that was made elsewhere.
///
/// # Errors
/// `Untrue`: it is no declaration, the signature is not this party's over it, or that party has signed before.
pub fn add(note: &str, signature: &[u8], role: Role, parties: &Parties) -> Result<String, Trouble> {
    let untrue = |text: String| Trouble::new(Kind::Untrue, text);
    let (text, key) = (text(note)?, parties.key(role));
    if !key.verifies(text.as_bytes(), signature) {
        return Err(untrue(format!(
            "it is not the {}'s signature over this text",
            role.word()
        )));
    }
    let signed = Note::parse(note.as_bytes());
    if signed.is_some_and(|note| note.signers(core::slice::from_ref(key)).is_ok()) {
        return Err(untrue(format!("the {} has signed it already", role.word())));
    }
    let line = signature_line(key.name(), key.id(), signature);
    let between = if text == note { "\n" } else { "" };
    Ok(format!("{note}{between}{line}"))
}

/// What is signed of a declaration with or without signatures.
///
/// # Errors
/// `Untrue` if it is none.
pub fn text(note: &str) -> Result<String, Trouble> {
    let declaration = Declaration::claimed(note).filter(|_| note.len() <= MAX_NOTE_BYTES);
    let text = declaration.map(|declaration| declaration.text());
    text.ok_or_else(|| Trouble::new(Kind::Untrue, "it is no declaration of an incarnation"))
}

fn wrong(file: &Path, what: &str) -> Trouble {
    Trouble::new(Kind::Configuration, format!("{} {what}", file.display()))
}
