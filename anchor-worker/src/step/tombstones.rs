//! Publishing tombstones: those of the leaves that are anchored, and not published yet, go into one object of the store, whose note is signed by whoever signs
//! checkpoints. Where nothing was erased nothing is put there.
//!
//! The store says how far they are published, not a file of ours; each object names the one before it by its hash, so that none can be taken out or put in between.

use identity_core::note::VerifierKey;
use identity_core::tombstone::{Head, List, MAX_TOMBSTONES, Tombstone, body};

use crate::store::{Object, Stored, size_of};
use crate::trouble::{Kind, Trouble};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the newest object of the store.
    ReadLast,
    /// Ask the database for the tombstones of these leaves.
    Ask { from: u64, to: u64 },
    /// Have this text signed.
    Sign { text: String },
    /// Store an object at its size, unless something is there.
    Put { size: u64, object: String },
    /// Read what is there instead.
    ReadBack { size: u64 },
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Event {
    Last(Option<Object>),
    /// Each with its leaf, in their order; no more than one object holds.
    Tombstones(Vec<(u64, Tombstone)>),
    Signed(String),
    Put(Stored),
    /// Something is there already.
    Taken,
    ReadBack(Option<Object>),
}

/// What a round asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Do(Effect),
    /// So many were published.
    End(usize),
}

/// What is published of, and where.
#[derive(Clone, Debug)]
pub struct Log {
    /// The key that signs, whose name is the log's, and those of earlier times.
    pub keys: Vec<VerifierKey>,
    /// The log's name.
    pub origin: String,
    /// What the names of the objects begin with.
    pub folder: String,
    /// How many of its leaves are anchored.
    pub size: u64,
}

/// What a process has seen beyond one round: up to which leaf there is nothing that the newest object, which ends at another, does not have. So the leaves of quiet
/// months are not looked at again each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    origin: String,
    published: u64,
    up_to: u64,
}

impl Looked {
    /// Where the newest object of this log ends that was seen or put.
    #[must_use]
    pub fn newest(&self, origin: &str) -> Option<u64> {
        (self.origin == origin && self.published > 0).then_some(self.published)
    }
}

/// A round under way.
#[derive(Debug)]
pub struct Round {
    log: Log,
    state: State,
    /// Where the newest object ends, and its hash.
    last: (u64, [u8; 32]),
    count: usize,
}

#[derive(Debug)]
enum State {
    Reading,
    Asking { from: u64 },
    Signing { head: Head, body: String },
    Putting { head: Head, object: String },
    ReadingBack { head: Head },
    Over,
}

type Step = Result<(State, Effect), Result<usize, Trouble>>;

impl Round {
    /// A round, and the first thing to do.
    #[must_use]
    pub fn begin(log: Log) -> (Self, Effect) {
        let round = Self {
            log,
            state: State::Reading,
            last: (0, [0; 32]),
            count: 0,
        };
        (round, Effect::ReadLast)
    }

    /// What to do after this.
    ///
    /// # Errors
    /// `Untrue`: the store, the database or the signer gave what cannot be.
    pub fn next(&mut self, looked: &mut Looked, event: Event) -> Result<Next, Trouble> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match self.advance(state, looked, event) {
            Ok((state, effect)) => {
                self.state = state;
                Ok(Next::Do(effect))
            }
            Err(end) => end.map(Next::End),
        }
    }

    fn advance(&mut self, state: State, looked: &mut Looked, event: Event) -> Step {
        match (state, event) {
            (State::Reading, Event::Last(object)) => {
                if let Some(object) = object {
                    let list = self.open(&object).map_err(Err)?;
                    self.last = (list.head.to, list.digest);
                }
                self.ask(looked)
            }
            (State::Asking { from }, Event::Tombstones(tombstones)) => {
                self.asked(looked, from, &tombstones)
            }
            (State::Signing { head, body }, Event::Signed(note)) => {
                let (object, size) = (format!("{note}{body}"), head.to);
                let effect = Effect::Put {
                    size,
                    object: object.clone(),
                };
                match List::open(object.as_bytes(), &self.log.keys) {
                    Ok(list) if list.head == head => Ok((State::Putting { head, object }, effect)),
                    _ => Err(Err(untrue("what the signer gave is not our list, signed"))),
                }
            }
            (State::Putting { object, .. }, Event::Put(_)) => self.put(looked, object.as_bytes()),
            (State::Putting { head, .. }, Event::Taken) => {
                let size = head.to;
                Ok((State::ReadingBack { head }, Effect::ReadBack { size }))
            }
            // The same, put by a worker that could not hear the answer; another signature says the same.
            (State::ReadingBack { head }, Event::ReadBack(Some(object))) => {
                if self.open(&object).map_err(Err)?.head != head {
                    let text = format!("{}: other tombstones are published there", object.key);
                    return Err(Err(untrue(text)));
                }
                self.put(looked, &object.body)
            }
            (State::ReadingBack { .. }, Event::ReadBack(None)) => {
                let text = "the place of the tombstones is taken, and not by any";
                Err(Err(Trouble::new(Kind::Conflict, text)))
            }
            _ => Err(Err(untrue("an answer came that was not asked for"))),
        }
    }

    /// An object of the store, if it is ours and of this log.
    fn open(&self, object: &Object) -> Result<List, Trouble> {
        let wrong = |what: &str| untrue(format!("{}: {what}", object.key));
        let list =
            List::open(&object.body, &self.log.keys).map_err(|error| wrong(&error.to_string()))?;
        if list.head.origin != self.log.origin {
            return Err(wrong("it is another log's"));
        }
        if size_of(&self.log.folder, &object.key) != Some(list.head.to) {
            return Err(wrong("it does not lie in its place"));
        }
        Ok(list)
    }

    fn ask(&self, looked: &mut Looked) -> Step {
        let (published, to) = (self.last.0, self.log.size);
        if published > to {
            return Err(Err(untrue(
                "tombstones are published of leaves that are not anchored",
            )));
        }
        if looked.origin != self.log.origin || looked.published != published {
            *looked = Looked {
                origin: self.log.origin.clone(),
                published,
                up_to: published,
            };
        }
        let from = looked.up_to;
        if from >= to {
            return Err(Ok(self.count));
        }
        Ok((State::Asking { from }, Effect::Ask { from, to }))
    }

    fn asked(&mut self, looked: &mut Looked, from: u64, tombstones: &[(u64, Tombstone)]) -> Step {
        let leaves = || tombstones.iter().map(|(leaf, _)| *leaf);
        let asked_for = leaves().all(|leaf| (from..self.log.size).contains(&leaf));
        if !asked_for || !leaves().is_sorted_by(|a, b| a < b) || tombstones.len() > MAX_TOMBSTONES {
            return Err(Err(untrue(
                "the database gave other tombstones than it was asked for",
            )));
        }
        let (published, previous) = self.last;
        let Some((last, _)) = tombstones.last() else {
            *looked = Looked {
                origin: self.log.origin.clone(),
                published,
                up_to: self.log.size,
            };
            return Err(Ok(self.count));
        };
        // A full answer may not be the whole.
        let to = match tombstones.len() {
            MAX_TOMBSTONES => last.saturating_add(1),
            _ => self.log.size,
        };
        let body = body(&tombstones.iter().map(|(_, one)| *one).collect::<Vec<_>>());
        let head = Head::new(&self.log.origin, published..to, previous, &body);
        self.count += tombstones.len();
        let text = head.text();
        Ok((State::Signing { head, body }, Effect::Sign { text }))
    }

    fn put(&mut self, looked: &mut Looked, object: &[u8]) -> Step {
        let list =
            List::open(object, &self.log.keys).map_err(|error| Err(untrue(error.to_string())))?;
        self.last = (list.head.to, list.digest);
        self.ask(looked)
    }
}

fn untrue(text: impl Into<String>) -> Trouble {
    Trouble::new(Kind::Untrue, text)
}
