//! The recorder's side of the queue: takes what waits, and gives back what it could not write.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::slots::{Record, State, free, record, slots, tag};
use crate::shmem::{Lock, locked};

/// Whether this recorder has set something aside that is still there.
static ASIDE: AtomicBool = AtomicBool::new(false);

/// Takes up to `most` waiting slots.
pub fn take(most: usize) -> Vec<u32> {
    locked(Lock::Queue, true, || {
        slots()
            .filter(|slot| tag(*slot).pass(State::Queued, State::Taken, None))
            .take(most)
            .collect()
    })
}

/// What a taken slot holds.
pub fn taken(slot: u32) -> &'static Record {
    // SAFETY: taken slots are written by nobody until they are freed.
    unsafe { &*record(slot).get() }
}

/// The rows of a taken slot are committed. Called from the commit callback.
pub fn written(slot: u32) {
    free(slot);
}

/// What cannot be written now stands aside until `return_aside`, so that it holds up nothing behind it.
pub fn set_aside(slot: u32) {
    tag(slot).pass(State::Taken, State::Aside, None);
    ASIDE.store(true, Ordering::Relaxed);
}

/// What was set aside waits again.
pub fn return_aside() {
    return_all(State::Aside);
    ASIDE.store(false, Ordering::Relaxed);
}

pub fn has_aside() -> bool {
    ASIDE.load(Ordering::Relaxed)
}

/// The moments (µs since the Unix epoch) of what waits. A slot may change hands meanwhile: then a moment is of no use, and does no harm.
pub fn waiting_moments() -> Vec<i64> {
    locked(Lock::Queue, true, || {
        let waiting =
            slots().filter(|slot| matches!(tag(*slot).state(), State::Queued | State::Aside));
        // SAFETY: these slots are taken, and refusals changed, under the lock only, which is held.
        waiting
            .flat_map(|slot| {
                unsafe { &*record(slot).get() }
                    .entries()
                    .map(|entry| entry.at)
                    .collect::<Vec<_>>()
            })
            .collect()
    })
}

/// What an earlier recorder took and did not live to write waits again.
pub fn return_taken() {
    return_all(State::Taken);
}

fn return_all(from: State) {
    locked(Lock::Queue, true, || {
        for slot in slots() {
            tag(slot).pass(from, State::Queued, None);
        }
    });
}

/// Reads whose backend died without the end of its transaction being seen: they count as rolled back.
pub fn reclaim_orphans() {
    for (slot, (pid, seen)) in slots().filter_map(|slot| Some((slot, tag(slot).holder()?))) {
        // SAFETY: looks a process up by pid.
        if unsafe { pg_sys::BackendPidGetProc(pid).is_null() } {
            tag(slot).pass(State::Held, State::Queued, Some(seen));
        }
    }
}
