//! The sweeps of a night, by the maintenance process in the place of a worker: from 03:00 UTC on one batch a round, so that its other duties go on. A
//! night that was missed is made up for as soon as the server is there and its keys are unlocked. To a worker that leads, the night is left for as long as
//! it goes on with it.

use std::cell::LazyCell;
use std::time::Duration;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use super::lead;
use super::progress::{Mark, Progress, is_over_for_tonight, night};
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
    /// Where the worker that does it was found.
    left_at: Option<Option<Mark>>,
}

/// The sweeps of a night, as far as this process has come with each.
pub struct Night {
    turns: [Turn; Sweep::ALL.len()],
    /// When a worker that leads was last seen to go on with any of them.
    worker_went_on: i64,
    /// The night that a worker did not go on with.
    taken_over: Option<i64>,
}

impl Night {
    pub const fn new() -> Self {
        Self {
            turns: [Turn {
                over: None,
                paused_until: 0,
                left_at: None,
            }; Sweep::ALL.len()],
            worker_went_on: 0,
            taken_over: None,
        }
    }

    /// Takes one batch of the first sweep that has one for tonight; false if there is none. While keys are locked it waits.
    pub fn round(&mut self) -> bool {
        // In a transaction: whose keys they are is looked up in the catalog after any table was changed.
        if worker_process::in_transaction(|| keys::active().is_none()) {
            return false;
        }
        let tonight = night(clock::now());
        // Looked up at most once, and not at all while nothing is due.
        let worker_leads = LazyCell::new(|| worker_process::in_transaction(lead::is_a_workers));
        for (turn, sweep) in self.turns.iter_mut().zip(Sweep::ALL) {
            if turn.over == Some(tonight) || clock::monotonic_nanos() < turn.paused_until {
                continue;
            }
            let is_workers = self.taken_over != Some(tonight) && *worker_leads;
            if !is_workers {
                turn.left_at = None;
            }
            match worker_process::try_as_client(|| batch(sweep, is_workers)) {
                Ok(Taken::Nothing) => {
                    turn.over = Some(tonight);
                    turn.left_at = None;
                }
                Ok(Taken::Left(at)) => {
                    let (now, before) = (clock::now(), turn.left_at.replace(at));
                    let patience = self.worker_went_on..self.worker_went_on + lead::PATIENCE;
                    if before != Some(at) {
                        self.worker_went_on = now;
                    } else if !patience.contains(&now) {
                        self.taken_over = Some(tonight);
                        pgrx::warning!(
                            "identity_pgx: the worker that leads does not go on with the sweeps of this night, so they are done without it"
                        );
                    }
                }
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
    /// It is the worker's, who is here.
    Left(Option<Mark>),
    Batch,
    /// The pass is over, and left subjects behind that somebody was changing.
    Last,
}

fn batch(sweep: Sweep, is_workers: bool) -> Taken {
    let progress = || with_latest_snapshot(|| connected(|| Progress::load(sweep)));
    let Some(keys) = keys::active() else {
        return Taken::Batch;
    };
    let before = progress();
    if before.as_ref().is_some_and(is_over_for_tonight) {
        return Taken::Nothing;
    }
    if is_workers {
        return Taken::Left(before.map(|progress| progress.mark()));
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
