//! `identityctl verify bundle`: rows, their proofs and signed checkpoints, from files. No database, no clock, no network.

mod heads;
mod json;

use std::path::Path;

use identity_core::note::VerifierKey;
use identity_core::proof::{BatchProof, ProofError, RowProof};
use serde::Deserialize;

use super::file;
use crate::cli;
use crate::report::Report;
use heads::Heads;
use json::{Bundle, Proof, Row};

/// A row with its proof has some kilobytes: this is room for ten thousand of them.
const MAX_BUNDLE_BYTES: u64 = 64 << 20;

pub fn run(arguments: &cli::Bundle) -> Report {
    let mut report = Report::new("verify bundle");
    let (mut heads, mut links) = (Heads::default(), Vec::new());
    for file in &arguments.files {
        let name = file.display().to_string();
        if let Some(mut bundle) = read(file, &name, &mut report) {
            if bundle.is_empty() {
                report.unchecked("file", &format!("{name}: there is nothing in it"));
            }
            let consistency = std::mem::take(&mut bundle.consistency);
            let places = (1..).map(|number| format!("{name}: consistency {number}"));
            links.extend(places.zip(consistency));
            check(&name, bundle, &arguments.keys, &mut heads, &mut report);
        }
    }
    // Last, since a file may link the checkpoints of two others.
    for (place, link) in &links {
        heads.link(place, link, &mut report);
    }
    heads.close(&mut report);
    report
}

fn read(file: &Path, name: &str, report: &mut Report) -> Option<Bundle> {
    let text = match file::read(file, MAX_BUNDLE_BYTES) {
        Ok(text) => text,
        Err(error) => {
            report.unchecked("file", &format!("{name}: {error}"));
            return None;
        }
    };
    match serde_json::from_str(&text) {
        Ok(bundle) => Some(bundle),
        Err(error) => {
            // Where, not what: the text of the error would repeat the file.
            let place = format!("line {} column {}", error.line(), error.column());
            report.bad("file", &format!("{name}: no bundle, at {place}"));
            None
        }
    }
}

fn check(name: &str, bundle: Bundle, keys: &[VerifierKey], heads: &mut Heads, report: &mut Report) {
    let rows = bundle.rows.len();
    for (number, row) in (1..).zip(bundle.rows) {
        let place = format!("{name}: row {number} of {rows}");
        check_row(&place, row, keys, heads, report);
    }
    for (number, note) in (1..).zip(&bundle.checkpoints) {
        let place = format!("{name}: checkpoint {number}");
        heads.open(&place, note, keys, report);
    }
}

fn check_row(place: &str, row: Row, keys: &[VerifierKey], heads: &mut Heads, report: &mut Report) {
    let Row { leaf, proof } = row;
    // The number is shown, so it must be the row's own and not the one that the proof claims.
    let claimed = proof.access_id.0;
    if access_id(&leaf) != Some(claimed) {
        report.bad("row", &format!("{place}: its proof is of another row"));
        return;
    }
    let place = format!("{place}, access_id {claimed}");
    match typed(proof).verify(leaf.as_bytes(), keys) {
        Ok(proven) => {
            let checkpoint = proven.checkpoint;
            report.good("row", &format!("{place}: proven in the first {} leaves of {}", checkpoint.size, checkpoint.origin));
            heads.add(&place, checkpoint, report);
        }
        Err(error @ (ProofError::Unsigned | ProofError::UnknownKey)) => report.unchecked("row", &format!("{place}: {error}")),
        Err(error) => report.bad("row", &format!("{place}: {error}")),
    }
}

/// The number in a leaf, which must be an access row's.
fn access_id(leaf: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Leaf {
        schema: String,
        access_id: json::Decimal<i64>,
    }
    let leaf = serde_json::from_str::<Leaf>(leaf).ok()?;
    (leaf.schema == identity_core::leaf::SCHEMA).then_some(leaf.access_id.0)
}

fn typed(proof: Proof) -> RowProof {
    let batch = proof.batch.map(|batch| BatchProof {
        index: batch.index.0,
        rows: batch.rows.0,
        path: batch.path.into_iter().map(|hash| hash.0).collect(),
        seal_leaf: batch.seal_leaf,
    });
    RowProof {
        access_id: proof.access_id.0,
        leaf_hash: proof.leaf_hash.0,
        salt: proof.salt.0,
        batch,
        proof: proof.proof,
    }
}
