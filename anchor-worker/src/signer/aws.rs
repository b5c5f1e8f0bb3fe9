//! Amazon's key management service with a key of the kind `ECC_NIST_EDWARDS25519`.

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use serde::{Deserialize, Serialize};

use crate::aws::{Kms, KmsConfig};
use crate::trouble::{Kind, Trouble};

pub struct Provider(Kms);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ByKey<'a> {
    key_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sign<'a> {
    key_id: &'a str,
    message: &'a str,
    message_type: &'a str,
    signing_algorithm: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Public {
    key_id: String,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    key_id: String,
    signature: String,
}

impl Provider {
    pub(super) fn open(config: &KmsConfig) -> Result<Self, Trouble> {
        Kms::open(config).map(Self)
    }

    pub(super) async fn check(&self) -> Result<(), Trouble> {
        self.0.check("ECC_NIST_EDWARDS25519", "SIGN_VERIFY").await
    }

    pub(super) async fn public_key(&self) -> Result<[u8; 32], Trouble> {
        let key_id = self.0.key_arn();
        let answer: Public = self.0.call("GetPublicKey", &ByKey { key_id }).await?;
        self.0.own(&answer.key_id)?;
        let der = Base64::decode_vec(&answer.public_key).ok();
        let key = der.and_then(|der| VerifyingKey::from_public_key_der(&der).ok());
        key.map(|key| key.to_bytes()).ok_or_else(|| {
            let text = "the key service's public key is none of Ed25519";
            Trouble::new(Kind::Untrue, text)
        })
    }

    pub(super) async fn sign(&self, text: &str) -> Result<Vec<u8>, Trouble> {
        let message = Base64::encode_string(text.as_bytes());
        let request = Sign {
            key_id: self.0.key_arn(),
            message: &message,
            message_type: "RAW",
            signing_algorithm: "ED25519_SHA_512",
        };
        let answer: Signed = self.0.call("Sign", &request).await?;
        self.0.own(&answer.key_id)?;
        Base64::decode_vec(&answer.signature)
            .map_err(|_| Trouble::new(Kind::Untrue, "the key service's signature is none"))
    }
}
