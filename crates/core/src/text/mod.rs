//! Does a text speak of healthcare work, and by which of the patterns it is given?
//!
//! The text is hostile: whoever wrote it may want not to be found. So it is read as people see it: compatibility forms and look-alikes
//! of other alphabets become Latin letters, marks and invisible characters go, and what stands between two words does not matter.
//!
//! | module | one job |
//! |---|---|
//! | `letters` | one character as the Latin letter it looks like |
//! | `words`, `gap` | a text as its words, and what stands between them |
//! | `postal`, `places` | MD the state, or MD the doctor? |
//! | [`pattern`] | what a pattern may be |
//! | [`matcher`] | all patterns in one pass |

pub mod matcher;
pub mod pattern;

mod gap;
mod letters;
mod places;
mod postal;
mod words;

pub use matcher::Matcher;
pub use pattern::{Kind, MAX_PATTERN_BYTES, MAX_PATTERNS, Pattern, is_pattern};

/// The longest text that is searched.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Whether `source` may name where a text came from: `[a-z][a-z0-9_]{0,31}`. It goes on the chain, so it must not have room for anybody's data.
#[must_use]
pub fn is_source(source: &str) -> bool {
    source.len() <= 32
        && source.starts_with(|c: char| c.is_ascii_lowercase())
        && source
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}
