//! A text as its words: runs of letters and digits, each with what its pattern may ask of it.
//!
//! The words stand in one buffer with a blank before and after each, so that one automaton finds any number of patterns in it. The buffer is a
//! second copy of somebody's text: it has its full size from the start, never moves, and is overwritten when dropped.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};
use zeroize::Zeroizing;

use super::gap::Gap;
use super::letters::{is_far, is_invisible, look_alike};

/// Stands for any run of letters that no pattern can hold.
pub(super) const FOREIGN: u8 = b'*';
/// Stands between two sentences, so that no phrase goes from one to the next.
const STOP: &[u8] = b". ";
const SOFT_HYPHEN: char = '\u{AD}';

/// What to make of a hyphen at the end of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    /// It stands between two words, as in patient-care.
    Apart,
    /// It stands within one word, as a line breaker puts it.
    Joined,
}

/// One word. Its letters are ASCII, in lower case.
#[derive(Clone, Copy)]
pub(super) struct Word {
    start: u32,
    end: u32,
    /// Capitals only.
    pub upper: bool,
    /// Begins with a capital.
    pub capital: bool,
    /// Single letters with full stops between, taken together.
    pub dotted: bool,
    /// Nothing but blanks of one line before it.
    pub spaced: bool,
}

pub(super) struct Words {
    buffer: Zeroizing<Vec<u8>>,
    words: Vec<Word>,
    /// Whether there was a hyphen at the end of a line.
    pub broken: bool,
}

impl Words {
    pub fn read(text: &str, breaks: Breaks) -> Self {
        // Of what a byte of text can become, `(A)` from one character of four and ` . ` from a full stop and a blank are the longest.
        let mut reader = Reader {
            read: Self {
                buffer: Zeroizing::new(Vec::with_capacity(2 * text.len() + 16)),
                words: Vec::with_capacity(text.len() / 6),
                broken: false,
            },
            breaks,
            inside: false,
            soft_hyphen: false,
            gap: Gap::default(),
        };
        reader.read.buffer.push(b' ');
        for c in text.chars() {
            if is_invisible(c) {
                reader.soft_hyphen |= c == SOFT_HYPHEN;
            } else if c.is_ascii() || is_far(c) {
                reader.take(c);
            } else {
                decompose_compatible(c, |part| reader.take(part));
            }
        }
        reader.end_word();
        reader.read
    }

    /// All words, with blanks around each.
    pub fn haystack(&self) -> &[u8] {
        &self.buffer
    }

    /// The number of the word that begins at this place of the haystack.
    pub fn at(&self, place: usize) -> Option<usize> {
        let place = u32::try_from(place).ok()?;
        self.words
            .binary_search_by_key(&place, |word| word.start)
            .ok()
    }

    pub fn get(&self, number: usize) -> Option<(&[u8], Word)> {
        let word = *self.words.get(number)?;
        Some((
            self.buffer.get(word.start as usize..word.end as usize)?,
            word,
        ))
    }

    /// The words from one to the one before another, with a blank between each.
    pub fn between(&self, first: usize, end: usize) -> &[u8] {
        let start = |number| {
            self.words
                .get(number)
                .map(|word: &Word| word.start as usize)
        };
        let (Some(from), Some(to)) = (start(first), start(end)) else {
            return &[];
        };
        self.buffer
            .get(from..to.saturating_sub(1))
            .unwrap_or_default()
    }
}

/// Looked up only where the answer is not known from the block.
fn is_mark(c: char) -> bool {
    match c {
        '\0'..='\u{2FF}' => false,
        '\u{300}'..='\u{36F}' => true,
        '\u{370}'..='\u{58F}' => matches!(c, '\u{483}'..='\u{489}'),
        _ => is_combining_mark(c),
    }
}

struct Reader {
    read: Words,
    breaks: Breaks,
    inside: bool,
    /// A soft hyphen was the last thing seen within this word.
    soft_hyphen: bool,
    gap: Gap,
}

impl Reader {
    /// One character, already without its compatibility form.
    fn take(&mut self, c: char) {
        if c.is_ascii() {
            if c.is_ascii_alphanumeric() {
                self.letter(c as u8, c.is_ascii_uppercase());
            } else {
                self.end_word();
                self.gap.add(c);
            }
        } else if is_mark(c) || is_invisible(c) {
            // Neither a letter nor a boundary.
        } else if c.is_alphanumeric() {
            let known = look_alike(c).or_else(|| c.to_lowercase().next().and_then(look_alike));
            let upper = c.is_uppercase() || known.is_some_and(|letter| letter.is_ascii_uppercase());
            self.letter(known.unwrap_or(FOREIGN), upper);
        } else {
            self.end_word();
            self.gap.add(c);
        }
    }

    fn letter(&mut self, letter: u8, upper: bool) {
        if !self.inside {
            self.begin_word(upper);
        }
        self.soft_hyphen = false;
        let buffer = &mut self.read.buffer;
        if letter != FOREIGN || buffer.last() != Some(&FOREIGN) {
            buffer.push(letter.to_ascii_lowercase());
        }
        if let Some(word) = self.read.words.last_mut() {
            word.upper &= upper;
        }
    }

    fn begin_word(&mut self, capital: bool) {
        self.inside = true;
        let gap = &self.gap;
        if gap.is_line_break() && !self.read.words.is_empty() {
            self.read.broken = true;
            if self.breaks == Breaks::Joined {
                self.read.buffer.pop();
                return;
            }
        }
        // After an initial or an abbreviation a full stop ends no sentence.
        if gap.sentence_end && !self.last_is_initial() {
            self.read.buffer.extend_from_slice(STOP);
        }
        let spaced = gap.is_blank();
        let start = self.place();
        self.read.words.push(Word {
            start,
            end: start,
            upper: true,
            capital,
            dotted: false,
            spaced,
        });
    }

    fn end_word(&mut self) {
        if !self.inside {
            return;
        }
        self.inside = false;
        let continues = self.gap.is_full_stop();
        self.gap = Gap::after(self.soft_hyphen);
        self.close();
        if continues {
            self.join_initials();
        }
    }

    /// `R.N.`: a letter, a full stop, a letter become one word.
    fn join_initials(&mut self) {
        let count = self.read.words.len();
        let (Some(last), Some(before)) = (count.checked_sub(1), count.checked_sub(2)) else {
            return;
        };
        let single = match self.read.get(last) {
            Some((&[letter], word)) if letter.is_ascii_alphabetic() => Some((letter, word.upper)),
            _ => None,
        };
        let Some((letter, upper)) = single else {
            return;
        };
        let initials = match self.read.get(before) {
            Some((&[first], _)) => first.is_ascii_alphabetic(),
            Some((_, word)) => word.dotted,
            None => false,
        };
        if initials {
            // blank, letter, blank
            let kept = self.read.buffer.len().saturating_sub(3);
            self.read.buffer.truncate(kept);
            self.read.buffer.push(letter);
            self.read.words.pop();
            if let Some(word) = self.read.words.last_mut() {
                word.dotted = true;
                word.upper &= upper;
            }
            self.close();
        }
    }

    /// The end of the last word, and the blank after it.
    fn close(&mut self) {
        let end = self.place();
        if let Some(word) = self.read.words.last_mut() {
            word.end = end;
        }
        self.read.buffer.push(b' ');
    }

    fn place(&self) -> u32 {
        u32::try_from(self.read.buffer.len()).unwrap_or(u32::MAX)
    }

    fn last_is_initial(&self) -> bool {
        let last = self.read.words.len().checked_sub(1);
        last.and_then(|last| self.read.get(last))
            .is_some_and(|(letters, word)| word.dotted || letters.len() == 1)
    }
}

#[cfg(test)]
mod tests;
