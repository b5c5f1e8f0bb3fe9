//! Amazon's key management service: data keys with an encryption context that its log shows and that unwrapping has to repeat.

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KEY_BYTES, KeyContext, key};
use crate::aws::{Kms, KmsConfig};
use crate::trouble::{Kind, Trouble};

pub struct Provider(Kms);

#[derive(Serialize)]
struct Context<'a> {
    installation: String,
    kind: &'a str,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    key_id: &'a str,
    encryption_context: Context<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_spec: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Generated {
    key_id: String,
    plaintext: Zeroizing<String>,
    ciphertext_blob: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    key_id: String,
    ciphertext_blob: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    key_id: String,
    plaintext: Zeroizing<String>,
}

impl Provider {
    pub(super) fn open(config: &KmsConfig) -> Result<Self, Trouble> {
        Kms::open(config).map(Self)
    }

    pub(super) fn uri(&self) -> &str {
        self.0.key_arn()
    }

    pub(super) async fn check(&self) -> Result<(), Trouble> {
        self.0.check("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await
    }

    fn request<'a>(&'a self, of: &'a KeyContext) -> Request<'a> {
        Request {
            key_id: self.0.key_arn(),
            encryption_context: Context {
                installation: of.installation(),
                kind: of.kind.as_str(),
                version: of.version.to_string(),
            },
            key_spec: None,
            plaintext: None,
            ciphertext_blob: None,
        }
    }

    pub(super) async fn generate(
        &self,
        of: &KeyContext,
    ) -> Result<(Zeroizing<[u8; KEY_BYTES]>, Vec<u8>), Trouble> {
        let request = Request {
            key_spec: Some("AES_256"),
            ..self.request(of)
        };
        let answer: Generated = self.0.call("GenerateDataKey", &request).await?;
        self.0.own(&answer.key_id)?;
        Ok((key(&answer.plaintext)?, blob(&answer.ciphertext_blob)?))
    }

    pub(super) async fn unwrap(
        &self,
        wrapped: &[u8],
        of: &KeyContext,
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, Trouble> {
        let wrapped = Base64::encode_string(wrapped);
        let request = Request {
            ciphertext_blob: Some(&wrapped),
            ..self.request(of)
        };
        let answer: Decrypted = self.0.call("Decrypt", &request).await?;
        self.0.own(&answer.key_id)?;
        key(&answer.plaintext)
    }

    /// Wraps by the newest material of the key.
    pub(super) async fn wrap(
        &self,
        key: &[u8; KEY_BYTES],
        of: &KeyContext,
    ) -> Result<Vec<u8>, Trouble> {
        let plaintext = Zeroizing::new(Base64::encode_string(key));
        let request = Request {
            plaintext: Some(&plaintext),
            ..self.request(of)
        };
        let answer: Encrypted = self.0.call("Encrypt", &request).await?;
        self.0.own(&answer.key_id)?;
        blob(&answer.ciphertext_blob)
    }
}

fn blob(text: &str) -> Result<Vec<u8>, Trouble> {
    let blob = Base64::decode_vec(text)
        .ok()
        .filter(|blob| !blob.is_empty());
    blob.ok_or_else(|| Trouble::new(Kind::Untrue, "the key service wrapped nothing"))
}
