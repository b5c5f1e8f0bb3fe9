//! The triggers on `consent_versions`: check what the DBA wrote, say who wrote it and when, supersede what it replaces, record it.
//!
//! A version replaces every earlier one of its kind from the moment it takes effect, one that has not begun yet included. So a version that was
//! announced for later can be called off by writing another.
//!
//! Lock order: the writers' lock (`bucket`) before the snapshot, held until commit.

use identity_core::reason::Reason;
use identity_core::trace::is_trace_id;
use identity_core::vocabulary::{AccessorKind, ConsentKind};
use pgrx::{IntoDatum, pg_sys};

use super::claims::is_hash;
use super::template;
use crate::call::Call;
use crate::purpose::change::restoring;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function};
use crate::trigger::{Row, name};
use crate::{bucket, clock, error};

sql_function!(
    _consent_version_checked,
    pg_finfo__consent_version_checked,
    checked
);
sql_function!(
    _consent_version_recorded,
    pg_finfo__consent_version_recorded,
    recorded
);

/// Columns by their position in sql/43_consent.sql.
const VERSION: i32 = 1;
const KIND: i32 = 2;
const VALID_FOR: i32 = 3;
const EFFECTIVE_AT: i32 = 4;
const SUPERSEDED_AT: i32 = 5;
const TEMPLATE_HASH: i32 = 6;
const TEMPLATE_PATH: i32 = 7;
const ORDINAL: i32 = 8;
const CHANGED_BY: i32 = 9;
const CHANGED_AT: i32 = 10;

const MAX_PATH_BYTES: usize = 1000;
/// A hundred years in each part of an interval: far from where adding one to a time overflows.
const MAX_MONTHS: i32 = 1200;
const MAX_DAYS: i32 = 36_525;
const MAX_MICROS: i64 = 36_525 * 86_400_000_000;

/// A write, so that it sees the rows before this one in the same statement.
static LAST_ORDINAL: Statement = Statement::write(
    c"SELECT COALESCE(pg_catalog.max(ordinal), 0) FROM identity.consent_versions WHERE kind = $1",
    &[pg_sys::TEXTOID],
);

static SUPERSEDE: Statement = Statement::write(
    c"UPDATE identity.consent_versions e SET superseded_at = n.effective_at
        FROM identity.consent_versions n
       WHERE n.version = $1 AND e.kind = n.kind AND e.ordinal < n.ordinal AND (e.superseded_at IS NULL OR e.superseded_at > n.effective_at)",
    &[pg_sys::TEXTOID],
);

/// BEFORE INSERT: answers the row that is to be inserted.
fn checked(arguments: Arguments) -> pg_sys::Datum {
    let (_, row) = Row::fired_for(arguments, CHANGED_AT);
    if restoring() {
        return pg_sys::Datum::from(row.tuple);
    }
    let call = Call::begin(AccessorKind::ConsentVersion);
    call.admit();
    let kind = call.allow(check(&row));
    bucket::consent_versions();
    let last =
        with_latest_snapshot(|| connected(|| LAST_ORDINAL.run(&mut [bind(kind)]).get::<i32>(0, 1)));
    let now = clock::now();
    // A moment that has passed means at once: nothing is made to have been in effect before it was written.
    let effective_at = row.moment(EFFECTIVE_AT).map_or(now, |at| at.max(now));
    let hash = row
        .text(TEMPLATE_HASH)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut writer = name(call.caller.role().as_str());
    let values = [
        (EFFECTIVE_AT, Some(pg_sys::Datum::from(effective_at))),
        (SUPERSEDED_AT, None),
        (TEMPLATE_HASH, hash.into_datum()),
        (ORDINAL, bind(last.unwrap_or(0) + 1)),
        (CHANGED_BY, Some(pg_sys::Datum::from(writer.as_mut_ptr()))),
        (CHANGED_AT, Some(pg_sys::Datum::from(now))),
    ];
    pg_sys::Datum::from(row.with(&values))
}

/// AFTER INSERT: what ON CONFLICT DO NOTHING left out is neither effective nor recorded.
fn recorded(arguments: Arguments) -> pg_sys::Datum {
    let (_, row) = Row::fired_for(arguments, CHANGED_AT);
    if restoring() {
        return pg_sys::Datum::from(0);
    }
    let call = Call::begin(AccessorKind::ConsentVersion);
    let keys = call.admit();
    let version = row.text(VERSION).unwrap_or_default();
    let digest = with_latest_snapshot(|| {
        connected(|| {
            SUPERSEDE.run(&mut [bind(version)]);
            template::digest(&keys.installation, version)
        })
    });
    let digest = digest.unwrap_or_else(|| error::fault("a consent version is not there"));
    call.append(&keys, &Fate::event(digest));
    pg_sys::Datum::from(0)
}

/// What a DBA's row must be. Returns its kind.
fn check(row: &Row) -> Result<&'static str, Reason> {
    let kind = row.text(KIND).and_then(ConsentKind::parse);
    let path = row.text(TEMPLATE_PATH).map_or(0, str::len);
    let finite = |at: i64| at != i64::MIN && at != i64::MAX;
    let well_formed = row.text(VERSION).is_some_and(is_trace_id)
        && row.text(TEMPLATE_HASH).is_some_and(is_hash)
        && (1..=MAX_PATH_BYTES).contains(&path)
        && row.moment(EFFECTIVE_AT).is_none_or(finite)
        && row
            .datum(VALID_FOR)
            .is_none_or(|span| lasts(&template::span(span)));
    kind.filter(|_| well_formed)
        .map(ConsentKind::as_str)
        .ok_or(Reason::BadArgument)
}

/// No part of it goes backwards, and some part forwards: months and days have no fixed length, so parts of both signs have no fixed sign.
fn lasts(span: &pg_sys::Interval) -> bool {
    (0..=MAX_MONTHS).contains(&span.month)
        && (0..=MAX_DAYS).contains(&span.day)
        && (0..=MAX_MICROS).contains(&span.time)
        && (span.month > 0 || span.day > 0 || span.time > 0)
}
