//! Amazon's key management service: one key, in the region that was declared, and the calls made with it.

use std::path::PathBuf;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Credentials, Service, sign};
use crate::http;
use crate::trouble::{Kind, Trouble};

const MAX_ANSWER_BYTES: usize = 1 << 18;

/// Which key, and who we are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsConfig {
    /// Where keys may be used: `eu-central-1`.
    pub region: String,
    /// The key itself; an alias could be pointed at another one.
    pub key_arn: String,
    /// Else the service of the region.
    pub endpoint: Option<String>,
    /// PEM file of the certificates that may vouch for the server; else the system's.
    pub ca_file: Option<PathBuf>,
    pub credentials: super::Config,
}

/// One key of the service.
pub struct Kms {
    client: Client,
    endpoint: Url,
    region: String,
    key_arn: String,
    credentials: Credentials,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ByKey<'a> {
    key_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    key_metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    arn: String,
    key_spec: String,
    key_usage: String,
    key_state: String,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "__type")]
    kind: String,
}

impl Kms {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// `Configuration`: the key is in another region than the one declared, or is no key.
    pub fn open(config: &KmsConfig) -> Result<Self, Trouble> {
        let refused = |text: String| Err(Trouble::new(Kind::Configuration, text));
        let parts: Vec<&str> = config.key_arn.splitn(6, ':').collect();
        let ["arn", partition, "kms", region, _, key] = *parts.as_slice() else {
            return refused("key_arn is not arn:aws:kms:<region>:<account>:key/<id>".into());
        };
        if !key.starts_with("key/") {
            return refused("key_arn names no key: an alias could be pointed at another".into());
        }
        if region != config.region {
            return refused(format!(
                "the key is in {region}, and {} is declared",
                config.region
            ));
        }
        let endpoint = match &config.endpoint {
            Some(endpoint) => http::endpoint(endpoint)?,
            None if matches!(partition, "aws" | "aws-us-gov") => {
                http::endpoint(&format!("https://kms.{region}.amazonaws.com/"))?
            }
            None => return refused(format!("partition {partition} needs an endpoint")),
        };
        if super::is_elsewhere(&endpoint, region) {
            return refused("endpoint is in another region than the one declared".into());
        }
        let authorities = config.ca_file.as_deref();
        Ok(Self {
            client: http::client(authorities)?,
            endpoint,
            credentials: Credentials::open(&config.credentials, region, authorities)?,
            region: region.to_owned(),
            key_arn: config.key_arn.clone(),
        })
    }

    /// The key's address: not a secret.
    #[must_use]
    pub fn key_arn(&self) -> &str {
        &self.key_arn
    }

    /// That an answer is about our key.
    ///
    /// # Errors
    /// `Untrue`.
    pub fn own(&self, key_id: &str) -> Result<(), Trouble> {
        if key_id == self.key_arn {
            return Ok(());
        }
        Err(Trouble::new(
            Kind::Untrue,
            "the key service answered for another key",
        ))
    }

    /// That the key is there, enabled, and of this kind.
    ///
    /// # Errors
    /// What the service answers; `Unavailable` if disabled, `Configuration` if of another kind.
    pub async fn check(&self, spec: &str, usage: &str) -> Result<(), Trouble> {
        let key_id = &self.key_arn;
        let Described { key_metadata: key } = self.call("DescribeKey", &ByKey { key_id }).await?;
        self.own(&key.arn)?;
        if (key.key_spec.as_str(), key.key_usage.as_str()) != (spec, usage) {
            let text = format!("the key must be of the kind {spec}, for {usage}");
            return Err(Trouble::new(Kind::Configuration, text));
        }
        if key.key_state != "Enabled" {
            let text = "the key is not enabled at the key service";
            return Err(Trouble::new(Kind::Unavailable, text));
        }
        Ok(())
    }

    /// One request, one answer. Neither is ever logged.
    ///
    /// # Errors
    /// What the service answers; `Untrue` if that is not what its interface says.
    pub async fn call<T: DeserializeOwned>(
        &self,
        action: &str,
        request: &impl Serialize,
    ) -> Result<T, Trouble> {
        let mut request = self
            .client
            .post(self.endpoint.clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-amz-json-1.1"),
            )
            .header("x-amz-target", format!("TrentService.{action}"))
            .body(http::json(request)?)
            .build()
            .map_err(|error| http::unreachable(&error))?;
        sign(&mut request, Service::Kms, &self.region, &self.credentials).await?;
        let response = self.client.execute(request).await;
        let response = response.map_err(|error| http::unreachable(&error))?;
        let status = response.status();
        let body = Zeroizing::new(http::body(response, MAX_ANSWER_BYTES).await?);
        if !status.is_success() {
            return Err(self.refusal(status, &body).await);
        }
        http::parsed(&body).ok_or_else(|| {
            Trouble::new(
                Kind::Untrue,
                "the key service's answer is not what its interface says",
            )
        })
    }

    /// Messages are not repeated: only the names of errors that we know.
    async fn refusal(&self, status: StatusCode, body: &[u8]) -> Trouble {
        const KNOWN: [(&str, Kind); 21] = [
            ("AccessDeniedException", Kind::Denied),
            ("DependencyTimeoutException", Kind::Unavailable),
            ("DisabledException", Kind::Unavailable),
            ("ExpiredTokenException", Kind::Denied),
            ("IncompleteSignature", Kind::Denied),
            ("IncompleteSignatureException", Kind::Denied),
            ("IncorrectKeyException", Kind::Untrue),
            ("InvalidCiphertextException", Kind::Untrue),
            ("InvalidClientTokenId", Kind::Denied),
            ("InvalidKeyUsageException", Kind::Configuration),
            ("InvalidSignatureException", Kind::Denied),
            ("KeyUnavailableException", Kind::Unavailable),
            ("KMSInternalException", Kind::Unavailable),
            ("KMSInvalidStateException", Kind::Unavailable),
            ("LimitExceededException", Kind::Throttled),
            ("NotFoundException", Kind::Missing),
            ("RequestExpired", Kind::Denied),
            ("SignatureDoesNotMatch", Kind::Denied),
            ("ThrottlingException", Kind::Throttled),
            ("UnrecognizedClientException", Kind::Denied),
            ("UnsupportedOperationException", Kind::Configuration),
        ];
        let said = http::parsed::<Refused>(body);
        // In front of the name a service may put its own and a `#`.
        let said = said.as_ref().and_then(|said| said.kind.rsplit('#').next());
        for (name, kind) in KNOWN {
            if said == Some(name) {
                if name == "ExpiredTokenException" {
                    self.credentials.forget().await;
                }
                return Trouble::new(kind, format!("the key service refuses: {name}"));
            }
        }
        let (kind, what) = match status.as_u16() {
            300..=399 => (
                Kind::Unavailable,
                "the key service sends us elsewhere, where we do not follow",
            ),
            429 => (Kind::Throttled, "the key service asks for fewer requests"),
            400..=499 => (Kind::Denied, "the key service refuses"),
            _ => (Kind::Unavailable, "the key service cannot do it now"),
        };
        Trouble::new(kind, format!("{what}: status {}", status.as_u16()))
    }
}
