//! Cleans the registered tables of the subjects that are being erased.
//!
//! All of it or nothing, and whatever stands in the way fails it: a table that is gone or changed, a trigger that raises or keeps the rows, a lock that
//! is not given back in time, a foreign key. Which table and which SQLSTATE goes to the server log; no word of the error, which may quote a row.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use identity_core::reason::Reason;
use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

use super::fitness;
use super::guard::{Guard, Policies, as_owner, with_settings};
use super::table::{Table, registered};
use super::{order, statements};
use crate::arrays::{Element, array};
use crate::query::{Made, bind, connected, with_latest_snapshot};
use crate::sql_function::uuid;
use crate::{error, subtransaction};

/// A registered table, and how many of its rows were cleaned.
pub struct Cleaned {
    /// Qualified, and quoted where needed.
    pub relation: String,
    /// By subject; one that had none has no entry.
    pub counts: HashMap<[u8; 16], i64>,
}

#[derive(Clone, Copy)]
enum Failure {
    Unfit,
    Left,
    Raised(PgSqlErrorCode),
}

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Whether it was a cancel that made cleaning fail the last time it did, or an owner's code that says so.
pub fn was_cancelled() -> bool {
    CANCELLED.load(Ordering::Relaxed)
}

/// Cleans every registered table of these subjects, or none. Runs inside SPI and a call's snapshot.
pub fn clean(candidates: &[[u8; 16]]) -> Result<Vec<Cleaned>, Reason> {
    let tables = order::referring_first(registered());
    if tables.is_empty() || candidates.is_empty() {
        return Ok(Vec::new());
    }
    let _guard = Guard::new();
    let current = RefCell::new(String::new());
    let outcome = subtransaction::attempt(
        || with_settings(|| connected(|| clean_all(&tables, candidates, &current))),
        Failure::Raised,
    );
    outcome.map_err(|failure| {
        let cancelled = matches!(
            failure,
            Failure::Raised(PgSqlErrorCode::ERRCODE_QUERY_CANCELED)
        );
        CANCELLED.store(cancelled, Ordering::Relaxed);
        tell(&current.borrow(), failure);
        Reason::ForgetFailed
    })
}

/// What is left is looked for when all tables are clean: a trigger on one may have written to another.
fn clean_all(
    tables: &[Table],
    candidates: &[[u8; 16]],
    current: &RefCell<String>,
) -> Result<Vec<Cleaned>, Failure> {
    let ids = candidates
        .iter()
        .map(|candidate| bind(pgrx::Uuid::from_bytes(*candidate)))
        .collect::<Vec<_>>();
    let subjects = array(&ids, Element::Uuid);
    let known = candidates.iter().copied().collect::<HashSet<_>>();
    let mut cleaned = Vec::with_capacity(tables.len());
    for table in tables {
        let named = |name| *current.borrow_mut() = name;
        named(format!("oid {}", table.relation.to_u32()));
        // SAFETY: a transaction-level lock, on what may be no table any more. It keeps others from changing what is looked at next.
        unsafe {
            pg_sys::LockRelationOid(table.relation, pg_sys::RowExclusiveLock as i32);
        }
        let done = with_latest_snapshot(|| clean_one(table, subjects, named))?;
        // A trigger gave a row to somebody else.
        if done.counts.keys().any(|subject| !known.contains(subject)) {
            return Err(Failure::Left);
        }
        cleaned.push(done);
    }
    for table in tables {
        let named = |name| *current.borrow_mut() = name;
        named(format!("oid {}", table.relation.to_u32()));
        with_latest_snapshot(|| nothing_left(table, subjects, named))?;
    }
    Ok(cleaned)
}

fn clean_one(
    table: &Table,
    subjects: pg_sys::Datum,
    named: impl FnOnce(String),
) -> Result<Cleaned, Failure> {
    let fit = fitness::look(table).ok_or(Failure::Unfit)?;
    named(fit.name.clone());
    let constraints = order::deferrable(table.relation);
    if !constraints.is_empty() {
        let at_once = statements::at_once(&constraints);
        as_owner(fit.owner, Policies::Hold, || {
            Made::new(&at_once, &[]).run(&[])
        });
    }
    let cleaning = statements::cleaning(table, &fit);
    let cleaning = as_owner(fit.owner, Policies::Pass, || {
        Made::new(&cleaning, &[pg_sys::UUIDARRAYOID])
    });
    let rows = as_owner(fit.owner, Policies::Hold, || {
        cleaning.run(&[Some(subjects)])
    });
    let counts = (0..rows.count).map(|row| {
        // A trigger gave a row to nobody.
        let subject = rows.datum(row, 1).map(uuid).ok_or(Failure::Left)?;
        Ok((subject, rows.get(row, 2).unwrap_or(0)))
    });
    Ok(Cleaned {
        relation: fit.name,
        counts: counts.collect::<Result<_, _>>()?,
    })
}

/// By oid once more, and under its name of now: a trigger may have put another table under the name.
fn nothing_left(
    table: &Table,
    subjects: pg_sys::Datum,
    named: impl FnOnce(String),
) -> Result<(), Failure> {
    let fit = fitness::look(table).ok_or(Failure::Unfit)?;
    named(fit.name.clone());
    let left = statements::left(table, &fit);
    let rows = as_owner(fit.owner, Policies::Pass, || {
        Made::new(&left, &[pg_sys::UUIDARRAYOID]).run(&[Some(subjects)])
    });
    (rows.count == 0).then_some(()).ok_or(Failure::Left)
}

/// Never to the client, whatever it wants to see.
fn tell(table: &str, failure: Failure) {
    let (state, why) = match failure {
        Failure::Raised(state) => (state, "cleaning it failed"),
        Failure::Left => (
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "rows of the subject were left in it",
        ),
        Failure::Unfit => (
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "it is gone, or not a table any more that can be cleaned",
        ),
    };
    let table = table.replace(char::is_control, "?");
    let code = error::sqlstate(state);
    let line = format!("registered table {table}: {why} (SQLSTATE {code})");
    ErrorReport::new(state, line, "identity_pgx").report(PgLogLevel::LOG_SERVER_ONLY);
}
