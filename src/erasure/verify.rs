//! What `ledger_verify(true)` asks: is everybody erased who was recorded to be, and nobody else; is nothing of them there again; and do the requests say
//! what was recorded of them?

use pgrx::pg_sys;

use super::record::{Act, Asked, DUE_MICROS, Done};
use super::stores;
use crate::keys::region::Keys;
use crate::ledger::dropped;
use crate::ledger::verify::Report;
use crate::query::{Rows, Statement, bind};
use crate::retention::general::RETENTION_EXPIRED;
use crate::sql_function::uuid;
use crate::tombstone::RESTORED;

const CHECK: &str = "erasures";
/// Reasons of those whom nobody asked for.
const UNASKED: [&str; 2] = [RETENTION_EXPIRED, RESTORED];

/// The times narrow the search to one partition; they are the same in both. OFFSET 0 has each event looked up by its id: after a sweep that statistics do
/// not know of yet PostgreSQL expects next to no erasures on the log, and would go over all of them for each.
static REQUESTS: Statement = Statement::read(
    c"SELECT r.request_id, r.candidate_id, r.reason, r.requested_by::text, r.requested_at, r.due_at, r.request_access_id,
             q.event_digest, q.candidate_id = r.candidate_id,
             r.state, r.authority, r.authorised_by::text, r.done_at, r.generation, r.erasure_generation, r.forgotten, r.access_id,
             d.event_digest, d.candidate_id = r.candidate_id,
             (s.erased_at, s.erasure_reason, s.erasure_generation) IS NOT DISTINCT FROM (r.done_at, r.reason, r.erasure_generation)
               AND s.generation >= r.generation
        FROM identity.erasure_requests r
        LEFT JOIN LATERAL (SELECT l.event_digest, l.candidate_id FROM identity.pii_access_log l
                            WHERE l.access_id = r.request_access_id AND l.accessed_at = r.requested_at AND l.accessor_kind = 'erasure_request' AND l.outcome = 'committed'
                           OFFSET 0) q ON true
        LEFT JOIN LATERAL (SELECT l.event_digest, l.candidate_id FROM identity.pii_access_log l
                            WHERE l.access_id = r.access_id AND l.accessed_at = r.done_at AND l.accessor_kind = 'erasure' AND l.outcome = 'committed'
                           OFFSET 0) d ON true
        LEFT JOIN identity.subjects s ON s.candidate_id = r.candidate_id
       WHERE $1 IS NULL OR r.request_id > $1 ORDER BY r.request_id LIMIT 5000",
    &[pg_sys::UUIDOID],
);
static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind = 'erasure'
         AND NOT EXISTS (SELECT FROM identity.erasure_requests r WHERE r.access_id = l.access_id AND r.candidate_id = l.candidate_id)
      UNION ALL
      SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind = 'erasure_request'
         AND NOT EXISTS (SELECT FROM identity.erasure_requests r WHERE r.request_access_id = l.access_id AND r.candidate_id = l.candidate_id)",
    &[],
);
static UNFOUNDED: Statement = Statement::read(
    c"SELECT s.candidate_id::text FROM identity.subjects s
       WHERE (s.erased_at IS NOT NULL OR s.erasure_reason IS NOT NULL OR s.erasure_generation <> 0)
         AND NOT EXISTS (SELECT FROM identity.erasure_requests r WHERE r.candidate_id = s.candidate_id AND r.state = 'done')",
    &[],
);

/// Without a row in scrub_waits nobody would ever go over their pages.
static FORGOTTEN: Statement = Statement::read(
    c"SELECT (SELECT pg_catalog.count(*) FROM identity.erasure_requests WHERE state = 'done' AND scrubbed_at IS NULL)
             > (SELECT COALESCE(pg_catalog.sum(subjects), 0) FROM identity.scrub_waits WHERE what = 'subjects')",
    &[],
);

/// Compares all of it, and says by name what does not fit. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    let mut last = None;
    loop {
        let after = last.and_then(|id| bind(pgrx::Uuid::from_bytes(id)));
        let rows = REQUESTS.run(&mut [after]);
        for at in 0..rows.count {
            last = rows.datum(at, 1).map(uuid);
            let id = rows.get::<pgrx::Uuid>(at, 1).map(|id| id.to_string());
            let id = id.unwrap_or_default();
            if !asked_as_recorded(keys, &rows, at) {
                report.finding(CHECK, &format!("request {id}: it is not what was recorded"));
            }
            match rows.get(at, 10) {
                Some("requested") => {}
                Some("done") => done(keys, &rows, at, &id, report),
                _ => report.finding(
                    CHECK,
                    &format!("request {id}: nothing brings a request into its state"),
                ),
            }
        }
        if rows.count == 0 {
            break;
        }
    }
    let lost = LOST.run(&mut []);
    report.events(CHECK, &lost, "no request tells of what was recorded");
    let unfounded = UNFOUNDED.run(&mut []);
    let what = "it is marked as erased, and no erasure was recorded";
    report.subjects(CHECK, &unfounded, what);
    let what = "it was erased, and something of it is there";
    report.subjects(CHECK, &stores::returned(), what);
    if FORGOTTEN.run(&mut []).get(0, 1) != Some(false) {
        report.finding(CHECK, "no scrub waits for some of those who were erased");
    }
    report.close(CHECK, "erased subjects, requests and records agree");
}

fn done(keys: &Keys, rows: &Rows, at: usize, id: &str, report: &mut Report) {
    if !done_as_recorded(keys, rows, at) {
        report.finding(
            CHECK,
            &format!("request {id}: its erasure is not what was recorded"),
        );
    }
    if rows.get(at, 20) != Some(true) {
        report.finding(
            CHECK,
            &format!("request {id}: its subject does not stand as it was erased"),
        );
    }
}

/// A request has an event of its own; what was done unasked began and ended with the erasure.
fn asked_as_recorded(keys: &Keys, rows: &Rows, at: usize) -> bool {
    let (Some(reason), Some(by)) = (rows.get::<&str>(at, 3), rows.get::<&str>(at, 4)) else {
        return false;
    };
    let Some((request, candidate)) = ids(rows, at) else {
        return false;
    };
    let (requested_at, due_at) = (moment(rows, at, 5), moment(rows, at, 6));
    let Some(access_id) = rows.get::<i64>(at, 7) else {
        return UNASKED.contains(&reason)
            && rows.get(at, 12) == Some(by)
            && moment(rows, at, 13) == requested_at
            && due_at == requested_at.saturating_add(DUE_MICROS);
    };
    let asked = Asked {
        request,
        candidate,
        reason,
        requested_by: by,
        requested_at,
        due_at,
    };
    let digest = asked.digest(&keys.installation);
    recorded(rows, at, 8, &digest, access_id)
}

fn done_as_recorded(keys: &Keys, rows: &Rows, at: usize) -> bool {
    let fits = || {
        let (request, candidate) = ids(rows, at)?;
        let done_at = moment(rows, at, 13);
        let act = Act::new(rows.get(at, 11)?, rows.get(at, 12)?, done_at);
        let done = Done {
            request,
            candidate,
            reason: rows.get(at, 3)?,
            generation: rows.get(at, 14)?,
            erasure_generation: rows.get(at, 15)?,
            forgotten: rows.get(at, 16),
        };
        let digest = done.digest(&keys.installation, &act);
        Some(recorded(rows, at, 18, &digest, rows.get(at, 17)?))
    };
    fits().unwrap_or(false)
}

/// Whether the log has this digest, and of this subject; or had it in a month that is gone.
fn recorded(rows: &Rows, at: usize, column: i32, digest: &[u8; 32], access_id: i64) -> bool {
    match rows.bytes(at, column) {
        Some(known) => known == digest && rows.get(at, column + 1) == Some(true),
        None => dropped::event(access_id),
    }
}

fn ids(rows: &Rows, at: usize) -> Option<([u8; 16], [u8; 16])> {
    Some((rows.datum(at, 1).map(uuid)?, rows.datum(at, 2).map(uuid)?))
}

fn moment(rows: &Rows, at: usize, column: i32) -> i64 {
    rows.moment(at, column).unwrap_or(i64::MIN)
}
