//! What the database is asked at night, and how its answers are read. None is believed further than into the log.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::rows;
use crate::trouble::{Kind, Trouble};
use crate::unlock::refusal::refusal;

/// What the client waits at most for an answer to any of it: longer than the server does.
const LIMIT: Duration = Duration::from_secs(90);

/// What is to be done now, by the database's clock.
#[derive(Debug, Deserialize)]
pub struct Due {
    /// The number of the night; none while keys are locked.
    pub night: Option<i64>,
    /// Those that are not over, in the order in which they have to be done.
    pub sweeps: Vec<Sweep>,
    pub scrub: bool,
}

/// What ends by itself.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Sweep {
    Consent,
    Biometric,
    Retention,
}

/// What a batch of a sweep came to.
#[derive(Debug, Deserialize)]
pub struct Batch {
    pub done: i64,
    pub busy: i64,
    pub failed: i64,
    /// Whether the pass goes on.
    pub more: bool,
}

/// How the scrub stands after a part of it.
#[derive(Debug, Deserialize)]
pub struct Scrubbed {
    pub state: State,
    pub pages: i64,
    pub rewritten: i64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Idle,
    Busy,
    Blocked,
    GoingOn,
    Waiting,
    Done,
}

/// Months of the log whose time is over.
#[derive(Debug, Deserialize)]
pub struct Expired {
    pub months: Vec<Month>,
}

#[derive(Debug, Deserialize)]
pub struct Month {
    partition: String,
    /// Why it stays, if it does.
    pub kept: Option<Kept>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    Empty,
    Unsealed,
    Unanchored,
    #[serde(rename = "in use")]
    InUse,
}

impl Sweep {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Biometric => "biometric",
            Self::Retention => "retention",
        }
    }
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Blocked => "blocked",
            Self::GoingOn => "going_on",
            Self::Waiting => "waiting",
            Self::Done => "done",
        }
    }
}

impl Kept {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unsealed => "unsealed",
            Self::Unanchored => "unanchored",
            Self::InUse => "in use",
        }
    }
}

impl Month {
    /// `2019-11`, if it is a month.
    pub fn name(&self) -> Option<&str> {
        let is_month = |name: &&str| {
            name.len() == 7
                && name
                    .bytes()
                    .all(|byte| byte == b'-' || byte.is_ascii_digit())
        };
        Some(self.partition.as_str()).filter(is_month)
    }
}

pub async fn due(database: &Client) -> Result<Due, Trouble> {
    ask(database, "identity._night_due()").await
}

pub async fn sweep(database: &Client, sweep: Sweep, most: i32) -> Result<Batch, Trouble> {
    let call = format!("identity.{}_sweep({most})", sweep.name());
    ask(database, &call).await
}

pub async fn scrub(database: &Client, pages: i32) -> Result<Scrubbed, Trouble> {
    ask(database, &format!("identity.erasure_scrub({pages})")).await
}

pub async fn expire(database: &Client) -> Result<Expired, Trouble> {
    ask(database, "identity.ledger_expire()").await
}

/// One message, which is one transaction without BEGIN: whatever becomes of it, and of our waiting for it, the session is left as it was. Locks and time
/// are bounded: what somebody keeps locked is tried again later.
async fn ask<T: DeserializeOwned>(database: &Client, call: &str) -> Result<T, Trouble> {
    let statement = format!(
        "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '60s'; SELECT {call}"
    );
    let answer = timeout(LIMIT, rows::first_of(database, &statement)).await;
    let answer = answer.map_err(|_| {
        let text = "the database did not answer in time";
        Trouble::new(Kind::Unreachable, text)
    })?;
    let answer = answer.map_err(refusal)?;
    let read = answer.and_then(|row| serde_json::from_str(row.try_get(0).ok()??).ok());
    read.ok_or_else(|| {
        let text = "the database's answer is not what the extension writes";
        Trouble::new(Kind::Untrue, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_documentation_and_no_others() {
        let due = r#"{"night":9820,"sweeps":["consent","retention"],"scrub":false}"#;
        let due: Due = serde_json::from_str(due).unwrap();
        assert_eq!(due.sweeps, [Sweep::Consent, Sweep::Retention]);
        assert!(
            serde_json::from_str::<Due>(r#"{"night":1,"sweeps":["x"],"scrub":false}"#).is_err()
        );
        let months = r#"{"months":[{"partition":"2019-11","access_id":"7"},{"partition":"2019-12","kept":"in use"},{"partition":"; no month"}]}"#;
        let months = serde_json::from_str::<Expired>(months).unwrap().months;
        let read: Vec<_> = months
            .iter()
            .map(|month| (month.name(), month.kept))
            .collect();
        let in_use = Some(Kept::InUse);
        assert_eq!(
            read,
            [
                (Some("2019-11"), None),
                (Some("2019-12"), in_use),
                (None, None)
            ]
        );
        for state in ["idle", "busy", "blocked", "going_on", "waiting", "done"] {
            let text = format!(r#"{{"state":"{state}","pages":0,"rewritten":0,"left":0}}"#);
            assert_eq!(
                serde_json::from_str::<Scrubbed>(&text)
                    .unwrap()
                    .state
                    .name(),
                state
            );
        }
    }
}
