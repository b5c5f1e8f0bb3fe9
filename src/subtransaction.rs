//! Work that may fail without taking the transaction along.

use pgrx::pg_sys;

/// Runs `work` in a subtransaction of its own, which is rolled back if it answers an `Err`: what it changed is undone, and the locks that it took
/// are free. An ERROR ends the transaction as it always does.
pub fn attempt<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // SAFETY: inside a transaction; memory context and resource owner are put back. On ERROR the end of the transaction ends the subtransaction.
    unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(memory);
        let outcome = work();
        match outcome {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(memory);
        pg_sys::CurrentResourceOwner = owner;
        outcome
    }
}
