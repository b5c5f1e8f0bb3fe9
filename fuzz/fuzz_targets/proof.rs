//! Proofs come from whoever wants to be believed. See README.md for the promise.
#![no_main]

use identity_core::proof::{BatchText, ProofError, RowProofText};
use identity_core::{RowProof, TlogProof};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    text: &'a str,
    extra: Option<Vec<u8>>,
    index: u64,
    path: Vec<[u8; 32]>,
    checkpoint: &'a str,
    access_id: i64,
    leaf_hash: [u8; 32],
    salt: [u8; 16],
    batch: Option<(u64, u64, Vec<[u8; 32]>, &'a str)>,
    wild: [&'a str; 3],
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fuzz_target!(|input: Input<'_>| {
    for text in [
        input.text.to_owned(),
        format!("c2sp.org/tlog-proof@v1\n{}", input.text),
    ] {
        if let Some(proof) = TlogProof::parse(&text) {
            assert_eq!(proof.text(), text);
            assert!(proof.verify(&input.leaf_hash, &[]).is_err());
        }
    }

    let proof = TlogProof {
        extra: input.extra.filter(|extra| !extra.is_empty()),
        index: input.index,
        path: input.path,
        checkpoint: input.checkpoint,
    };
    let text = proof.text();
    match TlogProof::parse(&text) {
        Some(read) => assert_eq!(read, proof),
        None => assert!(
            proof.path.len() > 64 || text.len() > 1 << 17 || text.bytes().any(|byte| byte < b' ')
        ),
    }

    let text = |wild: [&str; 3]| RowProofText {
        schema: "identity_pgx/proof/v1".into(),
        access_id: input.access_id.to_string() + wild[0],
        leaf_hash: hex(&input.leaf_hash) + wild[1],
        salt: hex(&input.salt) + wild[2],
        batch: input
            .batch
            .as_ref()
            .map(|(index, rows, path, seal_leaf)| BatchText {
                index: index.to_string(),
                rows: rows.to_string(),
                path: path.iter().map(|hash| hex(hash)).collect(),
                seal_leaf: (*seal_leaf).to_owned(),
            }),
        proof: text.clone(),
    };
    for text in [text(input.wild), text([""; 3])] {
        let Some(proof) = RowProof::parse(&text) else {
            continue;
        };
        let json = proof.json();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), json);
        let members = [&text.access_id, &text.leaf_hash, &text.salt, &text.proof];
        let names = ["access_id", "leaf_hash", "salt", "proof"];
        assert_eq!(names.map(|name| value[name].as_str().unwrap()), members);
        assert_eq!(value.get("batch").is_some(), text.batch.is_some());
        // Nobody finds a row whose hash is the one they were given.
        let shown = proof.verify(input.text.as_bytes(), &[]);
        assert!(matches!(
            shown,
            Err(ProofError::Row | ProofError::Malformed)
        ));
    }
});
