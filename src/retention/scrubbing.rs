//! The scrub after erasures, by the maintenance process in the place of a worker: some pages a round, as long as an erasure waits for it.

use std::time::Duration;

use super::nightly::{PAUSE, after, complain};
use crate::erasure::gauges::gauges;
use crate::query::with_latest_snapshot;
use crate::scrub::run::{State, scrub};
use crate::{clock, worker_process};

/// A fraction of a second's work where nothing is to be rewritten.
const PAGES_A_ROUND: i64 = 5000;
/// While somebody's snapshot still sees what was erased, or a page is in use.
const WHILE_BLOCKED: Duration = Duration::from_secs(30);

/// A pass goes over all pages, however little was erased: erasures of some minutes share one. In PostgreSQL's microseconds.
const COLLECTED_MICROS: i64 = 600_000_000;

pub struct Scrubbing {
    /// On the monotonic clock.
    paused_until: u64,
}

impl Scrubbing {
    pub const fn new() -> Self {
        Self { paused_until: 0 }
    }

    pub fn round(&mut self) {
        if clock::monotonic_nanos() < self.paused_until {
            return;
        }
        match worker_process::try_as_client(step) {
            Ok(true) => {}
            Ok(false) => self.paused_until = after(WHILE_BLOCKED),
            Err(code) => {
                complain("a step of the scrub failed", code);
                self.paused_until = after(PAUSE);
            }
        }
    }
}

/// Whether the next round can go on at once, as far as there is anything to do.
fn step() -> bool {
    let oldest = with_latest_snapshot(gauges).unscrubbed.oldest;
    // One that lies ahead is of a clock that was set back.
    let is_up = oldest.is_some_and(|oldest| (clock::now() - oldest).abs() >= COLLECTED_MICROS);
    !is_up || scrub(PAGES_A_ROUND).state == State::GoingOn
}
