//! `biometric_sweep`: destroys biometrics that are due. Who that is, and why, is the view's to say: what was promised when they were collected holds, and
//! no policy of today is needed to keep the promise.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use super::policies::Policies;
use super::sweep::{Due, Ended, Range, due_of};
use crate::biometric::erase::erase;
use crate::call::Call;
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected};
use crate::scrub::waits::{self, What};
use crate::subject::many::{AT_ONCE, with_work_mem};
use crate::{bucket, clock};

static DUE: Statement = Statement::read(
    c"SELECT d.candidate_id, s.vertical, d.reason FROM identity.biometrics_due d JOIN identity.subjects s ON s.candidate_id = d.candidate_id
       WHERE d.candidate_id > $1 AND d.candidate_id <= $2 ORDER BY d.candidate_id LIMIT $3",
    &[pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::INT8OID],
);

/// Runs inside a call's snapshot.
pub fn due(range: &Range, most: i64) -> Vec<Due> {
    due_of(&DUE.run(&mut [
        bind(pgrx::Uuid::from_bytes(range.after)),
        bind(pgrx::Uuid::from_bytes(range.up_to)),
        bind(most),
    ]))
}

/// Those of one reason and schedule together.
pub fn end(call: &mut Call, keys: &Keys, policies: &Policies, due: &[Due]) -> Ended {
    let mut grounds = BTreeMap::<_, Vec<[u8; 16]>>::new();
    for due in due {
        let schedule = policies.schedule(&due.vertical).unwrap_or_default();
        let ground = (due.reason.as_str(), schedule);
        grounds.entry(ground).or_default().push(due.candidate);
    }
    let mut done = 0;
    for ((reason, schedule), candidates) in grounds {
        for candidates in candidates.chunks(AT_ONCE) {
            let erased =
                with_work_mem(|| connected(|| erase(call, keys, candidates, reason, schedule)));
            if !erased.is_empty() {
                connected(|| waits::add(What::Biometrics, candidates, clock::now()));
            }
            done += erased.len();
        }
    }
    let candidates = due.iter().map(|due| due.candidate).collect::<Vec<_>>();
    bucket::keep_reads_out(&candidates);
    Ended { done, failed: 0 }
}
