//! `_import_subject`: sets what the service tier may not, vertical and consent. For the playground's loader and for tests; superusers only.

use identity_core::event_digest;
use identity_core::field::Field;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ConsentStatus, Vertical};
use pgrx::{IntoDatum, pg_sys};

use super::attributes::Attributes;
use super::pii::Pii;
use super::register::{self, New};
use crate::call::Call;
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{bucket, clock};

sql_function!(_import_subject, pg_finfo__import_subject, run);

static GENERATIONS: Statement =
    Statement::read(c"SELECT erasure_generation, erased_at IS NOT NULL FROM identity.subjects WHERE candidate_id = $1", &[pg_sys::UUIDOID]);

static UPDATE: Statement = Statement::write(
    c"UPDATE identity.subjects
         SET name_ct = COALESCE($2, name_ct), email_ct = COALESCE($3, email_ct), phone_ct = COALESCE($4, phone_ct),
             address_ct = COALESCE($5, address_ct), ssn_ct = COALESCE($6, ssn_ct), dob_ct = COALESCE($7, dob_ct),
             dek_version = LEAST(dek_version, $8), vertical = COALESCE($9, vertical), consent_status = COALESCE($10, consent_status),
             consent_version = CASE WHEN $10 IS NULL THEN consent_version END, consent_valid_until = CASE WHEN $10 IS NULL THEN consent_valid_until END,
             consent_withdrawn_at = CASE WHEN $10 = 'withdrawn' THEN $11 ELSE consent_withdrawn_at END,
             generation = generation + 1, updated_at = $11
       WHERE candidate_id = $1 RETURNING generation, vertical, consent_status",
    &[
        pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::INT4OID,
        pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID,
    ],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Import);
    let keys = call.admit();
    if !call.caller.is_superuser() {
        call.refuse(Reason::RoleConflict);
    }
    let candidate = uuid(call.required(arguments.datum(0)));
    let pii = arguments
        .datum(1)
        .map_or(Pii::NONE, |datum| call.allow(Pii::parse(datum)));
    let vertical = arguments
        .get::<&str>(2)
        .map(|word| Vertical::parse(word).unwrap_or_else(|| call.refuse(Reason::BadArgument)));
    let consent = arguments
        .get::<&str>(3)
        .map(|word| ConsentStatus::parse(word).unwrap_or_else(|| call.refuse(Reason::BadArgument)));
    let attributes = call.allow(Attributes::parse(call.required(arguments.datum(4))));
    call.entry.candidate = Some(candidate);
    call.shape.fields = pii.fields();

    bucket::exclusive(&candidate);
    let generation = with_latest_snapshot(|| {
        connected(|| match generations(&candidate) {
            Some((_, true)) => call.refuse(Reason::SubjectErased),
            Some((erasure_generation, false)) => update(
                &mut call,
                &keys,
                &candidate,
                &pii,
                vertical,
                consent,
                erasure_generation,
            ),
            None => {
                let vertical = vertical.unwrap_or(Vertical::Unknown);
                let consent = consent.unwrap_or(ConsentStatus::PendingFirstContact);
                let role = call.caller.role();
                let new = New {
                    candidate,
                    pii: &pii,
                    attributes: &attributes,
                    vertical: vertical.as_str(),
                    consent,
                    registered_by: role.as_str(),
                    request: None,
                };
                call.allow(register::insert(&keys, &new));
                (call.entry.vertical, call.entry.consent) = (Some(vertical), Some(consent));
                0
            }
        })
    });
    call.entry.generation = Some(generation);
    call.entry.key_version = i32::try_from(keys.dek.version()).ok();
    let word = |text: Option<&'static str>| text.unwrap_or_default();
    let pairs = [
        ("vertical", word(call.entry.vertical.map(|v| v.as_str()))),
        (
            "consent_status",
            word(call.entry.consent.map(|c| c.as_str())),
        ),
    ];
    let digest = event_digest(&keys.installation, "import", &pairs);
    call.append(&keys, &Fate::event(digest));
    generation.into_datum().unwrap_or(pg_sys::Datum::from(0))
}

/// The erasure generation of a subject that is there, and whether it was erased.
fn generations(candidate: &[u8; 16]) -> Option<(i32, bool)> {
    let rows = GENERATIONS.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate))]);
    Some((rows.get(0, 1)?, rows.get(0, 2)?))
}

fn update(
    call: &mut Call,
    keys: &Keys,
    candidate: &[u8; 16],
    pii: &Pii<'_>,
    vertical: Option<Vertical>,
    consent: Option<ConsentStatus>,
    erasure_generation: i32,
) -> i32 {
    let sealed = call.allow(pii.seal(
        keys,
        candidate,
        u32::try_from(erasure_generation).unwrap_or(0),
    ));
    let mut arguments = vec![bind(pgrx::Uuid::from_bytes(*candidate))];
    arguments.extend(sealed.into_iter().take(Field::ALL.len()));
    arguments.extend([
        bind(i32::try_from(keys.dek.version()).unwrap_or(i32::MAX)),
        vertical.and_then(|vertical| bind(vertical.as_str())),
        consent.and_then(|consent| bind(consent.as_str())),
        Some(pg_sys::Datum::from(clock::now())),
    ]);
    let rows = UPDATE.run(&mut arguments);
    call.entry.vertical = rows.get(0, 2).and_then(Vertical::parse);
    call.entry.consent = rows.get(0, 3).and_then(ConsentStatus::parse);
    rows.get(0, 1).unwrap_or(0)
}
