//! `erasure_requests`: one row a request, and the digests of the two events it tells of.

use identity_core::{event_digest, subject_digest};
use pgrx::pg_sys;

use crate::event::{hex, instant};
use crate::query::{Rows, Statement, bind};
use crate::sql_function::uuid;

/// The time within which a request is to be fulfilled: 72 hours.
pub const DUE_MICROS: i64 = 72 * 3_600_000_000;

static STANDING: Statement = Statement::read(
    c"SELECT request_id, candidate_id, reason, state FROM identity.erasure_requests WHERE candidate_id = $1 AND state <> 'refused'",
    &[pg_sys::UUIDOID],
);
static BY_ID: Statement = Statement::read(
    c"SELECT request_id, candidate_id, reason, state FROM identity.erasure_requests WHERE request_id = $1",
    &[pg_sys::UUIDOID],
);

static ADD: Statement = Statement::write(
    c"INSERT INTO identity.erasure_requests (request_id, candidate_id, reason, state, requested_at, requested_by, due_at, request_access_id)
      VALUES ($1, $2, $3, 'requested', $4, $5::name, $6, $7)",
    &[
        pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID,
    ],
);

/// The lists are of one length: request, candidate, access id, generation, erasure generation, what was forgotten.
static FULFIL: Statement = Statement::write(
    c"UPDATE identity.erasure_requests r
         SET state = 'done', done_at = $7, authorised_by = $8::name, authority = $9, access_id = n.access_id, generation = n.generation,
             erasure_generation = n.erasure_generation, forgotten = n.forgotten
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),
                        pg_catalog.unnest($6)) AS n (request_id, candidate_id, access_id, generation, erasure_generation, forgotten)
       WHERE r.request_id = n.request_id AND r.candidate_id = n.candidate_id AND r.state <> 'done'",
    &[
        pg_sys::UUIDARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::INT8ARRAYOID, pg_sys::INT4ARRAYOID, pg_sys::INT4ARRAYOID, pg_sys::TEXTARRAYOID,
        pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::TEXTOID,
    ],
);
/// The same for subjects that nobody asked for.
static ADD_DONE: Statement = Statement::write(
    c"INSERT INTO identity.erasure_requests (request_id, candidate_id, access_id, generation, erasure_generation, forgotten, reason, state, requested_at,
             requested_by, due_at, done_at, authorised_by, authority)
      SELECT n.*, $10, 'done', $7, $8::name, $11, $7, $8::name, $9
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),
                        pg_catalog.unnest($6)) AS n (request_id, candidate_id, access_id, generation, erasure_generation, forgotten)",
    &[
        pg_sys::UUIDARRAYOID, pg_sys::UUIDARRAYOID, pg_sys::INT8ARRAYOID, pg_sys::INT4ARRAYOID, pg_sys::INT4ARRAYOID, pg_sys::TEXTARRAYOID,
        pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID,
    ],
);

/// A request as far as anybody decides by it.
pub struct Request {
    pub request: [u8; 16],
    pub candidate: [u8; 16],
    pub reason: String,
    pub state: String,
}

/// The request of a subject that was not refused; there is one at most. Runs inside the call's snapshot.
pub fn standing(candidate: &[u8; 16]) -> Option<Request> {
    found(&STANDING.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate))]))
}

/// The request of this id. Runs inside the call's snapshot.
pub fn by_id(request: &[u8; 16]) -> Option<Request> {
    found(&BY_ID.run(&mut [bind(pgrx::Uuid::from_bytes(*request))]))
}

fn found(rows: &Rows) -> Option<Request> {
    Some(Request {
        request: rows.datum(0, 1).map(uuid)?,
        candidate: rows.datum(0, 2).map(uuid)?,
        reason: rows.get(0, 3)?,
        state: rows.get(0, 4)?,
    })
}

/// A request, as its event has it.
pub struct Asked<'a> {
    pub request: [u8; 16],
    pub candidate: [u8; 16],
    pub reason: &'a str,
    pub requested_by: &'a str,
    /// Microseconds since 2000: the moment of the access row too.
    pub requested_at: i64,
    pub due_at: i64,
}

impl Asked<'_> {
    pub fn digest(&self, installation: &[u8; 16]) -> [u8; 32] {
        let pairs = [
            (
                "subject",
                &*hex(&subject_digest(installation, &self.candidate)),
            ),
            ("request_id", &hex(&self.request)),
            ("reason", self.reason),
            ("requested_by", self.requested_by),
            ("requested_at", &instant(self.requested_at)),
            ("due_at", &instant(self.due_at)),
        ];
        event_digest(installation, "erasure_request", &pairs)
    }

    /// Stores the row of a request whose event was appended. Runs inside the call's snapshot.
    pub fn keep(&self, access_id: i64) {
        ADD.run(&mut [
            bind(pgrx::Uuid::from_bytes(self.request)),
            bind(pgrx::Uuid::from_bytes(self.candidate)),
            bind(self.reason),
            Some(pg_sys::Datum::from(self.requested_at)),
            bind(self.requested_by),
            Some(pg_sys::Datum::from(self.due_at)),
            bind(access_id),
        ]);
    }
}

/// What all erasures of one call share.
pub struct Act<'a> {
    authority: &'a str,
    authorised_by: &'a str,
    done_at: i64,
    done_at_text: String,
}

impl<'a> Act<'a> {
    /// `done_at`: microseconds since 2000, the moment of the access rows too.
    pub fn new(authority: &'a str, authorised_by: &'a str, done_at: i64) -> Self {
        Self {
            authority,
            authorised_by,
            done_at,
            done_at_text: instant(done_at),
        }
    }
}

/// One erasure, as its event has it.
pub struct Done<'a> {
    pub request: [u8; 16],
    pub candidate: [u8; 16],
    pub reason: &'a str,
    pub generation: i32,
    pub erasure_generation: i32,
    /// How many rows of which tables of applications went along.
    pub forgotten: Option<&'a str>,
}

impl Done<'_> {
    pub fn digest(&self, installation: &[u8; 16], act: &Act<'_>) -> [u8; 32] {
        let subject = hex(&subject_digest(installation, &self.candidate));
        let request = hex(&self.request);
        let (generation, erasure_generation) = (
            self.generation.to_string(),
            self.erasure_generation.to_string(),
        );
        let mut pairs = vec![
            ("subject", subject.as_str()),
            ("request_id", &request),
            ("reason", self.reason),
            ("authority", act.authority),
            ("authorised_by", act.authorised_by),
            ("done_at", &act.done_at_text),
            ("generation", &generation),
            ("erasure_generation", &erasure_generation),
        ];
        pairs.extend(self.forgotten.map(|tables| ("forgotten", tables)));
        event_digest(installation, "erasure", &pairs)
    }
}

/// Marks requests as done, each under the access id of its event; returns how many. Runs inside the call's snapshot.
pub fn fulfil(done: &[(&Done<'_>, i64)], act: &Act<'_>) -> usize {
    FULFIL.run(&mut values(done, act)).count
}

/// Stores the rows of erasures that nobody had asked for. Runs inside the call's snapshot.
pub fn add_done(done: &[(&Done<'_>, i64)], act: &Act<'_>, reason: &str) {
    let mut values = values(done, act);
    values.extend([
        bind(reason),
        Some(pg_sys::Datum::from(act.done_at + DUE_MICROS)),
    ]);
    ADD_DONE.run(&mut values);
}

fn values(done: &[(&Done<'_>, i64)], act: &Act<'_>) -> Vec<Option<pg_sys::Datum>> {
    let id = |of: fn(&Done<'_>) -> [u8; 16]| {
        let ids = done
            .iter()
            .map(|(done, _)| pgrx::Uuid::from_bytes(of(done)));
        bind(ids.collect::<Vec<_>>())
    };
    let number =
        |of: fn(&Done<'_>) -> i32| bind(done.iter().map(|(done, _)| of(done)).collect::<Vec<_>>());
    let forgotten = done.iter().map(|(done, _)| done.forgotten);
    vec![
        id(|done| done.request),
        id(|done| done.candidate),
        bind(done.iter().map(|(_, id)| *id).collect::<Vec<i64>>()),
        number(|done| done.generation),
        number(|done| done.erasure_generation),
        bind(forgotten.collect::<Vec<_>>()),
        Some(pg_sys::Datum::from(act.done_at)),
        bind(act.authorised_by),
        bind(act.authority),
    ]
}
