//! Where anchors lie: a key, a body, and a lock that nobody can lift before its time.
//!
//! | file | one job |
//! |---|---|
//! | `key.rs` | the names of what lies there |
//! | `find.rs` | the true version of a key, and the last key that has one |
//! | `s3/` | an S3 bucket with Object Lock in compliance mode |
//! | `directory/` | a directory: for development, and where somebody else copies it away |
//!
//! The store is not trusted to say the truth: whatever it confirms is read back. It is trusted to keep what it has locked, and to list every version.

pub mod directory;
mod find;
mod key;
pub mod s3;

use std::path::Path;

use serde::Deserialize;

use crate::trouble::{Kind, Trouble};

pub use key::{CHECKPOINTS, INCARNATIONS, TOMBSTONES, declaration_key, folder, size_of, sized_key};

/// Longest body that is read: a list of tombstones.
pub const MAX_BODY_BYTES: usize = identity_core::tombstone::MAX_OBJECT_BYTES;

/// Seven years, and a day for each leap year that they may hold.
const RETENTION_DAYS: u32 = 7 * 365 + 2;

/// The section `[store]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Config {
    S3(s3::Config),
    Directory(directory::Config),
}

/// A configuration of the worker, of which only the store matters.
#[derive(Deserialize)]
struct Whole {
    store: Config,
}

impl Config {
    /// The section `[store]` of a file that has others too.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn read(file: &Path) -> Result<Self, Trouble> {
        let wrong = |what: &str| {
            let text = format!("{}: {what}", file.display());
            Trouble::new(Kind::Configuration, text)
        };
        let text = std::fs::read_to_string(file).map_err(|_| wrong("cannot be read"))?;
        // Not the whole error: it repeats the line, and other sections may hold a password.
        let whole: Whole = toml::from_str(&text).map_err(|error| wrong(error.message()))?;
        Ok(whole.store)
    }

    /// For how long an anchor is locked.
    #[must_use]
    pub fn retention_days(&self) -> u32 {
        match self {
            Self::S3(config) => config.retention_days,
            Self::Directory(config) => config.retention_days,
        }
    }
}

/// For how long an anchor is locked if nothing else was said.
#[must_use]
pub const fn retention_days() -> u32 {
    RETENTION_DAYS
}

/// Where an object lies, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub uri: String,
    pub version_id: String,
    /// Microseconds since 1970; 0 if it is not locked.
    pub lock_until: i64,
}

/// One version of one key, with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub body: Vec<u8>,
    pub stored: Stored,
}

/// One version of one key, as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub version_id: String,
    /// Nothing but the claim that the key is gone.
    pub delete_marker: bool,
    /// When the store says that it was put there; microseconds since 1970.
    pub modified: i64,
}

/// What a store says of itself when it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether what lies there can be deleted by nobody, its owner included.
    pub immutable: bool,
    /// One line for people.
    pub text: String,
}

/// A store of either kind. Keys are without the configured prefix.
pub enum Store {
    S3(Box<s3::Bucket>),
    Directory(directory::Directory),
}

impl Store {
    /// Nothing is asked of an S3 store yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub async fn open(config: &Config) -> Result<Self, Trouble> {
        match config {
            Config::S3(config) => Ok(Self::S3(Box::new(s3::Bucket::open(config)?))),
            Config::Directory(config) => {
                Ok(Self::Directory(directory::Directory::open(config).await?))
            }
        }
    }

    /// Whether it can keep anchors as they must be kept: versions, locks, and a lock for what comes without one.
    ///
    /// # Errors
    /// `Configuration` if it cannot; any other if it cannot be asked.
    pub async fn check(&self) -> Result<Checked, Trouble> {
        match self {
            Self::S3(bucket) => bucket.check().await,
            Self::Directory(directory) => directory.check().await,
        }
    }

    /// Puts an object where none is, locks it, and reads both back.
    ///
    /// # Errors
    /// `Conflict`: a locked object is there already, or was there first; [`Store::first`] has it. (An S3 store also says so when one is there that is *not* locked: then
    /// `first` has none, and a person must look.) `Untrue`: the store said yes, and what it has is not what it was given. After `Unreachable` the object may be there
    /// or not.
    pub async fn put(&self, key: &str, body: &[u8], lock_until: i64) -> Result<Stored, Trouble> {
        let untrue = |what: &str| Trouble::new(Kind::Untrue, format!("{key}: {what}"));
        if !key::is_key(key) {
            return Err(Trouble::new(
                Kind::Configuration,
                "a key that is none of ours",
            ));
        }
        // If-None-Match alone does not see what lies under a delete marker, and some stores do not know it.
        if self.first(key).await?.is_some() {
            return Err(conflict(key));
        }
        let version_id = match self {
            Self::S3(bucket) => bucket.put(key, body, lock_until).await?,
            Self::Directory(directory) => directory.put(key, body, lock_until).await?,
        };
        let Some(first) = self.first(key).await? else {
            return Err(untrue("the store took it and has not locked it"));
        };
        if first.stored.version_id != version_id {
            return Err(conflict(key));
        }
        if first.body != body {
            return Err(untrue("the store has other bytes than it was given"));
        }
        if first.stored.lock_until < lock_until {
            return Err(untrue(
                "the store has locked it for less time than it was asked",
            ));
        }
        Ok(first.stored)
    }

    /// Every version and delete marker below a prefix, in pages: ordered by key, the newest version of a key first.
    #[must_use]
    pub fn versions(&self, prefix: &str) -> Versions<'_> {
        self.versions_after(prefix, None)
    }

    fn versions_after(&self, prefix: &str, after: Option<&str>) -> Versions<'_> {
        match self {
            Self::S3(bucket) => Versions::S3(Box::new(bucket.versions(prefix, after))),
            Self::Directory(directory) => Versions::Directory(directory.versions(prefix, after)),
        }
    }

    /// One version, whatever its lock.
    ///
    /// # Errors
    /// `Missing` for a delete marker, or if it is gone meanwhile; `Untrue` if it is longer than a note.
    pub async fn read(&self, entry: &Entry) -> Result<Object, Trouble> {
        let lock_until = self.lock_until(entry).await?;
        self.body(entry, lock_until).await
    }

    async fn lock_until(&self, entry: &Entry) -> Result<i64, Trouble> {
        match self {
            Self::S3(bucket) => bucket.lock_until(entry).await,
            Self::Directory(directory) => directory.lock_until(entry).await,
        }
    }

    async fn body(&self, entry: &Entry, lock_until: i64) -> Result<Object, Trouble> {
        let (uri, body) = match self {
            Self::S3(bucket) => (bucket.uri(&entry.key), bucket.body(entry).await?),
            Self::Directory(directory) => (directory.uri(&entry.key), directory.body(entry).await?),
        };
        Ok(Object {
            key: entry.key.clone(),
            body,
            stored: Stored {
                uri,
                version_id: entry.version_id.clone(),
                lock_until,
            },
        })
    }
}

fn conflict(key: &str) -> Trouble {
    Trouble::new(Kind::Conflict, format!("{key} is there already"))
}

/// A listing under way.
pub enum Versions<'a> {
    S3(Box<s3::Versions<'a>>),
    Directory(directory::Versions<'a>),
}

impl Versions<'_> {
    /// The next page; `None` at the end.
    ///
    /// # Errors
    /// Any but `Missing`.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, Trouble> {
        match self {
            Self::S3(versions) => versions.next().await,
            Self::Directory(versions) => versions.next().await,
        }
    }
}
