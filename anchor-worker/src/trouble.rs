//! Why something outside did not do what was asked of it, and whether asking again may help.

use std::fmt;

use tracing::{error, warn};

use crate::metrics;

/// What kind of trouble it is: it decides what the worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It could not be reached, did not answer in time, or the answer broke off: whether it did what was asked is unknown.
    Unreachable,
    /// It asks for fewer requests.
    Throttled,
    /// It is there and cannot do it now: sealed, disabled for the moment, out of space.
    Unavailable,
    /// It knows us and does not let us, or does not know us.
    Denied,
    /// What was asked for is not there.
    Missing,
    /// What was to be made is there already, or changed meanwhile.
    Conflict,
    /// It answered what cannot be: a wrong key, a wrong checksum, a retention shorter than asked for.
    Untrue,
    /// What we were configured with cannot work.
    Configuration,
}

impl Kind {
    /// Its word in the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Conflict => "conflict",
            Self::Untrue => "untrue",
            Self::Configuration => "configuration",
        }
    }

    /// Whether the same request may succeed later without a person doing something.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Throttled | Self::Unavailable
        )
    }
}

/// Trouble, for people: which endpoint, what it said. Never a key, a token or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind.
    pub kind: Kind,
    /// One line, lower case.
    pub text: String,
}

impl Trouble {
    /// Trouble with its one line.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Tells the log, and whoever counts, that `what` did not work.
    pub(crate) fn report(&self, event: &str, what: &str) {
        metrics::failed(event, self.kind);
        let kind = self.kind.word();
        if self.kind.passes() {
            warn!(event, kind, trouble = %self, "{what}");
        } else {
            let alarm = self.kind == Kind::Untrue;
            error!(event, alarm, kind, trouble = %self, "{what}");
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Trouble {}
