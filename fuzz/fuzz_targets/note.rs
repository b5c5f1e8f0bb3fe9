//! Notes come from anywhere. See README.md for the promise.
#![no_main]

use std::sync::LazyLock;

use ed25519_dalek::{Signer, SigningKey};
use identity_core::note::{Note, NoteError, VerifierKey, is_key_name, open, signature_line};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "example.com/log";

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[1; 32]));
static KEYS: LazyLock<[VerifierKey; 1]> = LazyLock::new(|| {
    let public = KEY.verifying_key().to_bytes();
    [VerifierKey::new(NAME, &public).unwrap()]
});

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    text: &'a str,
    other: &'a str,
    id: [u8; 4],
    signature: &'a [u8],
    at: u16,
    with: u8,
    bytes: &'a [u8],
}

fn sign(text: &str) -> String {
    signature_line(NAME, KEYS[0].id(), &KEY.sign(text.as_bytes()).to_bytes())
}

fuzz_target!(|input: Input<'_>| {
    // Noise, as it is and behind a mark.
    assert!(open(input.bytes, &*KEYS).is_err());
    let marked = [b"x\n\n\xe2\x80\x94 ", input.bytes, b"\n"].concat();
    assert!(open(&marked, &*KEYS).is_err());
    if let Some(key) = VerifierKey::parse(input.text) {
        assert_eq!(key.to_string(), input.text);
    }

    // A note of ours beside anybody's line opens unless the line spoils it, and damage never goes unseen.
    let text = format!("{}\n", input.text);
    let other = signature_line(input.other, input.id, input.signature);
    let note = format!("{text}\n{}{other}", sign(&text)).into_bytes();
    let plain = !input.text.bytes().any(|byte| byte < b' ' && byte != b'\n');
    let fits = is_key_name(input.other)
        && !input.signature.is_empty()
        && !input.other.bytes().any(|byte| byte < b' ');
    match open(&note, &*KEYS) {
        Ok(opened) => assert_eq!(opened.text, text),
        Err(NoteError::Malformed) => assert!(!plain || !fits || note.len() > 1 << 17),
        Err(NoteError::BadSignature) => assert_eq!((input.other, input.id), (NAME, KEYS[0].id())),
        Err(NoteError::NotSigned) => assert!(!fits),
    }
    let mut damaged = note;
    let at = usize::from(input.at) % damaged.len();
    damaged[at] ^= input.with;
    if let Ok(opened) = open(&damaged, &*KEYS) {
        assert_eq!(opened.text, text);
    }
    if let Some(note) = Note::parse(&damaged) {
        assert!(damaged.starts_with(note.text.as_bytes()));
    }
});
