//! `check-config`: reads the configuration, and reaches everything that it names.

use std::path::Path;
use std::sync::Arc;

use identity_core::checkpoint::Checkpoint;
use identity_core::note::VerifierKey;

use crate::config::{Anchor, Config, Unlock};
use crate::database::Database;
use crate::kek::Kek;
use crate::metrics;
use crate::outbox::{self, Failure};
use crate::run::Verdict;
use crate::signer::Signer;
use crate::store::{CHECKPOINTS, Store};
use crate::trouble::{Kind, Trouble};
use crate::unlock::Unlocker;

/// What was found so far.
struct Findings(Verdict);

impl Findings {
    fn note<T>(&mut self, what: &str, found: Result<(T, String), Trouble>) -> Option<T> {
        match found {
            Ok((value, text)) => {
                println!("{what}: ok: {text}");
                Some(value)
            }
            Err(trouble) => {
                println!("{what}: NOT OK: {trouble}");
                let verdict = Verdict::of(&trouble);
                // What is refused is worse than what could not be done.
                self.0 = match (self.0, verdict) {
                    (Verdict::Refused, _) | (_, Verdict::Refused) => Verdict::Refused,
                    (one, other) => one.max(other),
                };
                None
            }
        }
    }
}

/// Tells everything on standard output, one line each.
pub async fn run(file: &Path) -> Verdict {
    let config = match Config::read(file) {
        Ok(config) => config,
        Err(mistakes) => {
            for mistake in mistakes {
                println!("{}: {mistake}", file.display());
            }
            return Verdict::CouldNot;
        }
    };
    println!("{}: ok: understood", file.display());
    let mut findings = Findings(Verdict::Good);
    let checkpoint = findings.note("database", database(&config).await);
    if let Some(unlock) = &config.unlock {
        findings.note("unlock", kek(unlock).await);
    }
    if let Some(anchor) = &config.anchor {
        let origin = checkpoint.map(|checkpoint| checkpoint.origin);
        let key = findings.note("signer", signer(anchor, origin.as_deref()).await);
        let store = findings.note("store", store(anchor).await);
        if let (Some(Some(key)), Some(store)) = (key, store) {
            findings.note("anchors", anchors(anchor, key, &store).await);
        }
    }
    match outbox::open(&config.outbox) {
        Ok(channels) => {
            for channel in channels {
                let what = format!("outbox {}", channel.name);
                let checked = channel.check().await.map_err(Failure::trouble);
                findings.note(&what, checked.map(|text| ((), text)));
            }
        }
        Err(trouble) => drop(findings.note::<()>("outbox", Err(trouble))),
    }
    if let Some(metrics) = &config.metrics {
        findings.note("metrics", monitoring(metrics).await);
    }
    findings.0
}

/// The address can be taken, or is: by the worker that runs already, one hopes.
async fn monitoring(config: &metrics::Config) -> Result<((), String), Trouble> {
    let at = format!("http://{0}/metrics and http://{0}/healthz", config.listen);
    match config.bind().await {
        Ok(_) => Ok(((), at)),
        Err(Trouble {
            kind: Kind::Conflict,
            ..
        }) => Ok((
            (),
            format!("{at}; somebody listens there now, as a worker that runs does"),
        )),
        Err(trouble) => Err(trouble),
    }
}

async fn database(config: &Config) -> Result<(Checkpoint, String), Trouble> {
    let database = Database::open(&config.database, Arc::default()).await?;
    database.check().await?;
    let text = database.checkpoint().await?;
    database.close().await;
    let checkpoint = Checkpoint::parse(&text);
    let checkpoint = checkpoint
        .ok_or_else(|| Trouble::new(Kind::Untrue, "what the database gave is no checkpoint"))?;
    let text = format!(
        "the log {} has {} leaves",
        checkpoint.origin, checkpoint.size
    );
    Ok((checkpoint, text))
}

async fn kek(unlock: &Unlock) -> Result<((), String), Trouble> {
    let kek = Kek::open(&unlock.kek).await?;
    kek.check().await?;
    let text = format!("keys are wrapped by {}", kek.uri());
    let unlocker = Unlocker::open(&unlock.settings, Arc::new(kek))?;
    let text = format!(
        "{text}; identity_pgx.worker_public_key is {}",
        unlocker.public_key()
    );
    Ok(((), text))
}

async fn signer(
    anchor: &Anchor,
    origin: Option<&str>,
) -> Result<(Option<VerifierKey>, String), Trouble> {
    let signer = Signer::open(&anchor.signer).await?;
    signer.check().await?;
    let Some(origin) = origin else {
        return Ok((None, "reached".into()));
    };
    let key = signer.key(origin).await?;
    // What an auditor gives to identityctl.
    let text = format!("anchors are verified with {key}");
    Ok((Some(key), text))
}

async fn store(anchor: &Anchor) -> Result<(Store, String), Trouble> {
    let store = Store::open(&anchor.store).await?;
    let checked = store.check().await?;
    Ok((store, checked.text))
}

/// The newest anchor is one of ours, so that the next one can continue it.
async fn anchors(
    anchor: &Anchor,
    key: VerifierKey,
    store: &Store,
) -> Result<((), String), Trouble> {
    let newest = match store.last_key(CHECKPOINTS, None).await? {
        Some(key) => store.first(&key).await?,
        None => None,
    };
    let Some(object) = newest else {
        return Ok(((), "there is none yet".into()));
    };
    let mut keys = anchor.former_keys.clone();
    keys.push(key);
    let note = String::from_utf8_lossy(&object.body);
    let checkpoint = Checkpoint::open(&note, &keys).map_err(|error| {
        Trouble::new(
            Kind::Untrue,
            format!("the newest one, {}: {error}", object.key),
        )
    })?;
    let text = format!(
        "the newest one is of {} leaves: {}",
        checkpoint.size, object.stored.uri
    );
    Ok(((), text))
}
