//! How far a sweep has come. A pass goes through the subjects once, in the order of their ids, a batch at a time; the place lies in the table, so whoever
//! takes the next batch goes on there, also after a crash.

use pgrx::pg_sys;

use super::sweep::{Batch, Sweep};
use crate::clock;
use crate::query::{Statement, bind};
use crate::sql_function::uuid;

/// Nights begin at 03:00 UTC, in microseconds.
const NIGHT_BEGINS: i64 = 3 * 3_600_000_000;
const DAY: i64 = 86_400_000_000;

static LOAD: Statement = Statement::read(
    c"SELECT cursor, policies, began_at, ended_at, done, busy, failed FROM identity.sweep_progress WHERE sweep = $1",
    &[pg_sys::TEXTOID],
);
static SAVE: Statement = Statement::write(
    c"INSERT INTO identity.sweep_progress AS p (sweep, cursor, policies, began_at, ended_at, done, busy, failed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
      ON CONFLICT (sweep) DO UPDATE SET cursor = excluded.cursor, policies = excluded.policies, began_at = excluded.began_at,
             ended_at = COALESCE(excluded.ended_at, p.ended_at), done = excluded.done, busy = excluded.busy, failed = excluded.failed",
    &[
        pg_sys::TEXTOID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID, pg_sys::INT8OID,
        pg_sys::INT8OID,
    ],
);

/// The id that is before all others; it is nobody's.
const FIRST: [u8; 16] = [0; 16];

/// A place in a pass: the cursor, and when the pass began and the last one ended.
pub type Mark = (Option<[u8; 16]>, i64, Option<i64>);

/// Times are PostgreSQL's microseconds.
#[derive(Clone)]
pub struct Progress {
    cursor: Option<[u8; 16]>,
    policies: String,
    began_at: i64,
    pub ended_at: Option<i64>,
    pub done: i64,
    pub busy: i64,
    pub failed: i64,
}

impl Progress {
    /// Runs inside a call's snapshot; `None` if the sweep never ran.
    pub fn load(sweep: Sweep) -> Option<Self> {
        let rows = LOAD.run(&mut [bind(sweep.name())]);
        let moment = |column| rows.moment(0, column);
        Some(Self {
            cursor: rows.datum(0, 1).map(uuid),
            policies: rows.get(0, 2)?,
            began_at: moment(3)?,
            ended_at: moment(4),
            done: rows.get(0, 5)?,
            busy: rows.get(0, 6)?,
            failed: rows.get(0, 7)?,
        })
    }

    /// The pass that a batch belongs to: the one under way, or a new one. One begins anew with each night and under other policies: what is due then may
    /// lie before the place that the last one came to.
    pub fn of_batch(sweep: Sweep, policies: &str) -> Self {
        let now = clock::now();
        let under_way = Self::load(sweep).filter(|progress| {
            progress.cursor.is_some()
                && progress.policies == policies
                && progress.began_at <= now
                && night(progress.began_at) == night(now)
        });
        under_way.unwrap_or_else(|| Self {
            cursor: None,
            policies: policies.to_owned(),
            began_at: now,
            ended_at: None,
            done: 0,
            busy: 0,
            failed: 0,
        })
    }

    /// Where it stands: another one once any batch was taken.
    pub fn mark(&self) -> Mark {
        (self.cursor, self.began_at, self.ended_at)
    }

    /// Subjects after this one are still to be looked at.
    pub fn after(&self) -> [u8; 16] {
        self.cursor.unwrap_or(FIRST)
    }

    /// Notes a batch, whose last subject was this one if there is more. In the transaction of the batch.
    pub fn advance(&self, sweep: Sweep, batch: &Batch, last: Option<[u8; 16]>) {
        let count = |before: i64, more: usize| bind(before + i64::try_from(more).unwrap_or(0));
        SAVE.run(&mut [
            bind(sweep.name()),
            last.map(pgrx::Uuid::from_bytes).and_then(bind),
            bind(self.policies.as_str()),
            Some(pg_sys::Datum::from(self.began_at)),
            last.is_none().then(|| pg_sys::Datum::from(clock::now())),
            count(self.done, batch.done),
            count(self.busy, batch.busy),
            count(self.failed, batch.failed),
        ]);
    }
}

/// Whether a pass of this night is over that left nobody for the next one. A moment that lies ahead is of a clock that was set back since.
pub fn is_over_for_tonight(progress: &Progress) -> bool {
    let now = clock::now();
    progress.busy == 0
        && progress.cursor.is_none()
        && progress
            .ended_at
            .is_some_and(|ended| ended <= now && night(ended) == night(now))
}

/// The number of the night that a moment belongs to.
pub fn night(at: i64) -> i64 {
    (at - NIGHT_BEGINS).div_euclid(DAY)
}
