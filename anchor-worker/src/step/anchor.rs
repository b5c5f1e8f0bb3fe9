//! One round of anchoring: seal → checkpoint → read the last anchor → consistency → sign → put → record.
//!
//! Why the last anchor is read from the store in each round, although we know what we put: the database is not trusted to be consistent with yesterday, nor is
//! this process trusted to be the only one that holds the key. Nothing is signed but what continues what lies there.
//!
//! A round that ends in trouble is forgotten, and the next one begins anew: since each anchor is shown to continue the last one in the store, none is
//! missing in between, whatever was done and not answered.

use identity_core::checkpoint::{Checkpoint, Tree};
use identity_core::merkle::{Digest, verify_consistency};
use identity_core::note::VerifierKey;

use super::declared::Beginning;
use super::known::Known;
use super::refusal::Refusal;
use crate::store::{Object, Stored};
use crate::trouble::{Kind, Trouble};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Take what has been recorded into the tree.
    Seal,
    /// Ask the database for its checkpoint.
    Checkpoint,
    /// Ask the signer for its key, under the log's name.
    Key { origin: String },
    /// Read what declares this incarnation of the log and each before it, and what they continue.
    Declarations { incarnation: u32 },
    /// Look whether a later incarnation than this one is declared.
    Later { incarnation: u32 },
    /// Read the newest anchor of the store.
    ReadLast { incarnation: u32 },
    /// Ask the database for the proof that one tree begins with the other.
    Consistency { old: u64, new: u64 },
    /// Have this text signed.
    Sign { text: String, origin: String },
    /// Store a note at its size, unless something is there.
    Put {
        incarnation: u32,
        size: u64,
        note: String,
    },
    /// Read what is there instead.
    ReadBack { incarnation: u32, size: u64 },
    /// Tell the database of an anchor.
    Record { note: String, stored: Stored },
}

impl Effect {
    /// One word, for whoever measures.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Checkpoint => "checkpoint",
            Self::Key { .. } => "key",
            Self::Declarations { .. } => "declarations",
            Self::Later { .. } => "later",
            Self::ReadLast { .. } => "read_last",
            Self::Consistency { .. } => "consistency",
            Self::Sign { .. } => "sign",
            Self::Put { .. } => "put",
            Self::ReadBack { .. } => "read_back",
            Self::Record { .. } => "record",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Event {
    Sealed,
    Checkpoint(String),
    Key(VerifierKey),
    Declarations(Vec<Beginning>),
    Later(bool),
    Last(Option<Object>),
    Consistency(Vec<Digest>),
    Signed(String),
    Put(Stored),
    /// Something is there already.
    Taken,
    ReadBack(Option<Object>),
    Recorded,
}

/// How a round ends that was not cut off by trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// There is a new anchor, and the database knows it.
    Anchored { tree: Tree, stored: Stored },
    /// All that is sealed was anchored before.
    Nothing { size: u64 },
    /// The worker refuses, and will until it is restarted.
    Refused(Refusal),
    /// It did not work out, and may another time.
    Trouble(Trouble),
}

/// What a round asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Do(Effect),
    End(End),
}

/// A round under way.
#[derive(Debug)]
pub struct Round {
    state: State,
}

/// What the round waits for; `now` is the database's tree, `last` the store's.
#[derive(Debug)]
enum State {
    Sealing,
    Checkpointing,
    Keying {
        now: Checkpoint,
    },
    Declaring {
        now: Checkpoint,
    },
    LookingAhead {
        now: Checkpoint,
    },
    Reading {
        now: Checkpoint,
    },
    /// The anchor is ahead of the checkpoint: another worker may have put it in between, so the database is asked once more.
    Rechecking {
        last: Last,
    },
    Proving {
        last: Last,
        now: Checkpoint,
    },
    RecordingLast {
        last: Last,
        now: Checkpoint,
    },
    Signing {
        now: Checkpoint,
    },
    Putting {
        now: Checkpoint,
        note: String,
    },
    ReadingBack {
        now: Checkpoint,
    },
    Recording {
        now: Checkpoint,
        stored: Stored,
    },
    Over,
}

/// What the log has to continue: the newest anchor of the store, opened; or what its incarnation begins with.
#[derive(Debug)]
struct Last {
    tree: Tree,
    anchor: Option<(String, Stored)>,
}

impl Round {
    /// A round, and the first thing to do. A worker that has refused goes on refusing.
    #[must_use]
    pub fn begin(known: &Known) -> (Self, Next) {
        let (state, next) = match known.refused() {
            Some(refusal) => (State::Over, Next::End(End::Refused(refusal.clone()))),
            None => (State::Sealing, Next::Do(Effect::Seal)),
        };
        (Self { state }, next)
    }

    /// What to do after this. An event that was not asked for ends the round.
    pub fn next(&mut self, known: &mut Known, event: Event) -> Next {
        let state = std::mem::replace(&mut self.state, State::Over);
        match advance(state, known, event) {
            Ok((state, effect)) => {
                self.state = state;
                Next::Do(effect)
            }
            Err(End::Refused(refusal)) => Next::End(End::Refused(known.refuse(refusal))),
            Err(end) => Next::End(end),
        }
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

type Step = Result<(State, Effect), End>;

fn advance(state: State, known: &mut Known, event: Event) -> Step {
    match (state, event) {
        (State::Sealing, Event::Sealed) => Ok((State::Checkpointing, Effect::Checkpoint)),
        (State::Checkpointing, Event::Checkpoint(text)) => checkpointed(known, &text),
        (State::Keying { now }, Event::Key(key)) => {
            if key.name() != now.origin {
                return Err(trouble("the signer gave a key of another name"));
            }
            known.key = Some(key);
            Ok(keyed(known, now))
        }
        (State::Declaring { now }, Event::Declarations(beginnings)) => {
            known.believe(&beginnings)?;
            Ok(keyed(known, now))
        }
        (State::LookingAhead { .. }, Event::Later(true)) => Err(Refusal::Superseded {
            incarnation: known.incarnation() + 1,
        }
        .into()),
        (State::LookingAhead { now }, Event::Later(false)) => {
            let incarnation = known.incarnation();
            Ok((State::Reading { now }, Effect::ReadLast { incarnation }))
        }
        (State::Reading { now }, Event::Last(object)) => read(known, now, object),
        (State::Rechecking { last }, Event::Checkpoint(text)) => {
            let now = own_checkpoint(known, &text)?;
            if now.size < last.tree.size {
                return Err(Refusal::Shorter {
                    anchored: last.tree,
                    database: now.tree(),
                }
                .into());
            }
            compare(known, last, now)
        }
        (State::Proving { last, now }, Event::Consistency(path)) => {
            let (old, new) = (last.tree, now.tree());
            if !verify_consistency(old.size, new.size, &old.root, &new.root, &path) {
                return Err(Refusal::Rewritten {
                    anchored: old,
                    database: new,
                }
                .into());
            }
            continues(known, last, now)
        }
        (State::RecordingLast { last, now }, Event::Recorded) => {
            known.recorded = Some(last.tree.size);
            after_last(&last, now)
        }
        (State::Signing { now }, Event::Signed(note)) => signed(known, now, note),
        (State::Putting { now, note }, Event::Put(stored)) => Ok(put(known, now, note, stored)),
        (State::Putting { now, .. }, Event::Taken) => {
            let (incarnation, size) = (known.incarnation(), now.size);
            let effect = Effect::ReadBack { incarnation, size };
            Ok((State::ReadingBack { now }, effect))
        }
        (State::ReadingBack { now }, Event::ReadBack(object)) => read_back(known, now, object),
        (State::Recording { now, stored }, Event::Recorded) => {
            known.recorded = Some(now.size);
            let tree = now.tree();
            Err(End::Anchored { tree, stored })
        }
        _ => Err(trouble("an answer came that was not asked for")),
    }
}

fn trouble(text: &str) -> End {
    End::Trouble(Trouble::new(Kind::Untrue, text))
}

fn own_checkpoint(known: &Known, text: &str) -> Result<Checkpoint, Refusal> {
    // Our log writes no further lines: they would be the database's own words under our signature.
    let checkpoint = Checkpoint::parse(text)
        .filter(|checkpoint| checkpoint.extensions.is_empty())
        .ok_or(Refusal::NoCheckpoint)?;
    match &known.key {
        Some(key) if key.name() != checkpoint.origin => Err(Refusal::AnotherLog {
            known: key.name().to_owned(),
            database: checkpoint.origin,
        }),
        _ => Ok(checkpoint),
    }
}

fn checkpointed(known: &Known, text: &str) -> Step {
    let now = own_checkpoint(known, text)?;
    if known.key.is_some() {
        return Ok(keyed(known, now));
    }
    if now.size == 0 {
        // Under which name the log goes is not settled before its first row.
        return Err(End::Nothing { size: 0 });
    }
    let origin = now.origin.clone();
    Ok((State::Keying { now }, Effect::Key { origin }))
}

/// Under which name the log goes is known. Another than the first has to be shown to be rightly so, once.
fn keyed(known: &Known, now: Checkpoint) -> (State, Effect) {
    let incarnation = known.incarnation();
    if incarnation > 1 && known.kept.is_none() {
        return (
            State::Declaring { now },
            Effect::Declarations { incarnation },
        );
    }
    (State::LookingAhead { now }, Effect::Later { incarnation })
}

fn read(known: &mut Known, now: Checkpoint, object: Option<Object>) -> Step {
    let last = match object {
        None => None,
        Some(object) => {
            let (tree, note) = known.open(&object)?;
            let anchor = Some((note, object.stored));
            Some(Last { tree, anchor })
        }
    };
    known.seen(last.as_ref().map(|last| last.tree))?;
    let begins_with = || {
        let tree = known.kept?;
        let anchor = None;
        Some(Last { tree, anchor })
    };
    match last.or_else(begins_with) {
        None => sign(now),
        Some(last) if last.tree.size > now.size => {
            Ok((State::Rechecking { last }, Effect::Checkpoint))
        }
        Some(last) => compare(known, last, now),
    }
}

/// The database's tree is at least as large as the last anchor.
fn compare(known: &mut Known, last: Last, now: Checkpoint) -> Step {
    let (old, new) = (last.tree.size, now.size);
    if old < new {
        return Ok((
            State::Proving { last, now },
            Effect::Consistency { old, new },
        ));
    }
    if last.tree.root != now.root {
        return Err(Refusal::Different {
            anchored: last.tree,
            database: now.tree(),
        }
        .into());
    }
    continues(known, last, now)
}

/// The database's tree continues the last anchor, which the database may not know of: whoever put it may have died before it could say so.
fn continues(known: &mut Known, last: Last, now: Checkpoint) -> Step {
    match last.anchor.clone() {
        Some((note, stored)) if known.recorded < Some(last.tree.size) => Ok((
            State::RecordingLast { last, now },
            Effect::Record { note, stored },
        )),
        _ => after_last(&last, now),
    }
}

fn after_last(last: &Last, now: Checkpoint) -> Step {
    if last.tree.size == now.size && last.anchor.is_some() {
        return Err(End::Nothing { size: now.size });
    }
    sign(now)
}

fn sign(now: Checkpoint) -> Step {
    let (text, origin) = (now.text(), now.origin.clone());
    Ok((State::Signing { now }, Effect::Sign { text, origin }))
}

fn signed(known: &Known, now: Checkpoint, note: String) -> Step {
    if known.open_note(&note).as_ref() != Ok(&now) {
        return Err(trouble(
            "what the signer gave is not our checkpoint, signed",
        ));
    }
    let effect = Effect::Put {
        incarnation: known.incarnation(),
        size: now.size,
        note: note.clone(),
    };
    Ok((State::Putting { now, note }, effect))
}

fn put(known: &mut Known, now: Checkpoint, note: String, stored: Stored) -> (State, Effect) {
    known.newest = Some(now.tree());
    let effect = Effect::Record {
        note,
        stored: stored.clone(),
    };
    (State::Recording { now, stored }, effect)
}

fn read_back(known: &mut Known, now: Checkpoint, object: Option<Object>) -> Step {
    let Some(object) = object else {
        let text = "the place of the anchor is taken, and not by an anchor";
        return Err(End::Trouble(Trouble::new(Kind::Conflict, text)));
    };
    let (anchored, note) = known.open(&object)?;
    if anchored != now.tree() {
        return Err(Refusal::Forked {
            anchored,
            database: now.tree(),
        }
        .into());
    }
    Ok(put(known, now, note, object.stored))
}
