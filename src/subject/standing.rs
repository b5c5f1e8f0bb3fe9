//! Where a subject stands: what of it, beside its fields, decides and is recorded.

use identity_core::decision::Subject;
use identity_core::vocabulary::{ConsentStatus, Vertical};

use crate::clock;
use crate::query::Rows;
use crate::record::Entry;

#[derive(Clone, Copy)]
pub struct Standing {
    pub vertical: Vertical,
    pub consent: ConsentStatus,
    pub erased: bool,
    pub generation: i32,
}

impl Standing {
    /// From a row that begins with vertical, consent_status, whether it was erased, generation, and ends with consent_valid_until; `None` if there
    /// is no row. A state that is not understood is the strictest one, and a consent that has run out is expired without anybody having marked it so.
    pub fn of(rows: &Rows) -> Option<Self> {
        (rows.count == 1).then(|| Self::at(rows, 0))
    }

    /// The same from one of several rows.
    pub fn at(rows: &Rows, row: usize) -> Self {
        Self {
            vertical: rows
                .get(row, 1)
                .and_then(Vertical::parse)
                .unwrap_or(Vertical::Unknown),
            consent: as_of(
                rows.get(row, 2)
                    .and_then(ConsentStatus::parse)
                    .unwrap_or(ConsentStatus::PendingBackfillReview),
                rows.last_moment(row),
                clock::now(),
            ),
            erased: rows.get(row, 3).unwrap_or(true),
            generation: rows.get(row, 4).unwrap_or(0),
        }
    }

    /// What a decision looks at.
    pub fn subject(&self) -> Subject {
        Subject {
            vertical: self.vertical,
            consent: self.consent,
            erased: self.erased,
        }
    }

    /// Puts it into the record of the call.
    pub fn note(&self, entry: &mut Entry) {
        entry.vertical = Some(self.vertical);
        entry.consent = Some(self.consent);
        entry.generation = Some(self.generation);
    }
}

/// A state of consent as of a moment: what was given holds until `valid_until`.
pub fn as_of(consent: ConsentStatus, valid_until: Option<i64>, now: i64) -> ConsentStatus {
    match consent {
        ConsentStatus::Given if valid_until.is_some_and(|until| until <= now) => {
            ConsentStatus::Expired
        }
        _ => consent,
    }
}
