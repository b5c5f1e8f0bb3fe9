//! What other people's code runs under while their tables are cleaned.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

/// A session's own settings must not decide what is cleaned: with `session_replication_role = replica` neither foreign keys nor triggers would follow.
/// `row_security` is on because a function of theirs may rely on it; our own statements pass the policies (see [`as_owner`]). An application's lock
/// holds an erasure up for no longer than `lock_timeout`.
const SETTINGS: [(&CStr, &CStr); 4] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"row_security", c"on"),
    (c"session_replication_role", c"origin"),
    (c"lock_timeout", c"2s"),
];

static IN_PROGRESS: AtomicBool = AtomicBool::new(false);

/// While this is held, none of our functions answers: what runs is a table owner's, in the session of somebody who may erase.
pub struct Guard(());

impl Guard {
    /// Until it is dropped.
    pub fn new() -> Self {
        IN_PROGRESS.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        IN_PROGRESS.store(false, Ordering::Relaxed);
    }
}

/// Whether a table is being cleaned in this backend.
pub fn in_progress() -> bool {
    IN_PROGRESS.load(Ordering::Relaxed)
}

/// Runs `work` with the settings above, and takes back whatever it changed of any.
pub fn with_settings<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: constant names and values; on ERROR the end of the (sub)transaction puts the settings back.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in SETTINGS {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        let result = work();
        pg_sys::AtEOXact_GUC(false, level);
        result
    }
}

/// Whether policies of the owner's own table hold for the owner too (FORCE ROW LEVEL SECURITY).
#[derive(Clone, Copy)]
pub enum Policies {
    Hold,
    /// Where nobody's code runs: while a statement is parsed, which is when policies are put into it, and while we look what is left.
    Pass,
}

/// Runs `work` as the owner of a table, who cannot become anybody else, leave anything for later or make anything temporary.
pub fn as_owner<T>(owner: pg_sys::Oid, policies: Policies, work: impl FnOnce() -> T) -> T {
    let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    let added = match policies {
        Policies::Hold => restricted,
        Policies::Pass => restricted | pg_sys::SECURITY_NOFORCE_RLS,
    };
    // SAFETY: user and context are put back, and on ERROR the end of the (sub)transaction does it.
    unsafe {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(owner, context | added as i32);
        let result = work();
        pg_sys::SetUserIdAndSecContext(user, context);
        result
    }
}
