//! `pii_resolve`: the one way to a field's value.

use identity_core::decision;
use identity_core::envelope::{self, FieldContext};
use identity_core::field::{Field, FieldSet};
use identity_core::reason::Reason;
use identity_core::trace::is_trace_id;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;
use zeroize::Zeroizing;

use super::standing::Standing;
use crate::answer::{RowType, value};
use crate::arrays::Element;
use crate::call::Call;
use crate::keys::region::{self, Keys};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::sql_function::{Arguments, sql_function, text};
use crate::{bucket, json, limits, purpose};

sql_function!(pii_resolve, pg_finfo_pii_resolve, run);

/// Run as `identity_reader`: the row-level policy lets it see what the caller's zone may see.
static SUBJECT: Statement = Statement::read(
    c"SELECT vertical, consent_status, erased_at IS NOT NULL, generation, erasure_generation,
             name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, consent_valid_until
        FROM identity.subjects WHERE candidate_id = $1",
    &[pg_sys::UUIDOID],
);
/// The column of `SUBJECT` that holds the first field's ciphertext; the others follow in the order of `Field`.
const FIRST_FIELD: i32 = 6;

static ANSWER: RowType = RowType::new(&[
    (c"pii", pg_sys::JSONBOID),
    (c"generation", pg_sys::INT4OID),
    (c"access_id", pg_sys::INT8OID),
]);

/// A field and its value; `None` was not collected.
pub type Opened = Vec<(Field, Option<Zeroizing<Vec<u8>>>)>;

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::GatewayLookup);
    let keys = call.admit_to_purpose();
    call.admit_anchored();
    let candidate = crate::sql_function::uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let token: &str = call.required(arguments.get(1));
    call.shape.fields = fields(&call, arguments);
    call.shape.trace = trace(&call, arguments);
    let (opened, generation, access_id) = bucket::shared(&candidate, || {
        with_latest_snapshot(|| connected(|| read(&mut call, &keys, &candidate, token)))
    });
    let pii = json::build(
        opened
            .iter()
            .map(|(field, value)| (field.name(), value.as_ref())),
    );
    ANSWER.record(&[Some(pii), value(generation), value(access_id)])
}

/// Everything that must see one state of the world: policy, subject, record, decryption.
fn read(call: &mut Call, keys: &Keys, candidate: &[u8; 16], token: &str) -> (Opened, i32, i64) {
    let wanted = call.shape.fields;
    let active = purpose::active::admitted(call, token, wanted);
    limits::admit(call, &active, 1);
    let rows = SUBJECT.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate))]);
    let standing = Standing::of(&rows);
    if let Some(standing) = &standing {
        standing.note(&mut call.entry);
    }
    let subject = standing.map(|standing| standing.subject());
    call.entry.phi = call.allow(decision::may_read(
        &active.purpose,
        call.caller.zone,
        subject.as_ref(),
        wanted,
    ));
    call.entry.key_version = i32::try_from(keys.dek.version()).ok();

    call.hold();
    let access_id = call.append(keys, &Fate::READ);
    let generation = standing.map_or(0, |standing| standing.generation);
    let erasure_generation = rows
        .get::<i32>(0, 5)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0);
    let sealed = |field| rows.bytes(0, FIRST_FIELD + field as i32);
    let opened = open_all(keys, candidate, erasure_generation, wanted, sealed);
    (call.allow(opened), generation, access_id)
}

/// The values of these fields of one subject.
pub fn open_all<'a>(
    keys: &Keys,
    candidate: &[u8; 16],
    erasure_generation: u32,
    wanted: FieldSet,
    sealed: impl Fn(Field) -> Option<&'a [u8]>,
) -> Result<Opened, Reason> {
    let opened = wanted.iter().map(|field| {
        let context = FieldContext {
            installation: &keys.installation,
            candidate,
            field,
            erasure_generation,
        };
        let value = sealed(field).map(|sealed| open(keys, &context, sealed));
        Ok((field, value.transpose()?))
    });
    opened.collect()
}

fn open(
    keys: &Keys,
    context: &FieldContext<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Reason> {
    let version = envelope::key_version(sealed).map_err(|_| Reason::Ciphertext)?;
    let opened = if version == keys.dek.version() {
        envelope::open(&keys.dek, context, sealed)
    } else {
        envelope::open(
            &region::data_key(version).ok_or(Reason::Ciphertext)?,
            context,
            sealed,
        )
    };
    opened.map_err(|_| Reason::Ciphertext)
}

/// The trace id, if one was given.
pub fn trace(call: &Call, arguments: Arguments) -> Short<64> {
    let Some(trace) = arguments.get::<&str>(3) else {
        return Short::EMPTY;
    };
    if !is_trace_id(trace) {
        call.refuse(Reason::BadArgument);
    }
    Short::new(trace)
}

/// The fields asked for: at least one, each known, none twice.
pub fn fields(call: &Call, arguments: Arguments) -> FieldSet {
    let elements = call.allow(call.required(arguments.list(2, Field::ALL.len(), Element::Text)));
    let mut set = FieldSet::EMPTY;
    for element in elements {
        let field = Field::parse(text(call.required(element)))
            .unwrap_or_else(|| call.refuse(Reason::UnknownField));
        if !set.insert(field) {
            call.refuse(Reason::BadArgument);
        }
    }
    if set.is_empty() {
        call.refuse(Reason::BadArgument);
    }
    set
}
