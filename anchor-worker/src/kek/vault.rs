//! Vault's transit engine, with a *derived* key: Vault makes the key that really wraps from its own and from the context, so that what was wrapped
//! for one use does not unwrap for another. (`associated_data` would do the same, but neither data keys nor rewrapping take it.)

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::{KEY_BYTES, KeyContext, key};
use crate::trouble::{Kind, Trouble};
use crate::vault::{Config, Key};

/// Longest thing that we take for a wrapped key.
const MAX_WRAPPED_BYTES: usize = 1024;

pub struct Provider(Key);

impl Provider {
    pub(super) fn open(config: &Config) -> Result<Self, Trouble> {
        Key::open(config).map(Self)
    }

    pub(super) fn uri(&self) -> &str {
        self.0.uri()
    }

    pub(super) async fn check(&self) -> Result<(), Trouble> {
        let about = self.0.about().await?;
        let refused = |text| Err(Trouble::new(Kind::Configuration, text));
        if !matches!(about.kind.as_str(), "aes256-gcm96" | "chacha20-poly1305") {
            return refused(
                "the key of Vault must be of the type aes256-gcm96 or chacha20-poly1305",
            );
        }
        if !about.derived {
            return refused("the key of Vault must be made with derived=true");
        }
        if about.exportable || about.allow_plaintext_backup {
            return refused("the key of Vault may leave it: exportable or allow_plaintext_backup");
        }
        Ok(())
    }

    pub(super) async fn generate(
        &self,
        of: &KeyContext,
    ) -> Result<(Zeroizing<[u8; KEY_BYTES]>, Vec<u8>), Trouble> {
        let made = self.0.generate(&context(of)).await?;
        Ok((key(&made.plaintext)?, wrapped(made.ciphertext)?))
    }

    pub(super) async fn unwrap(
        &self,
        wrapped: &[u8],
        of: &KeyContext,
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, Trouble> {
        let plaintext = self.0.unwrap(ciphertext(wrapped)?, &context(of)).await?;
        key(&plaintext)
    }

    pub(super) async fn rewrap(&self, old: &[u8], of: &KeyContext) -> Result<Vec<u8>, Trouble> {
        wrapped(self.0.rewrap(ciphertext(old)?, &context(of)).await?)
    }
}

fn context(of: &KeyContext) -> String {
    Base64::encode_string(&of.bytes())
}

fn wrapped(ciphertext: String) -> Result<Vec<u8>, Trouble> {
    let wrapped = ciphertext.into_bytes();
    self::ciphertext(&wrapped)?;
    Ok(wrapped)
}

/// `vault:v<version>:<base 64>`, the form in which Vault gives and takes it.
fn ciphertext(wrapped: &[u8]) -> Result<&str, Trouble> {
    let text = core::str::from_utf8(wrapped).ok();
    let fits = |text: &&str| text.len() <= MAX_WRAPPED_BYTES && text.starts_with("vault:v");
    text.filter(fits)
        .ok_or_else(|| Trouble::new(Kind::Untrue, "a wrapped key that is none of Vault's"))
}
