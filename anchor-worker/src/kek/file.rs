//! For development: a key in a file wraps the keys. Whoever reads the file and the database has everything; no key service watches or refuses.

use std::path::PathBuf;

use aes_gcm::aead::Aead as _;
use aes_gcm::aead::Payload;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{KEY_BYTES, KeyContext};
use crate::secret_file;
use crate::trouble::{Kind, Trouble};

const NONCE_BYTES: usize = 12;
const FORM: u8 = 1;

/// The key that wraps, as 64 hex digits, in a file that only its owner may read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub key_file: PathBuf,
}

pub struct Provider {
    path: PathBuf,
    cipher: Box<Aes256Gcm>,
}

impl Provider {
    pub(super) fn open(config: &Config) -> Result<Self, Trouble> {
        let key = secret_file::key(&config.key_file)?;
        // The keyring says which key wrapped: from wherever the worker was started, the same one has the same name.
        let path = std::path::absolute(&config.key_file).map_err(|error| {
            let text = format!("{} has no whole path: {error}", config.key_file.display());
            Trouble::new(Kind::Configuration, text)
        })?;
        Ok(Self {
            path,
            cipher: Box::new(Aes256Gcm::new((&*key).into())),
        })
    }

    pub(super) fn uri(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn warn(&self) {
        tracing::warn!("DEVELOPMENT: the keys are wrapped by a key in a file");
    }

    pub(super) fn generate(
        &self,
        of: &KeyContext,
    ) -> Result<(Zeroizing<[u8; KEY_BYTES]>, Vec<u8>), Trouble> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        random(&mut *key)?;
        let wrapped = self.wrap(&key, of)?;
        Ok((key, wrapped))
    }

    /// `1 ‖ nonce[12] ‖ ciphertext[48]`, the context authenticated with it.
    pub(super) fn wrap(&self, key: &[u8; KEY_BYTES], of: &KeyContext) -> Result<Vec<u8>, Trouble> {
        self.warn();
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let aad = of.bytes();
        let payload = Payload {
            msg: key,
            aad: &aad,
        };
        let sealed = self.cipher.encrypt(&nonce.into(), payload);
        let sealed = sealed.map_err(|_| Trouble::new(Kind::Configuration, "AES-GCM failed"))?;
        Ok([&[FORM], nonce.as_slice(), &sealed].concat())
    }

    pub(super) fn unwrap(
        &self,
        wrapped: &[u8],
        of: &KeyContext,
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, Trouble> {
        self.warn();
        let open = || {
            let (nonce, sealed) = wrapped
                .strip_prefix(&[FORM])?
                .split_first_chunk::<NONCE_BYTES>()?;
            let aad = of.bytes();
            let payload = Payload {
                msg: sealed,
                aad: &aad,
            };
            let opened = Zeroizing::new(self.cipher.decrypt(nonce.into(), payload).ok()?);
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            key.copy_from_slice(
                opened
                    .get(..KEY_BYTES)
                    .filter(|_| opened.len() == KEY_BYTES)?,
            );
            Some(key)
        };
        open().ok_or_else(|| {
            Trouble::new(
                Kind::Untrue,
                "what the keyring holds was not wrapped by this key for this use",
            )
        })
    }
}

fn random(bytes: &mut [u8]) -> Result<(), Trouble> {
    getrandom::fill(bytes)
        .map_err(|_| Trouble::new(Kind::Unavailable, "the system has no randomness"))
}
