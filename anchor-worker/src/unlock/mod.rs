//! Unlocking: the worker reads what the keyring holds, has it unwrapped by the key service, and hands it to the database sealed to one run of it.
//!
//! Trust: the database is not trusted to be the one we know. Before a key is sealed to it, its key functions must be the extension's and it must be
//! the database cluster and the timeline that were unlocked before. Whoever can replace the library itself gets the keys; see `docs/limits.md`.

mod functions;
pub(crate) mod keyring;
mod make;
mod place;
pub(crate) mod refusal;
mod server_user;

use std::path::PathBuf;
use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use identity_core::key::{KeyKind, is_key};
use identity_core::sealing::{KeyLoad, SealingSecret, seal_key};
use serde::Deserialize;
use tokio_postgres::Client;
use zeroize::Zeroizing;

use crate::kek::Kek;
use crate::secret_file;
use crate::trouble::{Kind, Trouble};
use keyring::{Challenge, Entry};
pub use place::Place;
pub use server_user::uid;

/// The section `[unlock]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Our X25519 private key, as 64 hex digits, in a file that only its owner may read.
    pub secret_key_file: PathBuf,
    /// Where we note which database we unlock.
    pub state_directory: PathBuf,
    /// Which user of the operating system the server runs as, by name or number; it is looked at on a Unix socket. Else `postgres`, if there is one.
    pub server_user: Option<String>,
}

/// What a round found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every key that is needed was there.
    Unlocked,
    /// Keys were missing, and now they are there: so many were loaded.
    WasLocked { loaded: usize },
}

/// Unlocks one database, again and again.
pub struct Unlocker {
    secret: SealingSecret,
    state_directory: PathBuf,
    kek: Arc<Kek>,
    /// The keyring of the last round that found nothing missing.
    settled: Vec<(KeyKind, u32)>,
}

/// A key on its way: unwrapped, and the right one.
struct Carried {
    kind: KeyKind,
    version: u32,
    key: Zeroizing<[u8; 32]>,
}

impl Unlocker {
    /// Reads our private key; nothing is asked of anybody yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn open(config: &Config, kek: Arc<Kek>) -> Result<Self, Trouble> {
        let secret = secret_file::key(&config.secret_key_file)?;
        Ok(Self {
            secret: SealingSecret::from_bytes(&secret),
            state_directory: config.state_directory.clone(),
            kek,
            settled: Vec::new(),
        })
    }

    /// What `identity_pgx.worker_public_key` has to be set to.
    #[must_use]
    pub fn public_key(&self) -> String {
        hex::encode(self.secret.public())
    }

    /// One round: looks whether a key is missing, and brings what is.
    ///
    /// # Errors
    /// `Untrue`: another database, other functions, a wrong key: nothing was sent, and a person has to look. What the key service and the database
    /// answer otherwise.
    pub async fn round(&mut self, database: &Client) -> Result<State, Trouble> {
        let place = Place::of(database).await?;
        place.must_be_known(&self.state_directory)?;
        let entries = keyring::kept(database).await?;
        // Most rounds end here. `key_status` counts rows; it is asked only when there may be something to do.
        if self.settled == named(&entries) && keyring::is_unlocked(database).await {
            return Ok(State::Unlocked);
        }
        let functions = functions::genuine(database).await?;
        let installation = keyring::installation(database).await?;
        self.fill(database, installation, &entries).await?;
        let missing = keyring::missing(database).await?;
        if missing.is_empty() {
            self.settled = named(&entries);
            return Ok(State::Unlocked);
        }
        let mut carried = Vec::new();
        for entry in &missing {
            carried.push(self.unwrapped(entry, installation).await?);
        }
        let challenge = keyring::challenge(database).await?;
        // Only now: what was replaced meanwhile, and put back, is not what it was.
        if functions::genuine(database).await? != functions {
            return Err(Trouble::new(
                Kind::Untrue,
                "the key functions were changed while they were called",
            ));
        }
        if challenge.system_identifier != place.system_identifier {
            let text = "the database answers the challenge for another system identifier";
            return Err(Trouble::new(Kind::Untrue, text));
        }
        place.remember(&self.state_directory)?;
        for key in &carried {
            self.load(database, installation, &challenge, key).await?;
        }
        Ok(State::WasLocked {
            loaded: carried.len(),
        })
    }

    /// Keys of another service, development keys above all, never mix with ours.
    fn own(&self, entry: &Entry) -> Result<(), Trouble> {
        if entry.provider == self.kek.provider() {
            return Ok(());
        }
        let text = format!(
            "{} {} is a key of the provider {}, and {} is configured",
            entry.kind.as_str(),
            entry.version,
            entry.provider,
            self.kek.provider()
        );
        Err(Trouble::new(Kind::Configuration, text))
    }

    async fn unwrapped(&self, entry: &Entry, installation: [u8; 16]) -> Result<Carried, Trouble> {
        let (kind, version) = (entry.kind, entry.version);
        self.own(entry)?;
        let key = self
            .kek
            .unwrap(&entry.wrapped, &entry.context(installation))
            .await?;
        if !is_key(kind, version, &key, &entry.check_value) {
            let text = format!(
                "what the key service unwrapped is not the keyring's {} {version}",
                kind.as_str()
            );
            return Err(Trouble::new(Kind::Untrue, text));
        }
        Ok(Carried { kind, version, key })
    }

    async fn load(
        &self,
        database: &Client,
        installation: [u8; 16],
        challenge: &Challenge,
        carried: &Carried,
    ) -> Result<(), Trouble> {
        let load = KeyLoad {
            installation,
            system_identifier: &challenge.system_identifier,
            epoch: challenge.epoch,
            kind: carried.kind,
            version: carried.version,
        };
        let mut rng = UnwrapErr(SysRng);
        let server = &challenge.public_key;
        let sealed = seal_key(&self.secret, server, &load, &carried.key, &mut rng);
        let sealed = sealed
            .ok_or_else(|| Trouble::new(Kind::Untrue, "the database's public key is no key"))?;
        keyring::load(database, carried.kind, carried.version, &sealed).await
    }
}

fn named(entries: &[Entry]) -> Vec<(KeyKind, u32)> {
    let named = entries.iter().map(|entry| (entry.kind, entry.version));
    named.collect()
}
