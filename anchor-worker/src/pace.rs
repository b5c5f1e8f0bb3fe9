//! How much is asked for at once: as much as is done in a fraction of a second, so that nobody waits long for what a batch holds.

use std::time::Duration;

use tokio::time::Instant;

/// What a batch should take.
const BATCH_TIME: Duration = Duration::from_millis(250);

/// The size of the next batch of something.
pub(crate) struct Pace {
    pub size: i32,
    largest: i32,
}

impl Pace {
    pub const fn new(first: i32, largest: i32) -> Self {
        Self {
            size: first,
            largest,
        }
    }

    /// After a batch: what it was begun at, and whether it was done. One that failed may have been too large for its time. Returns what it took.
    pub fn after(&mut self, began: Instant, done: bool) -> Duration {
        let took = began.elapsed();
        self.size = match done {
            true if took < BATCH_TIME / 2 => self.size.saturating_mul(2).min(self.largest),
            true if took <= BATCH_TIME => self.size,
            _ => (self.size / 2).max(1),
        };
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_while_they_are_quick_and_shrink_when_they_fail_or_take_long() {
        let mut pace = Pace::new(50, 120);
        let mut after = |millis, done| {
            pace.after(Instant::now() - Duration::from_millis(millis), done);
            pace.size
        };
        let sizes = [(1, true), (1, true), (200, true), (251, true), (1, false)];
        assert_eq!(
            sizes.map(|(millis, done)| after(millis, done)),
            [100, 120, 120, 60, 30]
        );
        assert_eq!([0; 9].map(|_| after(1, false)).last(), Some(&1));
    }
}
