//! `max_anchor_lag`: how old a row may be that no anchor covers, before reads are refused.
//!
//! Shared memory holds one moment: no row that was committed before it lacks an anchor. A read compares it with its own moment and does nothing else;
//! a row that is written does not touch it. Whoever works it out notes the time, looks then for the oldest row without an anchor, and stores the earlier
//! of both: what that look did not see was committed after the time it noted. So the moment is never too late, whoever stores it, and in whatever order.
//!
//! Trust: the moment comes from `anchor_commits` and the wall clock. Whoever sets the server's clock sets what it is compared with.

use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, Ordering};

use crate::backend_local::BackendLocal;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::query::{connected, with_latest_snapshot};
use crate::{gucs, worker_process};

use super::{due, progress};

const MICROS_PER_MINUTE: i64 = 60_000_000;
/// Rounds of the maintenance process between two looks at the log while nothing is stale, and between two notifications while something is.
const ROUNDS_PER_LOOK: u32 = 10;

/// In microseconds since the Unix epoch. What was never worked out is the epoch itself: so reads are refused until it is.
static COVERED: AtomicPtr<AtomicI64> = AtomicPtr::new(std::ptr::null_mut());
static ROUNDS: AtomicU32 = AtomicU32::new(0);

/// What the current transaction has recorded of anchors.
struct Local {
    recorded: bool,
    /// The moment that holds once it has committed.
    covered: Option<i64>,
}

static LOCAL: BackendLocal<Local> = BackendLocal::new(Local {
    recorded: false,
    covered: None,
});

pub fn shared_size() -> usize {
    2 * size_of::<AtomicI64>()
}

pub unsafe fn attach(area: *mut u8) {
    let aligned = unsafe { area.add(area.align_offset(align_of::<AtomicI64>())) };
    COVERED.store(aligned.cast(), Ordering::Relaxed);
}

/// Whether rows have waited for an anchor for too long, at this moment in microseconds since the Unix epoch. A moment that lies as far ahead says the
/// same: the clock was set back since.
pub fn stale(at: i64) -> bool {
    let most = i64::from(gucs::MAX_ANCHOR_LAG.get()) * MICROS_PER_MINUTE;
    most != 0 && (at - covered().load(Ordering::Relaxed)).abs() > most
}

/// Works the moment out anew. Not in a transaction that recorded an anchor: what it sees may yet be rolled back.
pub fn refresh() {
    if !LOCAL.with(|local| local.recorded) {
        covered().store(look(), Ordering::Relaxed);
    }
}

/// The same in the maintenance process: now and then, since the moment grows old though nothing waits; and at once while reads are refused. Then
/// whoever seals is told, too: a gateway that commits after a day what it read a day ago must not have everybody refused until the next ten minutes
/// are over.
pub fn keep_up() {
    if gucs::MAX_ANCHOR_LAG.get() == 0 {
        return;
    }
    let rounds = ROUNDS.load(Ordering::Relaxed);
    if rounds == 0 || stale(clock::now_unix_micros()) {
        worker_process::in_transaction(refresh);
    }
    if rounds == 0 && stale(clock::now_unix_micros()) {
        due::soon();
    }
    let next = rounds.checked_sub(1).unwrap_or(ROUNDS_PER_LOOK);
    ROUNDS.store(next, Ordering::Relaxed);
}

/// This transaction has recorded an anchor: what is covered by it holds once it has committed.
pub fn recorded() {
    LOCAL.with(|local| local.recorded = true);
    let moment = look();
    LOCAL.with(|local| local.covered = Some(moment));
}

/// At commit. Called from the commit callback: allocates nothing, cannot raise.
pub fn commit() {
    LOCAL.with(|local| {
        if let Some(moment) = local.covered {
            covered().store(moment, Ordering::Relaxed);
        }
    });
    abort();
}

/// At abort: nothing was anchored.
pub fn abort() {
    LOCAL.with(|local| {
        local.recorded = false;
        local.covered = None;
    });
}

/// At the abort of a savepoint: perhaps nothing was anchored. If something was, the maintenance process will find it.
pub fn abort_subtransaction() {
    LOCAL.with(|local| local.covered = None);
}

fn look() -> i64 {
    let now = clock::now_unix_micros();
    let oldest = with_latest_snapshot(|| connected(|| progress::unanchored().oldest));
    // A row from the future was dated by a clock that was wrong: it waits for at least as long as nobody knows since when.
    oldest.map_or(now, |oldest| now - (now - oldest - UNIX_EPOCH_MICROS).abs())
}

fn covered() -> &'static AtomicI64 {
    // SAFETY: attached at startup, lives as long as the process.
    unsafe { &*COVERED.load(Ordering::Relaxed) }
}
