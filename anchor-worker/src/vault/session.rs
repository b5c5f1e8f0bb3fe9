//! A token of Vault and its life: got by AppRole or from a file, renewed at half of its time, got anew when it cannot be renewed.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Data, Vault, strange};
use crate::trouble::Trouble;
use crate::{http, secret_file};

/// Who we are to Vault.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// A token in a file that only its owner may read; what keeps it there (an agent of Vault) may replace it.
    Token { token_file: PathBuf },
    /// A role, and a secret in a file that only its owner may read.
    AppRole {
        #[serde(default = "approle")]
        mount: String,
        role_id: String,
        secret_id_file: PathBuf,
    },
}

fn approle() -> String {
    String::from("approle")
}

pub(super) struct Session {
    auth: Auth,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Zeroizing<String>,
    life: Option<Life>,
}

/// A token that does not live for ever.
struct Life {
    since: Instant,
    lasts: Duration,
    /// How long it lasted when it was new: near the end of what a token may live in all, renewals become shorter and shorter.
    at_first: Duration,
    renewable: bool,
}

#[derive(Deserialize)]
struct Granted {
    auth: Grant,
}

#[derive(Deserialize)]
struct Grant {
    client_token: Zeroizing<String>,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct Looked {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Serialize)]
struct Login<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct Renew {}

impl Life {
    fn new(seconds: u64, renewable: bool) -> Option<Self> {
        let lasts = Duration::from_secs(seconds);
        // Zero is Vault's word for a token without an end.
        (seconds > 0).then(|| Self {
            since: Instant::now(),
            lasts,
            at_first: lasts,
            renewable,
        })
    }

    fn half_over(&self) -> bool {
        self.since.elapsed() >= self.lasts / 2
    }

    fn over(&self) -> bool {
        self.since.elapsed() >= self.lasts
    }
}

impl Session {
    pub(super) fn new(auth: Auth) -> Self {
        Self {
            auth,
            held: Mutex::new(None),
        }
    }

    /// A token that has half of its time before it at least, if Vault lets it.
    pub(super) async fn token(&self, vault: &Vault) -> Result<Zeroizing<String>, Trouble> {
        let mut held = self.held.lock().await;
        if let Some(Held { token, life }) = held.as_mut() {
            match life {
                Some(life) if life.half_over() => match self.prolong(vault, token, life).await {
                    Ok(true) => return Ok(token.clone()),
                    Ok(false) => {}
                    // Vault is away; the token is as good as it was.
                    Err(trouble) if trouble.kind.passes() && !life.over() => {
                        return Ok(token.clone());
                    }
                    Err(trouble) if trouble.kind.passes() => return Err(trouble),
                    Err(_) => {}
                },
                _ => return Ok(token.clone()),
            }
        }
        *held = None;
        let new = self.begin(vault).await?;
        let token = new.token.clone();
        *held = Some(new);
        Ok(token)
    }

    /// Another token, after `refused` was refused; `None` if there is none.
    pub(super) async fn another(
        &self,
        vault: &Vault,
        refused: &Zeroizing<String>,
    ) -> Result<Option<Zeroizing<String>>, Trouble> {
        let mut held = self.held.lock().await;
        if let Auth::Token { token_file } = &self.auth
            && *secret_file::read(token_file)? == **refused
        {
            return Ok(None);
        }
        *held = None;
        let new = self.begin(vault).await?;
        let token = new.token.clone();
        *held = Some(new);
        Ok(Some(token))
    }

    /// Renews the token in hand. False if it cannot be, or is near the end of what it may live in all.
    async fn prolong(&self, vault: &Vault, token: &str, life: &mut Life) -> Result<bool, Trouble> {
        if !life.renewable {
            return Ok(self.fixed() && !life.over());
        }
        let path = "auth/token/renew-self";
        let body = http::json(&Renew {})?;
        let answer = vault
            .send(Method::POST, path, Some(token), Some(body))
            .await?;
        let Granted { auth } = http::parsed(&answer).ok_or_else(strange)?;
        let at_first = life.at_first;
        let Some(new) = Life::new(auth.lease_duration, auth.renewable) else {
            return Ok(false);
        };
        *life = Life { at_first, ..new };
        Ok(self.fixed() || life.lasts >= at_first / 2)
    }

    async fn begin(&self, vault: &Vault) -> Result<Held, Trouble> {
        match &self.auth {
            Auth::Token { token_file } => {
                let token = secret_file::read(token_file)?;
                let path = "auth/token/lookup-self";
                let answer = vault.send(Method::GET, path, Some(&token), None).await?;
                let Data { data } = http::parsed::<Data<Looked>>(&answer).ok_or_else(strange)?;
                let life = Life::new(data.ttl, data.renewable);
                Ok(Held { token, life })
            }
            Auth::AppRole {
                mount,
                role_id,
                secret_id_file,
            } => {
                let secret_id = &secret_file::read(secret_id_file)?;
                let body = http::json(&Login { role_id, secret_id })?;
                let path = format!("auth/{mount}/login");
                let answer = vault.send(Method::POST, &path, None, Some(body)).await?;
                let Granted { auth } = http::parsed(&answer).ok_or_else(strange)?;
                Ok(Held {
                    token: auth.client_token,
                    life: Life::new(auth.lease_duration, auth.renewable),
                })
            }
        }
    }

    /// Whether there is no way to a new token but somebody replacing a file.
    fn fixed(&self) -> bool {
        matches!(self.auth, Auth::Token { .. })
    }
}
