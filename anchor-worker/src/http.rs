//! The HTTP client that key services and stores are spoken to with: TLS with verified certificates, no redirects, no proxies, bounded in time and
//! in size.

use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};

use crate::trouble::{Kind, Trouble};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

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

/// All of an answer's body, of at most `limit` bytes.
///
/// # Errors
/// `Unreachable` if it breaks off, `Untrue` if it is longer.
pub async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
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
