//! Refusals on their way to the recorder: repetitions become a count, and a looping client cannot take the queue away from reads.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::atomic::Ordering;

use identity_core::reason::Reason;

use super::slots::{State, capacity, claim, control, record, slots, tag, wake, write};
use crate::metrics;
use crate::record::{Entry, Fate, Shape};
use crate::shmem::{Lock, locked};

/// Distinct refusals of one caller that may wait; past that they coalesce without regard to subject, fields and trace.
const DISTINCT_REFUSALS: usize = 128;

/// Leaves a refusal for the recorder. If the queue has no room for it, it is counted, and the count becomes a row.
pub fn refuse(shape: &Shape, entry: &Entry, reason: Reason) {
    metrics::denied(reason);
    let place = control().callers.of(shape.session);
    locked(Lock::Queue, true, || {
        let many = place.refusals.load(Ordering::Relaxed) as usize
            >= DISTINCT_REFUSALS.min(capacity() / 8);
        let shape = if many { shape.coarse() } else { *shape };
        let entry = if many {
            Entry {
                candidate: None,
                ..*entry
            }
        } else {
            *entry
        };
        let digest = digest(&shape, &entry, reason);
        if add_repetition(digest, &shape, &entry, reason) {
            return;
        }
        // Refusals never take the upper half of the slots: a storm of them, by however many callers, leaves room for reads.
        match claim(State::Taken, capacity() / 2) {
            Some(slot) => {
                write(slot, &shape, Fate::denied(reason, 1), &entry);
                place.refusals.fetch_add(1, Ordering::Relaxed);
                tag(slot).refusal.store(digest, Ordering::Relaxed);
                tag(slot).set(State::Queued);
            }
            None => {
                place.overflow.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    wake();
}

/// Refusals that found no slot: (session user's oid, how many).
pub fn overflow() -> Vec<(u32, u32)> {
    control()
        .callers
        .overflowing()
        .map(|(role, place)| (role, place.overflow.load(Ordering::Relaxed)))
        .collect()
}

/// That many of them have their row.
pub fn settle_overflow(role: u32, count: u32) {
    control()
        .callers
        .of(role)
        .overflow
        .fetch_sub(count, Ordering::Relaxed);
}

/// Adds one to a waiting refusal that is the same. Under the lock.
fn add_repetition(digest: u64, shape: &Shape, entry: &Entry, reason: Reason) -> bool {
    slots()
        .filter(|slot| {
            tag(*slot).refusal.load(Ordering::Relaxed) == digest
                && tag(*slot).state() == State::Queued
        })
        .any(|slot| {
            // SAFETY: QUEUED refusals are written under the lock only, which is held.
            let record = unsafe { &mut *record(slot).get() };
            let same = record.shape == *shape
                && record.fate.denial == Some(reason)
                && record
                    .entries()
                    .all(|first| first.candidate == entry.candidate);
            if same {
                // The column is a signed integer.
                record.fate.repeats = (record.fate.repeats + 1).min(i32::MAX as u32);
            }
            same
        })
}

fn digest(shape: &Shape, entry: &Entry, reason: Reason) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u32(shape.session);
    hasher.write(&[shape.kind as u8, reason as u8, shape.fields.bits()]);
    hasher.write(shape.purpose.as_str().as_bytes());
    hasher.write(&entry.candidate.unwrap_or_default());
    hasher.finish() | 1
}
