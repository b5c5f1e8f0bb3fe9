//! A signed checkpoint from outside: the tree must have had its root when it had its size.

use std::path::Path;

use identity_core::checkpoint::{Checkpoint, origin};
use identity_core::incarnation::split;
use identity_core::merkle::{Digest, Nodes, root};
use identity_core::note::{MAX_NOTE_BYTES, NoteError, VerifierKey};
use identity_core::replay::Summary;

use super::store::Database;
use crate::report::Report;
use crate::verify::file;
use identity_connect::Failure;

/// Reads a checkpoint. One that does not verify is no reason to look at the database.
pub fn read(
    path: &Path,
    keys: &[VerifierKey],
    report: &mut Report,
) -> Result<Option<Checkpoint>, Failure> {
    let note = file::read(path, MAX_NOTE_BYTES as u64);
    let name = path.display();
    let note =
        note.map_err(|error| Failure(format!("the checkpoint {name} cannot be read: {error}")))?;
    match Checkpoint::open(&note, keys) {
        Ok(checkpoint) => return Ok(Some(checkpoint)),
        Err(error @ NoteError::NotSigned) => {
            report.unchecked("checkpoint", &format!("{name}: {error}"));
        }
        Err(error) => report.bad("checkpoint", &format!("{name}: {error}")),
    }
    Ok(None)
}

pub fn compare(
    signed: &Checkpoint,
    installation: &[u8; 16],
    summary: &Summary,
    database: &Database<'_>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (size, tree_size) = (signed.size, summary.tree_size);
    let log = split(&signed.origin).0;
    let [own, development] = [false, true].map(|development| origin(installation, development));
    if log == development {
        report.note(
            "checkpoint",
            "DEVELOPMENT: of a log that is kept with development keys, which everybody knows",
        );
    } else if log != own {
        report.bad(
            "checkpoint",
            "it is of another log than this database says it has",
        );
        return Ok(());
    }
    if size > tree_size {
        report.bad(
            "checkpoint",
            &format!("rolled back: the tree has {tree_size} leaves, and {size} were signed"),
        );
        return Ok(());
    }
    if root(size, &Stored(database))? == signed.root {
        report.good(
            "checkpoint",
            &format!("the first {size} of {tree_size} leaves are those that were signed"),
        );
    } else {
        report.bad(
            "checkpoint",
            &format!("rewritten: the first {size} leaves are not those that were signed"),
        );
    }
    Ok(())
}

/// The nodes as they are stored. Which the replay has compared with the leaves; and a false one makes another root.
pub struct Stored<'a>(pub &'a Database<'a>);

impl Nodes for Stored<'_> {
    type Error = Failure;

    fn node(&self, level: u8, index: u64) -> Result<Digest, Failure> {
        let Self(database) = self;
        let nodes = database.ledger.nodes(database.client, level, index);
        let first = database.runtime.block_on(nodes)?.into_iter().next();
        // One that is missing was found by the replay; it makes no root.
        Ok(first
            .filter(|(found, _)| *found == index)
            .map_or([0; 32], |(_, hash)| hash))
    }
}
