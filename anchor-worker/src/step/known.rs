//! What a process has seen so far, beyond one round. Nothing of it is kept on disk: the store is asked again after a restart, and what it says is
//! worth more than a file of ours.

use identity_core::checkpoint::{Checkpoint, Tree};
use identity_core::incarnation::{Parties, split};
use identity_core::note::{NoteError, VerifierKey};

use super::declared::{self, Beginning};
use super::refusal::Refusal;
use super::tombstones::Log;
use crate::store::{CHECKPOINTS, Object, TOMBSTONES, folder, size_of};

/// What is known of one log and its anchors.
#[derive(Debug, Default)]
pub struct Known {
    /// Keys of earlier times: what they signed is believed, and nothing new is signed with them.
    pub former_keys: Vec<VerifierKey>,
    /// Whose signatures declare an incarnation.
    pub parties: Option<Parties>,
    /// The signer's key; its name is the log's origin. Learned when there is first something to anchor.
    pub(super) key: Option<VerifierKey>,
    /// The newest anchor that was seen in the store.
    pub(super) newest: Option<Tree>,
    /// The size up to which the database knows its anchors.
    pub(super) recorded: Option<u64>,
    /// What the log's incarnation begins with, if it is not the first.
    pub(super) kept: Option<Tree>,
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
            keys: self.own(),
            origin: key.name().to_owned(),
            folder: folder(self.incarnation(), TOMBSTONES),
            size,
        })
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.refused.insert(refusal).clone()
    }

    /// Which incarnation of the log this is; the first, as long as that is not known.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.key.as_ref().map_or(1, |key| split(key.name()).1)
    }

    /// Learns what the log's incarnation begins with.
    pub(super) fn believe(&mut self, beginnings: &[Beginning]) -> Result<(), Refusal> {
        let origin = self.key.as_ref().map_or("", |key| key.name());
        let (parties, keys) = (self.parties.as_ref(), self.own());
        self.kept = declared::begins_with(origin, beginnings, parties, &keys)?;
        Ok(())
    }

    /// A checkpoint of our log, from an object of the store.
    pub(super) fn open(&self, object: &Object) -> Result<(Tree, String), Refusal> {
        let checkpoint = declared::open(object, &self.own())?;
        let tree = checkpoint.tree();
        let origin = self.key.as_ref().map(VerifierKey::name);
        let place = size_of(&folder(self.incarnation(), CHECKPOINTS), &object.key);
        // A key speaks for every incarnation of its log, a checkpoint for one.
        if place != Some(tree.size) || origin != Some(&checkpoint.origin) {
            return Err(Refusal::Misplaced {
                key: object.key.clone(),
                anchored: tree,
            });
        }
        let note = String::from_utf8_lossy(&object.body).into_owned();
        Ok((tree, note))
    }

    pub(super) fn open_note(&self, note: &str) -> Result<Checkpoint, NoteError> {
        Checkpoint::open(note, &self.own())
    }

    /// The keys that speak for our log. A former key of another log's name would let that log speak for ours.
    fn own(&self) -> Vec<VerifierKey> {
        let own = self.key.iter().flat_map(|key| {
            let log = split(key.name()).0;
            let former = self.former_keys.iter();
            former
                .filter(move |other| split(other.name()).0 == log)
                .chain([key])
        });
        own.cloned().collect()
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
