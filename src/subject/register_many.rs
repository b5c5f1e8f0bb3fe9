//! `pii_register_many`: up to 1,000 new subjects by one statement, all or none.

use std::collections::{BTreeMap, HashMap, HashSet};

use identity_core::field::{Field, FieldSet};
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ConsentStatus};
use pgrx::{IntoDatum, pg_sys};

use super::attributes::Attributes;
use super::pii::Pii;
use super::register::fresh_id;
use crate::answer::{Rows as Answer, value};
use crate::arrays::{Element, array};
use crate::call::Call;
use crate::json::{self, Value};
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate, Line};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{clock, limits, purpose};

sql_function!(pii_register_many, pg_finfo_pii_register_many, run);

const MAX_RECORDS: usize = 1000;

static KNOWN: Statement = Statement::read(
    c"SELECT request_id, candidate_id FROM identity.subjects WHERE registered_by = $1::name AND request_id = ANY ($2)",
    &[pg_sys::TEXTOID, pg_sys::UUIDARRAYOID],
);

/// Rows come in the order of their requests: two calls with the same requests wait for each other at the first of them, not crosswise.
static INSERT: Statement = Statement::write(
    c"INSERT INTO identity.subjects (candidate_id, name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, vertical, retention_period_days,
             eu_resident, lawful_basis, transfer_mechanism, request_id, dek_version, consent_status, created_at, updated_at, registered_by)
      SELECT r.*, $14, $15, $16, $16, $17::name
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),
                        pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10),
                        pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13)) AS r
      ON CONFLICT (registered_by, request_id) WHERE request_id IS NOT NULL DO NOTHING
      RETURNING candidate_id",
    &[
        pg_sys::UUIDARRAYOID, pg_sys::BYTEAARRAYOID, pg_sys::BYTEAARRAYOID, pg_sys::BYTEAARRAYOID, pg_sys::BYTEAARRAYOID, pg_sys::BYTEAARRAYOID,
        pg_sys::BYTEAARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::INT4ARRAYOID, pg_sys::BOOLARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTARRAYOID,
        pg_sys::UUIDARRAYOID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID,
    ],
);

struct Record<'a> {
    pii: Pii<'a>,
    attributes: Attributes<'a>,
    request: Option<[u8; 16]>,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Register);
    let keys = call.admit_to_purpose();
    let token: &str = call.required(arguments.get(0));
    let records = json::argument(call.required(arguments.datum(1)));
    let records = call.allow(json::array(records, MAX_RECORDS).unwrap_or(Err(Reason::BadArgument)));
    let records = call.allow(records.iter().map(record).collect::<Result<Vec<_>, _>>());
    let mut fields = FieldSet::EMPTY;
    for field in records.iter().flat_map(|record| record.pii.fields().iter()) {
        fields.insert(field);
    }
    call.shape.fields = fields;
    let candidates = with_latest_snapshot(|| {
        connected(|| {
            let active = purpose::active::admitted(&mut call, token, fields);
            limits::admit(&call, &active, 0);
            register(&call, &keys, &records)
        })
    });
    let mut rows = Answer::of(arguments);
    for (ordinal, candidate) in (1_i32..).zip(candidates) {
        rows.push(&[value(ordinal), value(pgrx::Uuid::from_bytes(candidate))]);
    }
    pg_sys::Datum::from(0)
}

fn record<'a>(element: &Value<'a>) -> Result<Record<'a>, Reason> {
    let Value::Nested(object) = element else {
        return Err(Reason::BadArgument);
    };
    let mut record = Record {
        pii: Pii::NONE,
        attributes: Attributes::NONE,
        request: None,
    };
    for (key, value) in json::members(*object).ok_or(Reason::BadArgument)? {
        match (key, value) {
            ("pii", Value::Nested(pii)) => record.pii = Pii::of(json::members(pii))?,
            ("attributes", Value::Nested(attributes)) => {
                record.attributes = Attributes::of(json::members(attributes))?
            }
            ("request_id", Value::Text(text)) => {
                record.request = Some(request(text).ok_or(Reason::BadArgument)?)
            }
            ("request_id", Value::Null) => {}
            _ => return Err(Reason::BadArgument),
        }
    }
    if record.pii.fields().is_empty() {
        return Err(Reason::BadArgument);
    }
    Ok(record)
}

/// The subjects of the records, in their order. A request that is there already, or came earlier in the call, keeps its subject.
fn register(call: &Call, keys: &Keys, records: &[Record<'_>]) -> Vec<[u8; 16]> {
    let role = call.caller.role();
    let requests = records.iter().filter_map(|record| record.request);
    let requests = requests.collect::<HashSet<_>>();
    let mut known = known(role.as_str(), &requests);
    let mut new = BTreeMap::new();
    let mut answered = Vec::with_capacity(records.len());
    for (place, record) in records.iter().enumerate() {
        let there = record.request.and_then(|request| known.get(&request));
        answered.push(there.copied().unwrap_or_else(|| {
            let candidate = fresh_id();
            if let Some(request) = record.request {
                known.insert(request, candidate);
            }
            new.insert((record.request, place), (candidate, record));
            candidate
        }));
    }
    let inserted = insert(call, keys, role.as_str(), &new);
    if inserted < new.len() {
        // Somebody else's transaction with one of the requests committed while we waited for it.
        let now = with_latest_snapshot(|| self::known(role.as_str(), &requests));
        for (candidate, record) in answered.iter_mut().zip(records) {
            if let Some(request) = record.request {
                let theirs = now.get(&request).copied();
                *candidate = theirs.unwrap_or_else(|| call.refuse(Reason::BadArgument));
            }
        }
    }
    let version = i32::try_from(keys.dek.version()).ok();
    let now = Entry::now();
    let lines = answered
        .iter()
        .zip(records)
        .map(|(candidate, record)| Line {
            entry: Entry {
                candidate: Some(*candidate),
                key_version: version,
                ..now
            },
            fate: Fate::READ,
            fields: record.pii.fields(),
        });
    call.append_batch(keys, &lines.collect::<Vec<_>>());
    answered
}

type New<'a> = BTreeMap<(Option<[u8; 16]>, usize), ([u8; 16], &'a Record<'a>)>;

/// Inserts the new subjects; returns how many there were not yet.
fn insert(call: &Call, keys: &Keys, role: &str, new: &New<'_>) -> usize {
    if new.is_empty() {
        return 0;
    }
    let mut sealed = vec![Vec::with_capacity(new.len()); Field::ALL.len()];
    for (candidate, record) in new.values() {
        let envelopes = call.allow(record.pii.seal(keys, candidate, 0));
        for (column, envelope) in sealed.iter_mut().zip(envelopes) {
            column.push(envelope);
        }
    }
    let mut arguments = vec![column(new, |id, _| Some(pgrx::Uuid::from_bytes(*id)))];
    let array = |column: Vec<_>| Some(array(&column, Element::Bytes));
    arguments.extend(sealed.into_iter().map(array));
    arguments.extend([
        column(new, |_, record| Some(record.attributes.vertical.as_str())),
        column(new, |_, record| {
            Some(record.attributes.retention_period_days)
        }),
        column(new, |_, record| Some(record.attributes.eu_resident)),
        column(new, |_, record| record.attributes.lawful_basis),
        column(new, |_, record| record.attributes.transfer_mechanism),
        column(new, |_, record| record.request.map(pgrx::Uuid::from_bytes)),
        bind(i32::try_from(keys.dek.version()).unwrap_or(i32::MAX)),
        bind(ConsentStatus::PendingFirstContact.as_str()),
        Some(pg_sys::Datum::from(clock::now())),
        bind(role),
    ]);
    INSERT.run(&mut arguments).count
}

/// A UUID as it is usually written, 8-4-4-4-12 hexadecimal digits. PostgreSQL's own conversion would raise with the value in its words.
fn request(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let hyphens = [8, 13, 18, 23];
    if bytes.len() != 36 || !hyphens.iter().all(|at| bytes.get(*at) == Some(&b'-')) {
        return None;
    }
    let mut digits = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
    let mut id = [0; 16];
    for byte in &mut id {
        *byte = u8::try_from(digits.next()?? << 4 | digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(id)
}

fn column<'a, T: IntoDatum>(
    new: &'a New<'a>,
    value: impl Fn(&'a [u8; 16], &'a Record<'a>) -> Option<T>,
) -> Option<pg_sys::Datum> {
    bind(
        new.values()
            .map(|(candidate, record)| value(candidate, record))
            .collect::<Vec<_>>(),
    )
}

fn known(role: &str, requests: &HashSet<[u8; 16]>) -> HashMap<[u8; 16], [u8; 16]> {
    if requests.is_empty() {
        return HashMap::new();
    }
    let requests = requests.iter().map(|id| pgrx::Uuid::from_bytes(*id));
    let rows = KNOWN.run(&mut [bind(role), bind(requests.collect::<Vec<_>>())]);
    (0..rows.count)
        .filter_map(|row| Some((uuid(rows.datum(row, 1)?), uuid(rows.datum(row, 2)?))))
        .collect()
}
