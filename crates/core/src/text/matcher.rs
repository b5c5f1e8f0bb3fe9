//! All patterns in one pass over a text.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::pattern::{Kind, MAX_PATTERNS, Pattern, needle};
use super::postal;
use super::words::{Breaks, Words};

/// Patterns, ready to be looked for.
pub struct Matcher {
    automaton: AhoCorasick,
    /// In the automaton's order.
    patterns: Vec<(i32, Kind)>,
}

impl Matcher {
    /// `None` if one is no pattern ([`super::is_pattern`]), or if there are more than [`MAX_PATTERNS`].
    #[must_use]
    pub fn new(patterns: &[Pattern<'_>]) -> Option<Self> {
        if patterns.len() > MAX_PATTERNS {
            return None;
        }
        let needles = patterns
            .iter()
            .map(|pattern| needle(pattern.kind, pattern.text))
            .collect::<Option<Vec<_>>>()?;
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::Standard)
            .build(needles)
            .ok()?;
        Some(Self {
            automaton,
            patterns: patterns.iter().map(|p| (p.id, p.kind)).collect(),
        })
    }

    /// The ids of the patterns that are in the text, in ascending order. Time is linear in the text.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<i32> {
        let mut found = vec![false; self.patterns.len()];
        let apart = Words::read(text, Breaks::Apart);
        self.scan(&apart, &mut found);
        if apart.broken {
            drop(apart);
            self.scan(&Words::read(text, Breaks::Joined), &mut found);
        }
        let hits = self.patterns.iter().zip(found);
        let mut ids = hits
            .filter_map(|((id, _), found)| found.then_some(*id))
            .collect::<Vec<_>>();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn scan(&self, words: &Words, found: &mut [bool]) {
        for hit in self.automaton.find_overlapping_iter(words.haystack()) {
            let number = hit.pattern().as_usize();
            let (Some(known), Some((_, kind))) = (found.get_mut(number), self.patterns.get(number))
            else {
                continue;
            };
            // The needle begins with the blank before the word.
            *known = *known || *kind != Kind::Credential || credential(words, hit.start() + 1);
        }
    }
}

fn credential(words: &Words, place: usize) -> bool {
    words.at(place).is_some_and(|number| {
        words.get(number).is_some_and(|(_, word)| {
            word.dotted || (word.upper && !postal::is_state(words, number))
        })
    })
}
