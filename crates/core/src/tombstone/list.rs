//! Tombstones as they are published: a signed note that says which leaves of the log they are of, what was published before and what follows; then the list. The list
//! is not part of the note: key services sign texts of a few kilobytes.

use core::fmt;
use core::fmt::Write as _;

use super::What;
use crate::checkpoint::speaking_for;
use crate::encoding::{array_from_hex, decimal, hex};
use crate::framing::Hash;
use crate::note::{self, MAX_NOTE_BYTES, NoteError, VerifierKey};

/// Most tombstones of one object.
pub const MAX_TOMBSTONES: usize = 10_000;
/// A letter, a space, 64 digits and a newline.
const LINE_BYTES: usize = 67;
/// Longest object.
pub const MAX_OBJECT_BYTES: usize = MAX_NOTE_BYTES + MAX_TOMBSTONES * LINE_BYTES;

/// What the name of the list is beside the log's.
const SUFFIX: &str = "/tombstones";
/// How a signature line begins, and no line of a list.
const MARK: &[u8] = "\u{2014} ".as_bytes();

/// One of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// What was erased.
    pub what: What,
    /// The keyed hash.
    pub hash: [u8; 32],
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The log that the erasures are recorded in.
    pub origin: String,
    /// The first leaf that was looked at.
    pub from: u64,
    /// The leaf after the last.
    pub to: u64,
    /// [`digest`] of the object before this one; zeros if it is the first.
    pub previous: [u8; 32],
    /// SHA-256 of the list that follows.
    pub list: [u8; 32],
}

impl Head {
    /// The head of a list that [`body`] wrote.
    #[must_use]
    pub fn new(
        origin: &str,
        leaves: core::ops::Range<u64>,
        previous: [u8; 32],
        body: &str,
    ) -> Self {
        Self {
            origin: origin.to_owned(),
            from: leaves.start,
            to: leaves.end,
            previous,
            list: digest(body.as_bytes()),
        }
    }

    /// The text that is signed, its last newline included.
    #[must_use]
    pub fn text(&self) -> String {
        let (previous, list) = (hex(&self.previous), hex(&self.list));
        let Self {
            origin, from, to, ..
        } = self;
        format!("{origin}{SUFFIX}\n{from} {to}\n{previous}\n{list}\n")
    }

    /// Reads what [`Head::text`] writes, and nothing else. It is no checkpoint, and no checkpoint is one: the second line has two numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next()?.strip_suffix(SUFFIX)?;
        let (from, to) = lines.next()?.split_once(' ')?;
        let head = Self {
            origin: origin.to_owned(),
            from: decimal(from)?,
            to: decimal(to)?,
            previous: array_from_hex(lines.next()?)?,
            list: array_from_hex(lines.next()?)?,
        };
        let whole = lines.next().is_none() && !head.origin.is_empty() && head.from < head.to;
        (whole && note::is_plain(text)).then_some(head)
    }
}

/// An object of the store that was signed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// What was signed.
    pub head: Head,
    /// What it speaks of, in the order of their leaves. There is one at least.
    pub tombstones: Vec<Tombstone>,
    /// [`digest`] of the object.
    pub digest: [u8; 32],
}

/// Why an object is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The note.
    Note(NoteError),
    /// The list below it is another than was signed, or none.
    List,
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => error.fmt(out),
            Self::List => out.write_str("the list is not what was signed"),
        }
    }
}

impl core::error::Error for Wrong {}

impl List {
    /// Reads an object and believes it if one of `keys` that may speak for its log has signed it, no signature that names one of them is wrong, and the list is what
    /// was signed.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn open(object: &[u8], keys: &[VerifierKey]) -> Result<Self, Wrong> {
        let malformed = Wrong::Note(NoteError::Malformed);
        let (note, body) = split(object).ok_or(malformed)?;
        let first = note.split(|byte| *byte == b'\n').next();
        let first = core::str::from_utf8(first.unwrap_or_default()).unwrap_or_default();
        let keys = speaking_for(first.strip_suffix(SUFFIX).unwrap_or_default(), keys);
        let opened = note::open(note, &keys).map_err(Wrong::Note)?;
        let head = Head::parse(opened.text).ok_or(malformed)?;
        if !opened.signers.iter().any(|key| key.name() == head.origin) {
            return Err(Wrong::Note(NoteError::NotSigned));
        }
        if digest(body) != head.list {
            return Err(Wrong::List);
        }
        Ok(Self {
            tombstones: read(body).ok_or(Wrong::List)?,
            digest: digest(object),
            head,
        })
    }
}

/// A list as text: `s` or `b`, a space, the hash in hex.
#[must_use]
pub fn body(tombstones: &[Tombstone]) -> String {
    let mut body = String::with_capacity(tombstones.len() * LINE_BYTES);
    for Tombstone { what, hash } in tombstones {
        // Writing to a text cannot fail.
        let _ = writeln!(body, "{} {}", letter(*what), hex(hash));
    }
    body
}

/// SHA-256, as `sha256sum` has it.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Hash::default().raw(bytes).finish()
}

const fn letter(what: What) -> char {
    match what {
        What::Subject => 's',
        What::Biometric => 'b',
    }
}

/// The note, up to its last signature line, and what follows. The text of a head has no empty line.
fn split(object: &[u8]) -> Option<(&[u8], &[u8])> {
    if object.len() > MAX_OBJECT_BYTES {
        return None;
    }
    let mut end = object.windows(2).position(|pair| pair == b"\n\n")? + 2;
    while let Some(rest) = object.get(end..).filter(|rest| rest.starts_with(MARK)) {
        end += rest.iter().position(|byte| *byte == b'\n')? + 1;
    }
    object.split_at_checked(end)
}

fn read(body: &[u8]) -> Option<Vec<Tombstone>> {
    let lines = core::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    let tombstone = |line: &str| {
        let (letter_of, hash) = line.split_once(' ')?;
        let named = |what: &&What| letter_of.chars().eq([letter(**what)]);
        Some(Tombstone {
            what: *What::ALL.iter().find(named)?,
            hash: array_from_hex(hash)?,
        })
    };
    let read: Option<Vec<_>> = lines
        .split('\n')
        .take(MAX_TOMBSTONES + 1)
        .map(tombstone)
        .collect();
    read.filter(|read| read.len() <= MAX_TOMBSTONES)
}
