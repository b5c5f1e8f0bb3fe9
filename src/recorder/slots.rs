//! The recorder's queue in shared memory: its slots, and the states they go through.
//!
//! A slot is FREE, HELD by the backend whose open (sub)transaction read, QUEUED for the recorder, TAKEN by it, or set ASIDE because it could not
//! be written.
//!
//! ```text
//! FREE ──hold──► HELD ──commit──► FREE
//!                 └──abort, savepoint rollback, death──► QUEUED ──► TAKEN ──row committed──► FREE
//! FREE ──refuse──► QUEUED                                  ├──recorder ended──► QUEUED
//!                                                          └──not to be written now──► ASIDE ──later──► QUEUED
//! ```
//! Lock order: holding takes no lock (a compare-and-swap); refusing and taking hold `Lock::Queue`, so that a refusal is not added to
//! a slot that is being written. Callbacks at the end of a transaction only store atomics: they allocate nothing and cannot raise.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;

use super::callers::Callers;
use crate::gucs::RECORDER_SLOTS;
use crate::record::{Entry, Fate, Shape};

/// Reads of one shape in one subtransaction that share a slot.
pub const READS_PER_SLOT: usize = 24;

/// Where a slot is on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free = 0,
    Held = 1,
    Queued = 2,
    Taken = 3,
    Aside = 4,
}

#[repr(C)]
pub(super) struct Control {
    recorder_pid: AtomicI32,
    /// Oid of the database that is served; 0 until the recorder has been there.
    database: AtomicU32,
    /// `synchronous_commit` as the server's configuration has it, published by the recorder.
    synchronous_commit: AtomicI32,
    recorder_latch: AtomicPtr<pg_sys::Latch>,
    pub(super) callers: Callers,
}

/// What is looked at often, apart from the bulk of a slot.
#[repr(C)]
pub(super) struct Tag {
    /// State and the pid of whoever claimed the slot in one word, so that one cannot change under a look at the other; 0 is free.
    word: AtomicU64,
    /// Digest of a waiting refusal, to find the one that a repetition belongs to; 0 for reads.
    pub(super) refusal: AtomicU64,
}

impl Tag {
    pub(super) fn state(&self) -> State {
        state_of(self.word.load(Ordering::Relaxed))
    }

    /// The claimant if the slot is held.
    pub(super) fn holder(&self) -> Option<(i32, u64)> {
        let word = self.word.load(Ordering::Relaxed);
        let pid = i32::try_from(word >> 32).unwrap_or(0);
        (state_of(word) == State::Held).then_some((pid, word))
    }

    /// Moves a slot that is this process's to move.
    pub(super) fn set(&self, state: State) {
        let owner = self.word.load(Ordering::Relaxed) & !0xFF;
        self.word.store(owner | state as u64, Ordering::Release);
    }

    /// Moves the slot if it is in a state, or exactly as `seen` before.
    pub(super) fn pass(&self, from: State, to: State, seen: Option<u64>) -> bool {
        let word = seen.unwrap_or_else(|| self.word.load(Ordering::Relaxed));
        let moved = (word & !0xFF) | to as u64;
        state_of(word) == from
            && self
                .word
                .compare_exchange(word, moved, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    fn claim(&self, pid: i32, state: State) -> bool {
        let word = u64::from(pid.unsigned_abs()) << 32 | state as u64;
        self.word
            .compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    fn free(&self) {
        self.word.store(0, Ordering::Release);
    }
}

fn state_of(word: u64) -> State {
    match word & 0xFF {
        0 => State::Free,
        1 => State::Held,
        2 => State::Queued,
        3 => State::Taken,
        _ => State::Aside,
    }
}

/// The bulk. Written by the holder while HELD, under the lock while QUEUED as a refusal, by nobody else.
pub struct Record {
    pub shape: Shape,
    pub fate: Fate,
    pub(super) count: usize,
    pub(super) entries: [MaybeUninit<Entry>; READS_PER_SLOT],
}

impl Record {
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        // SAFETY: the first `count` entries were written.
        self.entries
            .iter()
            .take(self.count)
            .map(|entry| unsafe { entry.assume_init_ref() })
    }
}

static CONTROL: AtomicPtr<Control> = AtomicPtr::new(std::ptr::null_mut());
static TAGS: AtomicPtr<Tag> = AtomicPtr::new(std::ptr::null_mut());
static RECORDS: AtomicPtr<UnsafeCell<Record>> = AtomicPtr::new(std::ptr::null_mut());

pub fn capacity() -> usize {
    usize::try_from(RECORDER_SLOTS.get()).unwrap_or(0)
}

pub fn shared_size() -> usize {
    size_of::<Control>() + capacity() * (size_of::<Tag>() + size_of::<Record>()) + 3 * 64
}

pub unsafe fn attach(area: *mut u8) {
    unsafe {
        let aligned = |at: *mut u8| at.add(at.align_offset(64));
        let control = aligned(area);
        let tags = aligned(control.add(size_of::<Control>()));
        let records = aligned(tags.add(capacity() * size_of::<Tag>()));
        CONTROL.store(control.cast(), Ordering::Relaxed);
        TAGS.store(tags.cast(), Ordering::Relaxed);
        RECORDS.store(records.cast(), Ordering::Relaxed);
    }
}

/// How many slots are in which use.
#[derive(Default)]
pub struct Load {
    /// Held by open transactions.
    pub held: usize,
    /// Waiting to be written, those set aside among them.
    pub waiting: usize,
    /// Those that could not be written when they were tried.
    pub aside: usize,
}

pub fn load() -> Load {
    slots().fold(Load::default(), |mut load, slot| {
        let state = tag(slot).state();
        load.held += usize::from(state == State::Held);
        load.aside += usize::from(state == State::Aside);
        load.waiting += usize::from(!matches!(state, State::Free | State::Held));
        load
    })
}

/// Whether a recorder is there to write what is queued.
pub fn recorder_lives() -> bool {
    control().recorder_pid.load(Ordering::Relaxed) != 0
}

/// The recorder announces itself, or that it is leaving.
pub fn set_recorder(pid: i32, latch: *mut pg_sys::Latch) {
    control().recorder_latch.store(latch, Ordering::Release);
    // SAFETY: constant once the process is connected.
    control()
        .database
        .store(unsafe { pg_sys::MyDatabaseId }.to_u32(), Ordering::Relaxed);
    control().recorder_pid.store(pid, Ordering::Release);
}

/// The database that is served, as soon as the recorder knows it.
pub fn served_database() -> Option<u32> {
    // SAFETY: before startup there is no area yet.
    let control = unsafe { CONTROL.load(Ordering::Relaxed).as_ref() }?;
    Some(control.database.load(Ordering::Relaxed)).filter(|oid| *oid != 0)
}

/// The server's own `synchronous_commit`, as the recorder last saw it.
pub fn server_synchronous_commit() -> i32 {
    control().synchronous_commit.load(Ordering::Relaxed)
}

pub fn set_server_synchronous_commit(level: i32) {
    control().synchronous_commit.store(level, Ordering::Relaxed);
}

pub(super) fn wake() {
    let latch = control().recorder_latch.load(Ordering::Acquire);
    if !latch.is_null() {
        // SAFETY: a latch in shared memory; setting one is safe even in a commit callback.
        unsafe { pg_sys::SetLatch(latch) };
    }
}

/// A free slot of the lowest `below`, moved to `state`. Each backend begins its search at a place of its own, so that backends rarely meet.
pub(super) fn claim(state: State, below: usize) -> Option<u32> {
    // SAFETY: constant in this process.
    let pid = unsafe { pg_sys::MyProcPid };
    let start = usize::try_from(pid).unwrap_or(0).wrapping_mul(61) % below.max(1);
    let slot = (start..below)
        .chain(0..start)
        .filter_map(|slot| u32::try_from(slot).ok())
        .find(|slot| tag(*slot).claim(pid, state))?;
    tag(slot).refusal.store(0, Ordering::Relaxed);
    Some(slot)
}

pub(super) fn free(slot: u32) {
    // SAFETY: the caller holds or has taken the slot.
    let session = unsafe { (*record(slot).get()).shape.session };
    let place = control().callers.of(session);
    let counter = if tag(slot).refusal.swap(0, Ordering::Relaxed) == 0 {
        &place.reads
    } else {
        &place.refusals
    };
    counter.fetch_sub(1, Ordering::Relaxed);
    tag(slot).free();
}

/// Fills a slot with its first entry. The others stay as they are: a copy of 1.5 kB on every read would be for nothing.
pub(super) fn write(slot: u32, shape: &Shape, fate: Fate, entry: &Entry) {
    // SAFETY: the slot was just claimed by this backend; entries are only read up to `count`.
    unsafe {
        let record = record(slot).get();
        (&raw mut (*record).shape).write(*shape);
        (&raw mut (*record).fate).write(fate);
        (&raw mut (*record).count).write(1);
        (&raw mut (*record).entries).cast::<Entry>().write(*entry);
    }
}

pub(super) fn slots() -> impl Iterator<Item = u32> {
    0..u32::try_from(capacity()).unwrap_or(0)
}

pub(super) fn control() -> &'static Control {
    // SAFETY: attached at startup, lives as long as the process.
    unsafe { &*CONTROL.load(Ordering::Relaxed) }
}

pub(super) fn tag(slot: u32) -> &'static Tag {
    // SAFETY: attached at startup; slots are below the capacity.
    unsafe { &*TAGS.load(Ordering::Relaxed).add(slot as usize) }
}

pub(super) fn record(slot: u32) -> &'static UnsafeCell<Record> {
    // SAFETY: attached at startup; slots are below the capacity.
    unsafe { &*RECORDS.load(Ordering::Relaxed).add(slot as usize) }
}
