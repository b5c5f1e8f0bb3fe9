//! Why the worker does not sign. Each of these stands until a person has looked at it.

use std::fmt;

pub use identity_core::checkpoint::Tree;
use identity_core::incarnation::{DeclarationError, Role};
use identity_core::note::NoteError;

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
    /// The database is in a later incarnation of the log, and the store does not have what declares this one.
    Undeclared { incarnation: u32 },
    /// What lies there as the declaration of an incarnation is none.
    Declaration {
        incarnation: u32,
        error: DeclarationError,
    },
    /// Whose signatures a declaration needs was not configured.
    NoParties { incarnation: u32 },
    /// The key that signs checkpoints is also a party's.
    PartySigns { role: Role },
    /// The store has the declaration of a later incarnation than the database is in.
    Superseded { incarnation: u32 },
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
            Self::Undeclared { .. } => "undeclared",
            Self::Declaration { .. } => "declaration",
            Self::NoParties { .. } => "no_parties",
            Self::PartySigns { .. } => "party_signs",
            Self::Superseded { .. } => "superseded",
        }
    }

    /// What there is to do where somebody restored the database on purpose; nothing where that explains nothing.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Shorter { .. } | Self::Different { .. } | Self::Rewritten { .. } => Some(
                "if it was restored from a backup on purpose, both parties declare an incarnation: docs/howto/restore.md",
            ),
            Self::Superseded { .. } => Some(
                "if it was restored from a backup of before that, declare the next incarnation; if anchor-worker declare was interrupted, run it again; if two \
                 databases are in use, stop this one",
            ),
            Self::NoParties { .. } => {
                Some("[incarnations] parties names the file of both parties' keys")
            }
            _ => None,
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
            Self::Undeclared { incarnation } => write!(
                out,
                "the database's log is in a later incarnation, and incarnation {incarnation} was not declared in the store"
            ),
            Self::Declaration { incarnation, error } => {
                write!(out, "the declaration of incarnation {incarnation}: {error}")
            }
            Self::NoParties { incarnation } => write!(
                out,
                "the database's log is in incarnation {incarnation}, and nobody was named whose signatures declare one"
            ),
            Self::PartySigns { role } => write!(
                out,
                "the key of the {} also signs checkpoints: whoever has it would be one of two parties too",
                role.word()
            ),
            Self::Superseded { incarnation } => write!(
                out,
                "incarnation {incarnation} of the log was declared, and the database is in one before it"
            ),
        }
    }
}
