//! New keys, and new wrappings of those that are there.

use identity_core::key::{KeyKind, check_value};
use tokio_postgres::Client;

use super::keyring::Entry;
use super::{Place, Unlocker, functions, keyring};
use crate::kek::KeyContext;
use crate::trouble::{Kind, Trouble};

impl Unlocker {
    /// The next version of a kind: made, wrapped, enrolled. The round loads it, and a rotation makes it active.
    ///
    /// # Errors
    /// As [`Unlocker::round`]; `Conflict` if one waits for its rotation already.
    pub async fn enrol(&self, database: &Client, kind: KeyKind) -> Result<u32, Trouble> {
        if let Some(waits) = keyring::waiting(database, kind).await? {
            let kind = kind.as_str();
            let text = format!(
                "{kind} {waits} is enrolled already and not in use yet: identity.key_rotate('{kind}') puts it to use, and then another can be made"
            );
            return Err(Trouble::new(Kind::Conflict, text));
        }
        let version = keyring::next_version(database, kind).await?;
        self.enrol_version(database, kind, version).await?;
        Ok(version)
    }

    /// This version of a kind, if it is the next one.
    pub(crate) async fn enrol_version(
        &self,
        database: &Client,
        kind: KeyKind,
        version: u32,
    ) -> Result<(), Trouble> {
        let installation = self.known(database).await?;
        self.make(database, installation, kind, version).await
    }

    /// Has one key wrapped anew, if it is the right one that is wrapped.
    pub(crate) async fn rewrap_version(
        &self,
        database: &Client,
        kind: KeyKind,
        version: u32,
    ) -> Result<(), Trouble> {
        let installation = self.known(database).await?;
        let entries = keyring::kept(database).await?;
        let entry = entries
            .iter()
            .find(|entry| (entry.kind, entry.version) == (kind, version));
        let entry = entry.ok_or_else(|| {
            let text = format!("{} {version} is not in the keyring", kind.as_str());
            Trouble::new(Kind::Untrue, text)
        })?;
        self.wrap_anew(database, entry, installation).await
    }

    /// The installation, if the database is the one that is known and its key functions are the extension's.
    async fn known(&self, database: &Client) -> Result<[u8; 16], Trouble> {
        Place::of(database)
            .await?
            .must_be_known(&self.state_directory)?;
        functions::genuine(database).await?;
        keyring::installation(database).await
    }

    /// Has every key wrapped by what the key service wraps with now; touches no other row. Returns how many.
    ///
    /// # Errors
    /// As [`Unlocker::round`].
    pub async fn rewrap(&self, database: &Client) -> Result<usize, Trouble> {
        let installation = self.known(database).await?;
        let entries = keyring::kept(database).await?;
        for entry in &entries {
            self.wrap_anew(database, entry, installation).await?;
        }
        Ok(entries.len())
    }

    async fn wrap_anew(
        &self,
        database: &Client,
        entry: &Entry,
        installation: [u8; 16],
    ) -> Result<(), Trouble> {
        // The right key, before its only wrapping is replaced.
        self.unwrapped(entry, installation).await?;
        let of = entry.context(installation);
        let wrapped = self.kek.rewrap(&entry.wrapped, &of).await?;
        let (kind, version, uri) = (entry.kind, entry.version, self.kek.uri());
        keyring::enrol(database, kind, version, &wrapped, &uri, &entry.check_value).await
    }

    /// A database that has no keys gets its first ones. A log without its keyring is refused by the database itself.
    pub(super) async fn fill(
        &self,
        database: &Client,
        installation: [u8; 16],
        entries: &[Entry],
    ) -> Result<(), Trouble> {
        entries.iter().try_for_each(|entry| self.own(entry))?;
        for kind in KeyKind::ALL {
            if entries.iter().any(|entry| entry.kind == *kind) {
                continue;
            }
            if keyring::next_version(database, *kind).await? == 1 {
                self.make(database, installation, *kind, 1).await?;
            }
        }
        Ok(())
    }

    async fn make(
        &self,
        database: &Client,
        installation: [u8; 16],
        kind: KeyKind,
        version: u32,
    ) -> Result<(), Trouble> {
        let of = KeyContext {
            installation,
            kind,
            version,
        };
        let (key, wrapped) = self.kek.generate(&of).await?;
        let check = check_value(kind, version, &key);
        let uri = self.kek.uri();
        keyring::enrol(database, kind, version, &wrapped, &uri, &check).await
    }
}
