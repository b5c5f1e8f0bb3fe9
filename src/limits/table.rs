//! Counters by session user and purpose, in shared memory: a bounded table with open addressing, under `Lock::Limits`.
//!
//! A key is looked for at a bounded number of places from its own. If all are taken, the caller is refused: who is not counted is not served. A place is
//! given to another key only when its own has not called for a day, by a clock that nobody can set, and its day is over.
//!
//! Trust: what is counted here outlives transactions, sessions and the recorder, not the server; it is read from the log again then.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use identity_core::limit::Threshold;

use super::counters::Counters;
use crate::record::Short;
use crate::shmem::{Lock, backend_slots, locked};

/// Logins times purposes grow with a server, as its connections do.
const PLACES_PER_BACKEND: usize = 64;
/// How far from its own place a key may lie.
const PROBES: usize = 64;
/// A key that has not called for so long may lose its place.
const IDLE_NANOS: u64 = 86_400_000_000_000;
/// Places looked at under one hold of the lock by those who look at all.
const PLACES_AT_ONCE: usize = 512;

#[repr(C)]
struct Header {
    /// Whether the log has been read since the server started.
    complete: AtomicU32,
    /// Calls that found no place.
    full: AtomicU64,
    /// Grows whenever a caller reaches a threshold.
    reached: AtomicU64,
}

/// Zeroed memory is a free place.
#[repr(C, align(64))]
struct Place {
    /// The session user's oid; 0 is free.
    session: u32,
    purpose: Short<64>,
    touched: u64,
    counters: Counters,
}

static HEADER: AtomicPtr<Header> = AtomicPtr::new(std::ptr::null_mut());
static PLACES: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());

pub fn shared_size() -> usize {
    size_of::<Place>() * (capacity() + 2)
}

pub unsafe fn attach(area: *mut u8) {
    unsafe {
        let header = area.add(area.align_offset(align_of::<Place>()));
        HEADER.store(header.cast(), Ordering::Relaxed);
        PLACES.store(header.cast::<Place>().add(1), Ordering::Relaxed);
    }
}

pub fn capacity() -> usize {
    backend_slots() * PLACES_PER_BACKEND
}

/// Whether the counters hold what the log holds.
pub fn is_complete() -> bool {
    header().complete.load(Ordering::Acquire) != 0
}

pub fn set_complete() {
    header().complete.store(1, Ordering::Release);
}

/// Calls that found no place since the server started.
pub fn turned_away() -> u64 {
    header().full.load(Ordering::Relaxed)
}

/// A number that changes when a caller reaches a threshold.
pub fn reached() -> u64 {
    header().reached.load(Ordering::Relaxed)
}

/// Runs `work` on the key's counters, which get a place if they have none; `None` if there is none to be had. `work` must not raise.
pub(super) fn enter<T>(
    session: u32,
    purpose: &Short<64>,
    now: u64,
    today: i32,
    work: impl FnOnce(&mut Counters) -> T,
) -> Option<T> {
    let result = locked(Lock::Limits, true, || {
        let place = place_for(session, purpose, now, today)?;
        place.touched = now;
        let before = place.counters.reached();
        let result = work(&mut place.counters);
        if place.counters.reached() != before {
            header().reached.fetch_add(1, Ordering::Relaxed);
        }
        Some(result)
    });
    if result.is_none() {
        header().full.fetch_add(1, Ordering::Relaxed);
    }
    result
}

/// Runs `work` on the key's counters if it has any. `work` must not raise.
pub(super) fn find(session: u32, purpose: &Short<64>, work: impl FnOnce(&mut Counters)) {
    locked(Lock::Limits, true, || {
        let found = probes(session, purpose).find(|at| holds(*at, session, purpose));
        if let Some(at) = found {
            // SAFETY: the lock is held exclusively.
            work(unsafe { &mut (*place(at)).counters });
        }
    });
}

/// Shows every key's counters to `work`, a part of the table under each hold of the lock. `work` must not raise.
pub(super) fn each(mut work: impl FnMut(u32, &Short<64>, &Counters)) {
    for first in (0..capacity()).step_by(PLACES_AT_ONCE) {
        let last = (first + PLACES_AT_ONCE).min(capacity());
        locked(Lock::Limits, false, || {
            // SAFETY: the lock is held, and nobody changes a place without holding it exclusively.
            for place in (first..last).map(|at| unsafe { &*place(at) }) {
                if place.session != 0 {
                    work(place.session, &place.purpose, &place.counters);
                }
            }
        });
    }
}

/// Shows every key's purpose, and the threshold that it reached on a day, to `work`, which must not raise.
pub fn levels(day: i32, mut work: impl FnMut(&str, Option<Threshold>)) {
    each(|_, purpose, counters| work(purpose.as_str(), counters.level(day)));
}

/// The key's place, or one that it may have from now on. Under the lock.
fn place_for(
    session: u32,
    purpose: &Short<64>,
    now: u64,
    today: i32,
) -> Option<&'static mut Place> {
    let mut vacant = None;
    for at in probes(session, purpose) {
        if holds(at, session, purpose) {
            // SAFETY: the lock is held exclusively, and nothing else refers to the place.
            return Some(unsafe { &mut *place(at) });
        }
        // SAFETY: the lock is held.
        let other = unsafe { &*place(at) };
        let idle = now.saturating_sub(other.touched) > IDLE_NANOS && other.counters.day() < today;
        if vacant.is_none() && (other.session == 0 || idle) {
            vacant = Some(at);
        }
        // Places are never freed, only handed on: behind a free one there is nothing.
        if other.session == 0 {
            break;
        }
    }
    // SAFETY: as above.
    let place = unsafe { &mut *place(vacant?) };
    *place = Place {
        session,
        purpose: *purpose,
        touched: now,
        counters: Counters::default(),
    };
    Some(place)
}

fn holds(at: usize, session: u32, purpose: &Short<64>) -> bool {
    // SAFETY: the lock is held.
    let place = unsafe { &*place(at) };
    place.session == session && place.purpose == *purpose
}

/// The places where a key may lie. FNV-1a: the keys are roles and purposes that somebody with a duty to has made, not a client's to choose.
fn probes(session: u32, purpose: &Short<64>) -> impl Iterator<Item = usize> + use<> {
    let hash = session
        .to_ne_bytes()
        .iter()
        .chain(purpose.as_str().as_bytes())
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
        });
    let size = capacity().max(1);
    let start = usize::try_from(hash % size as u64).unwrap_or(0);
    (0..PROBES.min(size)).map(move |step| (start + step) % size)
}

fn header() -> &'static Header {
    // SAFETY: attached at startup, lives as long as the process.
    unsafe { &*HEADER.load(Ordering::Relaxed) }
}

fn place(at: usize) -> *mut Place {
    // SAFETY: attached at startup; `at` is below the capacity.
    unsafe { PLACES.load(Ordering::Relaxed).add(at) }
}
