//! Finding anchors: the true version of a key, and the last key that has one.

use std::collections::VecDeque;

use super::key::{is_key, size_of};
use super::{Entry, Object, Store};
use crate::trouble::{Kind, Trouble};

/// Versions that one key may have before it is not searched any more: an anchor has one.
const MAX_VERSIONS: usize = 1_000;

/// How many keys from the end [`Store::last_key`] looks at for one that is locked.
const MAX_TRIES: usize = 1_000;

impl Store {
    /// The first locked version of a key: the true one, whatever was put over it.
    ///
    /// # Errors
    /// Any but `Missing`.
    pub async fn first(&self, key: &str) -> Result<Option<Object>, Trouble> {
        let entries = self.versions_of(key).await?;
        for entry in entries.iter().rev().filter(|entry| !entry.delete_marker) {
            let lock_until = self.lock_until(entry).await?;
            if lock_until > 0 {
                return self.body(entry, lock_until).await.map(Some);
            }
        }
        Ok(None)
    }

    /// The last key of a size in `folder` that has a locked version, delete markers or not. `hint` is a key that is said to be there: if it is, what lies before
    /// it is not listed. One that is not there costs time and changes nothing.
    ///
    /// # Errors
    /// Any; `Untrue` if a thousand keys at the end are not locked.
    pub async fn last_key(
        &self,
        folder: &str,
        hint: Option<&str>,
    ) -> Result<Option<String>, Trouble> {
        if let Some(hint) = hint.filter(|hint| is_key(hint) && hint.starts_with(folder))
            && self.first(hint).await?.is_some()
        {
            let later = self.last_locked(folder, Some(hint)).await?;
            return Ok(later.or_else(|| Some(hint.to_owned())));
        }
        self.last_locked(folder, None).await
    }

    async fn last_locked(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<Option<String>, Trouble> {
        let mut keys = VecDeque::new();
        let mut versions = self.versions_after(folder, after);
        while let Some(page) = versions.next().await? {
            for entry in page {
                let ours = !entry.delete_marker && size_of(folder, &entry.key).is_some();
                if ours && keys.back() != Some(&entry.key) {
                    keys.push_back(entry.key);
                    if keys.len() > MAX_TRIES {
                        keys.pop_front();
                    }
                }
            }
        }
        let full = keys.len() == MAX_TRIES;
        while let Some(key) = keys.pop_back() {
            if self.first(&key).await?.is_some() {
                return Ok(Some(key));
            }
        }
        if full {
            let text = format!("the last {MAX_TRIES} keys of the store are not locked");
            return Err(Trouble::new(Kind::Untrue, text));
        }
        Ok(None)
    }

    /// Every version and delete marker of one key, the newest first.
    async fn versions_of(&self, key: &str) -> Result<Vec<Entry>, Trouble> {
        if let Self::Directory(directory) = self {
            return Ok(directory.entry(key).await?.into_iter().collect());
        }
        let mut found = Vec::new();
        // Other keys may begin with this one; the key itself is the first of them.
        let mut versions = self.versions(key);
        while let Some(page) = versions.next().await? {
            let before = found.len();
            let whole = page.len();
            found.extend(page.into_iter().filter(|entry| entry.key == key));
            if found.len() > MAX_VERSIONS {
                let text = format!("{key} has more than {MAX_VERSIONS} versions");
                return Err(Trouble::new(Kind::Untrue, text));
            }
            if found.len() - before < whole {
                break;
            }
        }
        Ok(found)
    }
}
