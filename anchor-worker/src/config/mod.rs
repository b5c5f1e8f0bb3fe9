//! The configuration: one TOML file, in which nothing is guessed. What is not known is a mistake, and each mistake is told with its place.

mod duration;
mod place;
mod section;

use std::path::Path;
use std::time::Duration;

use identity_connect::Options;
use identity_core::note::VerifierKey;
use serde::Deserialize;

pub use place::Mistake;
use section::Document;

use crate::{kek, metrics, outbox, signer, store, unlock};

/// No configuration is longer.
const MAX_BYTES: u64 = 1 << 20;

/// Longest and shortest time between two looks at the log.
const LONGEST_EVERY: Duration = Duration::from_secs(3600);
const SHORTEST_EVERY: Duration = Duration::from_secs(1);

/// Everything the worker is told.
pub struct Config {
    pub database: Options,
    pub unlock: Option<Unlock>,
    pub anchor: Option<Anchor>,
    pub metrics: Option<metrics::Config>,
    pub outbox: Vec<outbox::Config>,
}

/// How a database that is locked gets its keys.
pub struct Unlock {
    pub settings: unlock::Config,
    pub kek: kek::Config,
}

/// How the log is anchored.
pub struct Anchor {
    pub signer: signer::Config,
    pub store: store::Config,
    pub every: Duration,
    pub former_keys: Vec<VerifierKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseSection {
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnchorSection {
    #[serde(default = "ten_minutes", deserialize_with = "duration::deserialize")]
    every: Duration,
    #[serde(default)]
    former_keys: Vec<String>,
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Every mistake that is in it.
    pub fn read(file: &Path) -> Result<Self, Vec<Mistake>> {
        let unreadable = |why: &str| vec![Mistake::of_file(format!("cannot be read: {why}"))];
        let metadata = std::fs::metadata(file).map_err(|error| unreadable(&error.to_string()))?;
        if metadata.len() > MAX_BYTES {
            return Err(unreadable("it is longer than 1 MiB"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error.to_string()))?;
        Self::parse(&text, |name| std::env::var(name).ok())
    }

    /// Reads the text of one. `variable` reads the environment, which the connection to the database may come from.
    ///
    /// # Errors
    /// Every mistake that is in it.
    pub fn parse(
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut document = Document::parse(text);
        let database = document.section::<DatabaseSection>("database");
        let unlock = document.section("unlock");
        let kek = document.section("kek");
        let signer = document.section("signer");
        let store = document.section("store");
        let anchor = document.section::<AnchorSection>("anchor");
        let metrics = document.section::<metrics::Config>("metrics");
        let outbox = channels(&mut document);
        document.nothing_else();
        document.together(
            "unlock",
            "kek",
            "which key service unwraps what unlocks the database",
        );
        document.together(
            "kek",
            "unlock",
            "who unlocks the database with the key service",
        );
        document.together("signer", "store", "where anchors are put");
        document.together("store", "signer", "what signs anchors");
        document.together("anchor", "store", "where anchors are put");
        if !document.has("unlock") && !document.has("signer") && !document.has("store") {
            document.mistake_of_file(
                "there is nothing to do: neither [signer] and [store], nor [unlock] and [kek]",
            );
        }
        if !document.has("database") {
            document.mistake_of_file("[database] is missing: which database it is about");
        }
        let options =
            database.and_then(
                |section| match Options::parse(Some(&section.url), variable) {
                    Ok(options) => Some(options),
                    Err(failure) => {
                        document.mistake("database", "url", &failure.to_string());
                        None
                    }
                },
            );
        let anchor = anchor.unwrap_or_else(|| AnchorSection {
            every: ten_minutes(),
            former_keys: Vec::new(),
        });
        if !(SHORTEST_EVERY..=LONGEST_EVERY).contains(&anchor.every) {
            document.mistake(
                "anchor",
                "every",
                "must be from 1s to 1h: what is not anchored can be rewritten unseen",
            );
        }
        if metrics.as_ref().is_some_and(|metrics| !metrics.is_local()) {
            let text = "must be a loopback address with a port, as in \"127.0.0.1:9187\": whoever may ask gets an answer";
            document.mistake("metrics", "listen", text);
        }
        let former_keys = former_keys(&mut document, &anchor.former_keys);
        document.finish()?;
        let Some(database) = options else {
            return Err(vec![Mistake::of_file("[database] cannot be used".into())]);
        };
        Ok(Self {
            database,
            unlock: unlock
                .zip(kek)
                .map(|(settings, kek)| Unlock { settings, kek }),
            anchor: signer.zip(store).map(|(signer, store)| Anchor {
                signer,
                store,
                every: anchor.every,
                former_keys,
            }),
            metrics,
            outbox,
        })
    }
}

fn channels(document: &mut Document<'_>) -> Vec<outbox::Config> {
    let found = document.sections::<outbox::Config>("outbox");
    if let Some((place, _)) = found.get(outbox::MOST_CHANNELS) {
        document.mistake_at(*place, "[[outbox]] more than 16 channels");
    }
    let (places, configs): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    for (place, config) in places.iter().zip(&configs) {
        if let Some((entry, why)) = config.mistake() {
            document.mistake_at(*place, &format!("[[outbox]] {entry} {why}"));
        }
    }
    if let Some(place) = outbox::twice(&configs).and_then(|at| places.get(at)) {
        document.mistake_at(*place, "[[outbox]] name: another channel has it");
    }
    configs
}

fn former_keys(document: &mut Document<'_>, texts: &[String]) -> Vec<VerifierKey> {
    let keys: Option<Vec<_>> = texts.iter().map(|text| VerifierKey::parse(text)).collect();
    keys.unwrap_or_else(|| {
        let text = "holds what is no verifier key of Ed25519: they look like name+1a2b3c4d+AQ…";
        document.mistake("anchor", "former_keys", text);
        Vec::new()
    })
}

#[cfg(test)]
mod tests;
