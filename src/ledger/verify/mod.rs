//! `ledger_verify`: recomputes the log and what was made of it, and says by name what does not fit.
//!
//! It names every finding and never stops at the first. What it cannot see is a history rewritten, seals and tree with it, by somebody who has the
//! chain key: docs/lying-database.md says who sees what.

mod anchored;
mod declared;
mod expired;
mod heads;
mod policy;
mod reader;
mod recent;
mod replayed;
mod report;
mod store;

use identity_core::reason::Reason;
use pgrx::pg_sys;

pub use report::Report;

use crate::keys::region::Keys;
use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{biometric, call, consent, erasure, error, forget, keys, retention, tombstone};

sql_function!(ledger_verify, pg_finfo_ledger_verify, verify);

fn verify(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let full = arguments
        .get(0)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let mut report = Report::of(arguments);
    without_jit(|| check(&keys, full, &mut report));
    pg_sys::Datum::from(0)
}

fn check(keys: &Keys, full: bool, report: &mut Report) {
    let ends = with_latest_snapshot(|| {
        if full {
            replayed::check(keys, report)
        } else {
            recent::check(keys, report)
        }
    });
    heads::check(&ends, report);
    with_latest_snapshot(|| {
        connected(|| {
            policy::guards(report);
            policy::purposes(keys, full, report);
            if full {
                consent::verify::check(keys, report);
                erasure::verify::check(keys, report);
                forget::verify::check(keys, report);
                biometric::verify::check(keys, report);
                tombstone::verify::check(keys, report);
                policy::callers(keys, report);
                policy::verticals(keys, report);
                retention::audit::check(keys, report);
                crate::keys::verify::check(keys, report);
            }
        });
    });
}

/// Compiling a plan takes longer than running it here, and 24 MB.
fn without_jit(work: impl FnOnce()) {
    // SAFETY: constant name and value; on ERROR the end of the (sub)transaction puts the setting back.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"jit".as_ptr(),
            c"off".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        work();
        pg_sys::AtEOXact_GUC(true, level);
    }
}
