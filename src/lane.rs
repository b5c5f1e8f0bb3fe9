//! Lanes: each backend slot is a chain of its own, so that no transaction ever waits for another's commit.
//!
//! The committed head of a lane lies in shared memory and is written only by the backend that holds the slot. A transaction works on a
//! local copy with an undo stack for its savepoints; the copy is published when the transaction commits and dropped when it aborts.
//! Lock order: no locks. A slot passes from backend to backend through PostgreSQL's own free list, which orders the accesses.
//!
//! Trust: shared memory is only a cache. A head is loaded from the log once per start and after every unlock.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use identity_core::chain::{self, Head};
use identity_core::leaf::MAX_LANE;
use identity_core::reason::Reason;
use pgrx::pg_sys;

use crate::backend_local::BackendLocal;
use crate::keys::region::Keys;
use crate::ledger::{due, insert, table};
use crate::record::{self, Entry, Fate, Line, Shape};
use crate::shmem::backend_slots;

#[repr(C)]
struct Epoch {
    /// Grows whenever the cached heads may no longer be those of the log. Never 0 once attached.
    current: AtomicU64,
}

#[repr(C, align(64))]
struct Shared {
    /// The epoch in which this head was loaded; another one means it must be loaded again.
    epoch: AtomicU64,
    seq: AtomicU64,
    mac: UnsafeCell<[u8; 32]>,
}

struct Local {
    lane: u32,
    head: Option<Head>,
    epoch: u64,
    /// Rows that the sealer should not wait ten minutes for.
    events: u32,
    /// What to go back to: (subtransaction, head and events before its first row).
    undo: Vec<(pg_sys::SubTransactionId, (Head, u32))>,
}

static EPOCH: AtomicPtr<Epoch> = AtomicPtr::new(std::ptr::null_mut());
static LANES: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());
static LOCAL: BackendLocal<Local> = BackendLocal::new(Local {
    lane: 0,
    head: None,
    epoch: 0,
    events: 0,
    undo: Vec::new(),
});

pub fn shared_size() -> usize {
    size_of::<Shared>() * (backend_slots() + 2)
}

pub unsafe fn attach(area: *mut u8) {
    unsafe {
        let lanes = area
            .add(area.align_offset(align_of::<Shared>()))
            .cast::<Shared>();
        EPOCH.store(lanes.cast(), Ordering::Relaxed);
        LANES.store(lanes.add(1), Ordering::Relaxed);
        let epoch = &(*lanes.cast::<Epoch>()).current;
        let _ = epoch.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Appends a row to this backend's lane in the current transaction, which from now on cannot commit without it being on disk.
/// Returns the row's access id, or why it cannot be written.
pub fn append(keys: &Keys, shape: &Shape, entry: &Entry, fate: &Fate) -> Result<i64, Reason> {
    let lane = number();
    let before = head(&keys.installation, lane);
    let accessor_id = shape.accessor_id();
    let row = record::row(
        shape,
        entry,
        fate,
        &accessor_id,
        lane,
        before.seq + 1,
        chain_version(keys),
    );
    let mac = chain::link(&keys.chain, &before.mac, &row.leaf());
    insert::insert(&row, &mac)?;
    advance(
        before,
        Head {
            seq: before.seq + 1,
            mac,
        },
        u32::from(due::is_due(shape, fate)),
    );
    Ok(row.access_id())
}

/// Appends a row for each line of a batch, in their order. Returns the rows' access ids.
pub fn append_many(keys: &Keys, shape: &Shape, lines: &[Line]) -> Result<Vec<i64>, Reason> {
    let lane = number();
    let before = head(&keys.installation, lane);
    let accessor_id = shape.accessor_id();
    let mut after = before;
    let mut access_ids = Vec::with_capacity(lines.len());
    insert::insert_many(lines.iter().map(|line| {
        let Line { entry, fate, .. } = line;
        let version = chain_version(keys);
        let mut row = record::row(
            shape,
            entry,
            fate,
            &accessor_id,
            lane,
            after.seq + 1,
            version,
        );
        row.fields_accessed = line.fields;
        after = Head {
            seq: row.seq,
            mac: chain::link(&keys.chain, &after.mac, &row.leaf()),
        };
        access_ids.push(row.access_id());
        (row, after.mac)
    }))?;
    if !access_ids.is_empty() {
        let events = lines.iter().filter(|line| due::is_due(shape, &line.fate));
        let events = u32::try_from(events.count()).unwrap_or(u32::MAX);
        advance(before, after, events);
    }
    Ok(access_ids)
}

/// Whether the current transaction appended anything.
pub fn appended() -> bool {
    LOCAL.with(|local| !local.undo.is_empty())
}

/// Makes every lane load its head from the log again.
pub fn forget_heads() {
    epoch().fetch_add(1, Ordering::Relaxed);
}

/// The committed heads in shared memory: (lane, seq), only those that are loaded.
pub fn published() -> Vec<(u32, u64)> {
    let current = epoch().load(Ordering::Relaxed);
    (0..backend_slots())
        .filter_map(|slot| {
            let shared = shared(u32::try_from(slot).ok()?);
            (shared.epoch.load(Ordering::Acquire) == current).then(|| {
                (
                    u32::try_from(slot).unwrap_or(0),
                    shared.seq.load(Ordering::Relaxed),
                )
            })
        })
        .collect()
}

/// At commit: the local head becomes the lane's. Called from the commit callback: allocates nothing, cannot raise.
pub fn commit() {
    LOCAL.with(|local| {
        if let (Some(head), false) = (local.head, local.undo.is_empty()) {
            let shared = shared(local.lane);
            shared.epoch.store(0, Ordering::Release);
            // SAFETY: only the backend that holds the slot writes, and only it reads the MAC.
            unsafe { *shared.mac.get() = head.mac };
            shared.seq.store(head.seq, Ordering::Release);
            shared.epoch.store(local.epoch, Ordering::Release);
            if local.events > 0 {
                due::soon();
            }
        }
        local.head = None;
        local.events = 0;
        local.undo.clear();
    });
}

/// At abort: what was appended is not there.
pub fn abort() {
    LOCAL.with(|local| {
        local.head = None;
        local.events = 0;
        local.undo.clear();
    });
}

/// A subtransaction's rows become its parent's.
pub fn commit_subtransaction(child: pg_sys::SubTransactionId, parent: pg_sys::SubTransactionId) {
    LOCAL.with(|local| {
        let Some((top, before)) = local.undo.pop_if(|(id, _)| *id == child) else {
            return;
        };
        debug_assert_eq!(top, child);
        if local.undo.last().is_none_or(|(id, _)| *id != parent) {
            // The room is there: an element was just taken out.
            local.undo.push((parent, before));
        }
    });
}

/// A subtransaction's rows are gone.
pub fn abort_subtransaction(child: pg_sys::SubTransactionId) {
    LOCAL.with(|local| {
        if let Some((_, (head, events))) = local.undo.pop_if(|(id, _)| *id == child) {
            local.head = Some(head);
            local.events = events;
        }
    });
}

fn chain_version(keys: &Keys) -> i32 {
    i32::try_from(keys.chain.version()).unwrap_or(i32::MAX)
}

/// The rows up to `after` are written: the transaction's head, and its commit record is flushed whatever synchronous_commit says.
fn advance(before: Head, after: Head, events: u32) {
    // SAFETY: sets a flag of the transaction.
    unsafe { pg_sys::ForceSyncCommit() };
    // SAFETY: reads the transaction state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    LOCAL.with(|local| {
        if local
            .undo
            .last()
            .is_none_or(|(id, _)| *id != subtransaction)
        {
            local.undo.push((subtransaction, (before, local.events)));
        }
        local.head = Some(after);
        local.events = local.events.saturating_add(events);
    });
}

fn head(installation: &[u8; 16], lane: u32) -> Head {
    if let Some(head) = LOCAL.with(|local| local.head) {
        return head;
    }
    let current = epoch().load(Ordering::Relaxed);
    let shared = shared(lane);
    let head = if shared.epoch.load(Ordering::Acquire) == current {
        // SAFETY: the slot is ours, so nobody writes while we read.
        Head {
            seq: shared.seq.load(Ordering::Relaxed),
            mac: unsafe { *shared.mac.get() },
        }
    } else {
        table::newest(lane).unwrap_or_else(|| chain::genesis(installation, lane))
    };
    LOCAL.with(|local| {
        local.lane = lane;
        local.head = Some(head);
        local.epoch = current;
    });
    head
}

fn number() -> u32 {
    // SAFETY: set for every backend and background worker before it runs SQL.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let slot = (*pg_sys::MyProc).pgprocno;
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        let slot = pg_sys::MyProcNumber;
        u32::try_from(slot)
            .ok()
            .filter(|slot| (*slot as usize) < backend_slots() && *slot <= MAX_LANE)
            .unwrap_or_else(|| crate::error::fault("this process has no lane"))
    }
}

fn epoch() -> &'static AtomicU64 {
    // SAFETY: attached at startup, lives as long as the process.
    unsafe { &(*EPOCH.load(Ordering::Relaxed)).current }
}

fn shared(lane: u32) -> &'static Shared {
    // SAFETY: attached at startup; `lane` is below the number of backend slots.
    unsafe { &*LANES.load(Ordering::Relaxed).add(lane as usize) }
}
