//! Why the worker does not sign. Each of these stands until a person has looked at it.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use identity_core::merkle::Digest;
use identity_core::note::NoteError;

/// A tree, as far as a checkpoint tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    pub size: u64,
    pub root: Digest,
}

impl Tree {
    /// The root, as a checkpoint has it.
    #[must_use]
    pub fn root_text(&self) -> String {
        Base64::encode_string(&self.root)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "size {} root {}", self.size, self.root_text())
    }
}

/// What cannot be unless somebody rewrote the history of the database, or put something into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The database's tree is smaller than the one that is anchored.
    Shorter { anchored: Tree, database: Tree },
    /// As large, and another.
    Different { anchored: Tree, database: Tree },
    /// Larger, and it does not begin with the anchored one.
    Rewritten { anchored: Tree, database: Tree },
    /// Somebody with our key anchored another tree of this size.
    Forked { anchored: Tree, database: Tree },
    /// The database keeps another log than the one that this process began with.
    AnotherLog { known: String, database: String },
    /// The text that the database gave is no checkpoint.
    NoCheckpoint,
    /// The newest object of the store is no checkpoint that a key of ours has signed.
    NotOurs { key: String, error: NoteError },
    /// A checkpoint of ours at a place that is not its own.
    Misplaced { key: String, anchored: Tree },
    /// An anchor that this process has seen is not there any more.
    Gone { seen: Tree, now: Option<Tree> },
    /// An anchor that this process has seen is another now.
    Replaced { seen: Tree, now: Tree },
}

impl Refusal {
    /// One word, for whoever filters logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Shorter { .. } => "shorter",
            Self::Different { .. } => "different",
            Self::Rewritten { .. } => "rewritten",
            Self::Forked { .. } => "forked",
            Self::AnotherLog { .. } => "another_log",
            Self::NoCheckpoint => "no_checkpoint",
            Self::NotOurs { .. } => "not_ours",
            Self::Misplaced { .. } => "misplaced",
            Self::Gone { .. } => "gone",
            Self::Replaced { .. } => "replaced",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shorter { anchored, database } => write!(
                out,
                "the database's log is shorter than its anchor: anchored is {anchored}, the database has {database}"
            ),
            Self::Different { anchored, database } => write!(
                out,
                "the database's log is not the anchored one: anchored is {anchored}, the database has {database}"
            ),
            Self::Rewritten { anchored, database } => write!(
                out,
                "the database's log does not continue the anchored one: anchored is {anchored}, the database has {database}"
            ),
            Self::Forked { anchored, database } => write!(
                out,
                "another log is anchored at this size under our key: anchored is {anchored}, the database has {database}"
            ),
            Self::AnotherLog { known, database } => {
                write!(out, "the database keeps the log {database}, not {known}")
            }
            Self::NoCheckpoint => out.write_str("what the database gave is no checkpoint"),
            Self::NotOurs { key, error } => {
                write!(out, "the newest anchor of the store, {key}: {error}")
            }
            Self::Misplaced { key, anchored } => {
                write!(out, "{key} of the store holds the anchor of {anchored}")
            }
            Self::Gone { seen, now: None } => {
                write!(out, "the store had the anchor of {seen}, and has none now")
            }
            Self::Gone {
                seen,
                now: Some(now),
            } => write!(
                out,
                "the store had the anchor of {seen}, and its newest now is of {now}"
            ),
            Self::Replaced { seen, now } => {
                write!(
                    out,
                    "the store had the anchor of {seen}, and now has {now} there"
                )
            }
        }
    }
}
