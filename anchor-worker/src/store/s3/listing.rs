//! Every version and delete marker, page by page.

use super::Bucket;
use super::answer::{Page, page};
use super::request::Ask;
use crate::store::Entry;
use crate::trouble::{Kind, Trouble};

/// A listing of [`Bucket`] under way.
pub struct Versions<'a> {
    bucket: &'a Bucket,
    prefix: String,
    /// Key and version after which the next page begins.
    after: (String, String),
    done: bool,
}

impl<'a> Versions<'a> {
    pub(super) fn new(bucket: &'a Bucket, prefix: &str, after: Option<&str>) -> Self {
        let whole = |key: &str| format!("{}{key}", bucket.prefix);
        Self {
            bucket,
            prefix: whole(prefix),
            after: (after.map(whole).unwrap_or_default(), String::new()),
            done: false,
        }
    }

    pub(in crate::store) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Trouble> {
        if self.done {
            return Ok(None);
        }
        // Keys may hold what no XML can: encoded, one key cannot make a whole listing unreadable.
        let mut ask = Ask::bucket("versions");
        ask.query.push(("encoding-type", String::from("url")));
        ask.query.push(("prefix", self.prefix.clone()));
        let (key, version) = &self.after;
        if !key.is_empty() {
            ask.query.push(("key-marker", key.clone()));
        }
        if !version.is_empty() {
            ask.query.push(("version-id-marker", version.clone()));
        }
        let Page {
            truncated,
            mut entries,
        } = page(&self.bucket.ask(ask).await?.body)?;
        self.done = !truncated;
        let untrue = |what| Err(Trouble::new(Kind::Untrue, what));
        let prefix = &self.prefix;
        if !entries.iter().all(|entry| entry.key.starts_with(prefix)) {
            return untrue("the store lists what was not asked for");
        }
        let keys = entries.iter().map(|entry| &entry.key);
        if ![key].into_iter().chain(keys).is_sorted() {
            return untrue("the store's listing is not in order");
        }
        // Not the answer's own markers: not every store encodes those.
        let last = entries
            .last()
            .map(|last| (last.key.clone(), last.version_id.clone()));
        if truncated && last.as_ref().is_none_or(|last| *last == self.after) {
            return untrue("the store's listing does not go on");
        }
        if let Some(last) = last {
            self.after = last;
        }
        let own = self.bucket.prefix.len();
        for entry in &mut entries {
            entry.key.drain(..own);
        }
        Ok(Some(entries))
    }
}
