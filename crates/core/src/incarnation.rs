//! Incarnations of a log: what goes on after a restore brought back less than was anchored.
//!
//! A history that became shorter is tampering, unless both parties of the installation say in one signed document what was kept and what was lost. The
//! log then goes on under another name. Specified in `docs/spec/incarnation.md`.

use core::fmt;

use crate::checkpoint::Tree;
use crate::encoding::{array_from_base64, base64, decimal};
use crate::moment;
use crate::note::{MAX_NOTE_BYTES, Note, NoteError, VerifierKey, is_plain};

/// Longest reason, in characters.
pub const MAX_REASON_CHARS: usize = 200;

/// Longest file of the parties' keys: two verifier keys.
pub const MAX_PARTIES_BYTES: usize = 1 << 12;

/// What names of our logs begin with. The last part of another log's name says nothing to us.
const LOG: &str = "identity_pgx/";
const DECLARES: &str = "/incarnation";

/// The name of a log in one of its incarnations: that of the first is the log's own.
#[must_use]
pub fn name(log: &str, incarnation: u32) -> String {
    match incarnation {
        0 | 1 => log.to_owned(),
        later => format!("{log}/{later}"),
    }
}

/// The log, and which of its incarnations a checkpoint's origin names.
#[must_use]
pub fn split(origin: &str) -> (&str, u32) {
    let later = || {
        let (log, number) = origin.rsplit_once('/')?;
        let number = u32::try_from(decimal(number)?).ok()?;
        (log.starts_with(LOG) && number >= 2).then_some((log, number))
    };
    later().unwrap_or((origin, 1))
}

/// Who has to agree that a log goes on shorter than it was: two people's keys, as the installation's registry holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Who runs the installation.
    pub operator: VerifierKey,
    /// Who speaks for those whose data it holds.
    pub counsel: VerifierKey,
}

impl Parties {
    /// Reads two lines, `operator` and `counsel`, each with a verifier key; `None` if it is anything else, or if both are one key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_PARTIES_BYTES {
            return None;
        }
        let mut lines = text.lines();
        let mut key = |role| {
            let (word, key) = lines.next()?.split_once(' ')?;
            VerifierKey::parse(key).filter(|_| word == role)
        };
        let (operator, counsel) = (key(Role::Operator.word())?, key(Role::Counsel.word())?);
        // One key under two names is one person.
        let two = operator.public_key() != counsel.public_key();
        (two && lines.next().is_none()).then_some(Self { operator, counsel })
    }

    /// The key of a party.
    #[must_use]
    pub fn key(&self, role: Role) -> &VerifierKey {
        match role {
            Role::Operator => &self.operator,
            Role::Counsel => &self.counsel,
        }
    }

    /// Whose public key this is.
    #[must_use]
    pub fn role_of(&self, public_key: &[u8; 32]) -> Option<Role> {
        Role::BOTH
            .into_iter()
            .find(|role| self.key(*role).public_key() == public_key)
    }
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who runs the installation.
    Operator,
    /// Who speaks for those whose data it holds.
    Counsel,
}

impl Role {
    /// Both, in the order of the file.
    pub const BOTH: [Self; 2] = [Self::Operator, Self::Counsel];

    /// The word for it in that file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Counsel => "counsel",
        }
    }
}

/// Why a declaration was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclarationError {
    /// It is no declaration, or not in the form its writer would give it.
    Malformed,
    /// This party has not signed it.
    NotSigned(Role),
    /// What is said to be this party's signature is not.
    BadSignature(Role),
    /// It is of another log.
    AnotherLog,
    /// It declares another incarnation than the one that it is taken for.
    AnotherNumber,
    /// What was kept is not less than what was anchored: nothing was lost.
    NothingLost,
    /// It says of the incarnation before that another tree was anchored last.
    AnotherLast,
}

impl fmt::Display for DeclarationError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => out.write_str("it is no declaration of an incarnation"),
            Self::NotSigned(role) => write!(out, "the {} has not signed it", role.word()),
            Self::BadSignature(role) => {
                write!(out, "the signature of the {} does not verify", role.word())
            }
            Self::AnotherLog => out.write_str("it is of another log"),
            Self::AnotherNumber => out.write_str("it declares another incarnation"),
            Self::NothingLost => {
                out.write_str("what it keeps is not less than what was anchored: nothing was lost")
            }
            Self::AnotherLast => {
                out.write_str("it names another tree than the one that was anchored last")
            }
        }
    }
}

impl core::error::Error for DeclarationError {}

/// The text of a declaration, member by member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The log: its origin in its first incarnation.
    pub log: String,
    /// Which incarnation begins; at least the second.
    pub incarnation: u32,
    /// What was kept: the tree that the new incarnation begins with.
    pub kept: Tree,
    /// The last tree that was published of the incarnation before: its last anchor, or what it began with.
    pub last: Tree,
    /// When it was written, in microseconds since 1970.
    pub at: i64,
    /// Why.
    pub reason: String,
}

impl Declaration {
    /// The text that is signed, its last newline included.
    #[must_use]
    pub fn text(&self) -> String {
        let tree = |tree: &Tree| format!("{} {}", tree.size, base64(&tree.root));
        let (log, number, kept, last) = (
            &self.log,
            self.incarnation,
            tree(&self.kept),
            tree(&self.last),
        );
        let (at, reason) = (moment::text(self.at), &self.reason);
        format!("{log}{DECLARES}\n{number}\n{kept}\n{last}\n{at}\n{reason}\n")
    }

    /// Reads what [`Declaration::text`] writes, and nothing else. Whether it may be believed is another question.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_NOTE_BYTES || !is_plain(text) {
            return None;
        }
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let declaration = Self {
            log: lines.next()?.strip_suffix(DECLARES)?.to_owned(),
            incarnation: u32::try_from(decimal(lines.next()?)?).ok()?,
            kept: tree(lines.next()?)?,
            last: tree(lines.next()?)?,
            at: moment::parse(lines.next()?)?,
            reason: lines.next()?.to_owned(),
        };
        let good = lines.next().is_none()
            && declaration.incarnation >= 2
            && declaration.log.starts_with(LOG)
            && is_reason(&declaration.reason);
        // A time can be written in many ways; one of them is ours.
        (good && declaration.text() == text).then_some(declaration)
    }

    /// Reads a declaration with or without signatures, *without* looking at them.
    #[must_use]
    pub fn claimed(text_or_note: &str) -> Option<Self> {
        Self::parse(text_or_note)
            .or_else(|| Self::parse(Note::parse(text_or_note.as_bytes())?.text))
    }

    /// Reads a declaration that both parties have signed.
    ///
    /// # Errors
    /// [`DeclarationError::Malformed`], and what is wrong with a signature.
    pub fn open(note: &[u8], parties: &Parties) -> Result<Self, DeclarationError> {
        let note = Note::parse(note).ok_or(DeclarationError::Malformed)?;
        let declaration = Self::parse(note.text).ok_or(DeclarationError::Malformed)?;
        for role in Role::BOTH {
            let signed = note.signers(core::slice::from_ref(parties.key(role)));
            signed.map_err(|error| match error {
                NoteError::NotSigned => DeclarationError::NotSigned(role),
                _ => DeclarationError::BadSignature(role),
            })?;
        }
        Ok(declaration)
    }

    /// Whether it begins this incarnation of this log, where `last` was published of the one before.
    ///
    /// # Errors
    /// What it says instead.
    pub fn follows(
        &self,
        log: &str,
        incarnation: u32,
        last: &Tree,
    ) -> Result<(), DeclarationError> {
        if self.log != log {
            Err(DeclarationError::AnotherLog)
        } else if self.incarnation != incarnation {
            Err(DeclarationError::AnotherNumber)
        } else if self.last != *last {
            Err(DeclarationError::AnotherLast)
        } else if !self.loses() {
            Err(DeclarationError::NothingLost)
        } else {
            Ok(())
        }
    }

    /// Whether there is anything to declare.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.kept.size < self.last.size
    }

    /// The log's name in this incarnation.
    #[must_use]
    pub fn origin(&self) -> String {
        name(&self.log, self.incarnation)
    }
}

fn tree(line: &str) -> Option<Tree> {
    let (size, root) = line.split_once(' ')?;
    Some(Tree {
        size: decimal(size)?,
        root: array_from_base64(root)?,
    })
}

/// Whether a text may be the reason: one line that shows what it holds.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    !text.is_empty()
        && text.trim() == text
        && text.chars().count() <= MAX_REASON_CHARS
        && !text.chars().any(hidden)
}
