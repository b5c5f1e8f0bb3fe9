//! What each caller holds of the queue: quotas, so that one caller cannot take the recorder away from the others.

use std::sync::atomic::{AtomicU32, Ordering};

/// Callers told apart. Should there ever be more, the late ones share the first place, and with it one quota.
const PLACES: usize = 1024;

/// Counts by session user. Zeroed memory is a valid, empty table.
#[repr(C)]
pub struct Callers([Place; PLACES]);

/// What one caller has in the queue.
#[repr(C)]
pub struct Place {
    role: AtomicU32,
    /// Slots held for reads, or waiting to become their rolled-back rows.
    pub reads: AtomicU32,
    /// Slots with refusals that wait to be written.
    pub refusals: AtomicU32,
    /// Refusals that found no slot at all.
    pub overflow: AtomicU32,
}

impl Callers {
    /// The place of a caller, claimed on first sight.
    pub fn of(&self, role: u32) -> &Place {
        let [first, ..] = &self.0;
        let start = (role as usize).wrapping_mul(0x9E37_79B1) % PLACES;
        for place in self.0.iter().skip(start).chain(self.0.iter().take(start)) {
            match place
                .role
                .compare_exchange(0, role, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return place,
                Err(known) if known == role => return place,
                Err(_) => {}
            }
        }
        first
    }

    /// Callers with refusals that found no slot: (session user's oid, place).
    pub fn overflowing(&self) -> impl Iterator<Item = (u32, &Place)> {
        self.0
            .iter()
            .map(|place| (place.role.load(Ordering::Relaxed), place))
            .filter(|(_, place)| place.overflow.load(Ordering::Relaxed) > 0)
    }
}
