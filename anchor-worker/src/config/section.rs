//! Sections, each read by itself, so that a mistake in one does not hide those of another; and within a section, what is wrong is taken out and the
//! rest read again.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use super::place::{Mistake, without_values};

/// Entries that say which other entries there are. Without one there is always another error, so it is suspected last.
const TAGS: [&str; 2] = ["kind", "provider"];

type Value<'a> = Spanned<DeValue<'a>>;

/// A file that is being read.
pub struct Document<'a> {
    source: &'a str,
    left: DeTable<'a>,
    /// The sections that are there, and where each of their entries is.
    found: BTreeMap<&'static str, Found>,
    mistakes: Vec<Mistake>,
}

struct Found {
    start: usize,
    entries: Vec<(String, usize)>,
}

impl<'a> Document<'a> {
    /// Mistakes in the writing are found here, and what can be read in spite of them is read.
    pub fn parse(source: &'a str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(source);
        let mistakes = errors.iter().map(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            Mistake::at(source, offset, without_values(error.message()))
        });
        Self {
            source,
            mistakes: mistakes.collect(),
            left: table.into_inner(),
            found: BTreeMap::new(),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// Reads a section; `None` if it is not there or wrong.
    pub fn section<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let (key, value) = self.left.remove_entry(name)?;
        let start = key.span().start;
        let entries = value.get_ref().as_table().map(|table| {
            let places = table
                .keys()
                .map(|key| (key.get_ref().to_string(), key.span().start));
            places.collect()
        });
        let Some(entries) = entries else {
            let text = format!("{name} must be a section: [{name}]");
            self.mistakes.push(Mistake::at(self.source, start, text));
            self.found.insert(
                name,
                Found {
                    start,
                    entries: Vec::new(),
                },
            );
            return None;
        };
        self.found.insert(name, Found { start, entries });
        self.read(name, start, value)
    }

    /// Reads sections of which there may be any number, written `[[name]]`. Those that are right come with the place where each begins.
    pub fn sections<T: DeserializeOwned>(&mut self, name: &'static str) -> Vec<(usize, T)> {
        let Some((key, value)) = self.left.remove_entry(name) else {
            return Vec::new();
        };
        let start = key.span().start;
        let DeValue::Array(values) = value.into_inner() else {
            let text = format!("{name} must be written as [[{name}]], once for each");
            self.mistakes.push(Mistake::at(self.source, start, text));
            return Vec::new();
        };
        let of = |value: Value<'a>| {
            let place = value.span().start;
            let read = self.read(&format!("[{name}]"), place, value);
            read.map(|section| (place, section))
        };
        values.into_iter().filter_map(of).collect()
    }

    fn read<T: DeserializeOwned>(
        &mut self,
        name: &str,
        start: usize,
        mut value: Value<'a>,
    ) -> Option<T> {
        let mut wrong = Vec::new();
        loop {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(section) => return wrong.is_empty().then_some(section),
                Err(error) => error,
            };
            let message = without_values(error.message());
            // What was taken out because it was wrong is missing now.
            if wrong
                .iter()
                .any(|key| message.starts_with(&format!("missing field `{key}`")))
            {
                return None;
            }
            let culprit = culprit::<T>(&value, &error);
            let place = culprit.as_ref().map_or(start, |(_, place)| *place);
            let entry = culprit
                .as_ref()
                .map(|(key, _)| format!(" {key}:"))
                .unwrap_or_default();
            let text = format!("[{name}]{entry} {message}");
            self.mistakes.push(Mistake::at(self.source, place, text));
            let (key, _) = culprit?;
            remove(&mut value, &key);
            wrong.push(key);
        }
    }

    /// What is left is not known.
    pub fn nothing_else(&mut self) {
        for key in self.left.keys() {
            let text = format!(
                "{} is not known here: sections are [database], [unlock], [kek], [signer], [store], [anchor], [metrics] and [[outbox]]",
                key.get_ref()
            );
            self.mistakes
                .push(Mistake::at(self.source, key.span().start, text));
        }
    }

    /// A section that is of no use without another.
    pub fn together(&mut self, one: &str, other: &str, what: &str) {
        if let (Some(found), None) = (self.found.get(one), self.found.get(other)) {
            let text = format!("[{one}] needs [{other}]: {what}");
            self.mistakes
                .push(Mistake::at(self.source, found.start, text));
        }
    }

    pub fn mistake_of_file(&mut self, text: &str) {
        self.mistakes.push(Mistake::of_file(text.into()));
    }

    /// An entry that could be read and cannot be meant.
    pub fn mistake(&mut self, section: &str, entry: &str, text: &str) {
        let text = format!("[{section}] {entry}: {text}");
        let place = self.found.get(section).map(|found| {
            let entry = found.entries.iter().find(|(name, _)| name == entry);
            entry.map_or(found.start, |(_, place)| *place)
        });
        self.mistakes.push(match place {
            Some(place) => Mistake::at(self.source, place, text),
            None => Mistake::of_file(text),
        });
    }

    pub fn mistake_at(&mut self, place: usize, text: &str) {
        let text = text.to_owned();
        self.mistakes.push(Mistake::at(self.source, place, text));
    }

    /// All mistakes, in the order of the file.
    pub fn finish(mut self) -> Result<(), Vec<Mistake>> {
        self.mistakes.sort();
        self.mistakes.dedup();
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(self.mistakes)
        }
    }
}

/// The entry of a section that an error is about, and where it begins. An error that does not say its place is about the entry without which it would be
/// another error.
fn culprit<T: DeserializeOwned>(value: &Value<'_>, error: &Error) -> Option<(String, usize)> {
    let table = value.get_ref().as_table()?;
    let whole = value.span();
    let place = error.span().filter(|span| *span != whole);
    let within = |span: Range<usize>, place: &Range<usize>| {
        span.start <= place.start && place.end <= span.end && !span.is_empty()
    };
    let by_place = place.and_then(|place| {
        table
            .iter()
            .find(|(key, value)| within(key.span(), &place) || within(value.span(), &place))
    });
    let named = || {
        let unknown = error.message().strip_prefix("unknown field `")?;
        table
            .iter()
            .find(|(key, _)| unknown.starts_with(&format!("{}`", key.get_ref())))
    };
    let by_trial = || {
        if error.message().starts_with("missing field") {
            return None;
        }
        let is_tag = |key: &str| TAGS.contains(&key);
        let entries = table.iter();
        let (tags, others): (Vec<_>, Vec<_>) = entries.partition(|(key, _)| is_tag(key.get_ref()));
        others.into_iter().chain(tags).find(|(key, _)| {
            let mut without = value.clone();
            remove(&mut without, key.get_ref());
            T::deserialize(ValueDeserializer::from(without))
                .err()
                .is_none_or(|other| other.message() != error.message())
        })
    };
    let (key, _) = by_place.or_else(named).or_else(by_trial)?;
    Some((key.get_ref().to_string(), key.span().start))
}

fn remove(value: &mut Value<'_>, key: &str) {
    if let DeValue::Table(table) = value.get_mut() {
        table.remove(key);
    }
}
