//! `NOTIFY identity_seal_due`: a row of the Merkle class was committed, or reads are refused because anchors are late, and whoever seals should not wait
//! for the next ten minutes to be over. Events that somebody outside is told of are such rows, so `NOTIFY identity_outbox` goes with it.
//!
//! The transaction that leaves such a row only counts it, in shared memory; the maintenance process notifies. A NOTIFY of the transaction's own would
//! have it commit under a lock that all notifying transactions of the server share.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use identity_core::vocabulary::{AccessorKind, ChainKind};
use pgrx::pg_sys::{self, errcodes::PgSqlErrorCode};

use crate::answer::value;
use crate::query::{Statement, connected};
use crate::record::{Fate, Shape};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, outbox, worker_process};

sql_function!(_seal_occasions, pg_finfo__seal_occasions, occasions);

static NOTIFY: Statement =
    Statement::write(c"SELECT pg_catalog.pg_notify('identity_seal_due', '')", &[]);

/// Transactions with such a row that committed since the server started, and other occasions.
static OCCASIONS: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// Those that this process has notified of. One that begins anew tells of all of them once more: who listens finds nothing to seal.
static NOTIFIED: AtomicU64 = AtomicU64::new(0);

pub fn shared_size() -> usize {
    2 * size_of::<AtomicU64>()
}

pub unsafe fn attach(area: *mut u8) {
    let aligned = unsafe { area.add(area.align_offset(align_of::<AtomicU64>())) };
    OCCASIONS.store(aligned.cast(), Ordering::Relaxed);
}

/// Whether a row is one to seal soon. The record of an anchor is not: it would bring about the next anchor, and so on for ever.
pub fn is_due(shape: &Shape, fate: &Fate) -> bool {
    fate.chain_kind == ChainKind::Merkle && shape.kind != AccessorKind::Anchor
}

/// A transaction with such rows has committed, or there is another reason to seal. Called from the commit callback: cannot raise.
pub fn soon() {
    count().fetch_add(1, Ordering::Relaxed);
}

/// Tells those who listen, if there is something to tell. What stands in the way, a queue of notifications that is full, is told and tried again.
pub fn notify(before: Option<PgSqlErrorCode>) -> Option<PgSqlErrorCode> {
    let occasions = count().load(Ordering::Relaxed);
    if occasions == NOTIFIED.load(Ordering::Relaxed) {
        return None;
    }
    let outcome = worker_process::try_in_transaction_as_keeper(|| {
        connected(|| {
            NOTIFY.run(&mut []);
            outbox::tell_of_new();
        });
    });
    let trouble = outcome.err();
    match trouble {
        None => NOTIFIED.store(occasions, Ordering::Relaxed),
        Some(code) if before != Some(code) => {
            pgrx::warning!("identity_pgx: identity_seal_due cannot be notified: {code:?}");
        }
        Some(_) => {}
    }
    trouble
}

/// What a notification is worth: anybody may send one, and only a commit moves this number.
fn occasions(_: Arguments) -> pg_sys::Datum {
    call::operation();
    let occasions = count().load(Ordering::Relaxed).cast_signed();
    value(occasions).unwrap_or(pg_sys::Datum::from(0))
}

fn count() -> &'static AtomicU64 {
    // SAFETY: attached at startup, lives as long as the process.
    unsafe { &*OCCASIONS.load(Ordering::Relaxed) }
}
