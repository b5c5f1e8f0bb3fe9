//! Vault's transit engine with a key of the type ed25519.

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;

use crate::trouble::{Kind, Trouble};
use crate::vault::{Auth, Config as VaultConfig, Key};

/// As for a key that wraps, and which version signs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub address: String,
    pub namespace: Option<String>,
    pub ca_file: Option<std::path::PathBuf>,
    #[serde(default = "crate::vault::transit")]
    pub mount: String,
    pub key: String,
    /// A rotated key has another public half, which those who verify have to be given: so it is used when this says so.
    #[serde(default = "first")]
    pub key_version: u32,
    pub auth: Auth,
}

fn first() -> u32 {
    1
}

pub struct Provider {
    key: Key,
    version: u32,
}

impl Provider {
    pub(super) fn open(config: &Config) -> Result<Self, Trouble> {
        let key = Key::open(&VaultConfig {
            address: config.address.clone(),
            namespace: config.namespace.clone(),
            ca_file: config.ca_file.clone(),
            mount: config.mount.clone(),
            key: config.key.clone(),
            auth: config.auth.clone(),
        })?;
        Ok(Self {
            key,
            version: config.key_version,
        })
    }

    pub(super) async fn check(&self) -> Result<(), Trouble> {
        let about = self.key.about().await?;
        let refused = |text| Err(Trouble::new(Kind::Configuration, text));
        if about.kind != "ed25519" || about.derived {
            return refused("the key of Vault must be of the type ed25519, not derived");
        }
        if about.exportable || about.allow_plaintext_backup {
            return refused("the key of Vault may leave it: exportable or allow_plaintext_backup");
        }
        Ok(())
    }

    pub(super) async fn public_key(&self) -> Result<[u8; 32], Trouble> {
        let key = self.key.about().await?.public_key(self.version);
        let key = key.ok_or_else(|| {
            let text = "Vault has no public key of this version";
            Trouble::new(Kind::Missing, text)
        })?;
        let mut bytes = [0; 32];
        match Base64::decode(&key, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Ok(bytes),
            _ => Err(Trouble::new(
                Kind::Untrue,
                "Vault's public key is none of 32 bytes",
            )),
        }
    }

    pub(super) async fn sign(&self, text: &str) -> Result<Vec<u8>, Trouble> {
        let input = Base64::encode_string(text.as_bytes());
        let signature = self.key.sign(&input, self.version).await?;
        Base64::decode_vec(&signature)
            .map_err(|_| Trouble::new(Kind::Untrue, "Vault's signature is none"))
    }
}
