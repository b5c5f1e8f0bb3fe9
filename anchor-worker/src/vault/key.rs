//! One key of Vault's transit engine: it never leaves Vault.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Config, Vault, strange};
use crate::trouble::{Kind, Trouble};

/// A key of the transit engine, used through a session of its own.
pub struct Key {
    vault: Vault,
    mount: String,
    name: String,
    uri: String,
}

/// What Vault says about a key.
#[derive(Deserialize)]
pub struct About {
    #[serde(rename = "type")]
    pub kind: String,
    pub derived: bool,
    pub exportable: bool,
    #[serde(default)]
    pub allow_plaintext_backup: bool,
    keys: BTreeMap<String, serde_json::Value>,
}

/// A version of an asymmetric key.
#[derive(Deserialize)]
pub struct PublicKey {
    pub public_key: String,
}

#[derive(Serialize)]
struct Generate<'a> {
    context: &'a str,
    bits: u32,
}

/// A new key, and what Vault wrapped it into.
#[derive(Deserialize)]
pub struct Generated {
    pub plaintext: Zeroizing<String>,
    pub ciphertext: String,
}

#[derive(Serialize)]
struct Unwrap<'a> {
    ciphertext: &'a str,
    context: &'a str,
}

#[derive(Deserialize)]
struct Unwrapped {
    plaintext: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Rewrapped {
    ciphertext: String,
}

#[derive(Serialize)]
struct Sign<'a> {
    input: &'a str,
    key_version: u32,
}

#[derive(Deserialize)]
struct Signed {
    signature: String,
}

impl About {
    /// The public half of a version, in base 64.
    #[must_use]
    pub fn public_key(self, version: u32) -> Option<String> {
        let mut keys = self.keys;
        let key = keys.remove(&version.to_string())?;
        serde_json::from_value::<PublicKey>(key)
            .ok()
            .map(|key| key.public_key)
    }
}

impl Key {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn open(config: &Config) -> Result<Self, Trouble> {
        let plain = |text: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            !text.is_empty() && text.chars().all(fits) && !text.contains("..")
        };
        let (mount, name) = (config.mount.trim_matches('/'), config.key.as_str());
        if !plain(mount) || !plain(name) || name.contains('/') {
            let text =
                "the mount and the key of Vault are names of ASCII letters, digits, -, _ and .";
            return Err(Trouble::new(Kind::Configuration, text));
        }
        let vault = Vault::open(config)?;
        let namespace = config.namespace.as_deref().unwrap_or("").trim_matches('/');
        let slash = if namespace.is_empty() { "" } else { "/" };
        Ok(Self {
            uri: format!("{}{namespace}{slash}{mount}/keys/{name}", vault.address),
            vault,
            mount: mount.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The address of the key: not a secret.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    fn path(&self, operation: &str) -> String {
        format!("{}/{operation}/{}", self.mount, self.name)
    }

    /// What kind of key it is.
    ///
    /// # Errors
    /// What Vault answers.
    pub async fn about(&self) -> Result<About, Trouble> {
        let path = self.path("keys");
        self.vault.call(Method::GET, &path, None::<&()>).await
    }

    /// A new key of 32 bytes.
    ///
    /// # Errors
    /// What Vault answers.
    pub async fn generate(&self, context: &str) -> Result<Generated, Trouble> {
        let path = self.path("datakey/plaintext");
        let request = Generate { context, bits: 256 };
        self.vault.call(Method::POST, &path, Some(&request)).await
    }

    /// The plaintext, in base 64.
    ///
    /// # Errors
    /// What Vault answers.
    pub async fn unwrap(
        &self,
        ciphertext: &str,
        context: &str,
    ) -> Result<Zeroizing<String>, Trouble> {
        let request = Unwrap {
            ciphertext,
            context,
        };
        let path = self.path("decrypt");
        let answer: Unwrapped = self.vault.call(Method::POST, &path, Some(&request)).await?;
        Ok(answer.plaintext)
    }

    /// The same wrapped by the newest version of the key, without the plaintext leaving Vault.
    ///
    /// # Errors
    /// What Vault answers.
    pub async fn rewrap(&self, ciphertext: &str, context: &str) -> Result<String, Trouble> {
        let request = Unwrap {
            ciphertext,
            context,
        };
        let path = self.path("rewrap");
        let answer: Rewrapped = self.vault.call(Method::POST, &path, Some(&request)).await?;
        Ok(answer.ciphertext)
    }

    /// A signature in base 64, by one version of the key.
    ///
    /// # Errors
    /// What Vault answers; `Untrue` if another version signed.
    pub async fn sign(&self, input: &str, version: u32) -> Result<String, Trouble> {
        let request = Sign {
            input,
            key_version: version,
        };
        let path = self.path("sign");
        let answer: Signed = self.vault.call(Method::POST, &path, Some(&request)).await?;
        let signature = answer.signature.strip_prefix(&format!("vault:v{version}:"));
        signature.map(str::to_owned).ok_or_else(strange)
    }
}
