//! How many erasures are open, late, or done and not yet scrubbed: for `identity_status` and `metrics`.

use pgrx::pg_sys;

use crate::clock;
use crate::query::{Rows, Statement, connected};
use crate::scrub::waits;

static OPEN: Statement = Statement::read(
    c"SELECT pg_catalog.count(*), pg_catalog.min(requested_at), pg_catalog.count(*) FILTER (WHERE due_at < $1)
        FROM identity.erasure_requests WHERE state IN ('requested', 'authorised', 'held')",
    &[pg_sys::TIMESTAMPTZOID],
);
/// Some erasures, and the moment since when the oldest of them waits.
pub struct Waiting {
    pub count: i64,
    pub oldest: Option<i64>,
}

impl Waiting {
    /// From a row that begins with these two.
    pub fn of(rows: &Rows) -> Self {
        Self {
            count: rows.get(0, 1).unwrap_or(0),
            oldest: rows.moment(0, 2),
        }
    }
}

/// How erasures stand as a whole.
pub struct Gauges {
    pub open: Waiting,
    /// Those of the open ones that should have been done by now.
    pub overdue: i64,
    pub unscrubbed: Waiting,
}

/// Runs inside a call's snapshot.
pub fn gauges() -> Gauges {
    connected(|| {
        let open = OPEN.run(&mut [Some(pg_sys::Datum::from(clock::now()))]);
        Gauges {
            overdue: open.get(0, 3).unwrap_or(0),
            open: Waiting::of(&open),
            unscrubbed: waits::waiting(),
        }
    })
}
