//! identity_pgx: the PostgreSQL side. It converts, checks privileges and runs transactions; every byte format and cryptographic decision is in
//! `identity_core`.
//!
//! | module | its one job |
//! |---|---|
//! | [`gucs`], [`error`] | all settings; all SQLSTATEs |
//! | [`call`], [`caller`] | one call: may it proceed, who calls, how it is refused |
//! | [`purpose`] | purposes: read in every call, versioned on change, approved by a second person, revoked at once |
//! | [`caller_revocation`] | logins that are shut out of every call |
//! | [`subject`] | subjects: resolve, register, update, batches, vertical, changes, import |
//! | [`biometric`] | biometrics: collected, classified, destroyed with the file they came in |
//! | [`consent`] | consent templates, what a subject said, where it lives |
//! | [`erasure`] | requests, the erasure of a subject, receipts |
//! | [`retention`] | how long data is kept, and the sweeps that end it |
//! | [`forget`] | tables of applications that are cleaned when a subject is erased |
//! | [`limits`] | calls a second and subjects a day, by caller and purpose |
//! | [`vertical`] | what texts say about a subject's vertical, and what reviewers do |
//! | [`scrub`] | what erasures left in the pages of tables and indexes is overwritten |
//! | [`zone`], [`bucket`] | what the row-level policies ask; locks on subjects, and of those who write policy |
//! | [`record`], [`event`], [`lane`], [`ledger`] | what is recorded of a call; how an event is digested; the chain of one backend slot; the log and its verification |
//! | [`recorder`] | rows of reads that did not commit, and of refusals |
//! | [`transaction`], [`subtransaction`] | the ends of transactions and savepoints; work that is undone by itself |
//! | [`keys`] | the protected region, unlocking and wiping |
//! | [`maintenance`], [`worker_process`] | partitions ahead, settings events, sweeps, files and scrubs in their turn; what background processes share |
//! | [`outbox`] | what is told to the outside, and whether it arrived |
//! | [`status`], [`metrics`] | health and status; numbers for monitoring |
//! | [`log_hiding`] | keeps arguments out of the server log |
//! | [`shmem`], [`backend_local`], [`query`], [`columns`], [`scan`], [`relation`], [`sql_function`], [`trigger`], [`answer`], [`arrays`], [`json`], [`json_text`], [`clock`] | plumbing to PostgreSQL |
//!
//! The SQL is written by hand under `sql/`, in the order of the file names: preflight, roles, tables, functions, owners, row-level
//! security, grants.

use pgrx::prelude::*;

mod answer;
mod arrays;
mod backend_local;
mod biometric;
mod bucket;
mod call;
mod caller;
mod caller_revocation;
mod clock;
mod columns;
mod consent;
mod erasure;
mod error;
mod event;
mod forget;
mod gucs;
mod json;
mod json_text;
mod keys;
mod lane;
mod ledger;
mod limits;
mod log_hiding;
mod maintenance;
mod metrics;
mod outbox;
mod purpose;
mod query;
mod record;
mod recorder;
mod relation;
mod retention;
mod scan;
mod scrub;
mod shmem;
mod sql_function;
mod status;
mod subject;
mod subtransaction;
mod transaction;
mod trigger;
mod vertical;
mod worker_process;
mod zone;

::pgrx::pg_module_magic!(name, version);

/// Runs once in the postmaster when preloaded. Loaded later, into one session, it only defines functions that refuse: there is no
/// shared memory then.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: reads a flag of the loading process.
    if !unsafe { pgrx::pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    // A backtrace in an error's DETAIL would go to the client. SAFETY: nothing else runs yet.
    for variable in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"] {
        unsafe { std::env::remove_var(variable) };
    }
    gucs::define();
    if !keys::region::forbid_core_dumps() {
        pgrx::warning!("identity_pgx: core dumps could not be forbidden");
    }
    shmem::install();
    transaction::install();
    log_hiding::install();
    recorder::worker::register();
    maintenance::register();
}
