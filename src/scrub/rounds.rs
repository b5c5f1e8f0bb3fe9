//! The scrub by the maintenance process: once an erasure has waited for a while, so that one pass does for many. Where a worker leads, it does this; what
//! has waited for long nevertheless is scrubbed without it.

use std::time::Duration;

use super::run::{self, State};
use super::waits;
use crate::query::{connected, with_latest_snapshot};
use crate::retention::lead;
use crate::{clock, error, worker_process};

/// How long erasures gather. A pass goes over every page, however few they are for.
const GATHER_MICROS: i64 = 5 * 60 * 1_000_000;
const PAGES_A_ROUND: i64 = 10_000;
/// Until it is tried again what is in the way of a pass.
const PAUSE: Duration = Duration::from_secs(10);

/// What this process remembers between its rounds.
#[derive(Default)]
pub struct Rounds {
    /// On the monotonic clock.
    paused_until: u64,
    in_trouble: bool,
}

impl Rounds {
    /// Goes on with the pass, if one is due.
    pub fn round(&mut self) {
        if clock::monotonic_nanos() < self.paused_until {
            return;
        }
        let outcome = worker_process::try_in_transaction_as_keeper(|| {
            let is_ours = is_due(0) && (is_due(lead::PATIENCE) || !lead::is_a_workers());
            is_ours.then(|| run::scrub(PAGES_A_ROUND).state)
        });
        if let Err(code) = &outcome
            && !self.in_trouble
        {
            pgrx::warning!(
                "identity_pgx: pages of erased subjects cannot be scrubbed: {}",
                error::sqlstate(*code)
            );
        }
        self.in_trouble = outcome.is_err();
        if !matches!(outcome, Ok(Some(State::GoingOn))) {
            let pause = u64::try_from(PAUSE.as_nanos()).unwrap_or(0);
            self.paused_until = clock::monotonic_nanos().saturating_add(pause);
        }
    }
}

/// Whether anything has waited until it has gathered, and for so many microseconds after that.
pub fn is_due(late: i64) -> bool {
    let now = clock::now();
    let gathered = now.saturating_sub(GATHER_MICROS).saturating_sub(late);
    with_latest_snapshot(|| connected(|| waits::any_but_since(gathered, now)))
}
