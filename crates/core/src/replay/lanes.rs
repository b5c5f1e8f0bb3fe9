//! One lane, row by row: each sequence number once, each MAC from the one before, no moment before an
//! earlier one.

use super::finding::{Fault, Finding, Place, seq};
use super::store::{Content, Link, Row};

/// How far a moment may lie before an earlier one, in microseconds: clocks are disciplined in small
/// steps all the time.
pub(super) const TOLERANCE: i64 = 1_000_000;

/// Follows one lane.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneWalk {
    seq: u64,
    moment: Option<i64>,
}

impl LaneWalk {
    /// Starts after the row with this sequence number; 0 is the beginning.
    #[must_use]
    pub const fn after(seq: u64) -> Self {
        Self { seq, moment: None }
    }

    /// The sequence number of the last row, or of the last one that is known to have been.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Checks the next row. `explained` of the rows that are missing before it are known to have been
    /// dropped.
    pub fn row(&mut self, row: &Row, explained: u64, found: &mut dyn FnMut(Finding)) {
        let place = Place::Row(row.access_id);
        let mut fault = |fault| found(Finding { place, fault });
        let number = seq(row.access_id);
        if number <= self.seq {
            fault(Fault::Fork);
            return;
        }
        let expected = self.seq + 1;
        if number - expected > explained {
            fault(Fault::Gap { expected });
        }
        match row.content {
            Content::Malformed
            | Content::Leaf {
                link: Link::Broken, ..
            } => fault(Fault::Altered),
            Content::NoKey => fault(Fault::NoKey),
            Content::Leaf { .. } => {}
        }
        // Refusals, and reads that were rolled back, are written after the moment they name.
        if row.committed {
            if self
                .moment
                .is_some_and(|before| before.saturating_sub(row.accessed_at) > TOLERANCE)
            {
                fault(Fault::RowGoesBack);
            }
            self.moment = Some(row.accessed_at);
        }
        self.seq = number;
    }

    /// The rows up to this one are known to have been dropped.
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }
}
