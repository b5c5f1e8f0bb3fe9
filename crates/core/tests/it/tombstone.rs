//! A tombstone tells whoever has the key that somebody was erased, and nobody else anything; what is published of them cannot be changed.

use identity_core::ChainKey;
use identity_core::checkpoint::Checkpoint;
use identity_core::note::NoteError;
use identity_core::tombstone::{
    Head, List, MAX_OBJECT_BYTES, MAX_TOMBSTONES, Tombstone, Tombstones, What, Wrong, body, digest,
};
use proptest::prelude::*;
use serde::Deserialize;

use crate::log::{ORIGIN, Signer};
use crate::support::{CANDIDATE, INSTALLATION, hex, unhex_array};

#[derive(Deserialize)]
struct Frozen {
    tombstones: Vec<Vector>,
    tombstone_lists: Vec<ListVector>,
}

#[derive(Deserialize)]
struct Vector {
    key: String,
    installation: String,
    candidate: String,
    collected_at: Option<i64>,
    tombstone: String,
}

#[derive(Deserialize)]
struct ListVector {
    vkey: String,
    origin: String,
    from: u64,
    to: u64,
    previous: String,
    tombstones: Vec<(String, String)>,
    object: String,
}

fn frozen() -> Frozen {
    serde_json::from_str(include_str!("../vectors/frozen.json")).unwrap()
}

#[test]
fn frozen_tombstones_agree() {
    for v in frozen().tombstones {
        let key = ChainKey::new(1, &unhex_array(&v.key));
        let made = Tombstones::new(&key, &unhex_array(&v.installation)).unwrap();
        let candidate = unhex_array(&v.candidate);
        let tombstone = match v.collected_at {
            None => made.subject(&candidate),
            Some(at) => made.biometric(&candidate, at),
        };
        assert_eq!(hex(&tombstone), v.tombstone);
    }
}

#[test]
fn frozen_lists_agree() {
    let mut before = [0; 32];
    for v in frozen().tombstone_lists {
        let key = identity_core::VerifierKey::parse(&v.vkey).unwrap();
        let list = List::open(v.object.as_bytes(), &[key]).unwrap();
        let listed = v.tombstones.iter().map(|(letter, hash)| Tombstone {
            what: if letter == "s" {
                What::Subject
            } else {
                What::Biometric
            },
            hash: unhex_array(hash),
        });
        let listed: Vec<_> = listed.collect();
        assert_eq!(list.tombstones, listed);
        let head = Head::new(
            &v.origin,
            v.from..v.to,
            unhex_array(&v.previous),
            &body(&listed),
        );
        assert_eq!((list.head.previous, &list.head), (before, &head));
        assert!(v.object.starts_with(&head.text()));
        before = list.digest;
    }
}

#[test]
fn a_tombstone_is_bound_to_key_installation_kind_subject_and_moment() {
    let key = ChainKey::new(1, &[9; 32]);
    let of = |key, installation: &[u8; 16]| Tombstones::new(key, installation).unwrap();
    let made = of(&key, &INSTALLATION);
    let mut all = vec![
        made.subject(&CANDIDATE),
        made.subject(&[0; 16]),
        made.biometric(&CANDIDATE, 7),
        made.biometric(&CANDIDATE, 8),
        made.biometric(&[0; 16], 7),
        of(&key, &[0; 16]).subject(&CANDIDATE),
        of(&ChainKey::new(1, &[8; 32]), &INSTALLATION).subject(&CANDIDATE),
    ];
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn no_other_version_of_the_chain_key_makes_tombstones() {
    for version in [0, 2, u32::MAX] {
        assert!(Tombstones::new(&ChainKey::new(version, &[9; 32]), &INSTALLATION).is_none());
    }
}

fn some(count: usize) -> Vec<Tombstone> {
    let one = |number: usize| Tombstone {
        what: What::ALL[number % 2],
        hash: digest(&number.to_be_bytes()),
    };
    (0..count).map(one).collect()
}

fn object(signer: &Signer, head: &Head, body: &str) -> Vec<u8> {
    format!("{}{body}", signer.note(&head.text())).into_bytes()
}

#[test]
fn what_is_written_is_read() {
    let signer = Signer::new(ORIGIN, 1);
    for count in [1, 2, MAX_TOMBSTONES] {
        let listed = some(count);
        let head = Head::new(ORIGIN, 3..9, [5; 32], &body(&listed));
        let bytes = object(&signer, &head, &body(&listed));
        assert!(bytes.len() <= MAX_OBJECT_BYTES);
        let list = List::open(&bytes, std::slice::from_ref(&signer.vkey)).unwrap();
        assert_eq!((list.head, list.tombstones), (head, listed));
        assert_eq!(list.digest, digest(&bytes));
    }
}

#[test]
fn what_others_signed_is_not_believed() {
    let (signer, other) = (Signer::new(ORIGIN, 1), Signer::new(ORIGIN, 2));
    let elsewhere = Signer::new("identity_pgx/elsewhere", 1);
    let listed = body(&some(2));
    let head = Head::new(ORIGIN, 0..9, [0; 32], &listed);
    let keys = [signer.vkey.clone(), elsewhere.vkey.clone()];
    let refused = |signer: &Signer| List::open(&object(signer, &head, &listed), &keys).err();
    assert_eq!(refused(&signer), None);
    assert_eq!(refused(&other), Some(Wrong::Note(NoteError::NotSigned)));
    // A key that may speak for another log.
    assert_eq!(refused(&elsewhere), Some(Wrong::Note(NoteError::NotSigned)));
    // A signature under the right name that is another text's.
    let forged = Head::new(ORIGIN, 0..8, [0; 32], &listed);
    let bytes = format!("{}\n{}{listed}", forged.text(), signer.line(&head.text()));
    let refused = List::open(bytes.as_bytes(), &keys);
    assert_eq!(refused.err(), Some(Wrong::Note(NoteError::BadSignature)));
}

#[test]
fn a_list_that_was_not_signed_is_not_believed() {
    let signer = Signer::new(ORIGIN, 1);
    let keys = [signer.vkey.clone()];
    let listed = some(3);
    let whole = body(&listed);
    let head = Head::new(ORIGIN, 0..9, [0; 32], &whole);
    for other in [
        String::new(),
        body(&listed[..2]),
        body(&listed[1..]),
        body(&[listed[1], listed[0], listed[2]]),
        body(&some(4)),
        whole.replacen("s ", "b ", 1),
        format!("{whole}\n"),
        whole.trim_end().to_owned(),
    ] {
        let refused = List::open(&object(&signer, &head, &other), &keys);
        assert_eq!(refused.err(), Some(Wrong::List), "{other}");
    }
}

/// Signed, and yet not what the writer would write.
#[test]
fn lists_in_another_form_are_refused() {
    let signer = Signer::new(ORIGIN, 1);
    let keys = [signer.vkey.clone()];
    let line = body(&some(1));
    for listed in [
        String::new(),
        "\n".to_owned(),
        line.to_uppercase(),
        line.replacen("s ", "x ", 1),
        line.replacen("s ", "ss ", 1),
        line.replacen("s ", "s  ", 1),
        line.replacen('\n', "\r\n", 1),
        format!("{line}\n"),
        format!("{line}{}", &line[..20]),
        body(&some(MAX_TOMBSTONES + 1)),
    ] {
        let head = Head::new(ORIGIN, 0..9, [0; 32], &listed);
        let refused = List::open(&object(&signer, &head, &listed), &keys);
        assert!(refused.is_err(), "{listed}");
    }
}

#[test]
fn heads_in_another_form_are_refused() {
    let head = Head::new(ORIGIN, 1..9, [0; 32], "");
    let good = head.text();
    assert_eq!(Head::parse(&good), Some(head));
    for bad in [
        good.replace("/tombstones", ""),
        good.replace(ORIGIN, ""),
        good.replace("1 9", "9 9"),
        good.replace("1 9", "9 1"),
        good.replace("1 9", "01 9"),
        good.replace("1 9", "1  9"),
        good.replace("1 9", "1"),
        good.replacen("00", "0", 1),
        good.trim_end().to_owned(),
        format!("{good}more\n"),
        format!("{good}\n"),
        format!("\t{good}"),
    ] {
        assert!(bad == good || Head::parse(&bad).is_none(), "{bad}");
    }
}

/// One key signs both: neither may be taken for the other.
#[test]
fn a_head_is_no_checkpoint_and_a_checkpoint_no_head() {
    let head = Head::new(ORIGIN, 0..9, [0; 32], "").text();
    assert_eq!(Checkpoint::parse(&head), None);
    let checkpoint = Checkpoint {
        origin: format!("{ORIGIN}/tombstones"),
        size: 9,
        root: [0; 32],
        extensions: vec!["0".repeat(64), "0".repeat(64)],
    };
    assert_eq!(Head::parse(&checkpoint.text()), None);
}

proptest! {
    #[test]
    fn hostile_objects_never_panic_and_none_is_believed(bytes: Vec<u8>, at: proptest::sample::Index, to: u8) {
        let signer = Signer::new(ORIGIN, 1);
        let keys = [signer.vkey.clone()];
        prop_assert!(List::open(&bytes, &keys).is_err());
        let listed = body(&some(3));
        let good = object(&signer, &Head::new(ORIGIN, 0..9, [7; 32], &listed), &listed);
        let mut changed = good.clone();
        let at = at.index(changed.len());
        changed[at] = to;
        prop_assert!(changed == good || List::open(&changed, &keys).is_err());
    }
}
