//! Webhooks: a POST over HTTPS, signed, so that whoever gets it knows that it is ours and how old it is.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use identity_core::vocabulary::DeliveryTrouble;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::failure::{Failure, of_tls};
use super::message::Message;
use crate::trouble::{Kind, Trouble};
use crate::{http, secret_file};

const SIGNATURE: &str = "X-Identity-Signature";
const ID: &str = "X-Identity-Id";

/// What a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A server that asks for more has us come again at our own pace.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

const FEWEST_SECRET_BYTES: usize = 16;

/// `[[outbox]]` with `kind = "webhook"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: String,
    /// Where to; one of the two. An address that is a secret itself, as Slack's are, is better off in a file.
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Certificates that may vouch for the server; without it the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// What messages are signed with.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    #[serde(default)]
    pub form: Form,
}

/// What the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The payload.
    #[default]
    Plain,
    /// A text for people, as Slack's incoming webhooks take it.
    Slack,
}

impl Config {
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        if self.url.is_some() == self.url_file.is_some() {
            return Some(("url", "give either url or url_file"));
        }
        if self
            .url
            .as_deref()
            .is_some_and(|url| address(url).is_none())
        {
            return Some(("url", NO_ADDRESS));
        }
        if self.form == Form::Plain && self.secret_file.is_none() {
            return Some((
                "form",
                "\"plain\" needs secret_file: without a signature anybody could send what looks like a notice",
            ));
        }
        None
    }
}

const NO_ADDRESS: &str = "must be an address that begins with https://, without a user";

/// HTTPS alone, to this very machine too: whoever reads notices learns when something happens.
fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let nobody = url.username().is_empty() && url.password().is_none();
    let good = url.scheme() == "https" && url.has_host() && nobody && url.fragment().is_none();
    good.then_some(url)
}

pub(super) struct Webhook {
    client: Client,
    url: Url,
    secret: Option<Zeroizing<String>>,
    form: Form,
}

impl Webhook {
    pub fn open(config: &Config) -> Result<Self, Trouble> {
        let wrong = |text: &str| Trouble::new(Kind::Configuration, text);
        let url = match (&config.url, &config.url_file) {
            (Some(url), _) => address(url),
            (None, Some(file)) => address(&secret_file::read(file)?),
            (None, None) => None,
        };
        let secret = config.secret_file.as_deref();
        let secret = secret.map(secret_file::read).transpose()?;
        if secret
            .as_ref()
            .is_some_and(|s| s.len() < FEWEST_SECRET_BYTES)
        {
            return Err(wrong("the secret of a webhook has at least 16 characters"));
        }
        Ok(Self {
            client: http::client(config.ca_file.as_deref())?,
            url: url.ok_or_else(|| wrong(NO_ADDRESS))?,
            secret,
            form: config.form,
        })
    }

    pub async fn deliver(&self, message: &Message) -> Result<(), Failure> {
        let body = match self.form {
            Form::Plain => message.json(),
            Form::Slack => message.slack(),
        };
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json")
            .header(ID, &message.id);
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, signature(secret, now(), &body));
        }
        // Its body is not read: whatever it says, and however much.
        let answer = request.body(body).send().await;
        let answer = answer.map_err(|error| unanswered(&error))?;
        verdict(answer.status(), answer.headers())
    }

    /// Asks for nothing: any answer shows that the server is there, with a certificate that is good.
    pub async fn check(&self) -> Result<String, Failure> {
        let request = self.client.head(self.url.clone()).timeout(TIMEOUT);
        let answer = request.send().await.map_err(|error| unanswered(&error))?;
        if answer.status().is_redirection() {
            return verdict(answer.status(), answer.headers()).map(|()| String::new());
        }
        // Not its path, which may be a secret.
        let host = self.url.host_str().unwrap_or_default();
        Ok(format!("{host} answers; no notice was sent"))
    }
}

/// `t=…,v1=…`: the HMAC is over the time, a point and the body, so that neither can be another's.
fn signature(secret: &str, time: u64, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let mac = hex::encode(mac.finalize().into_bytes());
    format!("t={time},v1={mac}")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn verdict(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    let word = match status.as_u16() {
        200..300 => return Ok(()),
        300..400 => DeliveryTrouble::Redirect,
        429 => DeliveryTrouble::Throttled,
        408 | 500.. => DeliveryTrouble::Unavailable,
        _ => DeliveryTrouble::Refused,
    };
    let mut failure = Failure::new(word, format!("the server answered {}", status.as_u16()));
    failure.wait = wait(headers);
    Err(failure)
}

/// Seconds alone: of a date on a clock that is not ours we want nothing.
fn wait(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| {
        let text = value.to_str().ok()?;
        text.trim().parse::<u32>().ok()
    });
    Duration::from_secs(seconds.unwrap_or(0).into()).min(LONGEST_WAIT)
}

fn unanswered(error: &reqwest::Error) -> Failure {
    let word = if error.is_timeout() {
        DeliveryTrouble::Timeout
    } else if of_tls(error).is_some() {
        DeliveryTrouble::Tls
    } else {
        DeliveryTrouble::Unreachable
    };
    Failure::new(word, http::unreachable(error).text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_over_time_and_body() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            signature("0123456789abcdef", 1_700_000_000, r#"{"a":1}"#),
            "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
    }

    #[test]
    fn only_https_is_an_address() {
        for good in [
            "https://hooks.example/x?sig=1",
            "https://127.0.0.1:8443/",
            "https://[::1]/",
        ] {
            assert!(address(good).is_some(), "{good}");
        }
        for bad in [
            "http://127.0.0.1/",
            "https://user@hooks.example/",
            "https://:password@hooks.example/",
            "https://",
            "file:///etc/passwd",
            "https://a/#b",
            "hooks.example",
        ] {
            assert!(address(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn answers_are_told_apart_and_waits_are_bounded() {
        let of = |status: u16, after: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            verdict(StatusCode::from_u16(status).unwrap(), &headers)
                .map_err(|failure| (failure.word, failure.wait.as_secs()))
        };
        assert_eq!(of(204, "x"), Ok(()));
        assert_eq!(of(307, ""), Err((DeliveryTrouble::Redirect, 0)));
        assert_eq!(of(429, "7"), Err((DeliveryTrouble::Throttled, 7)));
        assert_eq!(of(503, "86400"), Err((DeliveryTrouble::Unavailable, 3600)));
        assert_eq!(of(500, "-1"), Err((DeliveryTrouble::Unavailable, 0)));
        assert_eq!(of(410, "soon"), Err((DeliveryTrouble::Refused, 0)));
    }
}
