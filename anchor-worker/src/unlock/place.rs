//! Which database cluster we unlock, on which timeline. Another cluster, a backup that was recovered to a new timeline, a standby that was promoted: each is
//! refused until a person says that it is the one now. A copy that goes on with the same timeline looks the same; only its address tells it apart.
//!
//! Trust: the file is ours alone. Who can write it can have a copy of the database unlocked.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::refusal::refusal;
use crate::trouble::{Kind, Trouble};

const FILE: &str = "unlock.json";
const NEW_FILE: &str = "unlock.json.new";
/// Not the new file: a worker that runs may be writing that one.
const PROBE: &str = "unlock.json.probe";
const MAX_FILE_BYTES: u64 = 4096;

/// The file name of a WAL segment begins with the timeline that is written now; the control file's is that of the last checkpoint.
const PLACE: &str = "
    SELECT s.system_identifier::pg_catalog.text,
           CASE WHEN NOT pg_catalog.pg_is_in_recovery()
                THEN pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END
      FROM pg_catalog.pg_control_system() s";

/// One history of one database cluster.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub system_identifier: String,
    pub timeline: u32,
}

impl Place {
    /// Where a connection has led us.
    ///
    /// # Errors
    /// `Unavailable` if it is a standby.
    pub async fn of(database: &Client) -> Result<Self, Trouble> {
        let row = database.query_one(PLACE, &[]).await.map_err(refusal)?;
        let timeline: Option<&str> = row.get(1);
        let Some(timeline) = timeline else {
            let text = "the database is a standby, which has no use for keys";
            return Err(Trouble::new(Kind::Unavailable, text));
        };
        let timeline = u32::from_str_radix(timeline, 16);
        Ok(Self {
            system_identifier: row.get(0),
            timeline: timeline
                .map_err(|_| Trouble::new(Kind::Untrue, "the database names no timeline"))?,
        })
    }

    /// That nothing is known yet, or that it is this one.
    pub(crate) fn must_be_known(&self, directory: &Path) -> Result<(), Trouble> {
        match Self::known(directory)? {
            None => Ok(()),
            Some(known) if known == *self => Ok(()),
            Some(known) => {
                let text = format!(
                    "the database is another one: system identifier {} timeline {} is known, {} timeline {} is there; if it is meant to be, forget-database",
                    known.system_identifier, known.timeline, self.system_identifier, self.timeline
                );
                Err(Trouble::new(Kind::Untrue, text))
            }
        }
    }

    /// That a file can be written in the directory, and by nobody else.
    ///
    /// # Errors
    /// `Configuration`.
    pub(crate) fn check(directory: &Path) -> Result<(), Trouble> {
        let refused = |why: String| {
            let text = format!("state_directory {} {why}", directory.display());
            Trouble::new(Kind::Configuration, text)
        };
        let meta = fs::metadata(directory)
            .map_err(|error| refused(format!("cannot be looked at: {error}")))?;
        if !meta.is_dir() {
            return Err(refused("is no directory".into()));
        }
        if meta.permissions().mode() & 0o022 != 0 {
            return Err(refused(
                "may be written by others, who could have a copy of the database unlocked: chmod 700".into(),
            ));
        }
        let probe = directory.join(PROBE);
        let written = File::create(&probe).and_then(|_| fs::remove_file(&probe));
        written.map_err(|error| refused(format!("cannot be written: {error}")))
    }

    /// Which one was unlocked before.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be read: what is not known is not taken for nothing.
    pub fn known(directory: &Path) -> Result<Option<Self>, Trouble> {
        let path = directory.join(FILE);
        let refused = |why: &str| {
            let text = format!("{} {why}", path.display());
            Trouble::new(Kind::Configuration, text)
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(meta) if meta.len() <= MAX_FILE_BYTES => {}
            _ => return Err(refused("cannot be read")),
        }
        let text = fs::read(&path).map_err(|_| refused("cannot be read"))?;
        let place = serde_json::from_slice(&text);
        place.map(Some).map_err(|_| refused("is damaged"))
    }

    /// Notes it, before the first key is sent, so that a crash in between does not leave two databases unlocked.
    pub(super) fn remember(&self, directory: &Path) -> Result<(), Trouble> {
        if Self::known(directory)?.is_some() {
            return Ok(());
        }
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(directory.join(NEW_FILE))?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(directory.join(NEW_FILE), directory.join(FILE))?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|error: std::io::Error| {
            let text = format!("{} cannot be written: {error}", directory.display());
            Trouble::new(Kind::Configuration, text)
        })
    }

    /// A person says that another database may be unlocked. Whether there was one to forget.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be removed.
    pub fn forget(directory: &Path) -> Result<bool, Trouble> {
        match fs::remove_file(directory.join(FILE)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => {
                let text = format!("{} cannot be removed: {error}", directory.display());
                Err(Trouble::new(Kind::Configuration, text))
            }
        }
    }
}
