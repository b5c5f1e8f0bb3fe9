//! Work that is undone by itself: the transaction it is part of goes on.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{PgTryBuilder, errcodes::PgSqlErrorCode};

/// Runs `work` in a subtransaction. What it did stays if it gives a value, and is undone if it gives an error or raises one. Of an error that is
/// raised only the code comes back: its words may quote a value. `work` must leave SPI, snapshots and settings as it found them when it succeeds.
pub fn attempt<T, E>(
    work: impl FnOnce() -> Result<T, E>,
    raised: fn(PgSqlErrorCode) -> E,
) -> Result<T, E> {
    // SAFETY: a transaction is open; memory context and resource owner are put back to what they were before, however `work` ended.
    unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(memory);
        let outcome = PgTryBuilder::new(AssertUnwindSafe(work))
            .catch_others(|error| {
                let (CaughtError::PostgresError(report)
                | CaughtError::ErrorReport(report)
                | CaughtError::RustPanic {
                    ereport: report, ..
                }) = error;
                Err(raised(report.sql_error_code()))
            })
            .execute();
        pg_sys::MemoryContextSwitchTo(memory);
        if outcome.is_ok() {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(memory);
        pg_sys::CurrentResourceOwner = owner;
        outcome
    }
}

/// The same, but an error that is raised goes on as one once the subtransaction is undone. (It has to be undone here: with a subtransaction open
/// the session would wait for a ROLLBACK that its client knows nothing of.)
pub fn unless_refused<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // SAFETY: as above.
    unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        let undo = move || {
            pg_sys::MemoryContextSwitchTo(memory);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            pg_sys::MemoryContextSwitchTo(memory);
            pg_sys::CurrentResourceOwner = owner;
        };
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(memory);
        let outcome = PgTryBuilder::new(AssertUnwindSafe(work))
            .catch_others(|error| {
                undo();
                error.rethrow()
            })
            .execute();
        if outcome.is_err() {
            undo();
        } else {
            pg_sys::ReleaseCurrentSubTransaction();
            pg_sys::MemoryContextSwitchTo(memory);
            pg_sys::CurrentResourceOwner = owner;
        }
        outcome
    }
}
