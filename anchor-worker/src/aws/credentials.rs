//! Where our credentials come from. Never from the configuration itself: that is a file that people show each other.

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Current;
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::web_identity::{self, WebIdentity};
use crate::secret_file;
use crate::trouble::{Kind, Trouble};

/// Credentials that end within this time are renewed first: a request takes a while, and clocks differ.
const MARGIN: Duration = Duration::from_secs(300);

/// The table `credentials` of a section that uses Amazon's services.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum Config {
    /// A user's access key; its secret lies in a file that only its owner may read, and is read for each request.
    Static {
        access_key_id: String,
        secret_access_key_file: PathBuf,
        session_token_file: Option<PathBuf>,
    },
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if set, `AWS_SESSION_TOKEN`.
    Environment {},
    /// A role, taken with a token that an identity provider renews in a file (EKS, GitHub …).
    WebIdentity(web_identity::Config),
}

/// What gives the credentials of each request. It cannot be printed.
pub struct Credentials(Source);

enum Source {
    Static {
        access_key_id: String,
        secret_file: PathBuf,
        token_file: Option<PathBuf>,
    },
    Environment,
    WebIdentity(Box<WebIdentity>, Mutex<Option<Current>>),
}

impl Credentials {
    /// Nothing is read or asked yet.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn open(
        config: &Config,
        region: &str,
        authorities: Option<&Path>,
    ) -> Result<Self, Trouble> {
        Ok(Self(match config {
            Config::Static {
                access_key_id,
                secret_access_key_file,
                session_token_file,
            } => Source::Static {
                access_key_id: access_key_id.clone(),
                secret_file: secret_access_key_file.clone(),
                token_file: session_token_file.clone(),
            },
            Config::Environment {} => Source::Environment,
            Config::WebIdentity(config) => {
                let role = WebIdentity::open(config, region, authorities)?;
                Source::WebIdentity(Box::new(role), Mutex::new(None))
            }
        }))
    }

    /// Whoever was asked says that they have run out: the next request gets new ones.
    pub async fn forget(&self) {
        if let Source::WebIdentity(_, kept) = &self.0 {
            *kept.lock().await = None;
        }
    }

    /// Credentials that hold for some minutes at least.
    ///
    /// # Errors
    /// `Configuration` if there are none; what the token service answers.
    pub(super) async fn current(&self) -> Result<Current, Trouble> {
        match &self.0 {
            Source::Static {
                access_key_id,
                secret_file,
                token_file,
            } => {
                let secret = secret_file::read(secret_file)?;
                let token = token_file.as_deref().map(secret_file::read).transpose()?;
                Ok(fixed(access_key_id.clone(), secret, token))
            }
            Source::Environment => environment(),
            Source::WebIdentity(role, kept) => {
                let mut kept = kept.lock().await;
                if let Some(current) = kept.as_ref().filter(|current| holds(current)) {
                    return Ok(current.clone());
                }
                let current = role.assume().await?;
                *kept = Some(current.clone());
                Ok(current)
            }
        }
    }
}

fn holds(current: &Current) -> bool {
    current
        .expiry()
        .is_some_and(|at| at > SystemTime::now() + MARGIN)
}

fn environment() -> Result<Current, Trouble> {
    let get = |name| env::var(name).ok().filter(|value| !value.is_empty());
    match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            let token = get("AWS_SESSION_TOKEN").map(Zeroizing::new);
            Ok(fixed(id, Zeroizing::new(secret), token))
        }
        _ => Err(Trouble::new(
            Kind::Configuration,
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
        )),
    }
}

/// The crate wipes what it is given; it takes the strings over without copying them.
fn fixed(id: String, mut secret: Zeroizing<String>, token: Option<Zeroizing<String>>) -> Current {
    let token = token.map(|mut token| core::mem::take(&mut *token));
    Current::new(
        id,
        core::mem::take(&mut *secret),
        token,
        None,
        "anchor-worker",
    )
}
