//! Bucket locks: a read holds its subject's bucket shared from before it looks until it has decrypted; whoever erases a subject, or changes what
//! a read is decided by, holds it exclusively when it commits. So no decryption starts after such a change has committed.
//!
//! Each bucket has a second lock, which keeps writers apart and which no read asks for. A writer takes that one first, before the snapshot and any
//! row, and the other one then or later, but never without it: an erasure of many subjects lets reads go on until the moment before it commits.
//! The tag is a user lock whose last field SQL's advisory functions cannot produce (they write 1 or 2), so no session can take or release it.

use pgrx::pg_sys;

use crate::transaction;

/// Bounds how many locks an erasure of many subjects needs.
const BUCKETS: u32 = 1024;
/// Numbers that no subject's bucket has: locks of those who write policy.
const CONSENT_VERSIONS: u32 = BUCKETS;
const VERTICAL_PATTERNS: u32 = BUCKETS + 1;
/// And of those who seal the log.
const SEALING: u32 = BUCKETS + 2;
/// And of whoever goes over the pages of erased subjects.
const SCRUBBING: u32 = BUCKETS + 3;
/// And of those who write retention policies; sweeps share it, so that none goes by a policy that is no more.
const RETENTION_POLICIES: u32 = BUCKETS + 16;
/// And of sweeps: as many numbers as there are sweeps.
const SWEEPS: u32 = BUCKETS + 17;
/// And of those who destroy files.
const FILES: u32 = BUCKETS + 24;
/// And of those who change the keyring, or go by it to load keys.
const KEYRING: u32 = BUCKETS + 25;
/// Numbers from here on are the buckets once more, for writers.
const WRITERS: u32 = 2 * BUCKETS;
const TAG: u16 = 0x1DB0;

/// Runs `work` with the subject's bucket held shared.
pub fn shared<T>(candidate: &[u8; 16], work: impl FnOnce() -> T) -> T {
    let tag = numbered(number(candidate));
    // SAFETY: on ERROR the end of the (sub)transaction releases the lock.
    unsafe {
        pg_sys::LockAcquire(&tag, pg_sys::ShareLock as i32, false, false);
        let result = work();
        pg_sys::LockRelease(&tag, pg_sys::ShareLock as i32, false);
        result
    }
}

/// Runs `work` with the buckets of all these subjects held shared.
///
/// Waits only while it holds none of them: what it has so far it gives back first. So it is never part of a deadlock, in whatever order others
/// take several buckets exclusively, and a writer whom it does not need never queues behind it.
pub fn shared_many<T>(candidates: &[[u8; 16]], work: impl FnOnce() -> T) -> T {
    let mut buckets = candidates.iter().map(number).collect::<Vec<_>>();
    buckets.sort_unstable();
    buckets.dedup();
    // SAFETY: on ERROR the end of the (sub)transaction releases the locks.
    unsafe {
        let mode = pg_sys::ShareLock as i32;
        let mut waited_for = None;
        loop {
            let is_busy = |bucket: &&u32| {
                let outcome = pg_sys::LockAcquire(&numbered(**bucket), mode, false, true);
                outcome == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
            };
            let busy = buckets
                .iter()
                .filter(|bucket| waited_for != Some(**bucket))
                .find(is_busy);
            let Some(busy) = busy.copied() else {
                break;
            };
            let taken = |bucket: &&u32| **bucket < busy || waited_for == Some(**bucket);
            for bucket in buckets.iter().filter(taken) {
                pg_sys::LockRelease(&numbered(*bucket), mode, false);
            }
            pg_sys::LockAcquire(&numbered(busy), mode, false, false);
            waited_for = Some(busy);
        }
        let result = work();
        for bucket in &buckets {
            pg_sys::LockRelease(&numbered(*bucket), mode, false);
        }
        result
    }
}

/// Keeps writers and reads of the subject's bucket out until the transaction ends.
pub fn exclusive(candidate: &[u8; 16]) {
    keep_writers_out(candidate);
    take(number(candidate));
}

/// Keeps writers of the subject's bucket out until the transaction ends. Reads go on.
pub fn keep_writers_out(candidate: &[u8; 16]) {
    take(of_writers(number(candidate)));
}

/// The same if no other writer is in the bucket now; otherwise `false`, without waiting.
pub fn try_keep_writers_out(candidate: &[u8; 16]) -> bool {
    try_take(of_writers(number(candidate)))
}

/// Waits for the reads that are in the buckets of these subjects, and keeps new ones out until the transaction ends. Writers are out already: so
/// nobody who holds one of these locks waits for anything that we hold.
pub fn keep_reads_out(candidates: &[[u8; 16]]) {
    let mut buckets = candidates.iter().map(number).collect::<Vec<_>>();
    buckets.sort_unstable();
    buckets.dedup();
    for bucket in buckets {
        take(bucket);
    }
}

/// Takes the one lock of those who write consent versions, until the transaction ends.
pub fn consent_versions() {
    take(CONSENT_VERSIONS);
}

/// Takes the one lock of those who write patterns, until the transaction ends.
pub fn vertical_patterns() {
    take(VERTICAL_PATTERNS);
}

/// Takes the one lock of those who write retention policies, until the transaction ends.
pub fn retention_policies() {
    take(RETENTION_POLICIES);
}

/// Keeps those out who write retention policies, until the transaction ends. Others who do the same are let in.
pub fn keep_retention_policies() {
    let tag = numbered(RETENTION_POLICIES);
    // SAFETY: a transaction-level lock.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ShareLock as i32, false, false) };
}

/// Takes the one lock of a sweep, until the transaction ends: the next batch begins where this one came to.
pub fn sweep(number: u8) {
    take(SWEEPS + u32::from(number));
}

/// Takes the one lock of those who seal the log, until the transaction ends: the next one must see what this one committed.
pub fn sealing() {
    take(SEALING);
}

/// Takes the one lock of whoever goes over pages, until the transaction ends; `false`, without waiting, if somebody else has it.
pub fn try_scrubbing() -> bool {
    try_take(SCRUBBING)
}

/// Takes the one lock of those who destroy files, until the transaction ends; `false` if somebody else is at it.
pub fn try_files() -> bool {
    try_take(FILES)
}

/// Takes the one lock of those who change the keyring, or go by it to load keys, until the transaction ends: what is in memory follows what committed.
pub fn keyring() {
    take(KEYRING);
}

fn try_take(number: u32) -> bool {
    transaction::must_end();
    let tag = numbered(number);
    // SAFETY: a transaction-level lock.
    let outcome = unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, true) };
    outcome != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn take(number: u32) {
    transaction::must_end();
    let tag = numbered(number);
    // SAFETY: a transaction-level lock.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, false) };
}

fn number(candidate: &[u8; 16]) -> u32 {
    // The end of a UUID v7 is random.
    let [.., a, b, c, d] = *candidate;
    u32::from_be_bytes([a, b, c, d]) % BUCKETS
}

fn of_writers(bucket: u32) -> u32 {
    WRITERS + bucket
}

fn numbered(number: u32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: constant for the backend.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: number,
        locktag_field3: 0,
        locktag_field4: TAG,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}
