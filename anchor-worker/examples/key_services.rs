//! Key services, signers and unlocking at a keyboard: one command a line, one answer a line, in JSON. No answer holds a key; a key is told by its
//! check value. The log, on standard error, holds everything that any library has to say.
//!
//! ```text
//! key_services CONFIG
//! > check
//! > generate dek 1
//! > unwrap dek 1 <wrapped in hex>
//! > round postgresql:///identity?host=/run/postgresql
//! ```

use std::error::Error;
use std::io::{BufRead as _, stdin};
use std::sync::Arc;

use anchor_worker::kek::{self, Kek, KeyContext};
use anchor_worker::signer::{self, Signer};
use anchor_worker::trouble::{Kind, Trouble};
use anchor_worker::unlock::{self, State, Unlocker};
use identity_core::key::{KeyKind, check_value};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Level;

const INSTALLATION: [u8; 16] = [7; 16];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    kek: kek::Config,
    signer: Option<signer::Config>,
    unlock: Option<unlock::Config>,
}

struct Services {
    kek: Arc<Kek>,
    signer: Option<Signer>,
    unlocker: Option<Unlocker>,
}

impl Services {
    async fn open(config: &Config) -> Result<Self, Trouble> {
        let kek = Arc::new(Kek::open(&config.kek).await?);
        Ok(Self {
            signer: match &config.signer {
                Some(config) => Some(Signer::open(config).await?),
                None => None,
            },
            unlocker: match &config.unlock {
                Some(config) => Some(Unlocker::open(config, Arc::clone(&kek))?),
                None => None,
            },
            kek,
        })
    }

    async fn answer(&mut self, line: &str) -> Result<Value, Trouble> {
        let misused = || Trouble::new(Kind::Configuration, "no such command");
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["check"] => {
                self.kek.check().await?;
                Ok(json!({ "uri": self.kek.uri(), "provider": self.kek.provider() }))
            }
            ["generate", kind, version] => {
                let of = context(kind, version)?;
                let (key, wrapped) = self.kek.generate(&of).await?;
                Ok(json!({ "check_value": check(&of, &key), "wrapped": hex::encode(&wrapped) }))
            }
            ["unwrap", kind, version, wrapped] => {
                let of = context(kind, version)?;
                let wrapped = hex::decode(wrapped).map_err(|_| misused())?;
                let key = self.kek.unwrap(&wrapped, &of).await?;
                Ok(json!({ "check_value": check(&of, &key) }))
            }
            ["rewrap", kind, version, wrapped] => {
                let of = context(kind, version)?;
                let wrapped = hex::decode(wrapped).map_err(|_| misused())?;
                let wrapped = self.kek.rewrap(&wrapped, &of).await?;
                Ok(json!({ "wrapped": hex::encode(&wrapped) }))
            }
            ["check-signer"] => {
                let signer = self.signer.as_ref().ok_or_else(misused)?;
                signer.check().await.map(|()| json!({}))
            }
            ["vkey", origin] => {
                let signer = self.signer.as_ref().ok_or_else(misused)?;
                Ok(json!({ "vkey": signer.key(origin).await?.to_string() }))
            }
            ["sign", origin, text] => {
                let signer = self.signer.as_ref().ok_or_else(misused)?;
                let text = hex::decode(text)
                    .ok()
                    .and_then(|text| String::from_utf8(text).ok());
                let note = signer.sign(&text.ok_or_else(misused)?, origin).await?;
                Ok(json!({ "note": note }))
            }
            ["public-key"] => {
                let unlocker = self.unlocker.as_ref().ok_or_else(misused)?;
                Ok(json!({ "public_key": unlocker.public_key() }))
            }
            [command @ ("round" | "rewrap-all"), url] => self.unlock(command, url, None).await,
            ["enrol", kind, url] => {
                let kind = KeyKind::parse(kind).ok_or_else(misused)?;
                self.unlock("enrol", url, Some(kind)).await
            }
            _ => Err(misused()),
        }
    }

    async fn unlock(
        &mut self,
        command: &str,
        url: &str,
        kind: Option<KeyKind>,
    ) -> Result<Value, Trouble> {
        let unreachable =
            |failure: identity_connect::Failure| Trouble::new(Kind::Unreachable, failure.0);
        let misused = || Trouble::new(Kind::Configuration, "no such command");
        let options = identity_connect::Options::parse(Some(url), |_| None).map_err(unreachable)?;
        let session = identity_connect::open(&options, "SET search_path = pg_catalog, pg_temp")
            .await
            .map_err(unreachable)?;
        let unlocker = self.unlocker.as_mut().ok_or_else(misused)?;
        let answer = match (command, kind) {
            ("enrol", Some(kind)) => unlocker
                .enrol(&session.client, kind)
                .await
                .map(|version| json!({ "version": version })),
            ("rewrap-all", _) => unlocker
                .rewrap(&session.client)
                .await
                .map(|count| json!({ "rewrapped": count })),
            _ => unlocker
                .round(&session.client)
                .await
                .map(|state| match state {
                    State::Unlocked => json!({ "state": "unlocked" }),
                    State::WasLocked { loaded } => {
                        json!({ "state": "was locked", "loaded": loaded })
                    }
                }),
        };
        session.close().await.map_err(unreachable)?;
        answer
    }
}

fn context(kind: &str, version: &str) -> Result<KeyContext, Trouble> {
    match (KeyKind::parse(kind), version.parse()) {
        (Some(kind), Ok(version)) => Ok(KeyContext {
            installation: INSTALLATION,
            kind,
            version,
        }),
        _ => Err(Trouble::new(Kind::Configuration, "no such key")),
    }
}

fn check(of: &KeyContext, key: &[u8; 32]) -> String {
    hex::encode(check_value(of.kind, of.version, key))
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(converse())
}

async fn converse() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(std::io::stderr)
        .init();
    let path = std::env::args().nth(1).ok_or("key_services CONFIG")?;
    let config: Config = toml::from_str(&std::fs::read_to_string(path)?)?;
    let mut services = Services::open(&config).await;
    for line in stdin().lock().lines() {
        let answer = match &mut services {
            Ok(services) => services.answer(&line?).await,
            Err(trouble) => Err(trouble.clone()),
        };
        let answer = answer.unwrap_or_else(
            |trouble| json!({ "trouble": format!("{:?}", trouble.kind), "text": trouble.text }),
        );
        println!("{answer}");
    }
    Ok(())
}
