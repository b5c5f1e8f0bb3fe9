//! Writes checkpoints and proofs, one JSON object a line, for programs in other languages to check:
//! `tests/independent/proofs.sh`. Every proof of every tree of up to 300 leaves, and of one of 100,000 some thousands;
//! with the argument `all`, all.

#[path = "../tests/it/log.rs"]
mod log;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use identity_core::{TlogProof, merkle};
use serde_json::{Value, json};

use log::{ORIGIN, Signer, Tree, batched, merkle_row, row_hash, row_leaf, row_salt};

const SMALL: u64 = 300;
const LARGE: u64 = 100_000;

/// Places and older sizes in the large tree: those around which it looks different, and some in between.
fn places(step: u64) -> BTreeSet<u64> {
    let near = |power: u64| [power - 1, power, power + 1];
    let corners = (0..17).flat_map(|level| near(1 << level));
    let corners = corners.chain([99_328, 98_304, 98_305, LARGE / 3]);
    (0..LARGE)
        .step_by(step as usize)
        .chain(corners)
        .chain([LARGE - 1])
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut put = |line: Value| writeln!(out, "{line}");
    let log = Signer::new(ORIGIN, 1);
    put(json!({"kind": "key", "vkey": log.vkey.to_string()}))?;

    let mut tree = Tree::default();
    (0..LARGE).for_each(|number| tree.append(row_hash(number)));
    let step = if std::env::args().any(|argument| argument == "all") {
        1
    } else {
        25
    };
    let (large, older) = (places(step), places(2 * step));
    // Every checkpoint before the proofs that speak of it.
    for size in (1..=SMALL)
        .chain(older.iter().copied().filter(|old| *old > SMALL))
        .chain([LARGE])
    {
        let note = log.note(&tree.checkpoint(size).text());
        put(json!({"kind": "checkpoint", "size": size, "note": note}))?;
        if SMALL < size && size < LARGE {
            continue;
        }
        let small = size <= SMALL;
        let all = (0..size).filter(|index| small || large.contains(index));
        for index in all {
            let proof = TlogProof {
                extra: Some(row_salt(index).to_vec()),
                index,
                path: tree.inclusion(index, size),
                checkpoint: &note,
            };
            put(
                json!({"kind": "inclusion", "size": size, "index": index, "leaf": row_leaf(index), "proof": proof.text()}),
            )?;
        }
        for old in (1..=size).filter(|old| small || *old == size || older.contains(old)) {
            let Ok(path) = merkle::consistency(old, size, &tree);
            let path: Vec<String> = path.iter().map(|hash| hex(hash)).collect();
            put(json!({"kind": "consistency", "old": old, "new": size, "path": path}))?;
        }
    }
    for (rows, size) in [(1, 1), (3, 2), (255, 7), (256, 7), (257, 7), (1000, 40)] {
        for index in [0, rows.min(size) - 1] {
            let rows = [
                (1 + index, batched(rows, index, size, |text| log.note(text))),
                (index, merkle_row(index, size, |text| log.note(text))),
            ];
            for (number, proof) in rows {
                let proof: Value = serde_json::from_slice(&proof.json())?;
                put(json!({"kind": "row", "leaf": row_leaf(number), "proof": proof}))?;
            }
        }
    }
    let unsigned: Value = serde_json::from_slice(&batched(3, 1, 2, str::to_owned).json())?;
    put(json!({"kind": "unsigned", "leaf": row_leaf(2), "proof": unsigned}))
}
