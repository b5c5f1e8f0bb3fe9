//! A backend's side of the queue: slots held for the reads of its open transaction.
//!
//! What runs at the end of a transaction only stores atomics and shortens a list: it allocates nothing and cannot raise.

use std::sync::atomic::Ordering;

use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::slots::{
    READS_PER_SLOT, State, capacity, claim, control, free, record, tag, wake, write,
};
use crate::backend_local::BackendLocal;
use crate::metrics;
use crate::record::{Entry, Fate, Shape};

struct Held {
    /// (subtransaction, slot), innermost last.
    slots: Vec<(pg_sys::SubTransactionId, u32)>,
}

static MINE: BackendLocal<Held> = BackendLocal::new(Held { slots: Vec::new() });

/// Makes sure that these reads will be recorded should this (sub)transaction not commit. Call it before anything is decrypted.
/// `lost` is what becomes of the row then: rolled back, or denied for an id of a batch that was not answered.
pub fn hold(shape: &Shape, entry: &Entry, lost: &Fate) -> Result<(), Reason> {
    // SAFETY: reads the transaction state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    if MINE.with(|mine| {
        mine.slots
            .last()
            .is_some_and(|(id, slot)| *id == subtransaction && add_entry(*slot, shape, entry, lost))
    }) {
        count(shape, lost);
        return Ok(());
    }
    MINE.with(|mine| mine.slots.try_reserve(1))
        .map_err(|_| Reason::RecorderFull)?;
    let reads = &control().callers.of(shape.session).reads;
    if reads.fetch_add(1, Ordering::Relaxed) as usize >= capacity() / 4 {
        reads.fetch_sub(1, Ordering::Relaxed);
        return Err(Reason::RecorderFull);
    }
    let Some(slot) = claim(State::Held, capacity()) else {
        reads.fetch_sub(1, Ordering::Relaxed);
        return Err(Reason::RecorderFull);
    };
    write(slot, shape, *lost, entry);
    MINE.with(|mine| mine.slots.push((subtransaction, slot)));
    count(shape, lost);
    Ok(())
}

/// Takes back the newest read held for: the call was refused after all, and leaves a refusal instead.
pub fn withdraw() {
    MINE.with(|mine| {
        let Some((_, slot)) = mine.slots.last().copied() else {
            return;
        };
        // SAFETY: HELD by this backend.
        let count = unsafe { &mut (*record(slot).get()).count };
        *count = count.saturating_sub(1);
        if *count == 0 {
            free(slot);
            mine.slots.pop();
        }
    });
}

/// At commit: the reads have their rows.
pub fn release() {
    MINE.with(|mine| {
        for (_, slot) in &mine.slots {
            free(*slot);
        }
        mine.slots.clear();
    });
}

/// At abort: the rows are gone, the reads were not.
pub fn surrender() {
    MINE.with(|mine| {
        for (_, slot) in &mine.slots {
            lost(*slot);
        }
        if !mine.slots.is_empty() {
            wake();
        }
        mine.slots.clear();
    });
}

/// A subtransaction ended well: its slots are its parent's.
pub fn commit_subtransaction(child: pg_sys::SubTransactionId, parent: pg_sys::SubTransactionId) {
    MINE.with(|mine| {
        mine.slots
            .iter_mut()
            .rev()
            .take_while(|(id, _)| *id == child)
            .for_each(|(id, _)| *id = parent)
    });
}

/// A subtransaction was rolled back, and its rows with it.
pub fn abort_subtransaction(child: pg_sys::SubTransactionId) {
    MINE.with(|mine| {
        while let Some((_, slot)) = mine.slots.pop_if(|(id, _)| *id == child) {
            lost(slot);
            wake();
        }
    });
}

/// The slot's reads were answered, and their rows are gone: the recorder writes them.
fn lost(slot: u32) {
    // SAFETY: HELD by this backend.
    metrics::rolled_back(unsafe { &*record(slot).get() });
    tag(slot).set(State::Queued);
}

/// Counts what was held for: a read, or an id of a batch that is not answered.
fn count(shape: &Shape, lost: &Fate) {
    match lost.denial {
        None => metrics::read(shape.kind),
        Some(reason) => metrics::denied(reason),
    }
}

/// Adds a read to a slot this backend holds, if it is of the same shape and fate and there is room.
fn add_entry(slot: u32, shape: &Shape, entry: &Entry, lost: &Fate) -> bool {
    // SAFETY: HELD by this backend.
    unsafe {
        let record = record(slot).get();
        let count = (*record).count;
        if (*record).shape != *shape || (*record).fate != *lost || count >= READS_PER_SLOT {
            return false;
        }
        (&raw mut (*record).entries)
            .cast::<Entry>()
            .add(count)
            .write(*entry);
        (*record).count = count + 1;
    }
    true
}
