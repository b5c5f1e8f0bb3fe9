//! A rotation as a whole: what is noted before it, the new key made and brought, the swap, and what is looked at after it.
//!
//! It can be interrupted anywhere and begun again: a key that is enrolled and not in use is the one that is taken, and until the swap commits nothing has
//! changed. Two at once: the database lets one key of a kind wait at a time, and the swap is of two named versions.

mod ask;

use std::time::Duration;

use identity_core::checkpoint::Checkpoint;
use identity_core::key::KeyKind;
use identity_core::merkle::verify_consistency;
use identity_core::vocabulary::RotationReason;
use tokio::time::timeout;

pub use ask::Key;

use crate::config::Config;
use crate::database::Database;
use crate::keys;
use crate::trouble::{Kind, Trouble};
use crate::unlock::Unlocker;
use crate::unlock::keyring;

/// What bringing a key may take, the key service included.
const BRING_LIMIT: Duration = Duration::from_secs(120);

/// What is asked for.
pub struct Request {
    pub kind: KeyKind,
    pub reason: RotationReason,
    /// Who sees it happen.
    pub witness: String,
}

/// How things were before anything was changed.
pub struct Before {
    /// The key in use.
    pub active: Key,
    /// One that is enrolled, and waits since an earlier attempt.
    pub waiting: Option<Key>,
    /// The log's tree.
    pub tree: Checkpoint,
    next: u32,
}

/// What was looked at after the swap: the name of the check, and what it found.
pub type Looked = (&'static str, Result<String, Trouble>);

/// One rotation.
pub struct Rotation {
    request: Request,
    unlocker: Unlocker,
    database: Database,
}

impl Rotation {
    /// Opens what the worker's configuration names. Changes nothing.
    ///
    /// # Errors
    /// `Configuration` where the worker brings no keys; what the database answers.
    pub async fn open(config: &Config, request: Request) -> Result<Self, Trouble> {
        let (unlocker, database) = keys::open(config).await?;
        let rotation = Self {
            request,
            unlocker,
            database,
        };
        rotation.database.check().await?;
        Ok(rotation)
    }

    /// Looks at health, keys and tree. Changes nothing but what is sealed.
    ///
    /// # Errors
    /// What the vault says that it suffers from, `locked` above all.
    pub async fn before(&self) -> Result<Before, Trouble> {
        let kind = self.request.kind;
        keyring::health(self.database.client()).await?;
        let keys = ask::keys(self.database.client(), kind).await?;
        let in_state = |state: &str| keys.iter().find(|key| key.state == state).cloned();
        let active = in_state("active").ok_or_else(|| {
            let text = format!("no {} key is in use: nothing to rotate", kind.as_str());
            Trouble::new(Kind::Unavailable, text)
        })?;
        let next = keys.last().map_or(1, |key| key.version.saturating_add(1));
        self.database.seal().await?;
        Ok(Before {
            active,
            waiting: in_state("enrolled"),
            tree: self.tree().await?,
            next,
        })
    }

    /// Makes the new key, unless one waits, and brings it.
    ///
    /// # Errors
    /// What the key service and the database answer; nothing is in use that was not before.
    pub async fn bring(&mut self, before: &Before) -> Result<Key, Trouble> {
        let bringing = timeout(BRING_LIMIT, self.make_and_load(before)).await;
        bringing.unwrap_or_else(|_| {
            let text = "bringing the key took too long";
            Err(Trouble::new(Kind::Unreachable, text))
        })
    }

    async fn make_and_load(&mut self, before: &Before) -> Result<Key, Trouble> {
        let (kind, database) = (self.request.kind, self.database.client());
        let version = match &before.waiting {
            Some(key) => key.version,
            None => {
                let version = before.next;
                self.unlocker.enrol_version(database, kind, version).await?;
                version
            }
        };
        self.unlocker.round(database).await?;
        let key = ask::keys(database, kind).await?.into_iter();
        let key = key.into_iter().find(|key| key.version == version);
        let standing = ask::standing(database, kind).await?;
        let loaded = standing.iter().any(|k| k.version == version && k.loaded);
        match key {
            Some(key) if key.state == "enrolled" && loaded => Ok(key),
            _ => {
                let text = format!(
                    "{} {version} does not wait to be used any more: somebody else may have rotated meanwhile",
                    kind.as_str()
                );
                Err(Trouble::new(Kind::Conflict, text))
            }
        }
    }

    /// Puts the new key in the place of the old one.
    ///
    /// # Errors
    /// What the database refuses with; nothing has changed then, unless the text says that this is unknown.
    pub async fn swap(&self, before: &Before, new: &Key) -> Result<(), Trouble> {
        ask::swap(self.database.client(), &self.request, &before.active, new).await
    }

    /// Looks whether all is well, with a new row in the log.
    pub async fn after(&self, before: &Before, new: &Key) -> Vec<Looked> {
        let database = self.database.client();
        let health = keyring::health(database).await;
        vec![
            ("health", health.map(|()| "the vault serves calls".into())),
            ("key", self.stands(before, new).await),
            ("record", self.stands_recorded(before, new).await),
            ("row", self.new_row(new).await),
            ("log", self.verifies().await),
            ("tree", self.continues(before).await),
        ]
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.database.close().await;
    }

    async fn stands(&self, before: &Before, new: &Key) -> Result<String, Trouble> {
        let (kind, old) = (self.request.kind, before.active.version);
        let standing = ask::standing(self.database.client(), kind).await?;
        let state = |version| {
            let key = standing.iter().find(|key| key.version == version);
            key.map_or("gone", |key| key.state.as_str())
        };
        let (now, then) = (state(new.version), state(old));
        let kind = kind.as_str();
        let told = format!("{kind} {} is {now}, {kind} {old} is {then}", new.version);
        // A running worker may have been quick: what nothing was encrypted with is retired at once.
        if now == "active" && matches!(then, "verify_only" | "retired") {
            Ok(told)
        } else {
            Err(Trouble::new(Kind::Untrue, told))
        }
    }

    async fn stands_recorded(&self, before: &Before, new: &Key) -> Result<String, Trouble> {
        let (request, old) = (&self.request, &before.active);
        ask::recorded(self.database.client(), request, old, new).await?;
        Ok(format!(
            "recorded with both check values, the reason {} and the witness {}",
            request.reason.as_str(),
            request.witness
        ))
    }

    /// Has the new key taken back from the key service and wrapped once more: what was enrolled can be brought again after a restart, and the log gets a row
    /// that the keys now in use have made.
    async fn new_row(&self, new: &Key) -> Result<String, Trouble> {
        let (kind, database) = (self.request.kind, self.database.client());
        let earlier = ask::rewrapped(database, kind, new.version).await?;
        let wrapping = self.unlocker.rewrap_version(database, kind, new.version);
        let wrapping = timeout(BRING_LIMIT, wrapping).await.unwrap_or_else(|_| {
            let text = "wrapping the key anew took too long";
            Err(Trouble::new(Kind::Unreachable, text))
        });
        wrapping?;
        if ask::rewrapped(database, kind, new.version).await? <= earlier {
            let text = "the key was wrapped anew, and no row tells of it";
            return Err(Trouble::new(Kind::Untrue, text));
        }
        Ok(
            "the key service gives the new key back, and a row was made with the keys now in use"
                .into(),
        )
    }

    async fn verifies(&self) -> Result<String, Trouble> {
        let findings = ask::findings(self.database.client()).await?;
        match findings.first() {
            None => Ok("ledger_verify follows every lane over the rotation".into()),
            Some((check, detail)) => {
                let text = format!("{} findings, the first: {check}: {detail}", findings.len());
                Err(Trouble::new(Kind::Untrue, text))
            }
        }
    }

    async fn continues(&self, before: &Before) -> Result<String, Trouble> {
        self.database.seal().await?;
        let (old, new) = (&before.tree, self.tree().await?);
        let path = self.database.consistency(old.size, new.size).await?;
        let continues = old.origin == new.origin
            && verify_consistency(old.size, new.size, &old.root, &new.root, &path);
        if continues {
            Ok(format!(
                "{} leaves, root {}: the log continues the one before the rotation",
                new.size,
                hex::encode(new.root)
            ))
        } else {
            let text = "the log does not continue the one before the rotation";
            Err(Trouble::new(Kind::Untrue, text))
        }
    }

    async fn tree(&self) -> Result<Checkpoint, Trouble> {
        let text = self.database.checkpoint().await?;
        Checkpoint::parse(&text)
            .ok_or_else(|| Trouble::new(Kind::Untrue, "the database gives no checkpoint"))
    }
}
