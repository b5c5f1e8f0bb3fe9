//! What stands between two words: blanks, a line's end, the end of a sentence.

/// What stands between two words.
#[derive(Default)]
pub(super) struct Gap {
    blank: bool,
    line_end: bool,
    /// It begins with a hyphen.
    hyphen: bool,
    full_stops: u8,
    other: bool,
    /// The last thing seen ends a sentence if a blank follows.
    ending: bool,
    /// A sentence ends here.
    pub sentence_end: bool,
}

impl Gap {
    /// Nothing yet, but for a soft hyphen.
    pub fn after(soft_hyphen: bool) -> Self {
        Self {
            hyphen: soft_hyphen,
            ..Self::default()
        }
    }

    const fn is_empty(&self) -> bool {
        !(self.blank || self.line_end || self.hyphen || self.full_stops > 0 || self.other)
    }

    pub fn add(&mut self, c: char) {
        match c {
            '-' | '\u{2010}' | '\u{2011}' if self.is_empty() => self.hyphen = true,
            '.' | '\u{3002}' => {
                self.full_stops = self.full_stops.saturating_add(1);
                self.ending = true;
            }
            // Dots of another height part initials, not sentences.
            '\u{B7}' | '\u{2027}' | '\u{2219}' | '\u{22C5}' => {
                self.full_stops = self.full_stops.saturating_add(1);
            }
            '!' | '?' => (self.other, self.ending) = (true, true),
            '"' | '\'' | ')' | ']' | '\u{2019}' | '\u{201D}' => self.other = true,
            '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                self.line_end = true;
                self.sentence_end |= self.ending;
            }
            c if c.is_whitespace() => {
                self.blank = true;
                self.sentence_end |= self.ending;
            }
            _ => (self.other, self.ending) = (true, false),
        }
    }

    /// A word was cut at the end of a line.
    pub const fn is_line_break(&self) -> bool {
        self.hyphen && self.line_end && self.full_stops == 0 && !self.other
    }

    /// Blanks of one line, nothing else.
    pub const fn is_blank(&self) -> bool {
        self.blank && !(self.line_end || self.hyphen || self.full_stops > 0 || self.other)
    }

    /// One full stop, nothing else.
    pub const fn is_full_stop(&self) -> bool {
        self.full_stops == 1 && !(self.blank || self.line_end || self.hyphen || self.other)
    }
}
