//! Rows of the log read back, to be verified.

use identity_core::field::FieldSet;
use identity_core::leaf::AccessRow;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ChainKind, ConsentStatus, Outcome, Vertical, Zone};
use pgrx::{PgLogLevel, pg_sys};

use crate::clock::UNIX_EPOCH_MICROS;
use crate::purpose::lists;
use crate::query::{Rows, Statement, bind};

static NEXT: Statement = Statement::read(
    c"SELECT access_id, lane, seq, accessed_at, candidate_id, accessor_kind, accessor_id, accessor_role::text, accessor_outer::text, cert_fingerprint,
             application_name, purpose_token, purpose_version, fields_accessed, phi_fields, request_trace_id, chain_kind, is_legal_tier_event,
             outcome, denial, repeats, consent_status, vertical, zone, generation, key_version, chain_version, event_digest, integrity_hash
        FROM identity.pii_access_log WHERE access_id > $1 AND access_id <= $2 ORDER BY access_id FETCH FIRST $3 ROWS WITH TIES",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID],
);

/// The next rows of a lane: after one access id and up to another, in order, so many. Two rows can claim one id, in two months: the last one never comes
/// without the others of its id, or the next page would go past them.
///
/// Sorting is switched off for it. Where nothing is known of a partition yet, the planner takes any range for a few rows, and each page would come out of a
/// sort of all rows that are left.
pub fn next(after: i64, through: i64, most: usize) -> Rows {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    // SAFETY: a setting of this session's planner, put back below, or by the end of the (sub)transaction after an ERROR.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"enable_sort".as_ptr(),
            c"off".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            PgLogLevel::ERROR as i32,
            false,
        );
        let rows = NEXT.run(&mut [bind(after), bind(through), bind(most)]);
        pg_sys::AtEOXact_GUC(true, level);
        rows
    }
}

/// One row.
pub static ONE: Statement = Statement::read(
    c"SELECT access_id, lane, seq, accessed_at, candidate_id, accessor_kind, accessor_id, accessor_role::text, accessor_outer::text, cert_fingerprint,
             application_name, purpose_token, purpose_version, fields_accessed, phi_fields, request_trace_id, chain_kind, is_legal_tier_event,
             outcome, denial, repeats, consent_status, vertical, zone, generation, key_version, chain_version, event_digest, integrity_hash
        FROM identity.pii_access_log WHERE access_id = $1",
    &[pg_sys::INT8OID],
);

/// As many rows as are worth reading at a time.
pub const PAGE: usize = 5000;

/// A row as it stands: what its columns say, and the MAC beside them.
pub struct Stored<'a> {
    pub access_id: i64,
    pub lane: u32,
    pub seq: u64,
    /// Microseconds since the Unix epoch.
    pub accessed_at: i64,
    pub mac: [u8; 32],
    /// `None` if a column holds what no writer of ours would have written.
    pub row: Option<AccessRow<'a>>,
}

/// The row at a place of a result of these.
pub fn stored(rows: &Rows, at: usize) -> Stored<'_> {
    Stored {
        access_id: rows.get(at, 1).unwrap_or(0),
        lane: number(rows, at, 2).unwrap_or(u32::MAX),
        seq: rows
            .get::<i64>(at, 3)
            .and_then(|seq| u64::try_from(seq).ok())
            .unwrap_or(0),
        accessed_at: moment(rows, at).unwrap_or(i64::MAX),
        mac: digest(rows, at, 29).flatten().unwrap_or_default(),
        row: columns(rows, at),
    }
}

fn columns<'a>(rows: &'a Rows, at: usize) -> Option<AccessRow<'a>> {
    let row = AccessRow {
        lane: number(rows, at, 2)?,
        seq: u64::try_from(rows.get::<i64>(at, 3)?).ok()?,
        accessed_at: moment(rows, at)?,
        candidate_id: rows.datum(at, 5).map(crate::sql_function::uuid),
        accessor_kind: AccessorKind::parse(text(rows, at, 6)?)?,
        accessor_id: text(rows, at, 7)?,
        accessor_role: text(rows, at, 8)?,
        accessor_outer: text(rows, at, 9)?,
        cert_fingerprint: digest(rows, at, 10)?,
        application_name: text(rows, at, 11),
        purpose_token: text(rows, at, 12),
        purpose_version: rows.get(at, 13),
        fields_accessed: fields(rows, at, 14)?,
        phi_fields: fields(rows, at, 15)?,
        request_trace_id: text(rows, at, 16),
        chain_kind: ChainKind::parse(text(rows, at, 17)?)?,
        is_legal_tier_event: rows.get(at, 18)?,
        outcome: Outcome::parse(text(rows, at, 19)?)?,
        denial: word(rows, at, 20, Reason::parse)?,
        repeats: number(rows, at, 21)?,
        consent_status: word(rows, at, 22, ConsentStatus::parse)?,
        vertical: word(rows, at, 23, Vertical::parse)?,
        zone: Zone::parse(text(rows, at, 24)?)?,
        generation: rows.get(at, 25),
        key_version: rows.get(at, 26),
        chain_version: rows.get(at, 27)?,
        event_digest: digest(rows, at, 28)?,
    };
    (rows.get(at, 1) == Some(row.access_id())).then_some(row)
}

fn moment(rows: &Rows, at: usize) -> Option<i64> {
    (rows.datum(at, 4)?.value() as i64).checked_add(UNIX_EPOCH_MICROS)
}

fn text(rows: &Rows, at: usize, column: i32) -> Option<&str> {
    rows.datum(at, column).map(crate::sql_function::text)
}

fn number(rows: &Rows, at: usize, column: i32) -> Option<u32> {
    u32::try_from(rows.get::<i32>(at, column)?).ok()
}

/// NULL is a good value; a word that is not known is none.
fn word<T>(
    rows: &Rows,
    at: usize,
    column: i32,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Option<T>> {
    match text(rows, at, column) {
        None => Some(None),
        Some(text) => parse(text).map(Some),
    }
}

/// NULL is a good value; bytes that are not 32 are none.
fn digest(rows: &Rows, at: usize, column: i32) -> Option<Option<[u8; 32]>> {
    match rows.bytes(at, column) {
        None => Some(None),
        Some(bytes) => bytes.try_into().ok().map(Some),
    }
}

fn fields(rows: &Rows, at: usize, column: i32) -> Option<FieldSet> {
    lists::fields(&lists::words(rows.datum(at, column)))
}
