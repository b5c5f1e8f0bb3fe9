//! HashiCorp Vault over its HTTP API: a session that stays alive, and the calls made in it. Vault is trusted with the keys that wrap ours; what it
//! answers is not trusted to be right.

mod key;
mod session;

use std::path::PathBuf;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Body, Client, Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::http;
use crate::trouble::{Kind, Trouble};
pub use key::{Key, PublicKey};
pub use session::Auth;
use session::Session;

const MAX_ANSWER_BYTES: usize = 1 << 18;
static NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
static TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// Vault demands it of requests that pass an agent, against requests forged by a browser.
static REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// Which Vault, which key in it, and who we are there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// As `VAULT_ADDR`: `https://vault.example:8200`.
    pub address: String,
    /// As `VAULT_NAMESPACE`.
    pub namespace: Option<String>,
    /// PEM file of the certificates that may vouch for the server; else the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the transit engine is mounted.
    #[serde(default = "transit")]
    pub mount: String,
    /// The key's name.
    pub key: String,
    pub auth: Auth,
}

pub(crate) fn transit() -> String {
    String::from("transit")
}

/// A session with Vault.
pub struct Vault {
    client: Client,
    address: Url,
    namespace: Option<HeaderValue>,
    session: Session,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

impl Vault {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn open(config: &Config) -> Result<Self, Trouble> {
        let refused = |text: &str| Trouble::new(Kind::Configuration, text);
        let mut address = http::endpoint(&config.address)?;
        if !matches!(address.path(), "" | "/" | "/v1" | "/v1/") {
            return Err(refused("the address of Vault has no path"));
        }
        address.set_path("/v1/");
        let namespace = config.namespace.as_deref().map(HeaderValue::from_str);
        Ok(Self {
            client: http::client(config.ca_file.as_deref())?,
            address,
            namespace: namespace
                .transpose()
                .map_err(|_| refused("the namespace is no text for a header"))?,
            session: Session::new(config.auth.clone()),
        })
    }

    /// Makes a call in the session and takes the `data` of its answer.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Trouble> {
        let token = self.session.token(self).await?;
        let send = |token: Zeroizing<String>| {
            let method = method.clone();
            async move {
                let body = body.map(http::json).transpose()?;
                self.send(method, path, Some(&token), body).await
            }
        };
        let answer = match send(token.clone()).await {
            // The token may have been revoked, or have run out while nobody used it: a new one, once.
            Err(trouble) if trouble.kind == Kind::Denied => {
                match self.session.another(self, &token).await? {
                    Some(token) => send(token).await?,
                    None => return Err(trouble),
                }
            }
            answer => answer?,
        };
        let Data { data } = http::parsed(&answer).ok_or_else(strange)?;
        Ok(data)
    }

    /// One request, one answer. Neither is ever logged.
    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Body>,
    ) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let mut url = self.address.clone();
        url.set_path(&format!("/v1/{path}"));
        let mut request = self.client.request(method, url).header(&REQUEST, "true");
        if let Some(namespace) = &self.namespace {
            request = request.header(&NAMESPACE, namespace);
        }
        if let Some(token) = token {
            request = with_token(request, token)?;
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| http::unreachable(&error))?;
        let status = response.status();
        let body = Zeroizing::new(http::body(response, MAX_ANSWER_BYTES).await?);
        if status.is_success() {
            Ok(body)
        } else {
            Err(refusal(status, &body))
        }
    }
}

fn with_token(request: RequestBuilder, token: &str) -> Result<RequestBuilder, Trouble> {
    let mut value = HeaderValue::from_str(token)
        .map_err(|_| Trouble::new(Kind::Configuration, "the token of Vault is no token"))?;
    value.set_sensitive(true);
    Ok(request.header(&TOKEN, value))
}

fn strange() -> Trouble {
    Trouble::new(
        Kind::Untrue,
        "Vault's answer is not what its interface says",
    )
}

/// What Vault says is not repeated, since whoever sits in its place may say our own token: only phrases that we know.
fn refusal(status: StatusCode, body: &[u8]) -> Trouble {
    const KNOWN: [(&str, Kind, &str); 7] = [
        ("Vault is sealed", Kind::Unavailable, "Vault is sealed"),
        (
            "disallowed by policy",
            Kind::Configuration,
            "a key was wrapped by a version that min_decryption_version forbids",
        ),
        (
            "message authentication failed",
            Kind::Untrue,
            "what the keyring holds was not wrapped by this key for this use",
        ),
        (
            "encryption key not found",
            Kind::Missing,
            "Vault has no such key",
        ),
        (
            "permission denied",
            Kind::Denied,
            "Vault denies us permission",
        ),
        (
            "invalid role or secret ID",
            Kind::Denied,
            "Vault does not know our role and secret",
        ),
        (
            "invalid role ID",
            Kind::Denied,
            "Vault does not know our role",
        ),
    ];
    let said = http::parsed::<Errors>(body).map_or_else(Vec::new, |said| said.errors);
    for (phrase, kind, text) in KNOWN {
        if said.iter().any(|said| said.contains(phrase)) {
            return Trouble::new(kind, text);
        }
    }
    let (kind, what) = match status.as_u16() {
        300..=399 => (
            Kind::Unavailable,
            "Vault sends us elsewhere, where we do not follow",
        ),
        404 => (Kind::Missing, "Vault has nothing there"),
        429 => (Kind::Throttled, "Vault asks for fewer requests"),
        400..=411 | 413..=499 => (Kind::Denied, "Vault refuses"),
        _ => (Kind::Unavailable, "Vault cannot do it now"),
    };
    Trouble::new(kind, format!("{what}: status {}", status.as_u16()))
}
