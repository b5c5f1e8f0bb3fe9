//! The scrub by the maintenance process: once a request has waited for a while, so that one pass does for many.

use std::time::Duration;

use pgrx::pg_sys;

use super::run::{self, State};
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::{clock, worker_process};

/// How long requests gather. A pass goes over every page, however few they are for.
const GATHER_MICROS: i64 = 5 * 60 * 1_000_000;
const PAGES_A_ROUND: i64 = 10_000;
/// Until it is tried again what is in the way of a pass.
const PAUSE: Duration = Duration::from_secs(10);

/// A moment ahead is of a clock that was wrong.
static DUE: Statement = Statement::read(
    c"SELECT FROM identity.erasure_requests WHERE state = 'done' AND scrubbed_at IS NULL AND done_at NOT BETWEEN $1 AND $2 LIMIT 1",
    &[pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID],
);

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
            due().then(|| run::scrub(PAGES_A_ROUND).state)
        });
        if let Err(code) = &outcome
            && !self.in_trouble
        {
            pgrx::warning!("identity_pgx: pages of erased subjects cannot be scrubbed: {code:?}");
        }
        self.in_trouble = outcome.is_err();
        if !matches!(outcome, Ok(Some(State::GoingOn))) {
            let pause = u64::try_from(PAUSE.as_nanos()).unwrap_or(0);
            self.paused_until = clock::monotonic_nanos().saturating_add(pause);
        }
    }
}

fn due() -> bool {
    let now = clock::now();
    let gathering = [now.saturating_sub(GATHER_MICROS), now];
    with_latest_snapshot(|| {
        connected(|| {
            let rows = DUE.run(&mut gathering.map(|at| Some(pg_sys::Datum::from(at))));
            rows.count > 0
        })
    })
}
