//! A directory. NOT immutable: who may write it may change what lies there, and only the signatures in it show that. For development, and for who copies it away to
//! where he cannot change it.
//!
//! Beside each file lies another with `.lock` at its end: what was put, and until when it should stay. A file comes into its place whole, by a link that fails if
//! something is there; everything is flushed before it counts.

mod file;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use identity_core::moment;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Checked, Entry, MAX_BODY_BYTES, key};
use crate::trouble::{Kind, Trouble};
use file::{blocking, create, read, sync, trouble};

const LOCK: &str = ".lock";
const MAX_LOCK_BYTES: usize = 1 << 10;

/// `kind = "directory"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub path: PathBuf,
    /// What all keys begin with: empty, or ending with a slash.
    #[serde(default)]
    pub prefix: String,
    #[serde(default = "super::retention_days")]
    pub retention_days: u32,
}

/// A directory as a store.
#[derive(Clone)]
pub struct Directory {
    root: PathBuf,
    prefix: String,
}

/// What lies in a `.lock` file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    sha256: String,
    lock_until: String,
}

impl Directory {
    /// # Errors
    /// `Configuration` if it is no directory, or the prefix leads elsewhere.
    pub async fn open(config: &Config) -> Result<Self, Trouble> {
        let wrong = |what: &str| Trouble::new(Kind::Configuration, format!("store: {what}"));
        if !key::is_prefix(&config.prefix) {
            return Err(wrong(
                "prefix must be empty or end with a slash, of letters, digits, _, - and .",
            ));
        }
        if config.retention_days == 0 {
            return Err(wrong("retention_days must be one at least"));
        }
        let path = config.path.clone();
        let root = blocking(move || path.canonicalize()).await?;
        let root = root
            .ok()
            .filter(|root| root.is_dir())
            .ok_or_else(|| wrong(&format!("{} is no directory", config.path.display())))?;
        Ok(Self {
            root,
            prefix: config.prefix.clone(),
        })
    }

    pub(super) async fn check(&self) -> Result<Checked, Trouble> {
        let this = self.clone();
        let tried = blocking(move || {
            let probe = this.root.join(format!(".check.{}", std::process::id()));
            create(&probe, b"")?;
            fs::remove_file(&probe)?;
            sync(&this.root)
        });
        tried
            .await?
            .map_err(|error| trouble(&error, "the directory"))?;
        Ok(Checked {
            immutable: false,
            text: format!(
                "{}: a directory is NOT immutable; who may write it may change what lies there",
                self.root.display()
            ),
        })
    }

    pub(super) async fn put(
        &self,
        key: &str,
        body: &[u8],
        lock_until: i64,
    ) -> Result<String, Trouble> {
        let sha256 = hex::encode(Sha256::digest(body));
        let lock = Lock {
            sha256: sha256.clone(),
            lock_until: moment::text(lock_until),
        };
        let lock = serde_json::to_vec(&lock)
            .map_err(|_| Trouble::new(Kind::Configuration, "a lock that cannot be written"))?;
        let (this, body) = (self.clone(), body.to_vec());
        let path = format!("{}{key}", self.prefix);
        let written = blocking(move || this.write(Path::new(&path), &body, &lock));
        written.await?.map_err(|error| trouble(&error, key))?;
        Ok(sha256)
    }

    fn write(&self, path: &Path, body: &[u8], lock: &[u8]) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let name = name.to_string_lossy();
        let parent = self.make(parent)?;
        // One writer at a time: two could take turns with the file and its lock. Released when it is closed.
        let directory = File::open(&parent)?;
        directory.lock()?;
        let place = parent.join(&*name);
        if fs::symlink_metadata(&place).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        // The lock first: a file without one is nobody's anchor, a lock without a file is nothing.
        let part = parent.join(format!(".{name}.part"));
        create(&part, lock)?;
        fs::rename(&part, parent.join(format!("{name}{LOCK}")))?;
        create(&part, body)?;
        let linked = fs::hard_link(&part, &place);
        fs::remove_file(&part)?;
        linked?;
        directory.sync_all()
    }

    /// The directory below the root, made if it is not there. Links are not followed.
    fn make(&self, below: &Path) -> io::Result<PathBuf> {
        let mut path = self.root.clone();
        for part in below.components() {
            let above = path.clone();
            path.push(part);
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    fs::create_dir(&path)?;
                    sync(&above)?;
                }
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(ErrorKind::NotADirectory.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(path)
    }

    /// Where a key lies, if no link is on the way.
    fn place(&self, key: &str) -> io::Result<PathBuf> {
        let mut path = self.root.clone();
        let below = format!("{}{key}", self.prefix);
        let mut parts = Path::new(&below).components().peekable();
        while let Some(part) = parts.next() {
            if !matches!(part, Component::Normal(_)) {
                return Err(ErrorKind::InvalidInput.into());
            }
            path.push(part);
            if parts.peek().is_some() && !fs::symlink_metadata(&path)?.is_dir() {
                return Err(ErrorKind::NotADirectory.into());
            }
        }
        Ok(path)
    }

    /// The one version of a key, if there is one.
    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>, Trouble> {
        let (this, name) = (self.clone(), key.to_owned());
        match blocking(move || this.look(&name)).await? {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(trouble(&error, key)),
        }
    }

    fn look(&self, key: &str) -> io::Result<Entry> {
        let found = fs::symlink_metadata(self.place(key)?)?;
        let lock = self.lock(key)?;
        let modified = found.modified()?.duration_since(UNIX_EPOCH);
        Ok(Entry {
            key: key.to_owned(),
            version_id: lock.map(|lock| lock.sha256).unwrap_or_default(),
            delete_marker: false,
            modified: modified.map_or(0, |since| {
                i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
            }),
        })
    }

    /// What the lock beside a file says; nothing if there is none that can be read.
    fn lock(&self, key: &str) -> io::Result<Option<Lock>> {
        let place = self.place(&format!("{key}{LOCK}"))?;
        match read(&place, MAX_LOCK_BYTES) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn lock_until(&self, entry: &Entry) -> Result<i64, Trouble> {
        let (this, key) = (self.clone(), entry.key.clone());
        let lock = blocking(move || this.lock(&key)).await?;
        let lock = lock.map_err(|error| trouble(&error, &entry.key))?;
        Ok(lock
            .and_then(|lock| moment::parse(&lock.lock_until))
            .unwrap_or(0))
    }

    /// The bytes, if they are those that were put.
    pub(super) async fn body(&self, entry: &Entry) -> Result<Vec<u8>, Trouble> {
        let (this, key) = (self.clone(), entry.key.clone());
        let body = blocking(move || read(&this.place(&key)?, MAX_BODY_BYTES)).await?;
        let body = body.map_err(|error| trouble(&error, &entry.key))?;
        let locked = &entry.version_id;
        if !locked.is_empty() && hex::encode(Sha256::digest(&body)) != *locked {
            let text = format!("{} was changed after it was put there", entry.key);
            return Err(Trouble::new(Kind::Untrue, text));
        }
        Ok(body)
    }

    pub(super) fn uri(&self, key: &str) -> String {
        format!("file://{}/{}{key}", self.root.display(), self.prefix)
    }

    pub(super) fn versions(&self, prefix: &str, after: Option<&str>) -> Versions<'_> {
        Versions {
            directory: self,
            prefix: prefix.to_owned(),
            after: after.unwrap_or_default().to_owned(),
            done: false,
        }
    }

    /// Everything in the directory that a prefix names, and what begins with its rest. What is no file of ours is listed too, without a version.
    fn list(&self, prefix: &str, after: &str) -> io::Result<Vec<Entry>> {
        let (parent, start) = prefix.rsplit_once('/').unwrap_or_default();
        let mut found = Vec::new();
        // A directory that is away for a while is not one from which everything was deleted.
        fs::metadata(&self.root)?;
        let place = match self.place(&format!("{parent}/.")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            place => place?,
        };
        let listed = match fs::read_dir(place) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            listed => listed?,
        };
        for each in listed {
            let name = each?.file_name().to_string_lossy().into_owned();
            let key = match parent {
                "" => name.clone(),
                parent => format!("{parent}/{name}"),
            };
            let lock = name.ends_with(LOCK);
            if name.starts_with(start) && !name.starts_with('.') && !lock && *key > *after {
                match self.look(&key) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    entry => found.push(entry?),
                }
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

/// A listing of [`Directory`]: one page.
pub struct Versions<'a> {
    directory: &'a Directory,
    prefix: String,
    after: String,
    done: bool,
}

impl Versions<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Trouble> {
        if core::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let directory = self.directory.clone();
        let (prefix, after) = (self.prefix.clone(), self.after.clone());
        let listed = blocking(move || directory.list(&prefix, &after)).await?;
        listed
            .map(Some)
            .map_err(|error| trouble(&error, "the directory"))
    }
}
