//! An S3 bucket whose versions are locked in compliance mode: until the time has passed nobody can delete or shorten one, the account's owner included.
//!
//! | file | one job |
//! |---|---|
//! | `request.rs` | addresses, signatures, and what the answer's status means |
//! | `answer.rs` | the XML of answers |
//! | `listing.rs` | every version, page by page |

mod answer;
mod listing;
mod request;

use std::path::PathBuf;

use base64ct::{Base64, Encoding as _};
use identity_core::moment;
use reqwest::Method;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Checked, Entry, MAX_BODY_BYTES, key};
use crate::aws::{self, Credentials};
use crate::http;
use crate::trouble::{Kind, Trouble};
use request::Ask;

pub use listing::Versions;

const MICROS: i64 = 1_000_000;

/// `kind = "s3"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub bucket: String,
    /// Where the bucket is; what is signed for one region, no other takes.
    pub region: String,
    /// What all keys begin with: empty, or ending with a slash.
    #[serde(default)]
    pub prefix: String,
    /// A service that is not Amazon's; the bucket's name is then the first part of the path.
    pub endpoint: Option<String>,
    /// A PEM file of the certificates that may vouch for the endpoint.
    pub ca_file: Option<PathBuf>,
    /// The account that must own the bucket: one of the same name elsewhere is refused.
    pub bucket_owner: Option<String>,
    pub credentials: aws::Config,
    #[serde(default = "super::retention_days")]
    pub retention_days: u32,
}

/// A bucket, and who we are to it.
pub struct Bucket {
    client: reqwest::Client,
    /// The bucket's own address, which ends with a slash.
    address: reqwest::Url,
    name: String,
    prefix: String,
    region: String,
    owner: Option<String>,
    credentials: Credentials,
}

impl Bucket {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn open(config: &Config) -> Result<Self, Trouble> {
        let wrong = |what: &str| Trouble::new(Kind::Configuration, format!("store: {what}"));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(3..=63).contains(&config.bucket.len()) || !config.bucket.bytes().all(plain) {
            return Err(wrong(
                "a bucket's name has 3 to 63 lower-case letters, digits and hyphens",
            ));
        }
        if config.region.is_empty() || !config.region.bytes().all(plain) {
            return Err(wrong("region is not the name of a region"));
        }
        if !key::is_prefix(&config.prefix) {
            return Err(wrong(
                "prefix must be empty or end with a slash, of letters, digits, _, - and .",
            ));
        }
        if config.retention_days == 0 {
            return Err(wrong("retention_days must be one at least"));
        }
        let address = match &config.endpoint {
            None => format!(
                "https://{}.s3.{}.amazonaws.com/",
                config.bucket, config.region
            ),
            Some(endpoint) => {
                let base = http::endpoint(endpoint)?;
                format!("{}/{}/", base.as_str().trim_end_matches('/'), config.bucket)
            }
        };
        let authorities = config.ca_file.as_deref();
        let address = http::endpoint(&address)?;
        if aws::is_elsewhere(&address, &config.region) {
            return Err(wrong("endpoint is in another region than the one declared"));
        }
        Ok(Self {
            client: http::client(authorities)?,
            address,
            name: config.bucket.clone(),
            prefix: config.prefix.clone(),
            region: config.region.clone(),
            owner: config.bucket_owner.clone(),
            credentials: Credentials::open(&config.credentials, &config.region, authorities)?,
        })
    }

    pub(super) async fn check(&self) -> Result<Checked, Trouble> {
        let wrong = |what: &str| {
            let text = format!("the bucket {} {what}", self.name);
            Trouble::new(Kind::Configuration, text)
        };
        let answer = self.ask(Ask::bucket("versioning")).await?;
        if answer::versioning(&answer.body)?.as_deref() != Some("Enabled") {
            return Err(wrong("keeps no versions: an anchor could be overwritten"));
        }
        let lock = match self.ask(Ask::bucket("object-lock")).await {
            Err(trouble) if trouble.kind == Kind::Missing => {
                return Err(wrong("has no Object Lock, or does not exist"));
            }
            answer => answer::object_lock(&answer?.body)?,
        };
        let Some((mode, period)) = lock else {
            return Err(wrong("has no Object Lock with a default retention"));
        };
        if mode != "COMPLIANCE" {
            return Err(wrong(
                "has a default retention that is not in compliance mode: its owner can lift it",
            ));
        }
        Ok(Checked {
            immutable: true,
            text: format!(
                "s3://{}/{}: versions are locked in compliance mode, by default for {period}",
                self.name, self.prefix
            ),
        })
    }

    /// Puts a new version, and returns its id.
    pub(super) async fn put(
        &self,
        key: &str,
        body: &[u8],
        lock_until: i64,
    ) -> Result<String, Trouble> {
        // The store counts in seconds: rather one more than one too few.
        let seconds = lock_until.div_euclid(MICROS) + i64::from(lock_until.rem_euclid(MICROS) > 0);
        let until = moment::text(seconds.saturating_mul(MICROS)).replace(".000000Z", "Z");
        let checksum = Base64::encode_string(&Sha256::digest(body));
        let mut ask = Ask::key(Method::PUT, &self.prefix, key);
        ask.body = body.to_vec();
        ask.headers = vec![
            ("content-type", String::from("text/plain; charset=utf-8")),
            ("if-none-match", String::from("*")),
            ("x-amz-checksum-sha256", checksum.clone()),
            ("x-amz-object-lock-mode", String::from("COMPLIANCE")),
            ("x-amz-object-lock-retain-until-date", until),
        ];
        let answer = self.ask(ask).await?;
        let untrue = |what: &str| Trouble::new(Kind::Untrue, format!("{key}: {what}"));
        if answer
            .header("x-amz-checksum-sha256")
            .is_some_and(|stored| stored != checksum)
        {
            return Err(untrue(
                "the store has another checksum than what it was given",
            ));
        }
        match answer.header("x-amz-version-id") {
            Some(version) if is_version(version) => Ok(version.to_owned()),
            _ => Err(untrue("the store took it and gave it no version")),
        }
    }

    /// Until when a version is locked in compliance mode; 0 if it is not.
    pub(super) async fn lock_until(&self, entry: &Entry) -> Result<i64, Trouble> {
        let mut ask = Ask::version(&self.prefix, entry)?;
        ask.query.insert(0, ("retention", String::new()));
        match self.ask(ask).await {
            Ok(answer) => answer::retention(&answer.body),
            // Whether the version is there at all shows when it is read.
            Err(trouble) if trouble.kind == Kind::Missing => Ok(0),
            Err(trouble) => Err(trouble),
        }
    }

    pub(super) async fn body(&self, entry: &Entry) -> Result<Vec<u8>, Trouble> {
        let mut ask = Ask::version(&self.prefix, entry)?;
        ask.limit = MAX_BODY_BYTES;
        Ok(self.ask(ask).await?.body)
    }

    pub(super) fn uri(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.name, self.prefix)
    }

    pub(super) fn versions(&self, prefix: &str, after: Option<&str>) -> Versions<'_> {
        Versions::new(self, prefix, after)
    }
}

/// An id that names one version. What is put while versioning is suspended is called `null`, and the next one overwrites it.
fn is_version(id: &str) -> bool {
    !id.is_empty() && id != "null" && id.len() <= 1024
}
