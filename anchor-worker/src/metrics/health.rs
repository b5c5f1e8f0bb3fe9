//! Whether the worker does what it is there for, from what it told of itself. Words for people; nothing of what a service or the database said.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::own;
use crate::trouble::Kind;

/// How many rounds may be missing.
const ROUNDS: u32 = 3;

/// No sooner than this, however short a round is: the database may be restarting.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of the worker.
#[derive(Clone, Debug)]
struct Health {
    /// The event whose rounds are looked at, and how often there is one.
    event: &'static str,
    every: Duration,
    /// Whether this worker leads; `None` before anybody knows.
    leads: Option<bool>,
    /// When it last looked who leads, or began.
    turned: Instant,
    /// When a round last ended well, or this worker began to lead.
    round: Instant,
    refused: Option<&'static str>,
    unlocking: Option<Kind>,
}

/// Why it is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ill {
    Refused(&'static str),
    Locked(Kind),
    Late(Duration),
}

impl fmt::Display for Ill {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(
                out,
                "refused to sign ({code}): nothing is anchored until a person has looked"
            ),
            Self::Locked(kind) => write!(
                out,
                "the database is not unlocked if it is locked ({})",
                kind.word()
            ),
            Self::Late(time) => write!(out, "no round ended well for {} s", time.as_secs()),
        }
    }
}

impl Health {
    fn new(event: &'static str, every: Duration, now: Instant) -> Self {
        Self {
            event,
            every,
            leads: None,
            turned: now,
            round: now,
            refused: None,
            unlocking: None,
        }
    }

    fn turned(&mut self, leads: bool, now: Instant) {
        // It has its time from now on.
        if leads && self.leads != Some(true) {
            self.round = now;
        }
        (self.leads, self.turned) = (Some(leads), now);
    }

    fn verdict(&self, now: Instant) -> Result<&'static str, Ill> {
        if let Some(code) = self.refused {
            return Err(Ill::Refused(code));
        }
        // Another worker does the rounds; this one only has to be there.
        let (since, limit, word) = match self.leads {
            Some(false) => (self.turned, PATIENCE, "follows"),
            Some(true) => (self.round, self.limit(), "leads"),
            None => (self.round, self.limit(), "starts"),
        };
        let late = now.saturating_duration_since(since);
        match self.unlocking {
            Some(kind) if self.leads != Some(false) => Err(Ill::Locked(kind)),
            _ if late > limit => Err(Ill::Late(late)),
            _ => Ok(word),
        }
    }

    fn limit(&self) -> Duration {
        self.every.saturating_mul(ROUNDS).max(PATIENCE)
    }
}

static HEALTH: Mutex<Option<Health>> = Mutex::new(None);

fn health() -> MutexGuard<'static, Option<Health>> {
    HEALTH.lock().unwrap_or_else(PoisonError::into_inner)
}

fn change(change: impl FnOnce(&mut Health)) {
    if let Some(health) = health().as_mut() {
        change(health);
    }
}

/// A worker begins, of which rounds of this event are expected.
pub(super) fn begin(event: &'static str, every: Duration) {
    *health() = Some(Health::new(event, every, Instant::now()));
}

/// The loop went round, and knows whether this worker leads.
pub(crate) fn turned(leads: bool) {
    change(|health| health.turned(leads, Instant::now()));
}

/// A round ended well.
pub(super) fn done(event: &str) {
    change(|health| {
        if health.event == event {
            health.round = Instant::now();
        }
    });
}

/// The worker refused to sign.
pub(crate) fn refused(code: &'static str) {
    own::refusal(code);
    change(|health| health.refused = Some(code));
}

/// How the last round of unlocking ended.
pub(crate) fn unlocking(trouble: Option<Kind>) {
    change(|health| health.unlocking = trouble);
}

/// The same as numbers.
pub(super) struct State {
    pub leads: bool,
    pub refused: bool,
    pub unlock_ok: bool,
    pub healthy: bool,
}

pub(super) fn state() -> State {
    let health = health();
    let health = health.as_ref();
    State {
        leads: health.is_some_and(|health| health.leads == Some(true)),
        refused: health.is_some_and(|health| health.refused.is_some()),
        unlock_ok: health.is_none_or(|health| health.unlocking.is_none()),
        healthy: health.is_some_and(|health| health.verdict(Instant::now()).is_ok()),
    }
}

/// A line for `/healthz`; an error if the worker is not well.
pub(super) fn words() -> Result<String, String> {
    match health().as_ref() {
        Some(health) => match health.verdict(Instant::now()) {
            Ok(word) => Ok(format!("ok: {word}\n")),
            Err(ill) => Err(format!("not ok: {ill}\n")),
        },
        None => Err("not ok: not begun\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn after(
        change: impl FnOnce(&mut Health, Instant),
        wait: Duration,
    ) -> Result<&'static str, Ill> {
        let now = Instant::now();
        let mut health = Health::new("anchor", MINUTE, now);
        change(&mut health, now);
        health.verdict(now + wait)
    }

    #[test]
    fn three_missing_rounds_are_late() {
        let limit = 3 * MINUTE;
        let second = Duration::from_secs(1);
        let leads = |health: &mut Health, now| health.turned(true, now);
        assert_eq!(after(leads, limit), Ok("leads"));
        assert_eq!(after(leads, limit + second), Err(Ill::Late(limit + second)));
        assert_eq!(after(|_, _| (), limit), Ok("starts"));
        assert_eq!(
            after(|_, _| (), limit + second),
            Err(Ill::Late(limit + second))
        );
        // However often the loop looks who leads: the rounds count.
        let turns = |health: &mut Health, now| {
            health.turned(true, now);
            health.turned(true, now + limit);
        };
        assert_eq!(after(turns, limit + second), Err(Ill::Late(limit + second)));
        let done = |health: &mut Health, now| {
            health.turned(true, now);
            health.round = now + limit;
        };
        assert_eq!(after(done, limit + second), Ok("leads"));
    }

    #[test]
    fn a_short_round_is_not_late_before_half_a_minute() {
        let now = Instant::now();
        let health = Health::new("anchor", Duration::from_secs(1), now);
        assert_eq!(health.verdict(now + PATIENCE), Ok("starts"));
        assert!(
            health
                .verdict(now + PATIENCE + Duration::from_secs(1))
                .is_err()
        );
    }

    #[test]
    fn a_worker_that_follows_has_to_be_there_and_no_more() {
        let follows = |health: &mut Health, now| {
            health.turned(false, now + 9 * MINUTE);
            health.unlocking = Some(Kind::Denied);
        };
        assert_eq!(after(follows, 9 * MINUTE), Ok("follows"));
        assert_eq!(after(follows, 10 * MINUTE), Err(Ill::Late(MINUTE)));
        // It takes over: the time before was another's.
        let takes_over = |health: &mut Health, now| {
            health.turned(false, now);
            health.turned(true, now + 9 * MINUTE);
        };
        assert_eq!(after(takes_over, 10 * MINUTE), Ok("leads"));
    }

    #[test]
    fn a_refusal_stands_whatever_else_goes_on() {
        let refused = |health: &mut Health, now| {
            health.turned(true, now);
            health.refused = Some("rewritten");
            health.round = now + MINUTE;
        };
        assert_eq!(after(refused, MINUTE), Err(Ill::Refused("rewritten")));
    }

    #[test]
    fn what_cannot_be_unlocked_is_told_until_it_can() {
        let now = Instant::now();
        let mut health = Health::new("unlock", Duration::ZERO, now);
        health.turned(true, now);
        health.unlocking = Some(Kind::Untrue);
        assert_eq!(health.verdict(now), Err(Ill::Locked(Kind::Untrue)));
        health.unlocking = None;
        assert_eq!(health.verdict(now), Ok("leads"));
    }
}
