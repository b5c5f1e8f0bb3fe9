//! What the sweeps have in common: one batch of one transaction, in the order of the subjects' ids, from where the batch before came to.
//!
//! Lock order: the sweep's own lock; that of the policies, shared; then the writers' locks of the subjects, none of which is waited for; then the
//! snapshot under which it is looked once more who is due, since whoever held such a lock may have changed that.

use std::collections::HashSet;

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::policies::Policies;
use super::policy::Kind;
use super::progress::Progress;
use super::{biometric, consent, general};
use crate::call::Call;
use crate::json_text::{jsonb, object, quoted};
use crate::keys::region::Keys;
use crate::query::{Rows, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{bucket, subtransaction};

sql_function!(retention_sweep, pg_finfo_retention_sweep, retention);
sql_function!(consent_sweep, pg_finfo_consent_sweep, consents);
sql_function!(biometric_sweep, pg_finfo_biometric_sweep, biometrics);

/// Of one batch: the locks of all are held until its transaction ends.
pub const MOST_SUBJECTS: i32 = 10_000;

/// What ends by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    Consent,
    Biometric,
    Retention,
}

impl Sweep {
    /// In the order of a night: a consent that ran out makes biometrics due.
    pub const ALL: [Self; 3] = [Self::Consent, Self::Biometric, Self::Retention];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Biometric => "biometric",
            Self::Retention => "retention",
        }
    }

    /// What its access rows are.
    pub const fn kind(self) -> AccessorKind {
        match self {
            Self::Consent => AccessorKind::ConsentExpiry,
            Self::Biometric => AccessorKind::BiometricErase,
            Self::Retention => AccessorKind::Erasure,
        }
    }

    fn policies(self) -> Policies {
        match self {
            Self::Consent => Policies::none(),
            Self::Biometric => Policies::in_effect(Kind::Biometric),
            Self::Retention => Policies::in_effect(Kind::General),
        }
    }

    /// Who is due in a range, in the order of their ids.
    fn due(self, policies: &Policies, range: &Range, most: i64) -> Vec<Due> {
        match self {
            Self::Consent => consent::due(range, most),
            Self::Biometric => biometric::due(range, most),
            Self::Retention => general::due(policies, range, most),
        }
    }

    /// Ends what is due of these subjects, whose locks are held.
    fn end(self, call: &mut Call, keys: &Keys, policies: &Policies, due: &[Due]) -> Ended {
        match self {
            Self::Consent => consent::end(call, keys, due),
            Self::Biometric => biometric::end(call, keys, policies, due),
            Self::Retention => general::end(call, keys, policies, due),
        }
    }
}

/// A subject that is due, and why.
pub struct Due {
    pub candidate: [u8; 16],
    pub vertical: String,
    pub reason: String,
}

/// From rows of these three.
pub fn due_of(rows: &Rows) -> Vec<Due> {
    let due = |row| {
        Some(Due {
            candidate: rows.datum(row, 1).map(uuid)?,
            vertical: rows.get(row, 2)?,
            reason: rows.get(row, 3)?,
        })
    };
    (0..rows.count).filter_map(due).collect()
}

/// Subjects after one and up to another, that one included.
pub struct Range {
    pub after: [u8; 16],
    pub up_to: [u8; 16],
}

/// What became of subjects whose locks were had.
pub struct Ended {
    pub done: usize,
    pub failed: usize,
}

/// What one batch did; of a dry run, what it would have.
pub struct Batch {
    pub due: usize,
    pub done: usize,
    /// Subjects that somebody is changing in a transaction that is still open.
    pub busy: usize,
    pub failed: usize,
    /// Whether the pass is not over yet.
    pub more: bool,
}

fn retention(arguments: Arguments) -> pg_sys::Datum {
    run(arguments, Sweep::Retention)
}

fn consents(arguments: Arguments) -> pg_sys::Datum {
    run(arguments, Sweep::Consent)
}

fn biometrics(arguments: Arguments) -> pg_sys::Datum {
    run(arguments, Sweep::Biometric)
}

fn run(arguments: Arguments, sweep: Sweep) -> pg_sys::Datum {
    let mut call = Call::begin(sweep.kind());
    let keys = call.admit();
    let most: i32 = call.required(arguments.get(0));
    let dry_run: bool = call.required(arguments.get(1));
    if most < 1 {
        call.refuse(Reason::BadArgument);
    }
    if most > MOST_SUBJECTS {
        call.refuse(Reason::TooMany);
    }
    let batch = if dry_run {
        rehearse(sweep, most)
    } else {
        batch(&mut call, &keys, sweep, most)
    };
    jsonb(&object([
        ("sweep", quoted(sweep.name())),
        ("dry_run", dry_run.to_string()),
        ("due", batch.due.to_string()),
        ("done", batch.done.to_string()),
        ("busy", batch.busy.to_string()),
        ("failed", batch.failed.to_string()),
        ("more", batch.more.to_string()),
    ]))
}

/// Takes the next batch of a sweep.
pub fn batch(call: &mut Call, keys: &Keys, sweep: Sweep, most: i32) -> Batch {
    bucket::sweep(sweep as u8);
    bucket::keep_retention_policies();
    let plan = Plan::make(sweep, most);
    let mine = plan.lock();
    with_latest_snapshot(|| {
        let due = plan.still_due(sweep, &mine);
        let ended = sweep.end(call, keys, &plan.policies, &due);
        let batch = plan.outcome(&mine, due.len(), ended);
        let last = plan.candidates.last().copied().filter(|_| plan.more);
        connected(|| plan.progress.advance(sweep, &batch, last));
        batch
    })
}

/// Looks what the next batch would do, and gives every lock back.
fn rehearse(sweep: Sweep, most: i32) -> Batch {
    let undone = subtransaction::unless_refused(|| {
        let plan = Plan::make(sweep, most);
        let mine = plan.lock();
        let due = with_latest_snapshot(|| plan.still_due(sweep, &mine));
        let nothing = Ended { done: 0, failed: 0 };
        Err::<Batch, _>(plan.outcome(&mine, due.len(), nothing))
    });
    undone.unwrap_or_else(|batch| batch)
}

/// Who is up.
struct Plan {
    policies: Policies,
    progress: Progress,
    candidates: Vec<[u8; 16]>,
    more: bool,
}

impl Plan {
    fn make(sweep: Sweep, most: i32) -> Self {
        with_latest_snapshot(|| {
            connected(|| {
                let policies = sweep.policies();
                let progress = Progress::of_batch(sweep, &policies.text());
                let range = Range {
                    after: progress.after(),
                    up_to: [u8::MAX; 16],
                };
                // One more than is taken tells whether there is more.
                let due = sweep.due(&policies, &range, i64::from(most) + 1);
                let most = usize::try_from(most).unwrap_or(0);
                Self {
                    policies,
                    progress,
                    more: due.len() > most,
                    candidates: due
                        .into_iter()
                        .take(most)
                        .map(|due| due.candidate)
                        .collect(),
                }
            })
        })
    }

    /// Locks writers out of the subjects that nobody is changing, and returns those.
    fn lock(&self) -> HashSet<[u8; 16]> {
        let mine = self.candidates.iter().copied();
        mine.filter(bucket::try_keep_writers_out).collect()
    }

    /// Of the locked ones, those who are due now that nobody can change it any more.
    fn still_due(&self, sweep: Sweep, mine: &HashSet<[u8; 16]>) -> Vec<Due> {
        let Some(last) = self.candidates.last() else {
            return Vec::new();
        };
        let range = Range {
            after: self.progress.after(),
            up_to: *last,
        };
        let mut due = connected(|| sweep.due(&self.policies, &range, i64::MAX));
        due.retain(|due| mine.contains(&due.candidate));
        due
    }

    fn outcome(&self, mine: &HashSet<[u8; 16]>, due: usize, ended: Ended) -> Batch {
        let busy = self.candidates.len() - mine.len();
        Batch {
            due: due + busy,
            done: ended.done,
            busy,
            failed: ended.failed,
            more: self.more,
        }
    }
}
