//! A pass: what it is for, and when it has done for that.
//!
//! An erasure is a pass's if its transaction, and every older one, had ended when the pass began: its rows are older than `covers`, the oldest
//! transaction that ran then. Whatever those transactions changed, they changed under ids below `horizon`, the next one that was to be given out.

use pgrx::pg_sys;

use super::{progress, waits};
use crate::clock;
use crate::erasure::stores::RELATIONS;
use crate::gucs;
use crate::query::{Statement, bind};

/// How many passes stay on record.
const KEPT: i64 = 100;
const MICROS_PER_MINUTE: i64 = 60_000_000;

static CURRENT: Statement = Statement::read(
    c"SELECT pass, covers, horizon, every_page FROM identity.scrub_passes WHERE ended_at IS NULL",
    &[],
);
static BEGIN: Statement = Statement::write(
    c"INSERT INTO identity.scrub_passes (pass, began_at, covers, horizon, timeline, every_page)
      SELECT COALESCE(pg_catalog.max(pass), 0) + 1, $1, $2, $3, $4, $4 > 1 AND NOT COALESCE(pg_catalog.bool_or(timeline = $4 AND ended_at IS NOT NULL), false)
        FROM identity.scrub_passes",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
    ],
);
static COUNT: Statement = Statement::write(
    c"UPDATE identity.scrub_passes SET looked_at = looked_at + $2, rewritten = rewritten + $3 WHERE pass = $1",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID],
);
/// Of those older than `$3` whoever nothing waits for by name. NOT IN, since that is looked up in a hash however many are expected.
static MARK: Statement = Statement::write(
    c"UPDATE identity.erasure_requests AS r SET scrubbed_at = $1, scrubbed_lsn = $2, residual_in_backups_until = $4
       WHERE r.state = 'done' AND r.scrubbed_at IS NULL AND pg_catalog.age(r.xmin) > pg_catalog.age($3)
         AND r.candidate_id NOT IN (SELECT w.candidate_id FROM identity.scrub_waits w WHERE w.candidate_id IS NOT NULL)",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::PG_LSNOID,
        pg_sys::XIDOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);
static END: Statement = Statement::write(
    c"UPDATE identity.scrub_passes SET ended_at = $2, end_lsn = $3 WHERE pass = $1",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::PG_LSNOID],
);
static TRIM: Statement = Statement::write(
    c"DELETE FROM identity.scrub_passes WHERE pass <= $1",
    &[pg_sys::INT8OID],
);

/// The pass that is under way.
#[derive(Clone, Copy)]
pub struct Pass {
    number: i64,
    covers: i64,
    horizon: i64,
    pub every_page: bool,
}

/// Begins a pass if any erasure can have it. `Err`: how many wait, and before which transaction somebody must end. Runs inside SPI and the call's
/// snapshot, which does not see what it writes.
pub fn begin() -> Result<(), (i64, pg_sys::TransactionId)> {
    // SAFETY: the snapshot of this call, and the id that is next. In this order: what had ended by the snapshot has lower ids.
    let (oldest, next) = unsafe {
        let oldest = (*pg_sys::GetActiveSnapshot()).xmin;
        (oldest, pg_sys::ReadNextFullTransactionId().value)
    };
    let (waiting, ready) = waits::count(oldest);
    if ready == 0 {
        return Err((waiting, short(next as i64)));
    }
    let younger_by = u64::from((next as u32).wrapping_sub(oldest.into_inner()));
    // SAFETY: reads the server's state.
    let timeline = unsafe { pg_sys::GetWALInsertionTimeLine() };
    BEGIN.run(&mut [
        Some(pg_sys::Datum::from(clock::now())),
        bind(next.saturating_sub(younger_by) as i64),
        bind(next as i64),
        bind(i64::from(timeline)),
    ]);
    progress::begin(&RELATIONS);
    Ok(())
}

/// The pass that is under way. Runs inside SPI and a snapshot.
pub fn under_way() -> Option<Pass> {
    let rows = CURRENT.run(&mut []);
    Some(Pass {
        number: rows.get(0, 1)?,
        covers: rows.get(0, 2)?,
        horizon: rows.get(0, 3)?,
        every_page: rows.get(0, 4)?,
    })
}

impl Pass {
    /// What nobody may see any more before a page is touched: changes of transactions before this one.
    pub fn horizon(&self) -> pg_sys::TransactionId {
        short(self.horizon)
    }

    /// Adds to what the pass has looked at and rewritten.
    pub fn count(&self, looked_at: i64, rewritten: i64) {
        COUNT.run(&mut [bind(self.number), bind(looked_at), bind(rewritten)]);
    }

    /// Every page is done: nothing waits for this pass any more, and the requests are marked. Returns how many.
    pub fn end(&self) -> usize {
        let at = clock::now();
        let [now, residual] = [at, residual_until(at)].map(|at| Some(pg_sys::Datum::from(at)));
        // SAFETY: reads the server's state. Everything that the pass wrote lies before it.
        let lsn = Some(pg_sys::Datum::from(unsafe {
            pg_sys::GetXLogInsertRecPtr()
        }));
        let covers = short(self.covers);
        let marked = if waits::end(covers) {
            MARK.run(&mut [now, lsn, bind(covers), residual]).count
        } else {
            0
        };
        END.run(&mut [bind(self.number), now, lsn]);
        TRIM.run(&mut [bind(self.number - KEPT)]);
        marked
    }
}

/// Until when backups may hold what a scrub at this moment removed: a promise, so it is written down and follows no later setting.
fn residual_until(scrubbed_at: i64) -> i64 {
    scrubbed_at.saturating_add(i64::from(gucs::BACKUP_RETENTION.get()) * MICROS_PER_MINUTE)
}

/// A transaction id without its epoch.
fn short(xid: i64) -> pg_sys::TransactionId {
    pg_sys::TransactionId::from(xid as u32)
}
