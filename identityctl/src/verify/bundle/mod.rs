//! `identityctl verify bundle`: rows, their proofs and signed checkpoints, from files. No database, no clock, no network.

mod heads;
mod json;

use std::path::Path;

use identity_core::checkpoint::Checkpoint;
use identity_core::note::{NoteError, VerifierKey};
use identity_core::proof::{BatchText, ProofError, Proven, RowProof, RowProofText};

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
    let Some(proof) = RowProof::parse(&text(proof)) else {
        report.bad("row", &format!("{place}: its proof is none"));
        return;
    };
    let place = format!("{place}, access_id {}", proof.access_id);
    match proof.verify(leaf.as_bytes(), keys) {
        Ok(Proven { checkpoint, .. }) => {
            let Checkpoint { origin, size, .. } = &checkpoint;
            report.good(
                "row",
                &format!("{place}: in the first {size} leaves of {origin}"),
            );
            heads.add(&place, checkpoint, report);
        }
        Err(error @ ProofError::Checkpoint(NoteError::NotSigned)) => {
            report.unchecked("row", &format!("{place}: {error}"))
        }
        Err(error) => report.bad("row", &format!("{place}: {error}")),
    }
}

fn text(proof: Proof) -> RowProofText {
    let batch = proof.batch.map(|batch| BatchText {
        index: batch.index,
        rows: batch.rows,
        path: batch.path,
        seal_leaf: batch.seal_leaf,
    });
    RowProofText {
        schema: proof.schema,
        access_id: proof.access_id,
        leaf_hash: proof.leaf_hash,
        salt: proof.salt,
        batch,
        proof: proof.proof,
    }
}
