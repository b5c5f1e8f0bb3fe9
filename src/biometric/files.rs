//! Uploaded files that are to be destroyed: put down in the transaction that erases, worked off once it has committed.
//!
//! Lock order: those who work it off keep each other out (`bucket`) before the snapshot; no other lock is asked for while they do.

use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::destroy::{Gone, Trouble, destroy as destroy_file};
use super::event::{ERASURE, Event, Kind};
use super::path::{self, Place};
use crate::caller::Caller;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::keys::region::Keys;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate, Short};
use crate::sql_function::uuid;
use crate::{bucket, keys, lane};

/// Ours to destroy, and not yet destroyed.
pub const WAITING: &str = "waiting";
/// The application's to destroy.
const ELSEWHERE: &str = "elsewhere";

/// How long one call goes on before it leaves the rest to the next one: its snapshot and its locks are not for long.
const MOST_NANOS: u64 = 5_000_000_000;

static PUT_DOWN: Statement = Statement::write(
    c"INSERT INTO identity.files_to_destroy (access_id, candidate_id, path, queued_at) VALUES ($1, $2, $3, $4)",
    &[
        pg_sys::INT8OID,
        pg_sys::UUIDOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// One that could not be destroyed is left alone for a tenth of the time it has been here, at least five seconds and an hour at most: trying may mean to
/// overwrite it. A moment ahead is of a clock that was wrong.
static DUE: Statement = Statement::read(
    c"SELECT f.access_id, f.candidate_id, f.path, f.trouble, f.xmin::text::bigint, COALESCE(h.generation, 0)
        FROM identity.files_to_destroy f LEFT JOIN identity.biometric_history h ON h.access_id = f.access_id
       WHERE f.tried_at IS NULL OR f.tried_at > $1
          OR f.tried_at + GREATEST(interval '5 seconds', LEAST(interval '1 hour', (f.tried_at - f.queued_at) / 10)) <= $1
       ORDER BY f.tried_at NULLS FIRST, f.access_id LIMIT 1000",
    &[pg_sys::TIMESTAMPTZOID],
);
static TRIED: Statement = Statement::write(
    c"UPDATE identity.files_to_destroy SET tried_at = $2, trouble = $3 WHERE access_id = $1",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID],
);
static TAKE_AWAY: Statement = Statement::write(
    c"DELETE FROM identity.files_to_destroy WHERE access_id = $1",
    &[pg_sys::INT8OID],
);
/// A write, so that it sees what this call has done.
static LEFT: Statement = Statement::write(
    c"SELECT pg_catalog.count(*) FROM identity.files_to_destroy",
    &[],
);
static WAITS: Statement = Statement::read(
    c"SELECT FROM identity.files_to_destroy WHERE candidate_id = $1 AND path = $2",
    &[pg_sys::UUIDOID, pg_sys::TEXTOID],
);
/// A write, for the same reason. Of the newest erasure and what followed on it; a file of an older one that is still there comes before.
static OF: Statement = Statement::write(
    c"SELECT CASE WHEN EXISTS (SELECT FROM identity.files_to_destroy w WHERE w.candidate_id = $1) THEN 'waiting' ELSE COALESCE(f.file, e.file) END
        FROM identity.biometric_history e
        LEFT JOIN identity.biometric_history f ON f.candidate_id = e.candidate_id AND f.kind = 'file' AND f.erasure = e.access_id
       WHERE e.candidate_id = $1 AND e.kind = 'erase' ORDER BY e.generation DESC LIMIT 1",
    &[pg_sys::UUIDOID],
);
static LIST: Statement = Statement::read(
    c"SELECT pg_catalog.count(*), pg_catalog.min(queued_at), pg_catalog.count(trouble),
             (SELECT s.access_id FROM identity.files_to_destroy s WHERE s.trouble IS NOT NULL ORDER BY s.queued_at, s.access_id LIMIT 1),
             (SELECT s.trouble FROM identity.files_to_destroy s WHERE s.trouble IS NOT NULL ORDER BY s.queued_at, s.access_id LIMIT 1)
        FROM identity.files_to_destroy",
    &[],
);

/// A file on the list.
struct File {
    /// The event that it is destroyed for.
    access_id: i64,
    candidate: [u8; 16],
    path: String,
}

/// What becomes of a file when the biometrics that came in it are erased.
pub fn fate(path: &str, candidate: &[u8; 16]) -> &'static str {
    match path::place(path, candidate) {
        Place::Ours(_) => WAITING,
        Place::Elsewhere | Place::Refused => ELSEWHERE,
    }
}

/// Puts a file on the list if it is ours to destroy, in the transaction that erases; the event of that has this access id. Runs inside the call's
/// snapshot, as all of these but `destroy`.
pub fn due(access_id: i64, candidate: &[u8; 16], path: &str) {
    if fate(path, candidate) == WAITING {
        PUT_DOWN.run(&mut [
            bind(access_id),
            bind(pgrx::Uuid::from_bytes(*candidate)),
            bind(path),
            Some(pg_sys::Datum::from(clock::now())),
        ]);
    }
}

/// Whether this very file of the subject's is still on the list.
pub fn waits(candidate: &[u8; 16], path: &str) -> bool {
    let rows = WAITS.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate)), bind(path)]);
    rows.count > 0
}

/// What became of the file of the subject's last erased biometrics: `waiting`, `elsewhere`, `destroyed` or `missing`; `None` if none were erased.
pub fn of(candidate: &[u8; 16]) -> Option<String> {
    OF.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate))])
        .get(0, 1)
}

/// The list as a whole.
pub struct List {
    pub waiting: i64,
    /// Since when the oldest is on it, in microseconds since 2000.
    pub oldest: Option<i64>,
    /// Those that were tried in vain; and of the oldest of them the access id, and what is in the way in words of ours.
    pub stuck: i64,
    pub trouble: Option<(i64, String)>,
}

/// How the list stands.
pub fn list() -> List {
    let rows = LIST.run(&mut []);
    List {
        waiting: rows.get(0, 1).unwrap_or(0),
        oldest: rows.moment(0, 2),
        stuck: rows.get(0, 3).unwrap_or(0),
        trouble: rows.get(0, 4).zip(rows.get(0, 5)),
    }
}

/// Destroys what is on the list, as far as what put it there has committed. Runs in any transaction of a role that may; what it destroyed stays so if that
/// one is rolled back, and is then found missing. Without keys nothing can be recorded, so nothing is destroyed.
pub fn destroy() -> i64 {
    if let Some(keys) = keys::active().filter(|_| bucket::try_files()) {
        with_latest_snapshot(|| connected(|| work_off(&keys)));
    }
    with_latest_snapshot(|| connected(|| LEFT.run(&mut []).get(0, 1).unwrap_or(0)))
}

fn work_off(keys: &Keys) {
    let began = clock::monotonic_nanos();
    let rows = DUE.run(&mut [Some(pg_sys::Datum::from(clock::now()))]);
    for row in 0..rows.count {
        if clock::monotonic_nanos().saturating_sub(began) > MOST_NANOS {
            break;
        }
        let Some((file, generation)) = committed(&rows, row) else {
            continue;
        };
        let outcome = match (path::directory(), path::place(&file.path, &file.candidate)) {
            (Some(directory), Place::Ours(names)) => destroy_file(&directory, &names),
            _ => Err(Trouble::Outside),
        };
        match outcome {
            Ok(word) if record(keys, &file, generation, word).is_ok() => {
                TAKE_AWAY.run(&mut [bind(file.access_id)]);
            }
            // It is gone; the record of it waits for the next round, and then says that it was missing.
            Ok(_) => break,
            Err(trouble) => tell(&file, rows.get(row, 4), trouble),
        }
    }
}

/// The file in a row, unless this very transaction put it there: it may be rolled back yet.
fn committed(rows: &Rows, row: usize) -> Option<(File, i32)> {
    let writer = u32::try_from(rows.get::<i64>(row, 5)?).ok()?;
    // SAFETY: looks through the current transaction's own ids.
    if unsafe { pg_sys::TransactionIdIsCurrentTransactionId(writer.into()) } {
        return None;
    }
    let file = File {
        access_id: rows.get(row, 1)?,
        candidate: rows.datum(row, 2).map(uuid)?,
        path: rows.get(row, 3)?,
    };
    Some((file, rows.get(row, 6)?))
}

fn record(keys: &Keys, file: &File, generation: i32, word: Gone) -> Result<(), Reason> {
    let caller = Caller::current();
    let mut shape = caller.shape(Kind::File.accessor());
    shape.purpose = Short::new(ERASURE);
    let entry = Entry {
        candidate: Some(file.candidate),
        generation: Some(generation),
        ..Entry::now()
    };
    let role = caller.role();
    let event = Event {
        file: Some(word.as_str()),
        erasure: Some(file.access_id),
        ..Event::new(
            Kind::File,
            file.candidate,
            generation,
            role.as_str(),
            entry.at - UNIX_EPOCH_MICROS,
        )
    };
    let fate = Fate::event(event.digest(&keys.installation));
    let access_id = lane::append(keys, &shape, &entry, &fate)?;
    event.keep(access_id);
    Ok(())
}

/// The path is text about a subject, and so is told to nobody: whoever looks into it finds it by the access id.
fn tell(file: &File, before: Option<&str>, trouble: Trouble) {
    let word = trouble.as_str();
    if before != Some(word) {
        pgrx::warning!(
            "identity_pgx: the uploaded file of erasure {} is not destroyed yet: {word}",
            file.access_id
        );
    }
    TRIED.run(&mut [
        bind(file.access_id),
        Some(pg_sys::Datum::from(clock::now())),
        bind(word),
    ]);
}
