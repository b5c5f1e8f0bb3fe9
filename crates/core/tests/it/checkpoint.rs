//! A checkpoint has one text, and speaks for its log only when the log's own key has signed it.

use identity_core::Checkpoint;
use identity_core::checkpoint::origin;
use identity_core::note::{MAX_NOTE_BYTES, NoteError};
use proptest::prelude::*;

use crate::log::{ORIGIN, Signer};
use crate::support::unhex_array;

const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

fn checkpoint() -> Checkpoint {
    Checkpoint::parse(&format!("{ORIGIN}\n20852163\n{ROOT}\n")).unwrap()
}

#[test]
fn the_origin_names_the_installation_and_its_keys() {
    let installation = unhex_array("0190a3c1d2e47f508a9bb1c2d3e4f506");
    assert_eq!(origin(&installation, false), ORIGIN);
    let development = origin(&installation, true);
    assert_eq!(development, ORIGIN.replace("pgx/", "pgx/DEVELOPMENT/"));
    assert!(!checkpoint().is_development());
    let real = checkpoint();
    assert!(
        Checkpoint {
            origin: development,
            ..real
        }
        .is_development()
    );
}

#[test]
fn every_text_but_the_canonical_one_is_refused() {
    let good = checkpoint().text();
    assert_eq!(Checkpoint::parse(&good), Some(checkpoint()));
    for bad in [
        String::new(),
        "\n".into(),
        "\n\n\n".into(),
        ORIGIN.into(),
        format!("{ORIGIN}\n20852163\n"),
        good.trim_end().into(),
        format!("{good}\n"),
        format!("\n{good}"),
        format!("{good}\nextension\n"),
        format!("{good}extension"),
        format!("{good}extension\n\n"),
        good.replace(ORIGIN, ""),
        good.replace('\n', "\r\n"),
        good.replace("2085", "02085"),
        good.replace("2085", "+2085"),
        good.replace("2085", "-2085"),
        good.replace("2085", " 2085"),
        good.replace("2163", "2163 "),
        good.replace("20852163", ""),
        good.replace("20852163", "18446744073709551616"),
        good.replace("2I=", "2J="),
        good.replace("2I=", "2I"),
        good.replace("2I=", "2A=="),
        good.replace("CsU", "CsUUCsU"),
        good.replace("CsU", " CsU"),
        good.replace("identity", "ident\tity"),
        good.replace("identity", "ident\0ity"),
        good.replace(
            ORIGIN,
            &"x".repeat(MAX_NOTE_BYTES + 1 - good.len() + ORIGIN.len()),
        ),
    ] {
        assert_ne!(bad, good);
        assert_eq!(Checkpoint::parse(&bad), None, "{bad:?}");
        assert_eq!(Checkpoint::claimed(&bad), None, "{bad:?}");
    }
    let longest = good.replace(
        ORIGIN,
        &"x".repeat(MAX_NOTE_BYTES - good.len() + ORIGIN.len()),
    );
    assert_eq!(longest.len(), MAX_NOTE_BYTES);
    assert!(Checkpoint::parse(&longest).is_some());
}

#[test]
fn extensions_of_other_logs_are_kept() {
    let text = checkpoint().text() + "first\nsecond line\n";
    let read = Checkpoint::parse(&text).unwrap();
    assert_eq!(read.extensions, ["first", "second line"]);
    assert_eq!(read.text(), text);
}

#[test]
fn only_the_logs_own_key_speaks_for_it() {
    let log = Signer::new(ORIGIN, 1);
    let witness = Signer::new("witness.example/w1", 2);
    let text = checkpoint().text();
    let both = log.note(&text) + &witness.line(&text);
    let (log_key, witness_key) = ([log.vkey.clone()], [witness.vkey.clone()]);
    let all = [witness.vkey.clone(), log.vkey.clone()];
    for (note, keys, opened) in [
        (&log.note(&text), &log_key[..], Ok(checkpoint())),
        (&both, &log_key, Ok(checkpoint())),
        (&both, &all, Ok(checkpoint())),
        (&text, &all, Err(NoteError::NotSigned)),
        (&both, &[], Err(NoteError::NotSigned)),
        (&both, &witness_key, Err(NoteError::NotSigned)),
        (&witness.note(&text), &all, Err(NoteError::NotSigned)),
        (
            &(log.note(&text) + &witness.line("x\n")),
            &all,
            Err(NoteError::BadSignature),
        ),
        (
            &log.note("not a checkpoint\n"),
            &all,
            Err(NoteError::Malformed),
        ),
        (&String::from("nothing\n"), &all, Err(NoteError::Malformed)),
    ] {
        assert_eq!(Checkpoint::open(note, keys), opened, "{note}");
    }
    assert_eq!(Checkpoint::claimed(&both), Some(checkpoint()));
    assert_eq!(Checkpoint::claimed(&text), Some(checkpoint()));
    assert_eq!(Checkpoint::claimed(&log.note("not a checkpoint\n")), None);
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(
        origin in "[^\\x00-\\x1f]{1,40}", size: u64, root: [u8; 32],
        extensions in prop::collection::vec("[^\\x00-\\x1f]{1,20}", 0..4),
    ) {
        let checkpoint = Checkpoint { origin, size, root, extensions };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.text()), Some(checkpoint));
    }

    #[test]
    fn what_was_read_is_written_the_same(text in "[a-z0-9=+\\n]{0,30}", number in "[+0-9 ]{0,5}") {
        for text in [format!("{text}\n"), format!("{text}\n{number}\n{ROOT}\n{text}\n")] {
            if let Some(checkpoint) = Checkpoint::parse(&text) {
                prop_assert_eq!(checkpoint.text(), text);
            }
        }
    }
}
