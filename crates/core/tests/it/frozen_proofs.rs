//! The frozen vectors of notes, checkpoints and proofs, made and checked by the Python in `tests/independent`.

use ed25519_dalek::{Signer, SigningKey};
use identity_core::note::{VerifierKey, open, signature_line};
use identity_core::proof::ProofError;
use identity_core::{Checkpoint, RowProof, TlogProof};
use serde::Deserialize;

use crate::row_proof::read;
use crate::support::{hex, unhex, unhex_array};

#[derive(Deserialize)]
struct Frozen {
    notes: Vec<Note>,
    checkpoints: Vec<Head>,
    tlog_proofs: Vec<Tlog>,
    row_proofs: Vec<Row>,
}

#[derive(Deserialize)]
struct Note {
    name: String,
    private_key: String,
    vkey: String,
    text: String,
    note: String,
}

#[derive(Deserialize)]
struct Head {
    origin: String,
    size: u64,
    root: String,
    extensions: Vec<String>,
    text: String,
}

#[derive(Deserialize)]
struct Tlog {
    extra: String,
    index: u64,
    path: Vec<String>,
    checkpoint: String,
    text: String,
}

#[derive(Deserialize)]
struct Row {
    vkey: String,
    leaf: String,
    json: String,
    /// Size of the tree, when the checkpoint is signed.
    signed_size: Option<u64>,
}

fn frozen() -> Frozen {
    serde_json::from_str(include_str!("../vectors/frozen.json")).unwrap()
}

#[test]
fn notes_agree() {
    for v in frozen().notes {
        let private = SigningKey::from_bytes(&unhex_array(&v.private_key));
        let key = VerifierKey::new(&v.name, private.verifying_key().as_bytes()).unwrap();
        assert_eq!(key.to_string(), v.vkey);
        let signature = private.sign(v.text.as_bytes()).to_bytes();
        let line = signature_line(key.name(), key.id(), &signature);
        assert_eq!(format!("{}\n{line}", v.text), v.note);
        let keys = [VerifierKey::parse(&v.vkey).unwrap()];
        assert_eq!(open(v.note.as_bytes(), &keys).unwrap().text, v.text);
    }
}

#[test]
fn checkpoints_agree() {
    for v in frozen().checkpoints {
        let checkpoint = Checkpoint {
            origin: v.origin,
            size: v.size,
            root: unhex_array(&v.root),
            extensions: v.extensions,
        };
        assert_eq!(checkpoint.text(), v.text);
        assert_eq!(Checkpoint::parse(&v.text), Some(checkpoint));
    }
}

#[test]
fn tlog_proofs_agree() {
    for v in frozen().tlog_proofs {
        let proof = TlogProof {
            extra: Some(unhex(&v.extra)),
            index: v.index,
            path: v.path.iter().map(|hash| unhex_array(hash)).collect(),
            checkpoint: &v.checkpoint,
        };
        assert_eq!(proof.text(), v.text);
        assert_eq!(TlogProof::parse(&v.text), Some(proof));
    }
}

#[test]
fn row_proofs_agree() {
    for v in frozen().row_proofs {
        let proof = RowProof::parse(&read(v.json.as_bytes()).unwrap()).unwrap();
        assert_eq!(String::from_utf8(proof.json()).unwrap(), v.json);
        assert!(v.json.contains(&hex(&proof.leaf_hash)));
        let keys = [VerifierKey::parse(&v.vkey).unwrap()];
        match proof.verify(v.leaf.as_bytes(), &keys) {
            Ok(proven) => {
                assert_eq!(Some(proven.checkpoint.size), v.signed_size);
                assert!(proven.checkpoint.is_development());
            }
            Err(ProofError::Checkpoint(_)) => assert_eq!(v.signed_size, None),
            Err(other) => panic!("{other}"),
        }
    }
}
