//! A channel: where messages go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use identity_core::vocabulary::DeliveryTrouble;
use serde::Deserialize;
use tokio::time::timeout;

use super::failure::Failure;
use super::message::Message;
use super::{smtp, webhook};
use crate::trouble::Trouble;

/// What one message may take, however slow the other side is.
const LIMIT: Duration = Duration::from_secs(20);

/// The database takes no more, and no longer names.
pub(crate) const MOST_CHANNELS: usize = 16;
const MOST_NAME_BYTES: usize = 40;

/// A section `[[outbox]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Config {
    Webhook(webhook::Config),
    Smtp(smtp::Config),
}

impl Config {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Webhook(config) => &config.name,
            Self::Smtp(config) => &config.name,
        }
    }

    /// What cannot be meant: the entry, and why.
    pub(crate) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        if !is_name(self.name()) {
            return Some((
                "name",
                "must be up to 40 of a-z, 0-9, - and _: it stands in logs and in the database",
            ));
        }
        match self {
            Self::Webhook(config) => config.mistake(),
            Self::Smtp(config) => config.mistake(),
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=MOST_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|c| letter(c) || c == b'-' || c == b'_')
        && name.bytes().next().is_some_and(letter)
}

/// The first name that two channels have.
pub(crate) fn twice(configs: &[Config]) -> Option<usize> {
    let mut names = BTreeSet::new();
    configs
        .iter()
        .position(|config| !names.insert(config.name()))
}

pub(crate) struct Channel {
    pub name: String,
    means: Means,
}

enum Means {
    Webhook(webhook::Webhook),
    Smtp(smtp::Smtp),
}

/// Reads what the configuration names; nobody is asked yet.
pub(crate) fn open(configs: &[Config]) -> Result<Vec<Arc<Channel>>, Trouble> {
    let channel = |config: &Config| {
        let means = match config {
            Config::Webhook(config) => Means::Webhook(webhook::Webhook::open(config)?),
            Config::Smtp(config) => Means::Smtp(smtp::Smtp::open(config)?),
        };
        let name = config.name().to_owned();
        Ok(Arc::new(Channel { name, means }))
    };
    configs.iter().map(channel).collect()
}

impl Channel {
    /// Brings one message, and waits until it was taken.
    pub async fn deliver(&self, message: &Message) -> Result<(), Failure> {
        let delivering = async {
            match &self.means {
                Means::Webhook(webhook) => webhook.deliver(message).await,
                Means::Smtp(smtp) => smtp.deliver(message).await,
            }
        };
        within_limit(delivering).await
    }

    /// Reaches it without sending anything. Answers with where it is.
    pub async fn check(&self) -> Result<String, Failure> {
        let checking = async {
            match &self.means {
                Means::Webhook(webhook) => webhook.check().await,
                Means::Smtp(smtp) => smtp.check().await,
            }
        };
        within_limit(checking).await
    }
}

async fn within_limit<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", LIMIT.as_secs());
        Err(Failure::new(DeliveryTrouble::Timeout, text))
    })
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_fit_for_logs() {
        for name in ["a", "0", "pager-duty_2", &"x".repeat(40)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "_a", "A", "a b", "a\n", "é", &"x".repeat(41)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
