//! What a pattern may be.

use super::words::{Breaks, FOREIGN, Words};
use crate::words::words;

/// The longest pattern.
pub const MAX_PATTERN_BYTES: usize = 100;
/// More patterns than this would make a search slow and a list that nobody oversees.
pub const MAX_PATTERNS: usize = 2000;

const MAX_PHRASE_WORDS: usize = 8;
/// A shorter stem is in every text.
const MIN_STEM_BYTES: usize = 4;

words! {
    /// How a pattern is compared with a text.
    pub enum Kind : as_str {
        /// One word, in any case.
        Word = "word",
        /// The beginning of a word, in any case.
        Stem = "stem",
        /// Words in a row, in any case, whatever stands between them but the end of a sentence.
        Phrase = "phrase",
        /// Letters behind a name: in capitals or with full stops, and not a state in an address.
        Credential = "credential",
    }
}

/// A pattern, with the number that a hit is reported by.
#[derive(Clone, Copy, Debug)]
pub struct Pattern<'a> {
    /// Number of the caller's.
    pub id: i32,
    /// How it is compared.
    pub kind: Kind,
    /// What is looked for.
    pub text: &'a str,
}

/// Whether this can be a pattern of that kind: its letters are Latin, or taken for Latin ones, and there are enough of them.
#[must_use]
pub fn is_pattern(kind: Kind, text: &str) -> bool {
    needle(kind, text).is_some()
}

/// The bytes to look for among [`Words`].
pub(super) fn needle(kind: Kind, text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > MAX_PATTERN_BYTES {
        return None;
    }
    let words = Words::read(text, Breaks::Apart);
    let mut needle = words.haystack().to_vec();
    let count = needle.iter().filter(|byte| **byte == b' ').count() - 1;
    let well_formed = match kind {
        Kind::Word => count == 1 && needle.len() >= 2 + 2,
        Kind::Stem => count == 1 && needle.len() >= 2 + MIN_STEM_BYTES,
        Kind::Phrase => (2..=MAX_PHRASE_WORDS).contains(&count),
        Kind::Credential => {
            (2..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
        }
    };
    let latin = needle.iter().all(|byte| *byte != FOREIGN && *byte != b'.');
    let lettered = needle.iter().any(u8::is_ascii_alphabetic);
    if kind == Kind::Stem {
        needle.pop();
    }
    (well_formed && latin && lettered).then_some(needle)
}
