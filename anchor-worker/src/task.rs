//! Something that is done again and again: when it is due, and how long it waits after trouble.

use std::time::Duration;

use tokio::time::Instant;

use crate::step::wait;
use crate::trouble::Kind;

pub(crate) struct Task {
    pub at: Instant,
    pub failures: u32,
}

impl Task {
    pub fn new() -> Self {
        Self {
            at: Instant::now(),
            failures: 0,
        }
    }

    pub fn is_due(&self) -> bool {
        self.at <= Instant::now()
    }

    pub fn done(&mut self, every: Duration) {
        self.failures = 0;
        self.at = Instant::now() + every;
    }

    pub fn failed(&mut self, kind: Kind) {
        self.failures = self.failures.saturating_add(1);
        self.at = Instant::now() + wait::after(kind, self.failures);
    }
}
