//! `retention_sweep`: erases the subjects whose retention is over. Days are counted from the last interaction, or from when the subject came; the
//! shorter of the subject's own period and its vertical's policy counts. No policy in effect, no erasure.

use std::collections::BTreeMap;

use identity_core::field::FieldSet;
use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::policies::Policies;
use super::sweep::{Ended, Range};
use crate::call::Call;
use crate::erasure::erase::{Ground, Wanted, erase};
use crate::keys::region::Keys;
use crate::query::{Statement, bind};
use crate::record::{Entry, Fate, Line};
use crate::sql_function::uuid;
use crate::{clock, metrics, subtransaction};

/// The reason, and the purpose token of the rows.
const RETENTION_EXPIRED: &str = "retention_expired";

/// Subjects after one and up to another. Where a vertical has no policy its days are NULL, which LEAST would pass over. Days are 24 hours: those of a
/// session's time zone may have 23.
static DUE: Statement = Statement::read(
    c"SELECT s.candidate_id, s.vertical
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
pub fn due(policies: &Policies, range: &Range, most: i64) -> Vec<([u8; 16], String)> {
    let mut arguments = vec![
        bind(pgrx::Uuid::from_bytes(range.after)),
        bind(pgrx::Uuid::from_bytes(range.up_to)),
        Some(pg_sys::Datum::from(clock::now())),
        bind(most),
    ];
    arguments.extend(policies.days());
    let rows = DUE.run(&mut arguments);
    (0..rows.count)
        .filter_map(|row| Some((rows.datum(row, 1).map(uuid)?, rows.get(row, 2)?)))
        .collect()
}

/// Erases them, those of one schedule together. One whom a registered table of an application does not let go stays, and holds nobody else up.
pub fn end(
    call: &mut Call,
    keys: &Keys,
    policies: &Policies,
    subjects: &[([u8; 16], String)],
) -> Ended {
    let mut by_schedule = BTreeMap::<&str, Vec<[u8; 16]>>::new();
    for (candidate, vertical) in subjects {
        if let Some(schedule) = policies.schedule(vertical) {
            by_schedule.entry(schedule).or_default().push(*candidate);
        }
    }
    let mut ended = Ended { done: 0, failed: 0 };
    for (schedule, candidates) in by_schedule {
        let ground = Ground {
            reason: RETENTION_EXPIRED,
            authority: schedule,
            purpose: RETENTION_EXPIRED,
        };
        erase_or_divide(call, keys, &candidates, &ground, &mut ended);
    }
    ended
}

/// All of them, or each half by itself: who cannot be erased is found without trying everybody alone.
fn erase_or_divide(
    call: &mut Call,
    keys: &Keys,
    candidates: &[[u8; 16]],
    ground: &Ground<'_>,
    ended: &mut Ended,
) {
    let wanted = candidates
        .iter()
        .map(|candidate| Wanted {
            candidate: *candidate,
            request: None,
        })
        .collect::<Vec<_>>();
    match (
        subtransaction::unless_refused(|| erase(call, keys, &wanted, ground)),
        candidates,
    ) {
        (Ok(erased), _) => ended.done += erased.len(),
        (Err(Reason::ForgetFailed), [candidate]) => {
            record_failure(call, keys, candidate);
            ended.failed += 1;
        }
        (Err(Reason::ForgetFailed), _) => {
            let (first, second) = candidates.split_at(candidates.len() / 2);
            erase_or_divide(call, keys, first, ground, ended);
            erase_or_divide(call, keys, second, ground, ended);
        }
        (Err(reason), _) => call.refuse(reason),
    }
}

/// A refusal in the sweep's own transaction: it is there if the rest of the batch is.
fn record_failure(call: &Call, keys: &Keys, candidate: &[u8; 16]) {
    let entry = Entry {
        candidate: Some(*candidate),
        ..Entry::now()
    };
    let line = Line {
        entry,
        fate: Fate::denied(Reason::ForgetFailed, 1),
        fields: FieldSet::EMPTY,
    };
    metrics::denied(Reason::ForgetFailed);
    call.append_batch(keys, &[line]);
}
