//! `check-config`: reads the configuration, and reaches everything that it names.

use std::path::Path;
use std::sync::Arc;

use identity_core::checkpoint::Checkpoint;
use identity_core::incarnation::{Role, split};
use identity_core::note::VerifierKey;

use crate::config::{Anchor, Config, Unlock, parties};
use crate::database::Database;
use crate::kek::Kek;
use crate::metrics;
use crate::outbox::{self, Failure};
use crate::round::last;
use crate::run::Verdict;
use crate::signer::Signer;
use crate::step::refusal::Refusal;
use crate::store::Store;
use crate::trouble::{Kind, Trouble};
use crate::unlock::{Place, Unlocker};

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
    let seen = findings.note("database", database(&config).await);
    if let Some(unlock) = &config.unlock {
        findings.note("server", server(&config));
        let key = findings.note("unlock", kek(unlock).await);
        findings.note("state", state(unlock, seen.as_ref()));
        if let (Some(seen), Some(key)) = (&seen, key) {
            findings.note("public key", public_key(seen, &key));
        }
    }
    if let Some(anchor) = &config.anchor {
        let origin = seen.map(|seen| seen.checkpoint.origin);
        let key = findings.note("signer", signer(anchor, origin.as_deref()).await);
        let store = findings.note("store", store(anchor).await);
        let own = key.as_ref().and_then(Option::as_ref);
        findings.note("incarnations", incarnations(anchor, own));
        if let (Some(Some(key)), Some(store)) = (key, store) {
            findings.note("anchors", anchors(anchor, key, &store).await);
        }
    }
    if let Some(metrics) = &config.metrics {
        findings.note("metrics", monitoring(metrics).await);
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
    findings.0
}

/// What the database says of itself.
struct Seen {
    checkpoint: Checkpoint,
    place: Option<Place>,
    /// Of the worker that it takes keys from.
    public_key: Option<String>,
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

async fn database(config: &Config) -> Result<(Seen, String), Trouble> {
    let database = Database::open(&config.database, Arc::default()).await?;
    database.check().await?;
    let text = database.checkpoint().await?;
    let (mut place, mut public_key) = (None, None);
    if config.unlock.is_some() {
        place = Some(Place::of(database.client()).await?);
        public_key = Some(database.worker_public_key().await?);
    }
    database.close().await;
    let checkpoint = Checkpoint::parse(&text);
    let checkpoint = checkpoint
        .ok_or_else(|| Trouble::new(Kind::Untrue, "what the database gave is no checkpoint"))?;
    let text = format!(
        "the log {} has {} leaves",
        checkpoint.origin, checkpoint.size
    );
    let seen = Seen {
        checkpoint,
        place,
        public_key,
    };
    Ok((seen, text))
}

/// How it is known that it is the server which keys are sealed to.
fn server(config: &Config) -> Result<((), String), Trouble> {
    let text = match (&config.database.tls, config.database.server_uid) {
        (Some(_), _) => "its certificate says who it is".into(),
        (None, Some(uid)) => format!("user {uid} of this machine listens at its socket"),
        (None, None) => {
            "ANYBODY may listen at its socket: [unlock] has no server_user, and this machine has no user postgres".into()
        }
    };
    Ok(((), text))
}

/// Whether which database was unlocked can be noted, and is the one that is there.
fn state(unlock: &Unlock, seen: Option<&Seen>) -> Result<((), String), Trouble> {
    let directory = &unlock.settings.state_directory;
    Place::check(directory)?;
    let Some(known) = Place::known(directory)? else {
        return Ok(((), "no database was unlocked yet".into()));
    };
    if let Some(place) = seen.and_then(|seen| seen.place.as_ref()) {
        place.must_be_known(directory)?;
    }
    let text = format!(
        "the database that was unlocked has the system identifier {} and the timeline {}",
        known.system_identifier, known.timeline
    );
    Ok(((), text))
}

/// Whether the database takes keys from us.
fn public_key(seen: &Seen, ours: &str) -> Result<((), String), Trouble> {
    if seen.public_key.as_deref() == Some(ours) {
        return Ok(((), "the database knows this worker by it".into()));
    }
    let what = match seen.public_key.as_deref() {
        None | Some("") => "the database has none",
        Some(_) => "the database has another one",
    };
    let text = format!(
        "{what}: identity_pgx.worker_public_key must be {ours}, and takes a restart to change"
    );
    Err(Trouble::new(Kind::Configuration, text))
}

async fn kek(unlock: &Unlock) -> Result<(String, String), Trouble> {
    let kek = Kek::open(&unlock.kek).await?;
    kek.check().await?;
    let text = format!("keys are wrapped by {}", kek.uri());
    let unlocker = Unlocker::open(&unlock.settings, Arc::new(kek))?;
    let key = unlocker.public_key();
    let text = format!("{text}; identity_pgx.worker_public_key is {key}");
    Ok((key, text))
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

/// Who declares one. No key that signs checkpoints may be among theirs: the worker would be one of two.
fn incarnations(anchor: &Anchor, own: Option<&VerifierKey>) -> Result<((), String), Trouble> {
    let Some(file) = &anchor.parties else {
        let text =
            "nobody is named whose signatures declare one: after a restore none can be believed";
        return Ok(((), text.into()));
    };
    let parties = parties(file)?;
    let mut signing = anchor.former_keys.iter().chain(own);
    if let Some(role) = signing.find_map(|key| parties.role_of(key.public_key())) {
        let text = Refusal::PartySigns { role }.to_string();
        return Err(Trouble::new(Kind::Configuration, text));
    }
    let [operator, counsel] =
        Role::BOTH.map(|role| format!("{} {}", role.word(), parties.key(role)));
    Ok(((), format!("declared by {operator} and {counsel}")))
}

/// The newest anchor is one of ours, so that the next one can continue it.
async fn anchors(
    anchor: &Anchor,
    key: VerifierKey,
    store: &Store,
) -> Result<((), String), Trouble> {
    let Some(object) = last(store, split(key.name()).1, None).await? else {
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
