//! Statements that change many subjects at once.

use pgrx::pg_sys;

/// Subjects that one statement changes. PostgreSQL keeps the old and the new rows of a statement for the trigger that tells caches, and writes them to a
/// temporary file, ciphertext and all, once they outgrow work_mem: a thousand of the largest do not outgrow what is set here.
pub const AT_ONCE: usize = 1000;
const WORK_MEM: &std::ffi::CStr = c"16MB";

/// Runs `work`, whose statements change no more than that many, with enough memory for what a statement keeps of the rows it changes.
pub fn with_work_mem<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: constant name and value; on ERROR the end of the (sub)transaction puts the setting back.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"work_mem".as_ptr(),
            WORK_MEM.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        let done = work();
        pg_sys::AtEOXact_GUC(true, level);
        done
    }
}
