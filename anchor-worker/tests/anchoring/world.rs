//! A database and a store, a few lines each, with which a round of anchoring is played.

use std::collections::{BTreeMap, BTreeSet};

use anchor_worker::step::anchor::{Effect, End, Event, Next, Round};
use anchor_worker::step::declared::Beginning;
use anchor_worker::step::known::Known;
use anchor_worker::store::{Object, Stored};
use ed25519_dalek::{Signer as _, SigningKey};
use identity_core::checkpoint::{self, Checkpoint};
use identity_core::incarnation::{Declaration, Parties, name, split};
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
    /// Anchors of incarnations before that of the store, and what declares each after the first.
    pub former: BTreeMap<u32, BTreeMap<u64, String>>,
    pub declared: BTreeMap<u32, String>,
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
            former: BTreeMap::new(),
            declared: BTreeMap::new(),
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
        object(self.newest(), size, self.store.get(&size)?)
    }

    /// The incarnation that the store's newest anchors are of.
    pub fn newest(&self) -> u32 {
        self.declared.keys().last().copied().unwrap_or(1)
    }

    /// The anchors of one incarnation.
    fn anchors(&mut self, incarnation: u32) -> &mut BTreeMap<u64, String> {
        if incarnation == self.newest() {
            &mut self.store
        } else {
            self.former.entry(incarnation).or_default()
        }
    }

    fn last(&mut self, incarnation: u32) -> Option<Object> {
        let (size, note) = self.anchors(incarnation).last_key_value()?;
        object(incarnation, *size, note)
    }

    /// What a restore to so many leaves has to be declared as.
    pub fn declaration(&mut self, kept: u64) -> Declaration {
        let (log, incarnation) = (split(&self.origin).0.to_owned(), self.newest());
        let last = opened(self.store.last_key_value().unwrap().1);
        let root = merkle::root(kept, &self.tree).unwrap();
        Declaration {
            log,
            incarnation: incarnation + 1,
            kept: checkpoint::Tree { size: kept, root },
            last: last.tree(),
            at: 0,
            reason: "a test".into(),
        }
    }

    /// Puts a declaration into effect, in the store and in the database.
    pub fn declare(&mut self, declaration: &Declaration, note: String) {
        let before = self.newest();
        self.former.insert(before, std::mem::take(&mut self.store));
        self.declared.insert(declaration.incarnation, note);
        self.origin = name(&declaration.log, declaration.incarnation);
        self.recorded.retain(|size| *size <= declaration.kept.size);
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
            Effect::Declarations { incarnation } => Event::Declarations(
                (2..=incarnation)
                    .map(|number| Beginning {
                        declaration: self.declared.get(&number).map(|note| Object {
                            key: format!("incarnations/{number}/declaration"),
                            body: note.clone().into_bytes(),
                            stored: stored(0),
                        }),
                        last: self.last(number - 1),
                    })
                    .collect(),
            ),
            Effect::Later { incarnation } => {
                Event::Later(self.declared.contains_key(&(incarnation + 1)))
            }
            Effect::ReadLast { incarnation } => Event::Last(self.last(incarnation)),
            Effect::Consistency { old, new } => {
                Event::Consistency(merkle::consistency(old, new, &self.tree).ok()?)
            }
            Effect::Sign { text, origin } => {
                self.signed.push(Checkpoint::parse(&text).unwrap());
                Event::Signed(note(&self.key, &text, &origin))
            }
            Effect::Put {
                incarnation,
                size,
                note,
            } => {
                let anchors = self.anchors(incarnation);
                if anchors.contains_key(&size) {
                    return Some(Event::Taken);
                }
                anchors.insert(size, note);
                Event::Put(stored(size))
            }
            Effect::ReadBack { incarnation, size } => {
                let note = self.anchors(incarnation).get(&size).cloned();
                Event::ReadBack(note.and_then(|note| object(incarnation, size, &note)))
            }
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

fn object(incarnation: u32, size: u64, note: &str) -> Option<Object> {
    let folder = match incarnation {
        1 => String::new(),
        later => format!("incarnations/{later}/"),
    };
    Some(Object {
        key: format!("{folder}checkpoints/{size:020}"),
        body: note.to_owned().into_bytes(),
        stored: stored(size),
    })
}

/// The two parties' keys, and what both would say.
pub struct Pair {
    pub keys: [SigningKey; 2],
    pub parties: Parties,
}

impl Pair {
    pub fn new() -> Self {
        Self::of([21, 22])
    }

    pub fn of(seeds: [u8; 2]) -> Self {
        let keys = seeds.map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let [operator, counsel] = [("operator", &keys[0]), ("counsel", &keys[1])]
            .map(|(word, key)| vkey(key, &format!("{word}.example")));
        Self {
            keys,
            parties: Parties { operator, counsel },
        }
    }

    pub fn sign(&self, declaration: &Declaration) -> String {
        let text = declaration.text();
        let first = note(&self.keys[0], &text, "operator.example");
        let second = note(&self.keys[1], &text, "counsel.example");
        first + second.rsplit_once("\n\n").unwrap().1
    }
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
