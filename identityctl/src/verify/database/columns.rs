//! A row of the log: what its columns say.

use identity_core::field::{Field, FieldSet};
use identity_core::leaf::AccessRow;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ChainKind, ConsentStatus, Outcome, Vertical, Zone};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::value::{Array, Moment, get, get_nullable};

/// The rows of a stretch of the log. Two rows can claim one id, so the next stretch begins with the id that this one ends with.
pub const NEXT: &str = "SELECT access_id, lane, seq, accessed_at, candidate_id, accessor_kind, accessor_id, accessor_role, accessor_outer, cert_fingerprint,
            application_name, purpose_token, purpose_version, fields_accessed, phi_fields, request_trace_id, chain_kind, is_legal_tier_event,
            outcome, denial, repeats, consent_status, vertical, zone, generation, key_version, chain_version, event_digest, integrity_hash
       FROM identity.pii_access_log WHERE access_id >= $1 AND access_id <= $2 ORDER BY access_id LIMIT $3";

/// The types of those columns.
pub const TYPES: [Type; 29] = [
    Type::INT8,
    Type::INT4,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::UUID,
    Type::TEXT,
    Type::TEXT,
    Type::NAME,
    Type::NAME,
    Type::BYTEA,
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT,
    Type::TEXT,
    Type::BOOL,
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
    Type::INT4,
    Type::INT4,
    Type::BYTEA,
    Type::BYTEA,
];

/// The id of a row, whatever else it holds.
pub fn id(row: &Row) -> Option<i64> {
    get(row, 0)
}

/// The MAC of a row.
pub fn mac(row: &Row) -> Option<[u8; 32]> {
    get(row, 28)
}

/// What the columns say; `None` if one holds what no writer of ours writes, or the id is not that of lane and seq.
pub fn read(row: &Row) -> Option<AccessRow<'_>> {
    let read = AccessRow {
        lane: number(row, 1)?,
        seq: u64::try_from(get::<i64>(row, 2)?).ok()?,
        accessed_at: get::<Moment>(row, 3)?.0,
        candidate_id: get_nullable(row, 4)?,
        accessor_kind: AccessorKind::parse(get(row, 5)?)?,
        accessor_id: get(row, 6)?,
        accessor_role: get(row, 7)?,
        accessor_outer: get(row, 8)?,
        cert_fingerprint: get_nullable(row, 9)?,
        application_name: get_nullable(row, 10)?,
        purpose_token: get_nullable(row, 11)?,
        purpose_version: get_nullable(row, 12)?,
        fields_accessed: fields(row, 13)?,
        phi_fields: fields(row, 14)?,
        request_trace_id: get_nullable(row, 15)?,
        chain_kind: ChainKind::parse(get(row, 16)?)?,
        is_legal_tier_event: get(row, 17)?,
        outcome: Outcome::parse(get(row, 18)?)?,
        denial: word(row, 19, Reason::parse)?,
        repeats: number(row, 20)?,
        consent_status: word(row, 21, ConsentStatus::parse)?,
        vertical: word(row, 22, Vertical::parse)?,
        zone: Zone::parse(get(row, 23)?)?,
        generation: get_nullable(row, 24)?,
        key_version: get_nullable(row, 25)?,
        chain_version: get(row, 26)?,
        event_digest: get_nullable(row, 27)?,
    };
    (id(row) == Some(read.access_id())).then_some(read)
}

fn number(row: &Row, column: usize) -> Option<u32> {
    u32::try_from(get::<i32>(row, column)?).ok()
}

/// NULL is a good value; a word that is not known is none.
fn word<T>(row: &Row, column: usize, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    match get_nullable(row, column)? {
        None => Some(None),
        Some(text) => parse(text).map(Some),
    }
}

/// A list of fields, none of them twice.
fn fields(row: &Row, column: usize) -> Option<FieldSet> {
    let mut set = FieldSet::EMPTY;
    for name in get::<Array<'_>>(row, column)? {
        let field = Field::parse(str::from_utf8(name?).ok()?)?;
        if !set.insert(field) {
            return None;
        }
    }
    Some(set)
}
