//! A proof shows the row it speaks of and no other, and nothing once any bit of it is changed.

use identity_core::RowProof;
use identity_core::note::NoteError;
use identity_core::proof::{BatchProof, BatchText, ProofError, RowProofText};
use identity_core::seal_leaf::MAX_SEAL_LEAF_BYTES;
use serde::Deserialize;

use crate::log::{batched, merkle_row, row_hash, row_leaf, row_salt};
use crate::support::{bit_flips, canonical, hex, keys, log};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    schema: String,
    access_id: String,
    leaf_hash: String,
    salt: String,
    batch: Option<BatchJson>,
    proof: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchJson {
    index: String,
    rows: String,
    path: Vec<String>,
    seal_leaf: String,
}

/// What a reader with a JSON library does.
pub fn read(json: &[u8]) -> Option<RowProofText> {
    let json: Json = serde_json::from_slice(json).ok()?;
    Some(RowProofText {
        schema: json.schema,
        access_id: json.access_id,
        leaf_hash: json.leaf_hash,
        salt: json.salt,
        batch: json.batch.map(|batch| BatchText {
            index: batch.index,
            rows: batch.rows,
            path: batch.path,
            seal_leaf: batch.seal_leaf,
        }),
        proof: json.proof,
    })
}

fn signed(body: &str) -> String {
    log().note(body)
}

fn verify(proof: &RowProof, number: u64) -> Result<u64, ProofError> {
    let proven = proof.verify(row_leaf(number).as_bytes(), keys())?;
    Ok(proven.checkpoint.size)
}

#[test]
fn rows_in_batches_and_rows_of_their_own_are_proven() {
    for (rows, size) in [(1, 1), (2, 2), (9, 6), (300, 40)] {
        for index in [0, rows.min(size) - 1] {
            let proof = batched(rows, index, size, signed);
            assert_eq!(verify(&proof, 1 + index), Ok(size));
            let proof = merkle_row(index, size, signed);
            assert_eq!(verify(&proof, index), Ok(size));
        }
    }
}

#[test]
fn the_json_is_canonical_and_comes_back() {
    for proof in [batched(9, 2, 6, signed), merkle_row(2, 6, signed)] {
        let json = proof.json();
        assert_eq!(canonical(&json), json);
        assert_eq!(RowProof::parse(&read(&json).unwrap()), Some(proof));
    }
}

#[test]
fn no_single_bit_can_be_changed() {
    for (proof, number) in [(batched(3, 1, 2, signed), 2), (merkle_row(1, 2, signed), 1)] {
        for changed in bit_flips(&proof.json()) {
            let proof = read(&changed).and_then(|text| RowProof::parse(&text));
            let verified = proof.map(|proof| verify(&proof, number));
            assert!(!matches!(verified, Some(Ok(_))));
        }
        for leaf in bit_flips(row_leaf(number).as_bytes()) {
            let refused = proof.verify(&leaf, keys());
            assert_eq!(refused, Err(ProofError::Row));
        }
    }
}

#[test]
fn each_lie_is_called_what_it_is() {
    let good = batched(9, 2, 6, signed);
    let batch = good.batch.clone().unwrap();
    let with = |batch: BatchProof| RowProof {
        batch: Some(batch),
        ..good.clone()
    };
    assert_eq!(verify(&good, 3), Ok(6));
    // Another row, with the hash and salt of the right one or with its own.
    assert_eq!(verify(&good, 4), Err(ProofError::Row));
    let swapped = RowProof {
        access_id: 4,
        leaf_hash: row_hash(4),
        salt: row_salt(4),
        ..good.clone()
    };
    assert_eq!(verify(&swapped, 4), Err(ProofError::Batch));
    let renamed = RowProof {
        access_id: 4,
        ..good.clone()
    };
    assert_eq!(verify(&renamed, 3), Err(ProofError::Row));
    let salted = RowProof {
        salt: row_salt(4),
        ..good.clone()
    };
    assert_eq!(verify(&salted, 3), Err(ProofError::Row));
    for lie in [
        BatchProof {
            index: 3,
            ..batch.clone()
        },
        BatchProof {
            rows: 10,
            ..batch.clone()
        },
        BatchProof {
            path: batch.path[1..].to_vec(),
            ..batch.clone()
        },
        BatchProof {
            seal_leaf: String::new(),
            ..batch.clone()
        },
        BatchProof {
            seal_leaf: batch.seal_leaf.clone() + " ",
            ..batch.clone()
        },
    ] {
        assert_eq!(verify(&with(lie), 3), Err(ProofError::Batch));
    }
    // A batch that was never sealed: its seal leaf is sound, but not in the tree.
    let other = batched(8, 2, 6, signed).batch.unwrap();
    assert_eq!(verify(&with(other), 3), Err(ProofError::Tree));
    let unsealed = RowProof {
        batch: None,
        ..good.clone()
    };
    assert_eq!(verify(&unsealed, 3), Err(ProofError::Malformed));

    let own = merkle_row(2, 6, signed);
    let salted = RowProof {
        proof: own.proof.replace("\nextra ", "\nextra A"),
        ..own.clone()
    };
    assert_eq!(verify(&salted, 2), Err(ProofError::Malformed));
    let boxed = RowProof {
        batch: Some(batch),
        ..own
    };
    assert_eq!(verify(&boxed, 2), Err(ProofError::Batch));
}

/// Whoever may make rows could make one that is a seal leaf to the letter, and take it for a row.
#[test]
fn a_seal_leaf_does_not_pass_for_a_row() {
    let batch = batched(9, 2, 6, signed);
    let seal = batch.batch.clone().unwrap().seal_leaf;
    let salt = *b"salt of the seal";
    let posing = RowProof {
        access_id: 3,
        leaf_hash: identity_core::leaf_hash(&salt, seal.as_bytes()),
        salt,
        batch: None,
        proof: batch.proof,
    };
    let shown = posing.verify(seal.as_bytes(), keys());
    assert_eq!(shown, Err(ProofError::Row));
}

#[test]
fn a_proof_without_signature_is_told_from_a_wrong_one() {
    let unsigned = ProofError::Checkpoint(NoteError::NotSigned);
    for (proof, number) in [
        (batched(9, 2, 6, str::to_owned), 3),
        (merkle_row(2, 6, str::to_owned), 2),
    ] {
        assert_eq!(verify(&proof, number), Err(unsigned));
    }
    assert_eq!(
        verify(&batched(9, 2, 6, str::to_owned), 2),
        Err(ProofError::Row)
    );
}

#[test]
fn members_have_one_form() {
    let good = batched(9, 2, 6, signed);
    let text = read(&good.json()).unwrap();
    let own = read(&merkle_row(2, 6, signed).json()).unwrap();
    assert!(RowProof::parse(&text).is_some() && RowProof::parse(&own).is_some());
    let bad = |change: &dyn Fn(&mut RowProofText)| {
        let mut text = text.clone();
        change(&mut text);
        assert_eq!(RowProof::parse(&text), None, "{text:?}");
    };
    bad(&|text| text.schema = "identity_pgx/proof/v2".into());
    for id in ["", "-1", "+3", "03", "9223372036854775808", "3 "] {
        bad(&|text| text.access_id = id.into());
    }
    bad(&|text| text.leaf_hash = text.leaf_hash.to_uppercase());
    bad(&|text| text.leaf_hash.push_str("00"));
    bad(&|text| text.salt.truncate(30));
    bad(&|text| text.salt = hex(&[0; 32]));
    bad(&|text| text.proof.insert(0, ' '));
    bad(&|text| text.proof.clear());
    let in_batch =
        |change: &dyn Fn(&mut BatchText)| bad(&|text| change(text.batch.as_mut().unwrap()));
    in_batch(&|batch| batch.index = "02".into());
    in_batch(&|batch| batch.rows = "-9".into());
    in_batch(&|batch| batch.path[0].truncate(62));
    in_batch(&|batch| batch.path[1] = batch.path[1].to_uppercase());
    in_batch(&|batch| batch.path = vec![hex(&[0; 32]); 65]);
    in_batch(&|batch| batch.seal_leaf = "x".repeat(MAX_SEAL_LEAF_BYTES + 1));

    let mut longest = text.clone();
    let batch = longest.batch.as_mut().unwrap();
    batch.path = vec![hex(&[0; 32]); 64];
    batch.seal_leaf = "x".repeat(MAX_SEAL_LEAF_BYTES);
    longest.access_id = i64::MAX.to_string();
    assert_eq!(RowProof::parse(&longest).unwrap().access_id, i64::MAX);
}
