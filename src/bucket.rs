//! Bucket locks: a read holds its subject's bucket shared from before it looks until it has decrypted; whoever erases a subject, or changes what
//! a read is decided by, holds it exclusively until commit. So no decryption starts after such a change has committed.
//!
//! Lock order: the bucket before the snapshot, and before any row. The tag is a user lock whose last field SQL's advisory
//! functions cannot produce (they write 1 or 2), so no session can take or release it.

use pgrx::pg_sys;

/// Bounds how many locks an erasure of many subjects needs.
const BUCKETS: u32 = 1024;
const TAG: u16 = 0x1DB0;

/// Runs `work` with the subject's bucket held shared.
pub fn shared<T>(candidate: &[u8; 16], work: impl FnOnce() -> T) -> T {
    let tag = tag(candidate);
    // SAFETY: on ERROR the end of the (sub)transaction releases the lock.
    unsafe {
        pg_sys::LockAcquire(&tag, pg_sys::ShareLock as i32, false, false);
        let result = work();
        pg_sys::LockRelease(&tag, pg_sys::ShareLock as i32, false);
        result
    }
}

/// Takes the subject's bucket exclusively until the transaction ends.
pub fn exclusive(candidate: &[u8; 16]) {
    // SAFETY: a transaction-level lock.
    unsafe { pg_sys::LockAcquire(&tag(candidate), pg_sys::ExclusiveLock as i32, false, false) };
}

/// Takes the one lock of those who write consent versions, until the transaction ends.
pub fn consent_versions() {
    // SAFETY: a transaction-level lock.
    unsafe {
        pg_sys::LockAcquire(
            &numbered(BUCKETS),
            pg_sys::ExclusiveLock as i32,
            false,
            false,
        )
    };
}

fn tag(candidate: &[u8; 16]) -> pg_sys::LOCKTAG {
    // The end of a UUID v7 is random.
    let [.., a, b, c, d] = *candidate;
    numbered(u32::from_be_bytes([a, b, c, d]) % BUCKETS)
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
