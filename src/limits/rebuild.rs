//! Reads today's disclosures from the log into the counters: after the server started, before the recorder says that it is there, which is before
//! anything is read; and before keys are loaded, since what lies in the log may have been restored meanwhile. It needs no key.
//!
//! Why not a query by time: the log has no index on it, and a month of rows takes minutes to go through. Each lane is walked from its newest row
//! backwards instead, until its rows are from before today.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::CStr;

use identity_core::limit::{self, Volume};
use identity_core::vocabulary::{AccessorKind, Outcome};
use pgrx::pg_sys;

use super::table;
use crate::caller::Caller;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::columns::Columns;
use crate::ledger::vetting::COLUMNS;
use crate::purpose::active;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Short;
use crate::{relation, scan, sql_function};

/// Partitions from this month on: rows of a later one are from a clock that was wrong, and count all the same.
static PARTITIONS: Statement = Statement::read(
    c"SELECT c.oid, x.indexrelid
        FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
        JOIN pg_catalog.pg_index x ON x.indrelid OPERATOR(pg_catalog.=) c.oid AND x.indisprimary
       WHERE i.inhparent OPERATOR(pg_catalog.=) $1
         AND c.relname >= 'pii_access_log_' || pg_catalog.to_char($2 AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM')",
    &[pg_sys::OIDOID, pg_sys::TIMESTAMPTZOID],
);

/// Columns by their position in sql/50_log.sql.
const ACCESS_ID: usize = 1;
const ACCESSED_AT: usize = 4;
const ACCESSOR_KIND: usize = 6;
const ACCESSOR_ROLE: usize = 8;
const PURPOSE_TOKEN: usize = 12;
const OUTCOME: usize = 19;

/// A lane's committed rows are in the order of their time but for steps of the clock: one of so long before today ends the walk.
const STEP_MICROS: i64 = 3_600_000_000;
/// Rows that wait for the recorder come late. A row that waited for longer than this came before whatever was read today: nothing is read while keys
/// are locked.
const LATE_MICROS: i64 = 2 * 86_400_000_000;

/// What today's rows say, by role and purpose: the newest day among them, and how many there are.
type Found = HashMap<Box<str>, (i32, u32)>;

/// Whether there is anything to read. Runs in a transaction.
pub fn log_exists() -> bool {
    relation::find(c"pii_access_log") != pg_sys::InvalidOid
}

/// Counts what the log holds. Runs in a transaction, as a role that may read below SQL; raises if the log cannot be read.
pub fn from_log() {
    let log = relation::find(c"pii_access_log");
    let today = limit::day(clock::now_unix_micros());
    let mut found = Found::new();
    with_latest_snapshot(|| {
        connected(|| {
            let start = limit::start_of(today) - UNIX_EPOCH_MICROS;
            let rows = PARTITIONS.run(&mut [bind(log), Some(pg_sys::Datum::from(start))]);
            for (table, index) in (0..rows.count)
                .filter_map(|row| Some((rows.get(row, 1)?, rows.get(row, 2)?)))
                .collect::<Vec<_>>()
            {
                read_partition(table, index, today, &mut found);
            }
            let caller = Caller::current();
            for (key, (day, subjects)) in &found {
                let Some((role, token)) = key.split_once('\0') else {
                    continue;
                };
                let cap =
                    active::active(token, &caller).map_or(0, |active| super::daily_cap(&active));
                restore(role, token, Volume::of(*day, *subjects), today, cap);
            }
        });
    });
}

fn restore(role: &str, token: &str, logged: Volume, today: i32, cap: u32) {
    let Ok(name) = std::ffi::CString::new(role) else {
        return;
    };
    // SAFETY: a syscache look-up by a C string.
    let session = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) }.to_u32();
    // A role that is gone does not call.
    if session != 0 {
        let now = clock::monotonic_nanos();
        // Without a place it stays uncounted, and finds none when it calls either.
        let _ = table::enter(session, &Short::new(token), now, today, |counters| {
            counters.restore(logged, today, cap);
        });
    }
}

/// Walks every lane of one partition. Lanes are the upper part of the key, so the row before a lane's first is the newest of another.
fn read_partition(table: pg_sys::Oid, index: pg_sys::Oid, today: i32, found: &mut Found) {
    let mut before = i64::MAX;
    while let Some(next) = read_lane(table, index, before, today, found) {
        before = next;
    }
}

/// Walks backwards from an access id through one lane; returns where that lane begins, or `None` if there was no row.
fn read_lane(
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    before: i64,
    today: i32,
    found: &mut Found,
) -> Option<i64> {
    let start = limit::start_of(today);
    let mut lane = None;
    let mut key_text = String::with_capacity(160);
    // What ends the walk is taken; the rest is counted.
    let count = |row: &Columns| {
        row.must_be(COLUMNS);
        let of = number(row, ACCESS_ID) >> 48;
        if *lane.get_or_insert(of) != of {
            return Some(());
        }
        let at = number(row, ACCESSED_AT).saturating_add(UNIX_EPOCH_MICROS);
        let outcome = text(row, OUTCOME);
        if at < start - LATE_MICROS
            || at < start - STEP_MICROS && outcome == Outcome::Committed.as_str()
        {
            return Some(());
        }
        if at >= start
            && outcome != Outcome::Denied.as_str()
            && text(row, ACCESSOR_KIND) == AccessorKind::GatewayLookup.as_str()
        {
            key_text.clear();
            key_text.push_str(&name(row, ACCESSOR_ROLE));
            key_text.push('\0');
            key_text.push_str(text(row, PURPOSE_TOKEN));
            add(found, &key_text, limit::day(at));
        }
        None
    };
    // SAFETY: the key compares the bigint column access_id. Committed rows as they are: nothing here belongs to a transaction's view.
    unsafe {
        let before = scan::comparison(
            pg_sys::BTLessStrategyNumber,
            pg_sys::F_INT8LT,
            pg_sys::Datum::from(before),
        );
        let snapshot = &raw mut pg_sys::SnapshotSelfData;
        scan::backwards((table, index), snapshot, &mut [before], count);
    }
    lane.map(|lane| lane << 48)
}

fn add(found: &mut Found, key: &str, day: i32) {
    if let Some((newest, subjects)) = found.get_mut(key) {
        *newest = day.max(*newest);
        *subjects = subjects.saturating_add(1);
    } else {
        found.insert(key.into(), (day, 1));
    }
}

fn number(row: &Columns, column: usize) -> i64 {
    row.datum(column).map_or(0, |datum| datum.value() as i64)
}

fn text(row: &Columns, column: usize) -> &str {
    row.datum(column).map_or("", sql_function::text)
}

fn name(row: &Columns, column: usize) -> Cow<'_, str> {
    row.datum(column).map_or("".into(), |datum| {
        // SAFETY: a `name` is 64 bytes that end in zeros.
        unsafe { CStr::from_ptr(datum.cast_mut_ptr()) }.to_string_lossy()
    })
}
