//! Signed notes: a text, and who signed it. C2SP `signed-note` with Ed25519; our profile is in
//! `docs/spec/checkpoint.md`.
//!
//! A note comes from anywhere. Nothing in it means anything until a key that the reader was given
//! beforehand has signed it: the keys are the only thing here that is trusted.

use core::fmt;

use ed25519_dalek::{Signature, VerifyingKey};

use crate::encoding::{array_from_base64, base64, from_base64, hex};
use crate::framing::Hash;

/// Longest note. The specification asks for room for 16 signatures, post-quantum ones included
/// (nearly 5 kB each before base 64).
pub const MAX_NOTE_BYTES: usize = 1 << 17;

/// Most signatures of one note: what a note may cost a verifier is bounded.
pub const MAX_SIGNATURES: usize = 100;

/// Longest text of a verifier key that is read.
pub const MAX_VKEY_BYTES: usize = 1 << 10;

/// Length of a key id.
pub const KEY_ID_BYTES: usize = 4;

/// The signature type of Ed25519, in ids and in encoded keys.
const ED25519: u8 = 0x01;
const PUBLIC_KEY_BYTES: usize = 32;

/// Em dash and space: how a signature line begins.
const MARK: &str = "\u{2014} ";

/// Why a note was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// It is no note, or not in the form its writer would give it.
    Malformed,
    /// None of the given keys has signed it.
    NotSigned,
    /// A signature that names a given key is not that key's.
    BadSignature,
}

impl fmt::Display for NoteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Malformed => "it is not a signed note",
            Self::NotSigned => "none of the given keys has signed it",
            Self::BadSignature => "the signature of a given key does not verify",
        })
    }
}

impl core::error::Error for NoteError {}

/// Whether a key may have this name: not empty, without Unicode spaces and `+`.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c == '+' || c.is_whitespace())
}

/// What a signature line calls a key beside its name: the first four bytes of
/// `SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)`. A label, not a proof of anything.
#[must_use]
pub fn key_id(name: &str, public_key: &[u8; PUBLIC_KEY_BYTES]) -> [u8; KEY_ID_BYTES] {
    let hash = Hash::default()
        .raw(name.as_bytes())
        .raw(&[b'\n', ED25519])
        .raw(public_key)
        .finish();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// The line, newline included, that adds a signature to a note. A note is its text, an empty line,
/// and such lines.
#[must_use]
pub fn signature_line(name: &str, key_id: [u8; KEY_ID_BYTES], signature: &[u8]) -> String {
    format!("{MARK}{name} {}\n", base64(&[&key_id, signature].concat()))
}

/// The public half of a key that signs notes, with its name: a *vkey*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; KEY_ID_BYTES],
    key: VerifyingKey,
}

impl VerifierKey {
    /// `None` when a key may not have the name, or when the bytes are no public key, or one of the
    /// few under which a signature fits many texts.
    #[must_use]
    pub fn new(name: &str, public_key: &[u8; PUBLIC_KEY_BYTES]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(public_key).ok()?;
        (is_key_name(name) && !key.is_weak()).then(|| Self {
            name: name.to_owned(),
            id: key_id(name, public_key),
            key,
        })
    }

    /// Reads what [`fmt::Display`] writes: `name+id in hex+base64(0x01 ‖ public key)`.
    #[must_use]
    pub fn parse(vkey: &str) -> Option<Self> {
        if vkey.len() > MAX_VKEY_BYTES {
            return None;
        }
        let (name, rest) = vkey.split_once('+')?;
        let (_, encoded) = rest.split_once('+')?;
        let [ED25519, public_key @ ..] = array_from_base64::<{ 1 + PUBLIC_KEY_BYTES }>(encoded)?
        else {
            return None;
        };
        let key = Self::new(name, &public_key)?;
        // The id is not read but compared, and so is the case of its digits.
        (key.to_string() == vkey).then_some(key)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> [u8; KEY_ID_BYTES] {
        self.id
    }

    /// The public key itself.
    #[must_use]
    pub fn public_key(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        self.key.as_bytes()
    }

    /// The same key under another name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Option<Self> {
        Self::new(name, self.public_key())
    }

    /// Whether `signature` is this key's over `message`. Strict: signatures that fit more than one
    /// message or key are refused.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(out, "{}+{}+{}", self.name, hex(&self.id), base64(&encoded))
    }
}

/// A note that is well formed. Whether its text may be believed is [`Note::signers`]' answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// What is signed, its last newline included.
    pub text: &'a str,
    signatures: Vec<Line<'a>>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'a> {
    name: &'a str,
    id: [u8; KEY_ID_BYTES],
    signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Splits a note into its text and its signatures, of whatever keys and kinds.
    #[must_use]
    pub fn parse(note: &'a [u8]) -> Option<Self> {
        if note.len() > MAX_NOTE_BYTES {
            return None;
        }
        let note = core::str::from_utf8(note).ok()?;
        if !is_plain(note) {
            return None;
        }
        // The text may hold empty lines too: the last one ends it.
        let (text, rest) = note.split_at_checked(note.rfind("\n\n")? + 1)?;
        let lines = rest.strip_prefix('\n')?.strip_suffix('\n')?.split('\n');
        let signatures: Option<Vec<Line<'a>>> =
            lines.take(MAX_SIGNATURES + 1).map(Line::parse).collect();
        let signatures = signatures.filter(|lines| lines.len() <= MAX_SIGNATURES)?;
        Some(Self { text, signatures })
    }

    /// Whether a signature carries this name. That it is the signature of a key of that name is
    /// [`Note::signers`]' answer, for whoever has the key.
    #[must_use]
    pub fn claims(&self, name: &str) -> bool {
        self.signatures.iter().any(|line| line.name == name)
    }

    /// How many signatures it carries, of whomever.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// The given keys that have signed the text.
    ///
    /// Signatures of other keys say nothing and are passed over, as the specification demands: a
    /// note may carry those of witnesses, or of a key to come.
    ///
    /// # Errors
    /// [`NoteError::NotSigned`], [`NoteError::BadSignature`].
    pub fn signers<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signers = Vec::new();
        for key in keys {
            let mut own = self
                .signatures
                .iter()
                .filter(|line| line.names(key))
                .peekable();
            if own.peek().is_none() {
                continue;
            }
            if !own.all(|line| key.verifies(self.text.as_bytes(), &line.signature)) {
                return Err(NoteError::BadSignature);
            }
            signers.push(key);
        }
        if signers.is_empty() {
            return Err(NoteError::NotSigned);
        }
        Ok(signers)
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
        let bytes = from_base64(encoded).filter(|_| is_key_name(name))?;
        let (id, signature) = bytes.split_first_chunk()?;
        (!signature.is_empty()).then(|| Self {
            name,
            id: *id,
            signature: signature.to_vec(),
        })
    }

    fn names(&self, key: &VerifierKey) -> bool {
        (self.name, self.id) == (&*key.name, key.id)
    }
}

/// A note whose text was signed by at least one given key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The text, its last newline included.
    pub text: &'a str,
    /// Who signed it, in the order of the given keys.
    pub signers: Vec<&'a VerifierKey>,
}

/// Reads a note and believes it if at least one of `keys` has signed it and no signature that
/// names one of them is wrong.
///
/// # Errors
/// Any [`NoteError`].
pub fn open<'a>(note: &'a [u8], keys: &'a [VerifierKey]) -> Result<Opened<'a>, NoteError> {
    let note = Note::parse(note).ok_or(NoteError::Malformed)?;
    Ok(Opened {
        text: note.text,
        signers: note.signers(keys)?,
    })
}

/// Whether a text has no ASCII control character but newlines.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' || byte == b'\n')
}
