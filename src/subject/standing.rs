//! Where a subject stands: what of it, beside its fields, decides and is recorded.

use identity_core::decision::Subject;
use identity_core::vocabulary::{ConsentStatus, Vertical};

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
    /// From a row that begins with vertical, consent_status, whether it was erased, generation; `None` if there is no row. A state that is not
    /// understood is the strictest one.
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
            consent: rows
                .get(row, 2)
                .and_then(ConsentStatus::parse)
                .unwrap_or(ConsentStatus::PendingBackfillReview),
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
