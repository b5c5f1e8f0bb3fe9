//! Shared memory: asks for it at preload, lays it out at startup. Each area's contents are its own module's business.
//!
//! Lock order: `Lock::Queue` before `Lock::Keys`; `Lock::Limits` alone. None is held while SQL runs.

use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::ledger::{due, lag};
use crate::{keys, lane, limits, metrics, recorder};

const NAME: &std::ffi::CStr = c"identity_pgx";
const LOCKS: i32 = 3;

/// The lightweight locks of the extension.
#[derive(Clone, Copy)]
pub enum Lock {
    /// The key region.
    Keys = 0,
    /// Movements of slots to and from the recorder.
    Queue = 1,
    /// What callers have had of their rates and caps.
    Limits = 2,
}

static LOCK_ARRAY: AtomicPtr<pg_sys::LWLockPadded> = AtomicPtr::new(std::ptr::null_mut());
static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// Installs the hooks. Called once, from `_PG_init`, while preloading.
pub fn install() {
    // SAFETY: preloading is single-threaded, before any other process exists.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

/// Whether the areas are there, which they are only if the library was preloaded.
pub fn attached() -> bool {
    !LOCK_ARRAY.load(Ordering::Relaxed).is_null()
}

/// Runs `work` under a lock, shared or exclusive. `work` must not raise: it only moves memory.
pub fn locked<T>(lock: Lock, exclusive: bool, work: impl FnOnce() -> T) -> T {
    let mode = if exclusive {
        pg_sys::LWLockMode::LW_EXCLUSIVE
    } else {
        pg_sys::LWLockMode::LW_SHARED
    };
    // SAFETY: the array was set at startup to LOCKS locks of our tranche, and `lock` is below that.
    unsafe {
        let held = &raw mut (*LOCK_ARRAY.load(Ordering::Relaxed).add(lock as usize)).lock;
        pg_sys::LWLockAcquire(held, mode);
        let result = work();
        pg_sys::LWLockRelease(held);
        result
    }
}

/// The number of backend slots, hence of lanes.
pub fn backend_slots() -> usize {
    // SAFETY: set by the postmaster before the hooks run, constant afterwards.
    unsafe { usize::try_from(pg_sys::MaxBackends).unwrap_or(0) }
}

#[pg_guard]
unsafe extern "C-unwind" fn request() {
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            previous();
        }
        pg_sys::RequestAddinShmemSpace(
            keys::region::shared_size()
                + lane::shared_size()
                + recorder::slots::shared_size()
                + limits::table::shared_size()
                + lag::shared_size()
                + due::shared_size()
                + metrics::shared_size(),
        );
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), LOCKS);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn startup() {
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            previous();
        }
        keys::region::attach(area(c"identity_pgx keys", keys::region::shared_size()));
        lane::attach(area(c"identity_pgx lanes", lane::shared_size()));
        recorder::slots::attach(area(
            c"identity_pgx recorder",
            recorder::slots::shared_size(),
        ));
        limits::table::attach(area(c"identity_pgx limits", limits::table::shared_size()));
        lag::attach(area(c"identity_pgx anchors", lag::shared_size()));
        due::attach(area(c"identity_pgx events", due::shared_size()));
        metrics::attach(area(c"identity_pgx metrics", metrics::shared_size()));
        LOCK_ARRAY.store(
            pg_sys::GetNamedLWLockTranche(NAME.as_ptr()),
            Ordering::Relaxed,
        );
    }
}

/// A zeroed area. It is zeroed after a crash too: every process starts anew, keys and queue included.
unsafe fn area(name: &std::ffi::CStr, size: usize) -> *mut u8 {
    unsafe {
        let mut found = false;
        let area = pg_sys::ShmemInitStruct(name.as_ptr(), size, &mut found).cast::<u8>();
        if !found {
            area.write_bytes(0, size);
        }
        area
    }
}
