//! `ledger_verify`: recomputes the log and what was made of it, and says by name what does not fit.
//!
//! It names every finding and never stops at the first. What it cannot see is a history rewritten, seals and tree with it, by somebody who has the
//! chain key: docs/lying-database.md says who sees what.

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

use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, consent, error, keys};

sql_function!(ledger_verify, pg_finfo_ledger_verify, verify);

fn verify(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let full = arguments
        .get(0)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let mut report = Report::of(arguments);
    let ends = with_latest_snapshot(|| {
        if full {
            replayed::check(&keys, &mut report)
        } else {
            recent::check(&keys, &mut report)
        }
    });
    heads::check(&ends, &mut report);
    with_latest_snapshot(|| {
        connected(|| {
            policy::guards(&mut report);
            policy::purposes(&keys, full, &mut report);
            if full {
                consent::verify::check(&keys, &mut report);
                policy::callers(&keys, &mut report);
                policy::verticals(&keys, &mut report);
            }
        });
    });
    pg_sys::Datum::from(0)
}
