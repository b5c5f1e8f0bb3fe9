//! For development: a key in a file signs. Whoever has the machine can sign any history.

use std::path::PathBuf;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::Deserialize;

use crate::secret_file;
use crate::trouble::Trouble;

/// The Ed25519 seed, as 64 hex digits, in a file that only its owner may read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub key_file: PathBuf,
}

pub struct Provider(SigningKey);

impl Provider {
    pub(super) fn open(config: &Config) -> Result<Self, Trouble> {
        let seed = secret_file::key(&config.key_file)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    pub(super) fn warn(&self) {
        tracing::warn!("DEVELOPMENT: checkpoints are signed by a key in a file");
    }

    pub(super) fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, text: &str) -> Vec<u8> {
        self.warn();
        self.0.sign(text.as_bytes()).to_bytes().to_vec()
    }
}
