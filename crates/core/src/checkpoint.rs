//! Checkpoints: how large the tree is and what its root is, for others to sign and to keep. C2SP
//! `tlog-checkpoint`; specified in `docs/spec/checkpoint.md`.

use core::fmt;

use uuid::Uuid;

use crate::encoding::{array_from_base64, base64, decimal};
use crate::incarnation::split;
use crate::merkle::Digest;
use crate::note::{self, MAX_NOTE_BYTES, Note, NoteError, VerifierKey, is_plain};

const LOG: &str = "identity_pgx/";
const DEVELOPMENT_LOG: &str = "identity_pgx/DEVELOPMENT/";

/// The name of an installation's log. One that is kept with development keys is another log: its
/// checkpoints can never be taken for those of a real one.
#[must_use]
pub fn origin(installation: &[u8; 16], development: bool) -> String {
    let log = if development { DEVELOPMENT_LOG } else { LOG };
    format!("{log}{}", Uuid::from_bytes(*installation).hyphenated())
}

/// A tree, as far as a checkpoint tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// How many leaves it has.
    pub size: u64,
    /// Its root.
    pub root: Digest,
}

impl Tree {
    /// The root, as a checkpoint has it.
    #[must_use]
    pub fn root_text(&self) -> String {
        base64(&self.root)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "size {} root {}", self.size, self.root_text())
    }
}

/// The text of a checkpoint, member by member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log; see [`origin`]. Not empty.
    pub origin: String,
    /// How many leaves its tree has.
    pub size: u64,
    /// The root of that tree.
    pub root: [u8; 32],
    /// Further lines, none of them empty. We write none; other logs may.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// The text that is signed, its last newline included.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, base64(&self.root));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads what [`Checkpoint::text`] writes, and nothing else. Whether the text may be believed is
    /// another question.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_NOTE_BYTES || !is_plain(text) {
            return None;
        }
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let checkpoint = Self {
            origin: lines.next()?.to_owned(),
            size: decimal(lines.next()?)?,
            root: array_from_base64(lines.next()?)?,
            extensions: lines.map(str::to_owned).collect(),
        };
        let empty =
            checkpoint.origin.is_empty() || checkpoint.extensions.iter().any(String::is_empty);
        (!empty).then_some(checkpoint)
    }

    /// Reads a checkpoint with or without signatures, *without* looking at them: what it says is
    /// what somebody claims.
    #[must_use]
    pub fn claimed(text_or_note: &str) -> Option<Self> {
        Self::parse(text_or_note)
            .or_else(|| Self::parse(Note::parse(text_or_note.as_bytes())?.text))
    }

    /// Reads a signed checkpoint, and believes it if one of `keys` that is called like its origin has
    /// signed it, and no signature that names one of `keys` is wrong.
    ///
    /// The name matters: a key that may speak for one log, or a witness', does not speak for another. One that may speak for one of our logs
    /// speaks for each of its incarnations.
    ///
    /// # Errors
    /// Any [`NoteError`]; [`NoteError::NotSigned`] for a text without signatures too.
    pub fn open(text_or_note: &str, keys: &[VerifierKey]) -> Result<Self, NoteError> {
        if Self::parse(text_or_note).is_some() {
            return Err(NoteError::NotSigned);
        }
        let origin = text_or_note.lines().next().unwrap_or_default();
        let keys = speaking_for(origin, keys);
        let opened = note::open(text_or_note.as_bytes(), &keys)?;
        let checkpoint = Self::parse(opened.text).ok_or(NoteError::Malformed)?;
        let own = |key: &&VerifierKey| key.name() == checkpoint.origin;
        if !opened.signers.iter().any(own) {
            return Err(NoteError::NotSigned);
        }
        Ok(checkpoint)
    }

    /// The tree that it is of.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree {
            size: self.size,
            root: self.root,
        }
    }

    /// Whether the log is one that is kept with development keys: whoever likes can make its rows.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.origin.starts_with(DEVELOPMENT_LOG)
    }
}

/// The keys of a log, as those of the incarnation of it that `origin` names; others as they are.
pub(crate) fn speaking_for(origin: &str, keys: &[VerifierKey]) -> Vec<VerifierKey> {
    let named = |key: &VerifierKey| match split(key.name()).0 == split(origin).0 {
        true => key.renamed(origin),
        false => Some(key.clone()),
    };
    keys.iter().filter_map(named).collect()
}
