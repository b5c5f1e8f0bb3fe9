//! A database and a store, a few lines each, with which a round of anchoring is played.

use std::collections::{BTreeMap, BTreeSet};

use anchor_worker::step::anchor::{Effect, End, Event, Next, Round};
use anchor_worker::step::known::Known;
use anchor_worker::store::{Object, Stored};
use ed25519_dalek::{Signer as _, SigningKey};
use identity_core::checkpoint::Checkpoint;
use identity_core::merkle::{self, Digest, Frontier, Nodes, verify_consistency};
use identity_core::note::{VerifierKey, signature_line};

pub const ORIGIN: &str = "identity_pgx/00000000-0000-4000-8000-000000000001";

/// Complete subtrees, as the database stores them.
#[derive(Clone, Default)]
pub struct Tree {
    pub leaves: Vec<Digest>,
    pub nodes: BTreeMap<(u8, u64), Digest>,
    pub frontier: Frontier,
}

impl Nodes for Tree {
    type Error = ();

    fn node(&self, level: u8, index: u64) -> Result<Digest, ()> {
        self.nodes.get(&(level, index)).copied().ok_or(())
    }
}

impl Tree {
    pub fn of(leaves: Vec<Digest>) -> Self {
        let mut tree = Self::default();
        for leaf in leaves {
            tree.append(leaf);
        }
        tree
    }

    pub fn append(&mut self, leaf: Digest) {
        let nodes = &mut self.nodes;
        self.frontier.append(leaf, &mut |level, index, hash| {
            nodes.insert((level, index), hash);
        });
        self.leaves.push(leaf);
    }

    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }
}

pub struct World {
    pub tree: Tree,
    /// Rows that no seal has taken in.
    pub unsealed: Vec<Digest>,
    pub store: BTreeMap<u64, String>,
    pub recorded: BTreeSet<u64>,
    pub key: SigningKey,
    pub signed: Vec<Checkpoint>,
    pub origin: String,
    /// Rows of another history are other rows.
    pub history: u8,
}

impl World {
    pub fn new() -> Self {
        Self {
            tree: Tree::default(),
            unsealed: Vec::new(),
            store: BTreeMap::new(),
            recorded: BTreeSet::new(),
            key: SigningKey::from_bytes(&[7; 32]),
            signed: Vec::new(),
            origin: ORIGIN.into(),
            history: 0,
        }
    }

    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            origin: self.origin.clone(),
            size: self.tree.size(),
            root: self.tree.frontier.root(),
            extensions: Vec::new(),
        }
    }

    pub fn object(&self, size: u64) -> Option<Object> {
        let note = self.store.get(&size)?;
        Some(Object {
            key: format!("checkpoints/{size:020}"),
            body: note.clone().into_bytes(),
            stored: stored(size),
        })
    }

    /// Does what is asked for; `None` if it cannot be done.
    pub fn perform(&mut self, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::Seal => {
                for leaf in std::mem::take(&mut self.unsealed) {
                    self.tree.append(leaf);
                }
                Event::Sealed
            }
            Effect::Checkpoint => Event::Checkpoint(self.checkpoint().text()),
            Effect::Key { origin } => Event::Key(vkey(&self.key, &origin)),
            Effect::ReadLast => {
                let last = self.store.last_key_value().map(|(size, _)| *size);
                Event::Last(last.and_then(|size| self.object(size)))
            }
            Effect::Consistency { old, new } => {
                Event::Consistency(merkle::consistency(old, new, &self.tree).ok()?)
            }
            Effect::Sign { text, origin } => {
                self.signed.push(Checkpoint::parse(&text).unwrap());
                Event::Signed(note(&self.key, &text, &origin))
            }
            Effect::Put { size, note } => {
                if self.store.contains_key(&size) {
                    return Some(Event::Taken);
                }
                self.store.insert(size, note);
                Event::Put(stored(size))
            }
            Effect::ReadBack { size } => Event::ReadBack(self.object(size)),
            Effect::Record { note, stored: at } => {
                let checkpoint = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
                let size = Checkpoint::parse(&checkpoint).unwrap().size;
                assert_eq!(at, stored(size));
                if !self.recorded.contains(&size) {
                    if self.recorded.last() > Some(&size) {
                        return None;
                    }
                    self.recorded.insert(size);
                }
                Event::Recorded
            }
        })
    }

    /// Runs a round to its end with nothing going wrong.
    pub fn round(&mut self, known: &mut Known) -> End {
        let (mut round, mut next) = Round::begin(known);
        loop {
            match next {
                Next::End(end) => return end,
                Next::Do(effect) => {
                    let event = self.perform(effect).expect("an effect that can be done");
                    next = round.next(known, event);
                }
            }
        }
    }

    pub fn grow(&mut self, rows: u8) {
        for _ in 0..rows {
            let number = self.tree.size() + self.unsealed.len() as u64;
            self.unsealed.push(leaf(number, self.history));
        }
    }

    /// Whoever reads the store finds one history.
    pub fn store_is_consistent(&self, tree: &Tree) {
        let trees: Vec<_> = self.store.values().map(|note| opened(note)).collect();
        for pair in trees.windows(2) {
            let path = merkle::consistency(pair[0].size, pair[1].size, tree).unwrap();
            let (old, new) = (&pair[0], &pair[1]);
            assert!(verify_consistency(
                old.size, new.size, &old.root, &new.root, &path
            ));
        }
    }
}

pub fn leaf(number: u64, version: u8) -> Digest {
    merkle::leaf_hash(&[version; 16], &number.to_be_bytes())
}

pub fn stored(size: u64) -> Stored {
    Stored {
        uri: format!("test:{size}"),
        version_id: size.to_string(),
        lock_until: 1,
    }
}

pub fn vkey(key: &SigningKey, name: &str) -> VerifierKey {
    VerifierKey::new(name, &key.verifying_key().to_bytes()).unwrap()
}

pub fn note(key: &SigningKey, text: &str, name: &str) -> String {
    let signature = key.sign(text.as_bytes()).to_bytes();
    format!(
        "{text}\n{}",
        signature_line(name, vkey(key, name).id(), &signature)
    )
}

pub fn opened(note: &str) -> Checkpoint {
    Checkpoint::parse(&(note.split_once("\n\n").unwrap().0.to_owned() + "\n")).unwrap()
}
