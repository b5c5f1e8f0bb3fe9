//! The sweeps of a night, by the maintenance process in the place of a worker: from 03:00 UTC on one batch a round, so that its other duties go on. A
//! night that was missed is made up for as soon as the server is there and its keys are unlocked.

use std::time::Duration;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use super::progress::{Progress, is_over_for_tonight, night};
use super::sweep::{self, Sweep};
use crate::call::Call;
use crate::query::{connected, with_latest_snapshot};
use crate::{clock, error, keys, worker_process};

const SUBJECTS_A_ROUND: i32 = 1000;
/// After a batch that failed, and until subjects are tried again that somebody was changing.
const PAUSE: Duration = Duration::from_secs(600);

/// What this process remembers of a sweep; what must not be forgotten lies in the table.
#[derive(Clone, Copy)]
struct Turn {
    /// The night for which it is over.
    over: Option<i64>,
    /// On the monotonic clock.
    paused_until: u64,
}

/// The sweeps of a night, as far as this process has come with each.
pub struct Night([Turn; Sweep::ALL.len()]);

impl Night {
    pub const fn new() -> Self {
        Self(
            [Turn {
                over: None,
                paused_until: 0,
            }; Sweep::ALL.len()],
        )
    }

    /// Takes one batch of the first sweep that has one for tonight; false if there is none. While keys are locked it waits.
    pub fn round(&mut self) -> bool {
        // In a transaction: whose keys they are is looked up in the catalog after any table was changed.
        if worker_process::in_transaction(|| keys::active().is_none()) {
            return false;
        }
        let tonight = night(clock::now());
        for (turn, sweep) in self.0.iter_mut().zip(Sweep::ALL) {
            if turn.over == Some(tonight) || clock::monotonic_nanos() < turn.paused_until {
                continue;
            }
            match worker_process::try_as_client(|| batch(sweep)) {
                Ok(Taken::Nothing) => turn.over = Some(tonight),
                Ok(Taken::Batch) => {
                    // It may be another night's, of a clock that is set back yet: this one is over when the table says so.
                    turn.over = None;
                    return true;
                }
                Ok(Taken::Last) => {
                    turn.over = None;
                    turn.paused_until = after(PAUSE);
                    return true;
                }
                Err(code) => {
                    let what = format!("a batch of the {} sweep failed", sweep.name());
                    complain(&what, code);
                    turn.paused_until = after(PAUSE);
                }
            }
        }
        false
    }
}

enum Taken {
    /// The night is over.
    Nothing,
    Batch,
    /// The pass is over, and left subjects behind that somebody was changing.
    Last,
}

fn batch(sweep: Sweep) -> Taken {
    let progress = || with_latest_snapshot(|| connected(|| Progress::load(sweep)));
    let Some(keys) = keys::active() else {
        return Taken::Batch;
    };
    if progress().as_ref().is_some_and(is_over_for_tonight) {
        return Taken::Nothing;
    }
    let mut call = Call::begin(sweep.kind());
    let batch = sweep::batch(&mut call, &keys, sweep, SUBJECTS_A_ROUND);
    match progress() {
        Some(progress) if !batch.more => {
            report(sweep, &progress);
            if progress.busy > 0 {
                Taken::Last
            } else {
                Taken::Batch
            }
        }
        _ => Taken::Batch,
    }
}

fn report(sweep: Sweep, pass: &Progress) {
    if pass.done + pass.busy + pass.failed > 0 {
        pgrx::log!(
            "identity_pgx: {} sweep: {} done, {} busy, {} failed",
            sweep.name(),
            pass.done,
            pass.busy,
            pass.failed
        );
    }
}

/// Never the words of the error, which may quote a value.
fn complain(what: &str, code: PgSqlErrorCode) {
    let state = error::sqlstate(code);
    pgrx::warning!("identity_pgx: {what} with SQLSTATE {state}, and is tried again in ten minutes");
}

/// A moment on the monotonic clock.
fn after(pause: Duration) -> u64 {
    let pause = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
    clock::monotonic_nanos().saturating_add(pause)
}
