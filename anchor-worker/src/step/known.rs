//! What a process has seen so far, beyond one round. Nothing of it is kept on disk: the store is asked again after a restart, and what it says is
//! worth more than a file of ours.

use identity_core::checkpoint::Checkpoint;
use identity_core::note::{NoteError, VerifierKey};

use super::refusal::{Refusal, Tree};
use super::tombstones::Log;
use crate::store::{CHECKPOINTS, Object, TOMBSTONES, folder, size_of};

/// What is known of one log and its anchors.
#[derive(Debug, Default)]
pub struct Known {
    /// Keys of earlier times: what they signed is believed, and nothing new is signed with them.
    pub former_keys: Vec<VerifierKey>,
    /// The signer's key; its name is the log's origin. Learned when there is first something to anchor.
    pub(super) key: Option<VerifierKey>,
    /// The newest anchor that was seen in the store.
    pub(super) newest: Option<Tree>,
    /// The size up to which the database knows its anchors.
    pub(super) recorded: Option<u64>,
    refused: Option<Refusal>,
}

impl Known {
    /// Nothing, but for keys of earlier times.
    #[must_use]
    pub fn new(former_keys: Vec<VerifierKey>) -> Self {
        Self {
            former_keys,
            ..Self::default()
        }
    }

    /// Why nothing is signed any more until somebody restarts the worker.
    #[must_use]
    pub fn refused(&self) -> Option<&Refusal> {
        self.refused.as_ref()
    }

    /// The newest anchor that was seen in the store.
    #[must_use]
    pub fn newest(&self) -> Option<Tree> {
        self.newest
    }

    /// What tombstones are published of, when so many leaves are anchored; nothing before the log has a name.
    #[must_use]
    pub fn log(&self, size: u64) -> Option<Log> {
        let key = self.key.as_ref()?;
        Some(Log {
            keys: self.own_keys(),
            origin: key.name().to_owned(),
            folder: folder(1, TOMBSTONES),
            size,
        })
    }

    /// The key that signs, and those of earlier times. A former key of another log's name would let that log speak for ours.
    fn own_keys(&self) -> Vec<VerifierKey> {
        let own = self.key.iter().flat_map(|key| {
            let former = self.former_keys.iter();
            former
                .filter(move |other| other.name() == key.name())
                .chain([key])
        });
        own.cloned().collect()
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.refused.insert(refusal).clone()
    }

    /// A checkpoint of our log, from an object of the store.
    pub(super) fn open(&self, object: &Object) -> Result<(Tree, String), Refusal> {
        let not_ours = |error| Refusal::NotOurs {
            key: object.key.clone(),
            error,
        };
        let note = str::from_utf8(&object.body).map_err(|_| not_ours(NoteError::Malformed))?;
        let checkpoint = self.open_note(note).map_err(not_ours)?;
        let tree = tree(&checkpoint);
        if size_of(&folder(1, CHECKPOINTS), &object.key) != Some(checkpoint.size) {
            return Err(Refusal::Misplaced {
                key: object.key.clone(),
                anchored: tree,
            });
        }
        Ok((tree, note.to_owned()))
    }

    pub(super) fn open_note(&self, note: &str) -> Result<Checkpoint, NoteError> {
        Checkpoint::open(note, &self.own_keys())
    }

    /// What the store has now, against what it had.
    pub(super) fn seen(&mut self, now: Option<Tree>) -> Result<(), Refusal> {
        if let Some(seen) = self.newest {
            match now {
                Some(now) if now.size == seen.size && now.root != seen.root => {
                    return Err(Refusal::Replaced { seen, now });
                }
                Some(now) if now.size >= seen.size => {}
                _ => return Err(Refusal::Gone { seen, now }),
            }
        }
        self.newest = now;
        Ok(())
    }
}

pub(super) fn tree(checkpoint: &Checkpoint) -> Tree {
    Tree {
        size: checkpoint.size,
        root: checkpoint.root,
    }
}
