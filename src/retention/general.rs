//! `retention_sweep`: erases the subjects whose retention is over. Days are counted from the last interaction, or from when the subject came; the
//! shorter of the subject's own period and its vertical's policy counts. No policy in effect, no erasure.

use std::collections::BTreeMap;
use std::time::Duration;

use identity_core::field::FieldSet;
use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::policies::Policies;
use super::sweep::{Due, Ended, Range, due_of};
use crate::call::Call;
use crate::erasure::erase::{Ground, Wanted, erase};
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected};
use crate::record::{Entry, Fate, Line};
use crate::{bucket, clock, forget, metrics, subtransaction};

/// The reason, and the purpose token of the rows.
pub const RETENTION_EXPIRED: &str = "retention_expired";
/// When nobody could be erased after so many tries, nobody else is tried.
const MOST_REFUSALS: u32 = 24;
/// Nor when refusals went on for so long.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Subjects after one and up to another. Where a vertical has no policy its days are NULL, which LEAST would pass over. Days are 24 hours: those of a
/// session's time zone may have 23.
static DUE: Statement = Statement::read(
    c"SELECT s.candidate_id, s.vertical, 'retention_expired'
        FROM identity.subjects s
             CROSS JOIN LATERAL (SELECT CASE s.vertical WHEN 'unknown' THEN $5 WHEN 'general' THEN $6 WHEN 'healthcare' THEN $7
                                                        WHEN 'finance' THEN $8 WHEN 'other' THEN $9 END AS days) p
       WHERE s.candidate_id > $1 AND s.candidate_id <= $2 AND s.erased_at IS NULL AND p.days IS NOT NULL
         AND COALESCE(s.last_interaction, s.created_at) <= $3 - pg_catalog.make_interval(hours => 24 * LEAST(s.retention_period_days, p.days))
       ORDER BY s.candidate_id LIMIT $4",
    &[
        pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::INT4OID, pg_sys::INT4OID, pg_sys::INT4OID,
        pg_sys::INT4OID,
    ],
);

/// Those who are due, with their verticals, in the order of their ids. Runs inside a call's snapshot.
pub fn due(policies: &Policies, range: &Range, most: i64) -> Vec<Due> {
    let mut arguments = vec![
        bind(pgrx::Uuid::from_bytes(range.after)),
        bind(pgrx::Uuid::from_bytes(range.up_to)),
        Some(pg_sys::Datum::from(clock::now())),
        bind(most),
    ];
    arguments.extend(policies.days());
    let rows = DUE.run(&mut arguments);
    due_of(&rows)
}

/// Erases them, those of one schedule together.
pub fn end(call: &mut Call, keys: &Keys, policies: &Policies, due: &[Due]) -> Ended {
    let mut by_schedule = BTreeMap::<&str, Vec<[u8; 16]>>::new();
    for due in due {
        if let Some(schedule) = policies.schedule(&due.vertical) {
            by_schedule.entry(schedule).or_default().push(due.candidate);
        }
    }
    let groups = by_schedule.into_iter().map(|(schedule, candidates)| {
        let ground = Ground {
            reason: RETENTION_EXPIRED,
            authority: schedule,
            purpose: RETENTION_EXPIRED,
        };
        (ground, candidates)
    });
    erase_groups(call, keys, groups)
}

/// Erases subjects whose writers' locks are held, those of one ground together. One whom a registered table of an application does not let go stays, and holds nobody
/// else up. Runs inside a call's snapshot.
pub fn erase_groups<'a>(
    call: &mut Call,
    keys: &Keys,
    groups: impl IntoIterator<Item = (Ground<'a>, Vec<[u8; 16]>)>,
) -> Ended {
    let mut work = Work {
        call,
        keys,
        ended: Ended { done: 0, failed: 0 },
        cleared: Vec::new(),
        refused: 0,
        since: None,
        cancelled: false,
    };
    for (ground, mut candidates) in groups {
        shuffle(&mut candidates);
        work.erase(&candidates, &ground);
    }
    // When everybody was tried: a table that is slow to refuse must not keep reads out.
    bucket::keep_reads_out(&work.cleared);
    work.ended
}

/// Another order at each try: whoever cannot be erased does not always come before the same others, who would never have their turn.
fn shuffle(candidates: &mut [[u8; 16]]) {
    let mut keys = clock::random_many::<8>(candidates.len()).into_iter();
    candidates.sort_by_cached_key(|_| keys.next());
}

/// A batch that is being erased.
struct Work<'a> {
    call: &'a mut Call,
    keys: &'a Keys,
    ended: Ended,
    /// Who was erased, and may not be read any more when this commits.
    cleared: Vec<[u8; 16]>,
    /// How often a registered table refused, and since when, on the monotonic clock.
    refused: u32,
    since: Option<u64>,
    /// A cancel, or the end of statement_timeout, met a registered table: there is no second one that would end the next try.
    cancelled: bool,
}

impl Work<'_> {
    /// All of them, or each half by itself: who cannot be erased is found without trying everybody alone.
    fn erase(&mut self, candidates: &[[u8; 16]], ground: &Ground<'_>) {
        if self.hopeless() {
            return self.fail(candidates);
        }
        let wanted = candidates
            .iter()
            .map(|candidate| Wanted {
                candidate: *candidate,
                request: None,
            })
            .collect::<Vec<_>>();
        let erased = subtransaction::unless_refused(|| {
            connected(|| erase(self.call, self.keys, &wanted, ground))
        });
        match erased {
            Ok(erased) => {
                self.ended.done += erased.len();
                self.cleared.extend_from_slice(candidates);
            }
            Err(Reason::ForgetFailed) => {
                self.cancelled = forget::was_cancelled();
                self.refused += 1;
                self.since.get_or_insert_with(clock::monotonic_nanos);
                match candidates.split_at(candidates.len() / 2) {
                    ([], _) => self.fail(candidates),
                    (first, second) => {
                        self.erase(first, ground);
                        self.erase(second, ground);
                    }
                }
            }
            Err(reason) => self.call.refuse(reason),
        }
    }

    /// Whether it is the table that refuses and not a row in it, or waits for somebody at each try. Locks are held meanwhile.
    fn hopeless(&self) -> bool {
        let waited = self
            .since
            .map_or(0, |since| clock::monotonic_nanos() - since);
        let waited = Duration::from_nanos(waited);
        match self.ended.done {
            _ if self.cancelled => true,
            0 => self.refused >= MOST_REFUSALS || waited > LONGEST_WAIT,
            _ => waited > LONGEST_WAIT,
        }
    }

    /// Refusals in the sweep's own transaction: they are there if the rest of the batch is. Those who were not tried alone share one.
    fn fail(&mut self, candidates: &[[u8; 16]]) {
        let mut entry = Entry::now();
        if let [candidate] = candidates {
            entry.candidate = Some(*candidate);
        }
        let repeats = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        self.call.append_batch(
            self.keys,
            &[Line {
                entry,
                fate: Fate::denied(Reason::ForgetFailed, repeats),
                fields: FieldSet::EMPTY,
            }],
        );
        metrics::denied(Reason::ForgetFailed);
        self.ended.failed += candidates.len();
    }
}
