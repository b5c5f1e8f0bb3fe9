//! Which incarnation of the log the database is in: only what both parties have signed counts, and only if each declaration continues the one before.

use identity_core::checkpoint::{Checkpoint, Tree};
use identity_core::incarnation::{Declaration, DeclarationError, Parties, name, split};
use identity_core::note::VerifierKey;

use super::refusal::Refusal;
use crate::store::{CHECKPOINTS, Object, folder, size_of};

/// What the store has of the beginning of one incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// What declares it.
    pub declaration: Option<Object>,
    /// The last anchor of the incarnation before.
    pub last: Option<Object>,
}

/// The tree that the incarnation of this origin begins with. `beginnings` are those of the second incarnation and each after it, in order; `keys` those that
/// sign checkpoints.
///
/// # Errors
/// What is missing, or was not signed by both, or does not continue what came before.
pub fn begins_with(
    origin: &str,
    beginnings: &[Beginning],
    parties: Option<&Parties>,
    keys: &[VerifierKey],
) -> Result<Option<Tree>, Refusal> {
    let (log, incarnation) = split(origin);
    let mut kept = None;
    for number in 2..=incarnation {
        let parties = parties.ok_or(Refusal::NoParties { incarnation })?;
        let at = usize::try_from(number - 2).ok();
        let beginning = at.and_then(|at| beginnings.get(at));
        let undeclared = Refusal::Undeclared {
            incarnation: number,
        };
        let Some(Beginning {
            declaration: Some(declaration),
            last,
        }) = beginning
        else {
            return Err(undeclared);
        };
        let refused = |error| Refusal::Declaration {
            incarnation: number,
            error,
        };
        let document = Declaration::open(&declaration.body, parties).map_err(refused)?;
        // Whoever signs checkpoints is the worker: its key in the place of a party's would be one of two.
        let own = |key: &VerifierKey| parties.role_of(key.public_key());
        if let Some(role) = keys.iter().find_map(own) {
            return Err(Refusal::PartySigns { role });
        }
        let last = match last {
            Some(object) => Some(anchor(object, log, number - 1, keys)?),
            None => kept,
        };
        let last = last.ok_or_else(|| refused(DeclarationError::AnotherLast))?;
        let follows = document.follows(log, number, &last);
        follows.map_err(refused)?;
        kept = Some(document.kept);
    }
    Ok(kept)
}

/// An anchor of one incarnation.
///
/// # Errors
/// What it is instead.
pub fn anchor(
    object: &Object,
    log: &str,
    incarnation: u32,
    keys: &[VerifierKey],
) -> Result<Tree, Refusal> {
    let checkpoint = open(object, keys)?;
    let tree = checkpoint.tree();
    let place = size_of(&folder(incarnation, CHECKPOINTS), &object.key);
    if checkpoint.origin != name(log, incarnation) || place != Some(tree.size) {
        return Err(Refusal::Misplaced {
            key: object.key.clone(),
            anchored: tree,
        });
    }
    Ok(tree)
}

/// A checkpoint that one of the keys has signed.
pub(super) fn open(object: &Object, keys: &[VerifierKey]) -> Result<Checkpoint, Refusal> {
    let note = str::from_utf8(&object.body).unwrap_or_default();
    Checkpoint::open(note, keys).map_err(|error| Refusal::NotOurs {
        key: object.key.clone(),
        error,
    })
}
