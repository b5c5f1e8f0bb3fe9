//! The HTTP client that key services and stores are spoken to with: TLS with verified certificates, no redirects, no proxies, bounded in time and
//! in size.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::redirect::Policy;
use reqwest::{Body, Certificate, Client, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::trouble::{Kind, Trouble};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
/// A web identity's token is the longest thing that we send to a key service.
const MAX_REQUEST_BYTES: usize = 1 << 16;

/// A client. `authorities` is a PEM file of the certificates that may vouch for the server; without it the system's are used.
///
/// # Errors
/// `Configuration` if the file holds no certificates.
pub fn client(authorities: Option<&Path>) -> Result<Client, Trouble> {
    // Chosen once for the process; a second choice of the same is no mistake.
    let _ = rustls_graviola::default_provider().install_default();
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .no_proxy();
    if let Some(file) = authorities {
        let unreadable = || {
            let text = format!("{} cannot be read as certificates", file.display());
            Trouble::new(Kind::Configuration, text)
        };
        let pem = std::fs::read(file).map_err(|_| unreadable())?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| unreadable())?;
        if certificates.is_empty() {
            return Err(unreadable());
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder
        .build()
        .map_err(|error| Trouble::new(Kind::Configuration, describe(&error)))
}

/// An endpoint's address: https, or http to this very machine.
///
/// # Errors
/// `Configuration`.
pub fn endpoint(address: &str) -> Result<Url, Trouble> {
    let refused = |why: &str| Trouble::new(Kind::Configuration, format!("{address} {why}"));
    let url = Url::parse(address).map_err(|_| refused("is not an address"))?;
    let here = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let plain = url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "https" | "http" if !plain || !nobody => {
            Err(refused("is more than an address: no query, no user"))
        }
        "https" => Ok(url),
        "http" if here => Ok(url),
        _ => Err(refused("is not https")),
    }
}

/// All of an answer's body, of at most `limit` bytes.
///
/// # Errors
/// `Unreachable` if it breaks off, `Untrue` if it is longer.
pub async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Trouble> {
    let length = response.content_length().unwrap_or(0);
    // Room from the start: growing would leave copies of a secret behind.
    let mut body = Vec::with_capacity(limit.min(usize::try_from(length).unwrap_or(limit)));
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error))?
    {
        if body.len() + chunk.len() > limit {
            let text = format!("an answer of more than {limit} bytes");
            return Err(Trouble::new(Kind::Untrue, text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A request's body that is wiped once it is sent. What the kernel and TLS make of it is out of our hands.
///
/// # Errors
/// `Configuration`, if it cannot be written as JSON.
pub fn json(value: &impl Serialize) -> Result<Body, Trouble> {
    // Room from the start: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_REQUEST_BYTES));
    serde_json::to_writer(&mut *bytes, value)
        .map_err(|_| Trouble::new(Kind::Configuration, "a request that is not JSON"))?;
    Ok(Body::from(Bytes::from_owner(bytes)))
}

/// What an answer says. Nothing of it is repeated if it says something else.
#[must_use]
pub fn parsed<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// What a request that got no answer failed of.
#[must_use]
pub fn unreachable(error: &reqwest::Error) -> Trouble {
    Trouble::new(Kind::Unreachable, describe(error))
}

/// The error with its causes, and without the address: a query may hold what is not for logs.
fn describe(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() {
        String::from("the request could not be sent")
    } else {
        text
    }
}
