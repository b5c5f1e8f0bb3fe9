//! Why a message did not arrive, in a word that the database keeps.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use identity_core::vocabulary::DeliveryTrouble;

use crate::trouble::{Kind, Trouble};

/// One attempt that failed. Nothing of what the channel said is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub word: DeliveryTrouble,
    /// What the channel asks us to wait at least.
    pub wait: Duration,
    /// For the log: our own words, and numbers.
    pub text: String,
}

impl Failure {
    pub fn new(word: DeliveryTrouble, text: impl Into<String>) -> Self {
        Self {
            word,
            wait: Duration::ZERO,
            text: text.into(),
        }
    }

    /// As `check-config` tells it.
    pub fn trouble(self) -> Trouble {
        let kind = match self.word {
            DeliveryTrouble::Throttled => Kind::Throttled,
            DeliveryTrouble::Refused => Kind::Denied,
            DeliveryTrouble::Configuration | DeliveryTrouble::Redirect => Kind::Configuration,
            _ => Kind::Unreachable,
        };
        Trouble::new(kind, self.text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// The error of TLS that is at the bottom of another one.
pub(crate) fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // The source of an error of IO is the source of what it holds, not what it holds.
    let held = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let inner = held.map(|held| held as &(dyn Error + 'static));
    of_tls(inner.or_else(|| error.source())?)
}
