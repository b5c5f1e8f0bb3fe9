//! `pii_resolve_many`: the fields of up to 1,000 subjects in one call, each with a row of its own.
//!
//! Lock order: the buckets of all ids before the snapshot, held until everything is decrypted (src/bucket.rs).

use identity_core::decision::{self, Purpose};
use identity_core::envelope::SEALED_OVERHEAD_BYTES;
use identity_core::field::{Field, FieldSet};
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, Zone};
use pgrx::pg_sys;

use super::resolve::{self, Opened};
use super::standing::Standing;
use crate::answer::{self, Rows as Answer, value};
use crate::arrays::Element;
use crate::call::Call;
use crate::keys::region::Keys;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate, Line};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{bucket, json, limits, purpose};

sql_function!(pii_resolve_many, pg_finfo_pii_resolve_many, run);

pub const MAX_IDS: usize = 1000;

/// Run as `identity_reader`: the row-level policy lets it see what the caller's zone may see.
static SUBJECTS: Statement = Statement::read(
    c"SELECT vertical, consent_status, erased_at IS NOT NULL, generation, erasure_generation,
             name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, candidate_id, consent_valid_until
        FROM identity.subjects WHERE candidate_id = ANY ($1)",
    &[pg_sys::UUIDARRAYOID],
);
const ERASURE_GENERATION: i32 = 5;
const FIRST_FIELD: i32 = 6;
const CANDIDATE: i32 = 12;

const UNAVAILABLE: &str = "unavailable";

/// What one id of the call came to.
struct Answered {
    candidate: [u8; 16],
    status: &'static str,
    generation: Option<i32>,
    opened: Option<Opened>,
    access_id: i64,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::GatewayLookup);
    let keys = call.admit_to_purpose();
    call.admit_anchored();
    let ids = call.allow(call.required(arguments.list(0, MAX_IDS, Element::Uuid)));
    let candidates = ids
        .into_iter()
        .map(|id| uuid(call.required(id)))
        .collect::<Vec<_>>();
    let token: &str = call.required(arguments.get(1));
    call.shape.fields = resolve::fields(&call, arguments);
    call.shape.trace = resolve::trace(&call, arguments);
    // In the order of the ids from here on: the rows' entries in the index on candidates then come in its order, which takes less time.
    let mut order = candidates.into_iter().zip(0..).collect::<Vec<_>>();
    order.sort_unstable();
    let (candidates, places): (Vec<_>, Vec<usize>) = order.into_iter().unzip();
    let answered = bucket::shared_many(&candidates, || {
        with_latest_snapshot(|| connected(|| read(&mut call, &keys, &candidates, token)))
    });
    let mut answered = places.into_iter().zip(answered).collect::<Vec<_>>();
    answered.sort_unstable_by_key(|(place, _)| *place);
    let mut rows = Answer::of(arguments);
    for (_, answered) in answered {
        let pii = answered.opened.map(|opened| {
            json::build(
                opened
                    .iter()
                    .map(|(field, value)| (field.name(), value.as_ref())),
            )
        });
        rows.push(&[
            value(pgrx::Uuid::from_bytes(answered.candidate)),
            value(answered.status),
            pii,
            answered.generation.and_then(value),
            value(answered.access_id),
        ]);
        // The row above holds a copy.
        pii.into_iter().for_each(json::wipe);
    }
    pg_sys::Datum::from(0)
}

/// Everything that must see one state of the world: policy, subjects, records, decryption.
fn read(call: &mut Call, keys: &Keys, candidates: &[[u8; 16]], token: &str) -> Vec<Answered> {
    let wanted = call.shape.fields;
    let active = purpose::active::admitted(call, token, wanted);
    let many = |count| u32::try_from(count).unwrap_or(u32::MAX);
    limits::admit(call, &active, many(candidates.len()));
    let ids = candidates.iter().map(|id| pgrx::Uuid::from_bytes(*id));
    let rows = SUBJECTS.run(&mut [bind(ids.collect::<Vec<_>>())]);
    let found = places(&rows, candidates);
    let now = Entry {
        key_version: i32::try_from(keys.dek.version()).ok(),
        ..Entry::now()
    };
    let lines = candidates.iter().zip(&found).map(|(candidate, row)| {
        let standing = row.map(|row| Standing::at(&rows, row));
        let entry = Entry {
            candidate: Some(*candidate),
            ..now
        };
        decide(&active.purpose, call.caller.zone, wanted, standing, entry)
    });
    let lines = lines.collect::<Vec<_>>();
    let denied = lines.iter().filter(|line| line.fate.denial.is_some());
    limits::give_back(call, many(denied.count()));
    let sizes = found.iter().zip(&lines).map(|(row, line)| match row {
        Some(row) if line.fate.denial.is_none() => object_bytes(&rows, *row, wanted),
        _ => 0,
    });
    if sizes.map(row_bytes).sum::<usize>() > answer::most_bytes() {
        call.refuse(Reason::TooMany);
    }

    call.hold_batch(&lines);
    let access_ids = call.append_batch(keys, &lines);
    let lines = found.into_iter().zip(&lines).zip(access_ids);
    lines
        .map(|((row, line), access_id)| answer(call, keys, &rows, row, line, access_id))
        .collect()
}

/// For each candidate the row of it, if there is one.
fn places(rows: &Rows, candidates: &[[u8; 16]]) -> Vec<Option<usize>> {
    let mut found = (0..rows.count)
        .filter_map(|row| Some((uuid(rows.datum(row, CANDIDATE)?), row)))
        .collect::<Vec<_>>();
    found.sort_unstable();
    let place = |candidate| {
        let at = found.binary_search_by_key(candidate, |(id, _)| *id).ok()?;
        found.get(at).map(|(_, row)| *row)
    };
    candidates.iter().map(place).collect()
}

/// What becomes of one subject, and what is recorded of it.
fn decide(
    purpose: &Purpose,
    zone: Zone,
    wanted: FieldSet,
    standing: Option<Standing>,
    mut entry: Entry,
) -> Line {
    if let Some(standing) = &standing {
        standing.note(&mut entry);
    }
    let subject = standing.map(|standing| standing.subject());
    let fate = match decision::may_read(purpose, zone, subject.as_ref(), wanted) {
        Ok(phi) => {
            entry.phi = phi;
            Fate::READ
        }
        Err(reason) => {
            entry.key_version = None;
            Fate::denied(reason, 1)
        }
    };
    Line {
        entry,
        fate,
        fields: wanted,
    }
}

fn answer(
    call: &mut Call,
    keys: &Keys,
    rows: &Rows,
    row: Option<usize>,
    line: &Line,
    access_id: i64,
) -> Answered {
    let status = status(line.fate.denial);
    let candidate = line.entry.candidate.unwrap_or_default();
    let opened = row.filter(|_| line.fate.denial.is_none()).map(|row| {
        let erasure_generation = rows
            .get::<i32>(row, ERASURE_GENERATION)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0);
        let sealed = |field| rows.bytes(row, FIRST_FIELD + field as i32);
        resolve::open_all(keys, &candidate, erasure_generation, line.fields, sealed)
    });
    if let Some(Err(_)) = &opened {
        // The refusal names the subject whose ciphertext it is.
        call.entry = line.entry;
    }
    Answered {
        candidate,
        status,
        // Of what is unavailable nothing is told, not even that it is there.
        generation: line.entry.generation.filter(|_| status != UNAVAILABLE),
        opened: opened.map(|opened| call.allow(opened)),
        access_id,
    }
}

/// The closed list of the contract. What the purpose may not reach is `unavailable` like what the zone may not see: `no_consent` would
/// send a gateway to ask the person again for what consent does not open. The row says which it was.
fn status(denial: Option<Reason>) -> &'static str {
    match denial {
        None => "ok",
        Some(Reason::SubjectErased) => "erased",
        Some(Reason::Consent) => "no_consent",
        Some(_) => UNAVAILABLE,
    }
}

/// The most that the object of these fields takes as jsonb, told from the ciphertexts before anything is decrypted: two headers, for each
/// member its two entries, its key and at most as many bytes as were sealed.
fn object_bytes(rows: &Rows, row: usize, wanted: FieldSet) -> usize {
    let member = |field| {
        let sealed = rows
            .bytes(row, FIRST_FIELD + field as i32)
            .map_or(0, <[u8]>::len);
        2 * size_of::<u32>()
            + Field::name(field).len()
            + sealed.saturating_sub(SEALED_OVERHEAD_BYTES)
    };
    2 * size_of::<u32>() + wanted.iter().map(member).sum::<usize>()
}

/// The most that a row of the answer takes in PostgreSQL's memory, whose allocator rounds up to a power of two and adds a header: the
/// tuple's header, id, status, generation, access id and the gaps between them take less than 96 bytes beside the object.
fn row_bytes(object: usize) -> usize {
    (object + 96).next_power_of_two() + 32
}
