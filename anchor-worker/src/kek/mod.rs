//! Key services: what wraps the keys of the database. The unwrapped keys are in our memory between the service and the database, and nowhere else.

mod aws;
mod file;
mod vault;

use base64ct::{Base64, Encoding as _};
use identity_core::key::KeyKind;
use serde::Deserialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::trouble::{Kind, Trouble};

const KEY_BYTES: usize = 32;

/// The section `[kek]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
pub enum Config {
    Vault(crate::vault::Config),
    Aws(crate::aws::KmsConfig),
    File(file::Config),
}

/// What a key is for. The service is told, so that a wrapped key that was moved to another place does not unwrap there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyContext {
    pub installation: [u8; 16],
    pub kind: KeyKind,
    pub version: u32,
}

impl KeyContext {
    /// `LP("identity_pgx/kek/v1") ‖ installation[16] ‖ LP(kind) ‖ version u32 BE`
    fn bytes(&self) -> Vec<u8> {
        const TAG: &[u8] = b"identity_pgx/kek/v1";
        let kind = self.kind.as_str().as_bytes();
        let mut bytes = Vec::new();
        bytes.extend(length(TAG));
        bytes.extend(TAG);
        bytes.extend(self.installation);
        bytes.extend(length(kind));
        bytes.extend(kind);
        bytes.extend(self.version.to_be_bytes());
        bytes
    }

    fn installation(&self) -> String {
        Uuid::from_bytes(self.installation).hyphenated().to_string()
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// A key service.
pub enum Kek {
    Vault(vault::Provider),
    Aws(aws::Provider),
    File(file::Provider),
}

impl Kek {
    /// Reads what the configuration names; nothing is asked of a service yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub async fn open(config: &Config) -> Result<Self, Trouble> {
        Ok(match config {
            Config::Vault(config) => Self::Vault(vault::Provider::open(config)?),
            Config::Aws(config) => Self::Aws(aws::Provider::open(config)?),
            Config::File(config) => Self::File(file::Provider::open(config)?),
        })
    }

    /// Reaches the service, and looks whether the key is one that may wrap ours.
    ///
    /// # Errors
    /// What the service answers; `Configuration` if the key is of another kind.
    pub async fn check(&self) -> Result<(), Trouble> {
        match self {
            Self::Vault(provider) => provider.check().await,
            Self::Aws(provider) => provider.check().await,
            Self::File(provider) => {
                provider.warn();
                Ok(())
            }
        }
    }

    /// A new key, and how the keyring keeps it. What was wrapped has been unwrapped again.
    ///
    /// # Errors
    /// What the service answers; `Untrue` if it wraps another key than it shows.
    pub async fn generate(
        &self,
        of: &KeyContext,
    ) -> Result<(Zeroizing<[u8; KEY_BYTES]>, Vec<u8>), Trouble> {
        let (key, wrapped) = match self {
            Self::Vault(provider) => provider.generate(of).await?,
            Self::Aws(provider) => provider.generate(of).await?,
            Self::File(provider) => provider.generate(of)?,
        };
        // What is encrypted with a key that does not come back is lost.
        if *self.unwrap(&wrapped, of).await? != *key {
            return Err(Trouble::new(
                Kind::Untrue,
                "the key service wraps another key than it shows",
            ));
        }
        Ok((key, wrapped))
    }

    /// The key again. Whether it is the right one is told by its check value.
    ///
    /// # Errors
    /// What the service answers; `Untrue` if it is no key.
    pub async fn unwrap(
        &self,
        wrapped: &[u8],
        of: &KeyContext,
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, Trouble> {
        match self {
            Self::Vault(provider) => provider.unwrap(wrapped, of).await,
            Self::Aws(provider) => provider.unwrap(wrapped, of).await,
            Self::File(provider) => provider.unwrap(wrapped, of),
        }
    }

    /// The same key wrapped by what the service wraps with now.
    ///
    /// # Errors
    /// What the service answers; `Untrue` if it now wraps another key.
    pub async fn rewrap(&self, wrapped: &[u8], of: &KeyContext) -> Result<Vec<u8>, Trouble> {
        let key = self.unwrap(wrapped, of).await?;
        let rewrapped = match self {
            Self::Vault(provider) => provider.rewrap(wrapped, of).await?,
            Self::Aws(provider) => provider.wrap(&key, of).await?,
            Self::File(provider) => provider.wrap(&key, of)?,
        };
        if *self.unwrap(&rewrapped, of).await? != *key {
            return Err(Trouble::new(
                Kind::Untrue,
                "the key service wraps another key than before",
            ));
        }
        Ok(rewrapped)
    }

    /// Which key wraps, for the keyring; it begins with the provider. Not a secret.
    #[must_use]
    pub fn uri(&self) -> String {
        let at = match self {
            Self::Vault(provider) => provider.uri().to_owned(),
            Self::Aws(provider) => provider.uri().to_owned(),
            Self::File(provider) => provider.uri(),
        };
        format!("{}:{at}", self.provider())
    }

    /// The keyring's word for the service.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Vault(_) => "vault",
            Self::Aws(_) => "aws",
            Self::File(_) => "file",
        }
    }
}

/// A key in base 64, as services give it.
fn key(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, Trouble> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    match Base64::decode(text, &mut *key) {
        Ok(decoded) if decoded.len() == KEY_BYTES => Ok(key),
        _ => Err(Trouble::new(
            Kind::Untrue,
            "the key service's answer is no key of 32 bytes",
        )),
    }
}
