//! What a pass is due for: erasures of which nobody has been over the pages yet. Whatever erases puts itself down here; a pass that has been over every page takes it away.

use pgrx::pg_sys;

use crate::erasure::gauges::Waiting;
use crate::query::{Statement, bind};

/// One row for all, and one for each of whom an uploaded file is still on the list. A write, so that it sees what this call has put there.
static ADD: Statement = Statement::write(
    c"INSERT INTO identity.scrub_waits (what, subjects, candidate_id, since)
      WITH named AS (SELECT DISTINCT candidate_id FROM identity.files_to_destroy WHERE candidate_id = ANY ($2)),
           others AS (SELECT pg_catalog.cardinality($2) - (SELECT pg_catalog.count(*) FROM named) AS subjects)
      SELECT $1, 1, candidate_id, $3 FROM named
      UNION ALL SELECT $1, subjects, NULL, $3 FROM others WHERE subjects > 0",
    &[
        pg_sys::TEXTOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);
/// `$1`: an id as old as the oldest transaction that runs. Whose uploaded file is still on the list waits for that; the path lay in a page as well, and
/// was taken out of it by the transaction that recorded the file's end.
static COUNT: Statement = Statement::read(
    c"SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE pg_catalog.age(w.xmin) > pg_catalog.age($1)
                 AND NOT EXISTS (SELECT FROM identity.biometric_history h WHERE h.candidate_id = w.candidate_id AND h.kind = 'file' AND pg_catalog.age(h.xmin) <= pg_catalog.age($1)))
        FROM identity.scrub_waits w
       WHERE NOT EXISTS (SELECT FROM identity.files_to_destroy f WHERE f.candidate_id = w.candidate_id)",
    &[pg_sys::XIDOID],
);
static END: Statement = Statement::write(
    c"DELETE FROM identity.scrub_waits w
       WHERE pg_catalog.age(w.xmin) > pg_catalog.age($1)
         AND NOT EXISTS (SELECT FROM identity.files_to_destroy f WHERE f.candidate_id = w.candidate_id)
         AND NOT EXISTS (SELECT FROM identity.biometric_history h WHERE h.candidate_id = w.candidate_id AND h.kind = 'file' AND pg_catalog.age(h.xmin) <= pg_catalog.age($1))
      RETURNING w.what",
    &[pg_sys::XIDOID],
);
static SINCE: Statement = Statement::read(
    c"SELECT FROM identity.scrub_waits WHERE since NOT BETWEEN $1 AND $2 LIMIT 1",
    &[pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID],
);
static WAITING: Statement = Statement::read(
    c"SELECT COALESCE(pg_catalog.sum(subjects), 0)::bigint, pg_catalog.min(since) FROM identity.scrub_waits",
    &[],
);

/// What was erased.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Whole subjects, each with a request that is marked when a pass is over.
    Subjects,
    Biometrics,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            Self::Subjects => "subjects",
            Self::Biometrics => "biometrics",
        }
    }
}

/// Puts an erasure down, in its own transaction. Runs inside SPI and the call's snapshot, as all of these.
pub fn add(what: What, candidates: &[[u8; 16]], at: i64) {
    let ids = candidates.iter().map(|id| pgrx::Uuid::from_bytes(*id));
    ADD.run(&mut [
        bind(what.as_str()),
        bind(ids.collect::<Vec<_>>()),
        Some(pg_sys::Datum::from(at)),
    ]);
}

/// How much waits for a pass, and for how much of it one can begin when this is the oldest transaction that runs.
pub fn count(oldest: pg_sys::TransactionId) -> (i64, i64) {
    let rows = COUNT.run(&mut [bind(oldest)]);
    (rows.get(0, 1).unwrap_or(0), rows.get(0, 2).unwrap_or(0))
}

/// Takes away what a pass was for: all that transactions before this one erased. Whether requests are among it.
pub fn end(covers: pg_sys::TransactionId) -> bool {
    let rows = END.run(&mut [bind(covers)]);
    (0..rows.count).any(|row| rows.get(row, 1) == Some(What::Subjects.as_str()))
}

/// Whether anything has waited since before these two moments. One ahead is of a clock that was wrong.
pub fn any_but_since(from: i64, to: i64) -> bool {
    let moments = [from, to].map(|at| Some(pg_sys::Datum::from(at)));
    SINCE.run(&mut { moments }).count > 0
}

/// How much waits, and since when.
pub fn waiting() -> Waiting {
    Waiting::of(&WAITING.run(&mut []))
}
