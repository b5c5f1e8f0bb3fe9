//! The protected region: one page of shared memory, locked into RAM, left out of core dumps, wiped on demand.
//!
//! Trust: whoever can read this process's memory has the keys. Nobody else does: they are in no file, log, statement or dump.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use identity_core::key::{ChainKey, DataKey, KeyKind};
use pgrx::pg_sys;
use zeroize::Zeroize;

use crate::shmem::{Lock, locked};

const PAGE_BYTES: usize = 4096;
const MAX_KEYS: usize = 64;

#[repr(C)]
struct Region {
    unlocked: u32,
    count: u32,
    /// Oid of the log that the keys were loaded for.
    log: u32,
    /// When the keys were last loaded or wiped, in PostgreSQL's microseconds.
    changed_at: i64,
    installation: [u8; 16],
    keys: [Entry; MAX_KEYS],
}

#[repr(C)]
struct Entry {
    kind: u32,
    version: u32,
    /// Whether this version is the one to encrypt or chain with; the others only read and verify.
    active: u32,
    bytes: [u8; 32],
}

const _: () = assert!(size_of::<Region>() <= PAGE_BYTES);

static REGION: AtomicPtr<Region> = AtomicPtr::new(std::ptr::null_mut());
static PROTECTED: AtomicU32 = AtomicU32::new(0);

/// The keys one call works with.
pub struct Keys {
    pub installation: [u8; 16],
    pub dek: DataKey,
    pub chain: ChainKey,
}

/// A key on its way into the region.
pub struct Loading<'a> {
    pub kind: KeyKind,
    pub version: u32,
    pub active: bool,
    pub bytes: &'a [u8; 32],
}

pub fn shared_size() -> usize {
    2 * PAGE_BYTES
}

/// Aligns the area to a page and asks the kernel to keep that page in RAM and out of core dumps. Runs in the postmaster: the
/// page stays locked for all as long as the postmaster holds it, and children inherit the mapping's dump flag.
pub unsafe fn attach(area: *mut u8) {
    unsafe {
        let page = area.add(area.align_offset(PAGE_BYTES));
        if !pg_sys::IsUnderPostmaster {
            let resident = libc::mlock(page.cast(), PAGE_BYTES) == 0;
            let undumped = libc::madvise(page.cast(), PAGE_BYTES, libc::MADV_DONTDUMP) == 0;
            PROTECTED.store(u32::from(resident && undumped), Ordering::Relaxed);
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

/// Replaces what the region holds. Refuses, and stays locked, if there are more keys than it has room for.
#[must_use]
pub fn load(installation: &[u8; 16], log: pg_sys::Oid, keys: &[Loading<'_>]) -> bool {
    write(|region| {
        region.wipe();
        if keys.len() > MAX_KEYS {
            return false;
        }
        for (entry, key) in region.keys.iter_mut().zip(keys) {
            *entry = Entry {
                kind: key.kind as u32,
                version: key.version,
                active: u32::from(key.active),
                bytes: *key.bytes,
            };
        }
        region.count = u32::try_from(keys.len()).unwrap_or(0);
        region.installation = *installation;
        region.log = log.to_u32();
        region.unlocked = 1;
        true
    })
}

/// Forgets every key.
pub fn wipe() {
    write(Region::wipe);
}

impl Region {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.keys.iter().take(self.count as usize)
    }

    fn key(&self, kind: KeyKind, version: u32) -> Option<&[u8; 32]> {
        self.entries()
            .find(|entry| entry.kind == kind as u32 && entry.version == version)
            .map(|entry| &entry.bytes)
    }

    fn wipe(&mut self) {
        self.unlocked = 0;
        self.count = 0;
        self.installation.zeroize();
        for entry in &mut self.keys {
            entry.bytes.zeroize();
            entry.kind = 0;
            entry.version = 0;
            entry.active = 0;
        }
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
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    locked(Lock::Keys, true, || {
        // SAFETY: attached at startup; the exclusive lock keeps everybody else out.
        let region = unsafe { &mut *REGION.load(Ordering::Relaxed) };
        let result = work(region);
        region.changed_at = now;
        result
    })
}
