//! A note is believed when a given key has signed it, and not otherwise.

use ed25519_dalek::SigningKey;
use identity_core::note::{
    MAX_NOTE_BYTES, MAX_SIGNATURES, MAX_VKEY_BYTES, Note, NoteError, VerifierKey, is_key_name,
    key_id, open, signature_line,
};
use proptest::prelude::*;
use signed_note::{StandardVerifier, VerifierList};

use crate::log::Signer;
use crate::support::bit_flips;

const TEXT: &str = "A text\nof two lines, and — a dash.\n";

fn log() -> Signer {
    Signer::new("example.com/log", 1)
}

fn public_key() -> [u8; 32] {
    SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()
}

fn witness() -> Signer {
    Signer::new("witness.example/w1", 2)
}

fn opens(note: impl AsRef<[u8]>, keys: &[VerifierKey]) -> Result<usize, NoteError> {
    open(note.as_ref(), keys).map(|opened| opened.signers.len())
}

#[test]
fn a_signed_note_opens_and_names_its_signers() {
    let (log, witness) = (log(), witness());
    let keys = [witness.vkey.clone(), log.vkey.clone()];
    let note = log.note(TEXT);
    let opened = open(note.as_bytes(), &keys).unwrap();
    assert_eq!((opened.text, opened.signers), (TEXT, vec![&log.vkey]));

    let both = note + &witness.line(TEXT);
    let opened = open(both.as_bytes(), &keys).unwrap();
    assert_eq!(opened.signers, [&witness.vkey, &log.vkey]);
}

#[test]
fn a_note_says_in_whose_names_it_was_signed() {
    let (log, witness) = (log(), witness());
    let both = log.note(TEXT) + &witness.line(TEXT);
    let note = Note::parse(both.as_bytes()).unwrap();
    assert!(note.claims("example.com/log") && note.claims("witness.example/w1"));
    // Whole names, and whoever wrote them.
    assert!(!note.claims("example.com") && !note.claims("") && !note.claims(TEXT));
    let forged = format!("{TEXT}\n{}", signature_line("somebody", [0; 4], &[0]));
    let note = Note::parse(forged.as_bytes()).unwrap();
    assert!(note.claims("somebody") && note.signers(&[log.vkey]).is_err());
}

#[test]
fn a_note_nobody_given_has_signed_does_not_open() {
    let note = log().note(TEXT);
    assert_eq!(opens(&note, &[]), Err(NoteError::NotSigned));
    assert_eq!(opens(&note, &[witness().vkey]), Err(NoteError::NotSigned));
    // The same name with another key, and the same key with another name, are other keys.
    let renamed = Signer::new("example.com/log", 3).vkey;
    assert_eq!(opens(&note, &[renamed]), Err(NoteError::NotSigned));
    let elsewhere = Signer::new("example.com/other", 1).vkey;
    assert_eq!(opens(&note, &[elsewhere]), Err(NoteError::NotSigned));
    // Nor are a name and an id enough that belong to two keys.
    let mixed = signature_line("witness.example/w1", log().vkey.id(), &[1; 64]);
    let note = format!("{TEXT}\n{mixed}");
    let keys = [log().vkey, witness().vkey];
    assert_eq!(opens(&note, &keys), Err(NoteError::NotSigned));
}

#[test]
fn signatures_of_unknown_keys_and_kinds_are_passed_over() {
    let note = log().note(TEXT)
        + &witness().line("another text\n")
        + &signature_line("a.pq.key", [0, 0, 0, 0], &[7; 4627])
        + &signature_line("one.byte", [0, 0, 0, 0], &[7]);
    assert_eq!(opens(&note, &[log().vkey]), Ok(1));
}

#[test]
fn a_wrong_signature_of_a_given_key_spoils_the_note() {
    let (log, witness) = (log(), witness());
    let wrong = witness.line("another text\n");
    let keys = [log.vkey.clone(), witness.vkey.clone()];
    let note = log.note(TEXT) + &wrong;
    assert_eq!(opens(&note, &keys), Err(NoteError::BadSignature));
    // Behind a good one of the same key, too: each line is looked at.
    let note = log.note(TEXT) + &log.line("another text\n");
    assert_eq!(opens(&note, &keys), Err(NoteError::BadSignature));
    let note = log.note(TEXT) + &log.line(TEXT);
    assert_eq!(opens(&note, &keys), Ok(1));
    // Neither a shorter nor a longer signature is one.
    for length in [1, 63, 65] {
        let line = signature_line("example.com/log", log.vkey.id(), &vec![7; length]);
        let note = format!("{TEXT}\n{line}");
        assert_eq!(opens(&note, &keys), Err(NoteError::BadSignature));
    }
}

#[test]
fn no_single_bit_can_be_changed() {
    let log = log();
    let note = log.note(TEXT);
    let keys = [log.vkey];
    assert_eq!(opens(&note, &keys), Ok(1));
    for changed in bit_flips(note.as_bytes()) {
        assert!(opens(&changed, &keys).is_err());
    }
}

#[test]
fn what_is_not_a_note_is_malformed() {
    let log = log();
    let good = log.note(TEXT);
    let line = log.line(TEXT);
    let keys = [log.vkey];
    for bad in [
        String::new(),
        "\n".into(),
        "\n\n".into(),
        TEXT.into(),
        format!("{TEXT}\n"),
        format!("{TEXT}\n\n"),
        line.clone(),
        format!("\n{line}"),
        format!("{TEXT}{line}"),
        good.trim_end().into(),
        format!("{good}\n"),
        format!("{good}\n\n"),
        format!("{good}x"),
        format!("{good}{}", "— name"),
        good.replace('\n', "\r\n"),
        good.replace("text", "te\txt"),
        good.replace("text", "te\0xt"),
        good.replace("\n— ", "\n—"),
        good.replace("\n— ", "\n- "),
        good.replace("\n— ", "\n —  "),
        good.replace("/log ", "/log  "),
        good.replace("/log ", "+log "),
        good.replace("/log ", "\u{a0}log "),
        good.replace("example.com/log ", " "),
        good.replace("= \n", "=\n").replace("=\n", "\n"),
        good.replace("=\n", "= \n"),
        format!("{TEXT}\n— name \n"),
        format!("{TEXT}\n— name AAAAAA==\n"),
        format!("{TEXT}\n— name AAAAAB==\n"),
    ] {
        assert_ne!(bad, good);
        assert_eq!(opens(&bad, &keys), Err(NoteError::Malformed), "{bad:?}");
    }
    let mut bytes = good.into_bytes();
    bytes[0] = 0xff;
    assert_eq!(opens(&bytes, &keys), Err(NoteError::Malformed));
}

#[test]
fn a_text_may_hold_empty_lines() {
    let log = log();
    for text in ["\n", "\n\n", "a\n\n", "\n\na\n\n\nb\n"] {
        let note = log.note(text);
        assert_eq!(
            open(note.as_bytes(), core::slice::from_ref(&log.vkey))
                .unwrap()
                .text,
            text
        );
    }
}

#[test]
fn size_and_number_of_signatures_are_bounded() {
    assert_eq!(
        (MAX_NOTE_BYTES, MAX_SIGNATURES, MAX_VKEY_BYTES),
        (131_072, 100, 1024)
    );
    let log = log();
    let keys = [log.vkey.clone()];
    let many = |more: usize| {
        let other = signature_line("other", [1, 2, 3, 4], &[9]);
        log.note(TEXT) + &other.repeat(more)
    };
    assert_eq!(opens(many(MAX_SIGNATURES - 1), &keys), Ok(1));
    assert_eq!(
        opens(many(MAX_SIGNATURES), &keys),
        Err(NoteError::Malformed)
    );
    // The specification wants room for 16 of the largest.
    let large = signature_line("other", [1, 2, 3, 4], &[9; 5000]).repeat(15);
    assert_eq!(opens(log.note(TEXT) + &large, &keys), Ok(1));

    let padded = |length: usize| {
        let rest = log.note("\n").len();
        log.note(&("x".repeat(length - rest) + "\n"))
    };
    assert_eq!(padded(MAX_NOTE_BYTES).len(), MAX_NOTE_BYTES);
    assert_eq!(opens(padded(MAX_NOTE_BYTES), &keys), Ok(1));
    assert_eq!(
        opens(padded(MAX_NOTE_BYTES + 1), &keys),
        Err(NoteError::Malformed)
    );
}

#[test]
fn errors_say_what_is_wrong() {
    for (error, text) in [
        (NoteError::Malformed, "it is not a signed note"),
        (NoteError::NotSigned, "none of the given keys has signed it"),
        (
            NoteError::BadSignature,
            "the signature of a given key does not verify",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn key_names() {
    for good in ["a", "example.com/log", "É", "-", "a\u{200b}b"] {
        assert!(is_key_name(good), "{good}");
        assert!(signed_note::is_key_name_valid(good));
    }
    for bad in [
        "",
        " ",
        "a b",
        "a+b",
        "a\n",
        "\u{a0}",
        "a\u{2003}b",
        "\u{3000}",
        "\u{85}",
    ] {
        assert!(!is_key_name(bad), "{bad:?}");
        assert!(!signed_note::is_key_name_valid(bad));
        assert_eq!(VerifierKey::new(bad, &public_key()), None);
    }
}

#[test]
fn a_verifier_key_has_one_text() {
    let key = log().vkey;
    let text = key.to_string();
    assert_eq!(VerifierKey::parse(&text), Some(key.clone()));
    assert_eq!(
        (key.name(), key.id()),
        ("example.com/log", key_id("example.com/log", &public_key()))
    );
    let (head, encoded) = text.rsplit_once('+').unwrap();
    let (name, id) = head.split_once('+').unwrap();
    assert_eq!(u32::from_str_radix(id, 16).unwrap().to_be_bytes(), key.id());
    for bad in [
        String::new(),
        name.into(),
        head.into(),
        format!("{name}+{encoded}"),
        format!("{text}+"),
        format!("+{text}"),
        format!(" {text}"),
        format!("{text}\n"),
        format!("+{id}+{encoded}"),
        format!("{name}+{}+{encoded}", id.to_uppercase()),
        format!("{name}+0{id}+{encoded}"),
        format!("{name}+00000000+{encoded}"),
        format!("{name}x+{id}+{encoded}"),
        format!("{text}="),
        format!("{name}+{id}+{}", &encoded[..43]),
        format!("{name}+{id}+AQ=="),
        "x".repeat(1 << 20) + &text,
    ] {
        assert_eq!(VerifierKey::parse(&bad), None, "{bad:.80}");
    }
    for changed in bit_flips(text.as_bytes()).flat_map(String::from_utf8) {
        assert_eq!(VerifierKey::parse(&changed), None);
    }
}

#[test]
fn long_key_names_are_read_up_to_the_limit() {
    let fixed = Signer::new("x", 1).vkey.to_string().len() - 1;
    let named = |length: usize| Signer::new(&"x".repeat(length - fixed), 1).vkey;
    let longest = named(MAX_VKEY_BYTES);
    assert_eq!(VerifierKey::parse(&longest.to_string()), Some(longest));
    let longer = named(MAX_VKEY_BYTES + 1);
    assert_eq!(VerifierKey::parse(&longer.to_string()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Cloudflare's port of Go's package agrees about every note, good or damaged.
    #[test]
    fn agrees_with_signed_note(
        text in "[a-z\\n é—+ ]{0,40}", other in "[a-z+ ]{1,6}", at: prop::sample::Index, with in 0u8..4, char in any::<char>(),
    ) {
        let (log, witness) = (log(), witness());
        let text = text + "\n";
        let note = log.note(&text) + &witness.line(&text) + &signature_line(&other, [1; 4], &[1]);
        let mut changed: Vec<char> = note.chars().collect();
        let at = at.index(changed.len());
        match with {
            0 => {}
            1 => drop(changed.remove(at)),
            2 => changed[at] = char,
            _ => changed.insert(at, char),
        }
        let changed: String = changed.into_iter().collect();
        let theirs = signed_note::Note::from_bytes(changed.as_bytes());
        prop_assert_eq!(Note::parse(changed.as_bytes()).is_some(), theirs.is_ok(), "{:?}", changed);

        let keys = [log.vkey, witness.vkey];
        let verifier = |key: &VerifierKey| -> Box<dyn signed_note::Verifier> {
            Box::new(StandardVerifier::new(&key.to_string()).unwrap())
        };
        let known = VerifierList::new(keys.iter().map(verifier).collect());
        let verified = theirs.ok().and_then(|note| note.verify(&known).ok());
        let ours = open(changed.as_bytes(), &keys);
        prop_assert_eq!(ours.is_ok(), verified.is_some(), "{:?}", changed);
        if let (Ok(ours), Some((theirs, _))) = (ours, verified) {
            prop_assert_eq!(ours.signers.len(), theirs.len());
        }
    }

    #[test]
    fn noise_is_never_signed(bytes: Vec<u8>) {
        prop_assert!(open(&bytes, &[log().vkey]).is_err());
    }
}
