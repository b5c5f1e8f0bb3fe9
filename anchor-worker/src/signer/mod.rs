//! Who signs checkpoints, and what is published of erasures. The key is where the database is not: whoever rewrites the log cannot sign what comes of it.

mod aws;
mod file;
mod vault;

use identity_core::checkpoint::Checkpoint;
use identity_core::note::{self, VerifierKey, signature_line};
use identity_core::tombstone::Head;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::trouble::{Kind, Trouble};

/// The section `[signer]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
pub enum Config {
    Vault(vault::Config),
    Aws(crate::aws::KmsConfig),
    File(file::Config),
}

/// A signer, whose public key stays the same for as long as the process lives.
pub struct Signer {
    provider: Provider,
    public_key: OnceCell<[u8; 32]>,
}

enum Provider {
    Vault(vault::Provider),
    Aws(aws::Provider),
    File(file::Provider),
}

impl Signer {
    /// Reads what the configuration names; nothing is asked of a service yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub async fn open(config: &Config) -> Result<Self, Trouble> {
        Ok(Self {
            provider: match config {
                Config::Vault(config) => Provider::Vault(vault::Provider::open(config)?),
                Config::Aws(config) => Provider::Aws(aws::Provider::open(config)?),
                Config::File(config) => Provider::File(file::Provider::open(config)?),
            },
            public_key: OnceCell::new(),
        })
    }

    /// Reaches the service, and looks whether the key is one that may sign checkpoints.
    ///
    /// # Errors
    /// What the service answers; `Configuration` if the key is of another kind.
    pub async fn check(&self) -> Result<(), Trouble> {
        match &self.provider {
            Provider::Vault(provider) => provider.check().await?,
            Provider::Aws(provider) => provider.check().await?,
            Provider::File(provider) => provider.warn(),
        }
        self.public_key().await.map(drop)
    }

    /// The key that verifies, under the log's name.
    ///
    /// # Errors
    /// What the service answers; `Untrue` if it is no key that signatures can be verified with.
    pub async fn key(&self, origin: &str) -> Result<VerifierKey, Trouble> {
        let key = VerifierKey::new(origin, self.public_key().await?);
        key.ok_or_else(|| Trouble::new(Kind::Untrue, "the signer's public key verifies nothing"))
    }

    /// The checkpoint as a signed note. It verifies: a wrong signature goes nowhere.
    ///
    /// # Errors
    /// What the service answers; `Untrue` if its signature does not verify, or if the text is no checkpoint of this log.
    pub async fn sign(&self, checkpoint_text: &str, origin: &str) -> Result<String, Trouble> {
        let own = Checkpoint::parse(checkpoint_text).is_some_and(|read| read.origin == origin);
        if !own {
            return Err(untrue("what is to be signed is no checkpoint of this log"));
        }
        self.note(checkpoint_text, origin).await
    }

    /// The head of a list of tombstones as a signed note.
    ///
    /// # Errors
    /// As above.
    pub async fn sign_tombstones(&self, head: &str, origin: &str) -> Result<String, Trouble> {
        let own = Head::parse(head).is_some_and(|read| read.origin == origin);
        if !own {
            return Err(untrue(
                "what is to be signed is no list of this log's tombstones",
            ));
        }
        self.note(head, origin).await
    }

    async fn note(&self, text: &str, origin: &str) -> Result<String, Trouble> {
        let key = self.key(origin).await?;
        let signature = match &self.provider {
            Provider::Vault(provider) => provider.sign(text).await?,
            Provider::Aws(provider) => provider.sign(text).await?,
            Provider::File(provider) => provider.sign(text),
        };
        let line = signature_line(origin, key.id(), &signature);
        let signed = format!("{text}\n{line}");
        match note::open(signed.as_bytes(), &[key]) {
            Ok(_) => Ok(signed),
            Err(_) => Err(untrue("the signer's signature does not verify")),
        }
    }

    async fn public_key(&self) -> Result<&[u8; 32], Trouble> {
        let ask = || async {
            match &self.provider {
                Provider::Vault(provider) => provider.public_key().await,
                Provider::Aws(provider) => provider.public_key().await,
                Provider::File(provider) => Ok(provider.public_key()),
            }
        };
        self.public_key.get_or_try_init(ask).await
    }
}

fn untrue(text: &str) -> Trouble {
    Trouble::new(Kind::Untrue, text)
}
