//! The protected region: a few pages of shared memory, locked into RAM, left out of core dumps, wiped on demand. Beside the keys it holds the key pair to
//! which they are sealed on their way here, which is another one after each start and each wipe.
//!
//! Trust: whoever can read this process's memory has the keys. Nobody else does: they are in no file, log, statement or dump.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use identity_core::key::{ChainKey, DataKey, KeyKind};
use identity_core::sealing::SealingSecret;
use pgrx::pg_sys;
use zeroize::{Zeroize, Zeroizing};

use crate::shmem::{Lock, locked};
use crate::{clock, error};

const PAGE_BYTES: usize = 4096;
const REGION_BYTES: usize = 4 * PAGE_BYTES;
/// Of some kinds no version ever leaves: with a rotation each quarter this lasts for decades.
pub const MAX_KEYS: usize = 256;

#[repr(C)]
struct Region {
    unlocked: u32,
    /// Oid of the log that the keys were loaded for.
    log: u32,
    /// When the keys were last unlocked or locked, in PostgreSQL's microseconds.
    changed_at: i64,
    installation: [u8; 16],
    /// An X25519 private key, and which one; an epoch of zeros: there is none.
    secret: [u8; 32],
    epoch: [u8; 16],
    keys: [Entry; MAX_KEYS],
}

#[repr(C)]
struct Entry {
    kind: u32,
    version: u32,
    /// Whether this version is the one to encrypt or chain with; the others only read and verify.
    active: u32,
    bytes: [u8; 32],
    /// The next transaction when a call could last begin that uses this version without it being active.
    quiet_after: u64,
}

const _: () = assert!(size_of::<Region>() <= REGION_BYTES);

static REGION: AtomicPtr<Region> = AtomicPtr::new(std::ptr::null_mut());
static PROTECTED: AtomicU32 = AtomicU32::new(0);

/// The keys one call works with.
pub struct Keys {
    pub installation: [u8; 16],
    pub dek: DataKey,
    pub chain: ChainKey,
}

/// The key of its kind to work with, on its way into the region.
pub struct Loading<'a> {
    pub kind: KeyKind,
    pub version: u32,
    pub bytes: &'a [u8; 32],
}

/// What keys are sealed to.
pub struct Pair {
    pub secret: SealingSecret,
    pub epoch: [u8; 16],
}

pub fn shared_size() -> usize {
    REGION_BYTES + PAGE_BYTES
}

/// Aligns the area to a page and asks the kernel to keep its pages in RAM and out of core dumps. Runs in the postmaster: the
/// pages stay locked for all as long as the postmaster holds them, and children inherit the mapping's dump flag. The server's first key pair is made here.
pub unsafe fn attach(area: *mut u8) {
    unsafe {
        let page = area.add(area.align_offset(PAGE_BYTES));
        if !pg_sys::IsUnderPostmaster {
            let resident = libc::mlock(page.cast(), REGION_BYTES) == 0;
            let undumped = libc::madvise(page.cast(), REGION_BYTES, libc::MADV_DONTDUMP) == 0;
            PROTECTED.store(u32::from(resident && undumped), Ordering::Relaxed);
            // Nobody else is there yet. Only in the postmaster: elsewhere the area is mapped, not made.
            (*page.cast::<Region>()).pair(&fresh());
        }
        REGION.store(page.cast(), Ordering::Relaxed);
    }
}

/// Whether the kernel granted both the lock into RAM and the exclusion from core dumps.
pub fn protected() -> bool {
    PROTECTED.load(Ordering::Relaxed) == 1
}

/// No process of the server leaves a core dump: one would hold every key.
pub fn forbid_core_dumps() -> bool {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a plain system call on a local value.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) == 0 }
}

/// Whether keys are loaded, and since when they are as they are (PostgreSQL microseconds, 0 = since the server started).
pub fn state() -> (bool, i64) {
    read(|region| (region.unlocked == 1, region.changed_at))
}

/// The active keys, or `None` while locked, or if they were loaded for another log than this: after DROP and restore under a running
/// server the tables are not those that the keys and the lanes' heads belong to.
pub fn active(log: pg_sys::Oid) -> Option<Keys> {
    read(|region| {
        if region.unlocked == 0 || region.log != log.to_u32() {
            return None;
        }
        let dek = region
            .entries()
            .find(|entry| entry.kind == KeyKind::Dek as u32 && entry.active == 1)?;
        let chain = region
            .entries()
            .find(|entry| entry.kind == KeyKind::Chain as u32 && entry.active == 1)?;
        Some(Keys {
            installation: region.installation,
            dek: DataKey::new(dek.version, &dek.bytes),
            chain: ChainKey::new(chain.version, &chain.bytes),
        })
    })
}

/// The field encryption key of one version.
pub fn data_key(version: u32) -> Option<DataKey> {
    read(|region| {
        region
            .key(KeyKind::Dek, version)
            .map(|bytes| DataKey::new(version, bytes))
    })
}

/// The chain key of one version; old versions stay to verify with.
pub fn chain_key(version: u32) -> Option<ChainKey> {
    read(|region| {
        region
            .key(KeyKind::Chain, version)
            .map(|bytes| ChainKey::new(version, bytes))
    })
}

/// Whether this version is there, in use or still locked.
pub fn holds(kind: KeyKind, version: u32) -> bool {
    read(|region| region.entries().any(|entry| entry.is(kind, version)))
}

/// The keys that are there but still locked: what the row that unlocks them is chained with.
pub fn brought(installation: &[u8; 16], dek: u32, chain: u32) -> Option<Keys> {
    read(|region| {
        let bytes = |kind, version| {
            let found = region.entries().find(|entry| entry.is(kind, version));
            found.map(|entry| &entry.bytes)
        };
        Some(Keys {
            installation: *installation,
            dek: DataKey::new(dek, bytes(KeyKind::Dek, dek)?),
            chain: ChainKey::new(chain, bytes(KeyKind::Chain, chain)?),
        })
    })
}

/// What keys are sealed to as of now.
pub fn pair() -> Pair {
    let pair = read(|region| Pair {
        secret: SealingSecret::from_bytes(&region.secret),
        epoch: region.epoch,
    });
    if pair.epoch == [0; 16] {
        error::fault("the server has no key pair to have keys sealed to");
    }
    pair
}

/// Replaces the keys that the region holds. Refuses, and stays locked, if there are more than it has room for.
#[must_use]
pub fn load(installation: &[u8; 16], log: pg_sys::Oid, keys: &[Loading<'_>]) -> bool {
    write(|region| {
        region.wipe();
        for key in keys {
            if !region.put(key.kind, key.version, key.bytes) {
                region.wipe();
                return false;
            }
            region.activate(key.kind, key.version, 0);
        }
        region.installation = *installation;
        region.log = log.to_u32();
        region.unlocked = 1;
        true
    })
}

/// Puts down a key that was sealed to this epoch: inactive, and not to be used while locked. False if that epoch is over, or there is no room.
#[must_use]
pub fn put(epoch: &[u8; 16], kind: KeyKind, version: u32, bytes: &[u8; 32]) -> bool {
    write(|region| region.epoch == *epoch && region.put(kind, version, bytes))
}

/// Lets the keys be used that were put down in this epoch, if it is not over. At commit: allocates nothing, cannot raise.
pub fn unlock(
    epoch: &[u8; 16],
    installation: &[u8; 16],
    log: pg_sys::Oid,
    active: &[Option<(KeyKind, u32)>],
    next: u64,
) {
    write(|region| {
        if region.epoch != *epoch {
            return;
        }
        for (kind, version) in active.iter().flatten() {
            region.activate(*kind, *version, next);
        }
        region.installation = *installation;
        region.log = log.to_u32();
        region.unlocked = 1;
    });
}

/// From here on this version is the one to work with, not the one before it. At commit, as above.
pub fn activate(epoch: &[u8; 16], kind: KeyKind, version: u32, next: u64) {
    write(|region| {
        if region.epoch == *epoch && region.entries().any(|entry| entry.is(kind, version)) {
            region.activate(kind, version, next);
        }
    });
}

/// Whether every call that could use this field encryption key began after its last use was gone, given the oldest transaction that runs.
pub fn is_quiet(version: u32, oldest: u64) -> bool {
    read(|region| {
        region.entries().any(|entry| {
            entry.is(KeyKind::Dek, version) && entry.active == 0 && entry.quiet_after < oldest
        })
    })
}

/// Fields were encrypted anew: calls that run may still see them as they were. At commit, as above.
pub fn reencrypted(next: u64) {
    write(|region| {
        for entry in &mut region.keys {
            entry.quiet_after = entry.quiet_after.max(next);
        }
    });
}

/// Forgets one field encryption key. At commit, as above.
pub fn retire(version: u32) {
    write(|region| {
        let found = region
            .keys
            .iter_mut()
            .find(|entry| entry.is(KeyKind::Dek, version) && entry.active == 0);
        if let Some(entry) = found {
            entry.wipe();
        }
    });
}

/// Forgets every key, and to what they were sealed. Also where there are no random bytes for another key pair: then there is none.
pub fn wipe() {
    let fresh = fresh();
    write(|region| {
        region.wipe();
        region.pair(&fresh);
    });
}

/// A private key and an epoch.
type Fresh = Zeroizing<[u8; 48]>;

fn fresh() -> Option<Fresh> {
    let mut fresh = Fresh::new([0; 48]);
    clock::try_random(&mut *fresh).then_some(fresh)
}

impl Entry {
    fn is(&self, kind: KeyKind, version: u32) -> bool {
        self.version != 0 && self.kind == kind as u32 && self.version == version
    }

    fn wipe(&mut self) {
        self.bytes.zeroize();
        self.kind = 0;
        self.version = 0;
        self.active = 0;
        self.quiet_after = 0;
    }
}

impl Region {
    /// An entry without a version is free.
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.keys.iter().filter(|entry| entry.version != 0)
    }

    fn key(&self, kind: KeyKind, version: u32) -> Option<&[u8; 32]> {
        let found = self.entries().find(|entry| entry.is(kind, version));
        found
            .filter(|_| self.unlocked == 1)
            .map(|entry| &entry.bytes)
    }

    fn put(&mut self, kind: KeyKind, version: u32, bytes: &[u8; 32]) -> bool {
        if self.entries().any(|entry| entry.is(kind, version)) {
            return true;
        }
        let Some(free) = self.keys.iter_mut().find(|entry| entry.version == 0) else {
            return false;
        };
        free.kind = kind as u32;
        free.version = version;
        free.bytes = *bytes;
        true
    }

    /// No other version of the kind is active then.
    fn activate(&mut self, kind: KeyKind, version: u32, next: u64) {
        let of_kind = self
            .keys
            .iter_mut()
            .filter(|entry| entry.version != 0 && entry.kind == kind as u32);
        for entry in of_kind {
            entry.active = u32::from(entry.version == version);
            entry.quiet_after = entry.quiet_after.max(next);
        }
    }

    fn pair(&mut self, fresh: &Option<Fresh>) {
        self.secret.zeroize();
        self.epoch = [0; 16];
        if let Some((secret, epoch)) = fresh.as_ref().and_then(|fresh| fresh.split_first_chunk()) {
            self.secret = *secret;
            self.epoch.copy_from_slice(epoch);
        }
    }

    fn wipe(&mut self) {
        self.unlocked = 0;
        self.installation.zeroize();
        self.keys.iter_mut().for_each(Entry::wipe);
        fence(Ordering::SeqCst);
    }
}

fn read<T>(work: impl FnOnce(&Region) -> T) -> T {
    // SAFETY: attached at startup; the lock keeps writers out.
    locked(Lock::Keys, false, || {
        work(unsafe { &*REGION.load(Ordering::Relaxed) })
    })
}

fn write<T>(work: impl FnOnce(&mut Region) -> T) -> T {
    let now = clock::now();
    locked(Lock::Keys, true, || {
        // SAFETY: attached at startup; the exclusive lock keeps everybody else out.
        let region = unsafe { &mut *REGION.load(Ordering::Relaxed) };
        let was = region.unlocked;
        let result = work(region);
        if region.unlocked != was {
            region.changed_at = now;
        }
        result
    })
}
