//! New keys, and new wrappings of those that are there.

use identity_core::key::{KeyKind, check_value};
use tokio_postgres::Client;

use super::keyring::Entry;
use super::{Place, Unlocker, functions, keyring};
use crate::kek::KeyContext;
use crate::trouble::Trouble;

impl Unlocker {
    /// The next version of a kind: made, wrapped, enrolled. The round loads it, and a rotation makes it active.
    ///
    /// # Errors
    /// As [`Unlocker::round`].
    pub async fn enrol(&self, database: &Client, kind: KeyKind) -> Result<u32, Trouble> {
        Place::of(database)
            .await?
            .must_be_known(&self.state_directory)?;
        functions::genuine(database).await?;
        let installation = keyring::installation(database).await?;
        let version = keyring::next_version(database, kind).await?;
        self.make(database, installation, kind, version).await?;
        Ok(version)
    }

    /// Has every key wrapped by what the key service wraps with now; touches no other row. Returns how many.
    ///
    /// # Errors
    /// As [`Unlocker::round`].
    pub async fn rewrap(&self, database: &Client) -> Result<usize, Trouble> {
        Place::of(database)
            .await?
            .must_be_known(&self.state_directory)?;
        functions::genuine(database).await?;
        let installation = keyring::installation(database).await?;
        let entries = keyring::kept(database).await?;
        for entry in &entries {
            // The right key, before its only wrapping is replaced.
            self.unwrapped(entry, installation).await?;
            let of = entry.context(installation);
            let wrapped = self.kek.rewrap(&entry.wrapped, &of).await?;
            let uri = self.kek.uri();
            keyring::enrol(
                database,
                entry.kind,
                entry.version,
                &wrapped,
                &uri,
                &entry.check_value,
            )
            .await?;
        }
        Ok(entries.len())
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
