//! A proof of a leaf has one text, and shows nothing once any bit of it is changed.

use identity_core::TlogProof;
use identity_core::note::{MAX_NOTE_BYTES, NoteError};
use identity_core::proof::ProofError;
use identity_core::proof::tlog::{MAX_PATH_HASHES, MAX_PROOF_BYTES};
use proptest::prelude::*;

use crate::log::{Tree, row_hash, row_salt};
use crate::support::{bit_flips, keys, log};

fn proof(index: u64, size: u64) -> String {
    let mut tree = Tree::default();
    (0..size).for_each(|number| tree.append(row_hash(number)));
    TlogProof {
        extra: Some(row_salt(index).to_vec()),
        index,
        path: tree.inclusion(index, size),
        checkpoint: &log().note(&tree.checkpoint(size).text()),
    }
    .text()
}

/// As a verifier does it that holds the row and knows its salt only from the proof.
fn shows(text: &str, number: u64) -> Result<u64, ProofError> {
    let proof = TlogProof::parse(text).ok_or(ProofError::Malformed)?;
    if proof.extra.as_deref() != Some(&row_salt(number)) {
        return Err(ProofError::Row);
    }
    let proven = proof.verify(&row_hash(number), keys())?;
    assert_eq!(proven.index, proof.index);
    Ok(proven.checkpoint.size)
}

#[test]
fn every_leaf_of_every_small_tree() {
    for size in 1..20 {
        for index in 0..size {
            let text = proof(index, size);
            assert_eq!(TlogProof::parse(&text).unwrap().text(), text);
            assert_eq!(shows(&text, index), Ok(size));
        }
    }
}

#[test]
fn no_single_bit_can_be_changed() {
    for (index, size) in [(0, 1), (1, 3), (4, 7)] {
        for changed in bit_flips(proof(index, size).as_bytes()) {
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(shows(&changed, index).is_err(), "{changed}");
            }
        }
    }
}

#[test]
fn another_leaf_is_not_shown() {
    let good = proof(4, 7);
    let proof = TlogProof::parse(&good).unwrap();
    for number in (0..7).filter(|number| *number != 4) {
        assert_eq!(
            proof.verify(&row_hash(number), keys()),
            Err(ProofError::Tree)
        );
    }
    let moved = |index, path: &[[u8; 32]]| TlogProof {
        index,
        path: path.to_vec(),
        ..proof.clone()
    };
    let path = &proof.path;
    for bad in [
        moved(5, path),
        moved(7, path),
        moved(u64::MAX, path),
        moved(4, &path[1..]),
        moved(4, &path[..2]),
        moved(4, &[path.as_slice(), &path[2..]].concat()),
        moved(4, &[]),
    ] {
        assert_eq!(bad.verify(&row_hash(4), keys()), Err(ProofError::Tree));
    }
}

#[test]
fn a_checkpoint_nobody_answers_for_is_told_from_a_wrong_proof() {
    let good = proof(4, 7);
    let with = |checkpoint: &str, keys: &[_]| {
        let proof = TlogProof::parse(&good).unwrap();
        let text = TlogProof {
            checkpoint,
            ..proof
        }
        .text();
        TlogProof::parse(&text)
            .unwrap()
            .verify(&row_hash(4), keys)
            .unwrap_err()
    };
    let (body, _) = TlogProof::parse(&good)
        .unwrap()
        .checkpoint
        .split_once("\n\n")
        .unwrap();
    let body = format!("{body}\n");
    let unsigned = ProofError::Checkpoint(NoteError::NotSigned);
    assert_eq!(with(&body, keys()), unsigned);
    assert_eq!(with(&log().note(&body), &[]), unsigned);
    let forged = format!("{body}\n{}", log().line("other\n"));
    let wrong = ProofError::Checkpoint(NoteError::BadSignature);
    assert_eq!(with(&forged, keys()), wrong);
    // A wrong tree is found first, so that what is said of the checkpoint is said of a good proof.
    let root = body.lines().nth(2).unwrap();
    let other = body.replace(root, "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
    assert_eq!(with(&other, keys()), ProofError::Tree);
    assert_eq!(with("", keys()), ProofError::Malformed);
    assert_eq!(with("nothing\n", keys()), ProofError::Malformed);
}

#[test]
fn every_text_but_the_canonical_one_is_refused() {
    let good = proof(4, 7);
    let (first, rest) = good.split_once('\n').unwrap();
    let hash = good.lines().nth(3).unwrap();
    for bad in [
        String::new(),
        first.into(),
        rest.into(),
        format!("{first}\n"),
        format!("\n{good}"),
        good.replace("@v1", "@v2"),
        good.replace("@v1\n", "@v1\n\n"),
        good.replace("@v1\n", "@v1\r\n"),
        good.replace("extra ", "extra\t"),
        good.replace("extra ", "extra  "),
        good.replace("extra ", "Extra "),
        good.replace("extra ", "extra"),
        good.replace("extra ", "extra =").replace("==\n", "\n"),
        good.replace("index 4\n", ""),
        good.replace("index 4\n", "index \n"),
        good.replace("index 4\n", "index 04\n"),
        good.replace("index 4\n", "index +4\n"),
        good.replace("index 4\n", "index 4\nindex 4\n"),
        good.replace("index 4\n", "index 18446744073709551616\n"),
        good.replace(hash, &hash[..40]),
        good.replace(hash, &format!("{hash} ")),
        good.replace(hash, &format!("{hash}\0")),
        good.replace(hash, &format!("{hash}\n{hash}x")),
        good.split_once("\n\n").unwrap().0.into(),
    ] {
        assert_ne!(bad, good);
        assert_eq!(TlogProof::parse(&bad), None, "{bad:?}");
    }
    let extra = good.lines().nth(1).unwrap();
    assert_eq!(TlogProof::parse(&good.replace(extra, "extra ")), None);
    // Twice is once too many, and it stands first or nowhere.
    let twice = good.replace(extra, &format!("{extra}\n{extra}"));
    assert_eq!(TlogProof::parse(&twice), None);
    let late = good.replace(&format!("{extra}\nindex 4"), &format!("index 4\n{extra}"));
    assert_eq!(TlogProof::parse(&late), None);
    let without = good.replace(&format!("{extra}\n"), "");
    assert_eq!(TlogProof::parse(&without).unwrap().extra, None);
}

#[test]
fn errors_say_what_is_wrong() {
    for (error, text) in [
        (ProofError::Malformed, "it is not a proof"),
        (ProofError::Row, "the row is not the one that was proven"),
        (ProofError::Batch, "the row is not in the sealed batch"),
        (
            ProofError::Tree,
            "the leaf is not in the tree of the checkpoint",
        ),
        (
            ProofError::Checkpoint(NoteError::NotSigned),
            "the checkpoint does not hold: none of the given keys has signed it",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn path_and_size_are_bounded() {
    assert_eq!((MAX_PROOF_BYTES, MAX_PATH_HASHES), (139_264, 64));
    let hashes = |many: usize, checkpoint: &str| {
        let path = vec![[7; 32]; many];
        TlogProof {
            extra: None,
            index: 0,
            path,
            checkpoint,
        }
        .text()
    };
    let parses = |text: &str| TlogProof::parse(text).is_some();
    assert!(parses(&hashes(MAX_PATH_HASHES, "x\n")));
    assert!(!parses(&hashes(MAX_PATH_HASHES + 1, "x\n")));
    let rest = hashes(0, "").len();
    let long = |length: usize| hashes(0, &"x".repeat(length - rest));
    assert!(parses(&long(MAX_PROOF_BYTES)));
    assert!(!parses(&long(MAX_PROOF_BYTES + 1)));
    // The longest checkpoint fits beside the longest path.
    let checkpoint = "x".repeat(MAX_NOTE_BYTES);
    assert!(parses(&hashes(MAX_PATH_HASHES, &checkpoint)));
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(
        extra in prop::option::of(prop::collection::vec(any::<u8>(), 1..40)), index: u64,
        path in prop::collection::vec(any::<[u8; 32]>(), 0..10), checkpoint in "[ -~\\n]{0,60}",
    ) {
        let proof = TlogProof { extra, index, path, checkpoint: &checkpoint };
        let text = proof.text();
        prop_assert_eq!(TlogProof::parse(&text), Some(proof));
    }

    #[test]
    fn what_was_read_is_written_the_same(text in "[a-zA-Z0-9+/= \\n]{0,120}") {
        for text in [format!("c2sp.org/tlog-proof@v1\n{text}"), format!("c2sp.org/tlog-proof@v1\nindex {text}\n\n{text}")] {
            if let Some(proof) = TlogProof::parse(&text) {
                prop_assert_eq!(proof.text(), text);
            }
        }
    }
}
