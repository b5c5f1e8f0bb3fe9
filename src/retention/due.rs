//! `_night_due`: what a worker has to do of this night, by the server's clock.

use pgrx::pg_sys;

use super::progress::{Progress, is_over_for_tonight, night};
use super::sweep::Sweep;
use crate::json_text::{jsonb, object, quoted};
use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, clock, keys, scrub};

sql_function!(_night_due, pg_finfo__night_due, run);

/// While keys are locked no sweep is due, and there is no night.
fn run(_: Arguments) -> pg_sys::Datum {
    call::operation();
    let unlocked = keys::active().is_some();
    let is_due = |sweep: &Sweep| {
        let progress = connected(|| Progress::load(*sweep));
        !progress.as_ref().is_some_and(is_over_for_tonight)
    };
    let (sweeps, scrub) = with_latest_snapshot(|| {
        let sweeps = Sweep::ALL.into_iter().filter(|_| unlocked).filter(is_due);
        let names = sweeps.map(|sweep| quoted(sweep.name()));
        (names.collect::<Vec<_>>(), scrub::rounds::is_due(0))
    });
    let tonight = unlocked.then(|| night(clock::now()).to_string());
    jsonb(&object([
        ("night", tonight.unwrap_or_else(|| "null".into())),
        ("sweeps", format!("[{}]", sweeps.join(","))),
        ("scrub", scrub.to_string()),
    ]))
}
