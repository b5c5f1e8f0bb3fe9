//! What happens at the ends of transactions and savepoints. Registered once, before any backend exists, in C style: pgrx's own
//! registration allocates, and an ERROR or an allocation failure in a commit callback is a PANIC of the whole cluster.

use std::ffi::c_void;

use identity_core::reason::Reason;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::backend_local::BackendLocal;
use crate::keys::pending;
use crate::ledger::lag;
use crate::recorder::{queue, slots};
use crate::{error, lane};

/// Whether the current transaction wrote what must not be lost, besides rows of the log.
static MUST_LAST: BackendLocal<bool> = BackendLocal::new(false);

/// Whether the current transaction keeps others from subjects, or from writing policy.
static HOLDS: BackendLocal<bool> = BackendLocal::new(false);

/// The current transaction cannot be prepared: it would keep others out until somebody remembers it, and nobody could be erased meanwhile.
pub fn must_end() {
    HOLDS.with(|holds| *holds = true);
}

/// The current transaction is flushed and waits for standbys as one with access rows does, whatever its session says.
pub fn must_last() {
    // SAFETY: sets a flag of the transaction.
    unsafe { pg_sys::ForceSyncCommit() };
    MUST_LAST.with(|must| *must = true);
}

fn lasts() -> bool {
    lane::appended() || MUST_LAST.with(|must| *must)
}

fn reset() {
    MUST_LAST.with(|must| *must = false);
    HOLDS.with(|holds| *holds = false);
}

/// Registers the callbacks. Called once, from `_PG_init`, while preloading.
pub fn install() {
    // SAFETY: the callbacks are functions of this library, which stays loaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), std::ptr::null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_ends(
    event: pg_sys::XactEvent::Type,
    _argument: *mut c_void,
) {
    match event {
        // The last moment that may still fail.
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => wait_for_what_the_server_waits_for(),
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE if lasts() || HOLDS.with(|holds| *holds) => {
            error::raise(Reason::PreparedTransaction)
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            lane::commit();
            lag::commit();
            queue::release();
            pending::commit();
            reset();
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            lane::abort();
            lag::abort();
            queue::surrender();
            pending::abort();
            reset();
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    child: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => {
            lane::commit_subtransaction(child, parent);
            queue::commit_subtransaction(child, parent);
            pending::commit_subtransaction(child, parent);
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            lane::abort_subtransaction(child);
            lag::abort_subtransaction();
            queue::abort_subtransaction(child);
            pending::abort_subtransaction(child);
        }
        _ => {}
    }
}

/// A transaction with access rows, or a seal, waits for the standbys that the server's configuration names, whatever this session has set.
/// (That its commit record is flushed here was forced when the first row was appended.)
fn wait_for_what_the_server_waits_for() {
    let server = slots::server_synchronous_commit();
    // SAFETY: reads a setting; changes it for what is left of this transaction, under the postmaster's authority.
    unsafe {
        if !lasts() || pg_sys::synchronous_commit >= server {
            return;
        }
        let value = match server as u32 {
            pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_LOCAL_FLUSH => c"local",
            pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_WRITE => c"remote_write",
            pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_FLUSH => c"on",
            _ => c"remote_apply",
        };
        pg_sys::set_config_option(
            c"synchronous_commit".as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            PgLogLevel::ERROR as i32,
            false,
        );
    }
}
