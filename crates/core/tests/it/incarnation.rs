//! Declarations of incarnations: the frozen one of `docs/spec/incarnation.md`, which Python's `cryptography` has signed, and what is refused.

use ed25519_dalek::{Signer as _, SigningKey};
use identity_core::checkpoint::{Checkpoint, Tree};
use identity_core::incarnation::{
    Declaration, DeclarationError, Parties, Role, is_reason, name, split,
};
use identity_core::note::{NoteError, VerifierKey, signature_line};
use proptest::prelude::*;

const LOG: &str = "identity_pgx/DEVELOPMENT/0190a3c1-d2e4-7f50-8a9b-b1c2d3e4f506";
const PARTIES: &str = "operator operator.example+f0a5c364+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c\n\
                       counsel counsel.example+c95f43b7+AYE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU\n";
const NOTE: &str = "identity_pgx/DEVELOPMENT/0190a3c1-d2e4-7f50-8a9b-b1c2d3e4f506/incarnation\n\
2\n\
900 efB2q90Zp1Lbcme//y+QIhYdEg3qkZ/ayi/9/CTKjJY=\n\
1000 NUfLESrESJryMQwGJs26bzCXoq1aO0Ld07WcdsegeaM=\n\
2026-11-22T10:00:00.000000Z\n\
restored from the backup of Sunday; the disk of Monday is lost\n\
\n\
\u{2014} operator.example 8KXDZDeMgdoq8rsMxhzJQLZc6ppxESl7KiHW8plaZ4VMEsewot9fEzwTs0uEaxvXAYihI6bCB1q8cyq8Y0SPAkflWgA=\n\
\u{2014} counsel.example yV9Dt2T2J0xwH8V0KxiKo9kK15DcmQ/2gQvIA7xqNxZ9djEgy+A1iqNJUzPqtZN4UpmtqAcZUk7Mr2y3Mky6Felz7g4=\n";

fn parties() -> Parties {
    Parties::parse(PARTIES).unwrap()
}

fn frozen() -> Declaration {
    Declaration::open(NOTE.as_bytes(), &parties()).unwrap()
}

fn text() -> &'static str {
    &NOTE[..NOTE.find("\n\n").unwrap() + 1]
}

fn tree(size: u64, byte: u8) -> Tree {
    Tree {
        size,
        root: [byte; 32],
    }
}

#[test]
fn the_frozen_declaration_is_read_and_written() {
    let declaration = frozen();
    assert_eq!(declaration.text(), text());
    assert_eq!(declaration.log, LOG);
    assert_eq!(declaration.incarnation, 2);
    assert_eq!((declaration.kept.size, declaration.last.size), (900, 1000));
    assert_eq!(declaration.origin(), format!("{LOG}/2"));
    assert_eq!(Declaration::claimed(NOTE), Declaration::claimed(text()));
    // It can be taken for no checkpoint, and no checkpoint for it.
    assert!(Checkpoint::claimed(NOTE).is_none());
    let checkpoint = format!("{LOG}\n9\n{}\n", tree(9, 1).root_text());
    assert!(Checkpoint::parse(&checkpoint).is_some() && Declaration::parse(&checkpoint).is_none());
}

#[test]
fn each_signature_is_one_partys_and_both_are_needed() {
    let (text, signatures) = NOTE.split_once("\n\n").unwrap();
    let [operator, counsel] = signatures.lines().collect::<Vec<_>>()[..] else {
        panic!()
    };
    let of = |lines: &[&str]| {
        let note = format!("{text}\n\n{}\n", lines.join("\n"));
        Declaration::open(note.as_bytes(), &parties())
    };
    assert!(of(&[counsel, operator]).is_ok());
    assert_eq!(
        of(&[operator]),
        Err(DeclarationError::NotSigned(Role::Counsel))
    );
    assert_eq!(
        of(&[counsel]),
        Err(DeclarationError::NotSigned(Role::Operator))
    );
    assert_eq!(
        of(&[operator, operator]),
        Err(DeclarationError::NotSigned(Role::Counsel))
    );
    let other = NOTE.replace("Sunday", "Monday");
    assert_eq!(
        Declaration::open(other.as_bytes(), &parties()),
        Err(DeclarationError::BadSignature(Role::Operator))
    );
    for unsigned in [text, &format!("{text}\n"), ""] {
        let opened = Declaration::open(unsigned.as_bytes(), &parties());
        assert_eq!(opened, Err(DeclarationError::Malformed));
    }
    for (error, says) in [
        (
            DeclarationError::NotSigned(Role::Counsel),
            "the counsel has not signed it",
        ),
        (
            DeclarationError::BadSignature(Role::Operator),
            "the signature of the operator does not verify",
        ),
    ] {
        assert_eq!(error.to_string(), says);
    }
}

#[test]
fn parties_are_two_people() {
    let parties = parties();
    let [operator, counsel] = PARTIES.lines().collect::<Vec<_>>()[..] else {
        panic!()
    };
    assert_eq!(
        parties.role_of(parties.counsel.public_key()),
        Some(Role::Counsel)
    );
    assert_eq!(
        parties.role_of(parties.operator.public_key()),
        Some(Role::Operator)
    );
    assert_eq!(parties.role_of(&[1; 32]), None);
    let same = parties.operator.renamed("counsel.example").unwrap();
    for wrong in [
        String::new(),
        operator.into(),
        format!("{counsel}\n{operator}\n"),
        format!("{PARTIES}{counsel}\n"),
        format!("{PARTIES}\n"),
        format!(
            "{operator}\n{}\n",
            operator.replace("operator ", "counsel ")
        ),
        format!("{operator}\ncounsel {same}\n"),
        format!("{operator}\ncounsel x\n"),
        format!("{operator}\n{}", counsel.replace(' ', "  ")),
        format!("{PARTIES}{}", " ".repeat(5000)),
    ] {
        assert!(Parties::parse(&wrong).is_none(), "{wrong}");
    }
}

#[test]
fn one_declaration_is_of_one_beginning() {
    let declaration = frozen();
    let last = declaration.last;
    let follows = |log, number, last| declaration.follows(log, number, &last);
    assert_eq!(follows(LOG, 2, last), Ok(()));
    assert_eq!(
        follows("identity_pgx/x", 2, last),
        Err(DeclarationError::AnotherLog)
    );
    for number in [1, 3] {
        assert_eq!(
            follows(LOG, number, last),
            Err(DeclarationError::AnotherNumber)
        );
    }
    for other in [tree(1000, 1), Tree { size: 999, ..last }] {
        assert_eq!(follows(LOG, 2, other), Err(DeclarationError::AnotherLast));
    }
    for kept in [1000, 1001] {
        let kept = tree(kept, 1);
        let nothing = Declaration {
            kept,
            ..declaration.clone()
        };
        assert_eq!(
            nothing.follows(LOG, 2, &last),
            Err(DeclarationError::NothingLost)
        );
    }
}

#[test]
fn what_the_writer_would_not_write_is_not_read() {
    for (from, to) in [
        ("\n2\n", "\n1\n"),
        ("\n2\n", "\n02\n"),
        ("\n2\n", "\n4294967296\n"),
        ("identity_pgx/", "another/"),
        ("/incarnation", ""),
        ("900 ", "0900 "),
        ("900 ", "900  "),
        ("JY=", "JZ="),
        (".000000Z", "Z"),
        ("10:00:00.000000Z", "11:00:00.000000+01:00"),
        ("restored", " restored"),
        ("restored", "re\tstored"),
        ("restored", "re\u{202e}stored"),
        ("lost\n", "lost\nmore\n"),
        ("lost\n", "lost"),
    ] {
        let other = text().replacen(from, to, 1);
        assert_ne!(other, text(), "{from}");
        assert!(Declaration::parse(&other).is_none(), "{other}");
    }
    assert!(is_reason(&"é".repeat(200)) && !is_reason(&"é".repeat(201)) && !is_reason(""));
}

#[test]
fn a_name_says_which_incarnation() {
    for number in [1, 2, 10, u32::MAX] {
        assert_eq!(split(&name(LOG, number)), (LOG, number));
    }
    for other in [
        format!("{LOG}/1"),
        format!("{LOG}/0"),
        format!("{LOG}/02"),
        format!("{LOG}/+2"),
        format!("{LOG}/4294967296"),
        format!("{LOG}/"),
        // Another log's last part may be a number for reasons of its own.
        "log.example.org/2".into(),
    ] {
        assert_eq!(split(&other), (&*other, 1));
    }
}

#[test]
fn a_key_of_a_log_speaks_for_its_incarnations_and_for_no_other_log() {
    let key = SigningKey::from_bytes(&[9; 32]);
    let signed = |origin: &str| {
        let text = format!("{origin}\n9\n{}\n", tree(9, 1).root_text());
        let vkey = VerifierKey::new(origin, &key.verifying_key().to_bytes()).unwrap();
        let signature = key.sign(text.as_bytes()).to_bytes();
        format!("{text}\n{}", signature_line(origin, vkey.id(), &signature))
    };
    let opens = |note: &str, name: &str| {
        let key = VerifierKey::new(name, &key.verifying_key().to_bytes()).unwrap();
        Checkpoint::open(note, &[key]).map(|checkpoint| checkpoint.origin)
    };
    let (first, second, third) = (LOG, &*name(LOG, 2), &*name(LOG, 3));
    for origin in [first, second, third] {
        for given in [first, second, third] {
            assert_eq!(opens(&signed(origin), given), Ok(origin.to_owned()));
        }
        let other = LOG.replace("4f506", "4f507");
        assert_eq!(opens(&signed(origin), &other), Err(NoteError::NotSigned));
    }
    // Of others' logs nothing is known.
    assert_eq!(
        opens(&signed("log.example/2"), "log.example"),
        Err(NoteError::NotSigned)
    );
    // The name is under the signature: an anchor of one is none of another.
    let moved = signed(first).replace(first, second);
    assert!(opens(&moved, first).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        number in 2u32.., kept: (u64, [u8; 32]), last: (u64, [u8; 32]), at in -62_135_596_800_000_000i64..=253_402_300_799_999_999,
        reason in "[a-zA-Z0-9äß€.,;:-]([a-zA-Z0-9äß€.,;: -]{0,198}[a-z])?",
    ) {
        let declaration = Declaration {
            log: LOG.into(),
            incarnation: number,
            kept: Tree { size: kept.0, root: kept.1 },
            last: Tree { size: last.0, root: last.1 },
            at,
            reason,
        };
        prop_assert_eq!(Declaration::parse(&declaration.text()), Some(declaration));
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), lines in "(.|\n){0,300}") {
        let _ = Declaration::open(&bytes, &parties());
        prop_assert!(Declaration::parse(&lines).is_none());
        let _ = Parties::parse(&lines);
    }
}
