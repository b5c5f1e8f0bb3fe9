//! What the background processes share: connecting, transactions, leaving.

use std::ffi::{CStr, CString};
use std::panic::AssertUnwindSafe;

use pgrx::bgworkers::{BackgroundWorker, SignalWakeFlags};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, PgTryBuilder, errcodes::PgSqlErrorCode};

use crate::gucs;

/// What the owner of the database could otherwise change under our processes by ALTER DATABASE. Not the timeouts, which work by a cancel
/// (see `connect`) or in sessions of clients only. Numbering the changes of subjects runs under policies, hence row_security, and writes what
/// clients write at the same time, hence the isolation level.
const SETTINGS: [(&CStr, &CStr); 6] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"role", c"none"),
    (c"row_security", c"on"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_table_access_method", c"heap"),
];

/// Takes over the signals and connects to the served database as the bootstrap superuser with a closed search_path. A cancel
/// (SIGINT) only wakes: there is no statement of a client's to cancel.
pub fn connect() {
    attach_signal_handlers();
    let database = CString::new(gucs::database()).unwrap_or_default();
    // SAFETY: once per background worker, before it runs SQL; constant names and values of settings.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnection(database.as_ptr(), std::ptr::null(), 0);
        for (name, value) in SETTINGS {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
                pg_sys::GucAction::GUC_ACTION_SET,
                true,
                0,
                false,
            );
        }
    }
}

fn attach_signal_handlers() {
    BackgroundWorker::attach_signal_handlers(
        SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM | SignalWakeFlags::SIGINT,
    );
}

/// Runs `work` in a transaction of its own.
pub fn in_transaction<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: no transaction is open in this process. On ERROR the process ends.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = work();
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        pg_sys::pgstat_report_stat(true);
        result
    }
}

/// The same as `identity_keeper`: what is written below SQL needs no privilege, so it is done with as little as there is.
pub fn in_transaction_as_keeper<T>(work: impl FnOnce() -> T) -> T {
    in_transaction(|| {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: within a transaction, and undone before it commits; an ERROR ends the process.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            let keeper = pg_sys::get_role_oid(c"identity_keeper".as_ptr(), false);
            pg_sys::SetUserIdAndSecContext(
                keeper,
                context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
            );
            let result = work();
            pg_sys::SetUserIdAndSecContext(user, context);
            result
        }
    })
}

/// The same, but an ERROR ends the transaction and not the process. Only the error's code comes back: its words may quote a value.
pub fn try_in_transaction_as_keeper<T>(work: impl FnOnce() -> T) -> Result<T, PgSqlErrorCode> {
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| Ok(in_transaction_as_keeper(work))))
        .catch_others(|error| {
            let (CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic {
                ereport: report, ..
            }) = error;
            Err(report.sql_error_code())
        })
        .execute();
    if outcome.is_err() {
        // SAFETY: releases whatever the failed transaction holds: locks, snapshots, SPI, the user it ran as.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    outcome
}

// As they are: what pgrx makes of them guards against errors, which no signal handler raises.
unsafe extern "C-unwind" {
    fn StatementCancelHandler(signal: i32);
    fn die(signal: i32);
}

/// How long such work waits for a lock that somebody holds.
const LOCK_TIMEOUT: &CStr = c"2s";

/// The same for work as clients do it, which may wait for clients: it waits for no lock for long, a cancel ends it, and a shutdown ends it with the
/// process. Between such pieces of work there is nothing to cancel (see `connect`).
pub fn try_as_client<T>(work: impl FnOnce() -> T) -> Result<T, PgSqlErrorCode> {
    // SAFETY: PostgreSQL's own handlers, which only set flags; both are replaced again below.
    unsafe {
        handle(pg_sys::SIGINT, StatementCancelHandler);
        handle(pg_sys::SIGTERM, die);
    }
    let outcome = try_in_transaction_as_keeper(|| {
        // SAFETY: constant name and value, for this transaction.
        unsafe {
            pg_sys::set_config_option(
                c"lock_timeout".as_ptr(),
                LOCK_TIMEOUT.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
        }
        work()
    });
    attach_signal_handlers();
    // SAFETY: a flag of this process, and locks that it holds beyond its transactions.
    unsafe {
        // A cancel that came too late must not end what comes next.
        pg_sys::QueryCancelPending = 0;
        // Advisory locks of an application's code, which no end of a transaction gives back. A session's go when it ends; this one does not.
        pg_sys::LockReleaseSession(pg_sys::USER_LOCKMETHOD as pg_sys::LOCKMETHODID);
    }
    outcome
}

unsafe fn handle(signal: u32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: the caller's handler is safe to run at any moment.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(signal as i32, Some(handler));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(signal as i32, Some(handler));
    }
}

/// Takes the server's configuration in again.
pub fn reload_configuration() {
    // SAFETY: a worker may reload between transactions.
    unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
}

/// Whether the whole server is going down, as opposed to this process having been terminated: the postmaster notes it in its
/// pid file before it signals anybody.
pub fn server_is_stopping() -> bool {
    // The working directory of every server process is the data directory. Line 8 is the status.
    // SAFETY: a system call, and a constant of this process.
    let alive = unsafe { libc::getppid() == pg_sys::PostmasterPid };
    alive
        && std::fs::read_to_string("postmaster.pid").is_ok_and(|file| {
            file.lines()
                .nth(7)
                .is_some_and(|status| status.trim() == "stopping")
        })
}

/// Has the postmaster look whether a worker is due. Before PostgreSQL 16 it can miss that: if a worker ends while it forks another process,
/// it learns of it only after it has worked out how long to sleep, and that may be a minute.
pub fn wake_postmaster() {
    // SAFETY: a signal that means "look around"; its handler runs to the end and the sleep is worked out anew. A server in single-user mode has
    // no postmaster, and 0 would be a whole process group.
    unsafe {
        if pg_sys::IsUnderPostmaster {
            libc::kill(pg_sys::PostmasterPid, libc::SIGUSR1);
        }
    }
}

/// Leaves with exit code 1: a worker that exits with 0 is never started again.
pub fn exit() -> ! {
    // SAFETY: runs the exit callbacks and ends the process.
    unsafe { pg_sys::proc_exit(1) };
    #[allow(unreachable_code)]
    // PostgreSQL 15's declaration says that it does not return, later ones' do not
    std::process::exit(1)
}
