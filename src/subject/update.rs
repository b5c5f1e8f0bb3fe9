//! `pii_update`: other values for fields of a subject, or none.

use identity_core::decision::Purpose;
use identity_core::field::Field;
use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::{IntoDatum, pg_sys};

use super::pii::Pii;
use super::standing::Standing;
use crate::call::Call;
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{bucket, clock, limits, purpose};

sql_function!(pii_update, pg_finfo_pii_update, run);

/// Run as `identity_reader`: what the caller's zone does not see it does not change.
static SUBJECT: Statement = Statement::read(
    c"SELECT vertical, consent_status, erased_at IS NOT NULL, generation, erasure_generation, consent_valid_until
        FROM identity.subjects WHERE candidate_id = $1",
    &[pg_sys::UUIDOID],
);

/// The bits of $8 are the fields to set, in the order of `Field`. The other fields stay with the key they have: `dek_version` is the oldest of a subject.
static UPDATE: Statement = Statement::write(
    c"UPDATE identity.subjects
         SET name_ct = CASE WHEN $8 & 1 <> 0 THEN $2 ELSE name_ct END, email_ct = CASE WHEN $8 & 2 <> 0 THEN $3 ELSE email_ct END,
             phone_ct = CASE WHEN $8 & 4 <> 0 THEN $4 ELSE phone_ct END, address_ct = CASE WHEN $8 & 8 <> 0 THEN $5 ELSE address_ct END,
             ssn_ct = CASE WHEN $8 & 16 <> 0 THEN $6 ELSE ssn_ct END, dob_ct = CASE WHEN $8 & 32 <> 0 THEN $7 ELSE dob_ct END,
             dek_version = LEAST(dek_version, $9), generation = generation + 1, updated_at = $10
       WHERE candidate_id = $1 RETURNING generation",
    &[
        pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::INT4OID,
        pg_sys::INT4OID, pg_sys::TIMESTAMPTZOID,
    ],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Update);
    let keys = call.admit_to_purpose();
    call.admit_anchored();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let token: &str = call.required(arguments.get(1));
    let pii = call.allow(Pii::parse(call.required(arguments.datum(2))));
    call.shape.fields = pii.named();
    if pii.named().is_empty() {
        call.refuse(Reason::BadArgument);
    }
    // The bucket before the snapshot: what a read or a change decided before us has ended when we look.
    bucket::exclusive(&candidate);
    let generation = with_latest_snapshot(|| {
        connected(|| {
            let wanted = call.shape.fields;
            let active = purpose::active::admitted(&mut call, token, wanted);
            limits::admit(&call, &active, 0);
            let rows = SUBJECT.run(&mut [bind(pgrx::Uuid::from_bytes(candidate))]);
            let standing = Standing::of(&rows);
            if let Some(standing) = &standing {
                standing.note(&mut call.entry);
            }
            call.allow(may_write(&active.purpose, &call, standing.as_ref(), &pii));
            let erasure_generation = rows.get::<i32>(0, 5).unwrap_or(0);
            let updated = call.allow(update(&keys, &candidate, &pii, erasure_generation));
            updated.unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable))
        })
    });
    call.entry.generation = Some(generation);
    call.entry.key_version = i32::try_from(keys.dek.version()).ok();
    call.append(&keys, &Fate::READ);
    generation.into_datum().unwrap_or(pg_sys::Datum::from(0))
}

/// A value may be written while nobody has asked for consent yet, as registering does, or in a state that the purpose accepts: who has
/// withdrawn gave no leave to store more. Taking a value away needs no consent. Health information is told apart where it is read: nothing
/// is disclosed here, so there is no `phi_access` to ask for.
fn may_write(
    purpose: &Purpose,
    call: &Call,
    standing: Option<&Standing>,
    pii: &Pii<'_>,
) -> Result<(), Reason> {
    let subject = standing
        .map(Standing::subject)
        .filter(|subject| call.caller.zone.sees(subject.vertical))
        .ok_or(Reason::SubjectUnavailable)?;
    if subject.erased {
        return Err(Reason::SubjectErased);
    }
    let consented =
        subject.consent.is_pending() || purpose.accepted_consent.contains(subject.consent);
    if !pii.fields().is_empty() && !consented {
        return Err(Reason::Consent);
    }
    Ok(())
}

/// The new generation; `None` if the row is not there to be changed.
fn update(
    keys: &Keys,
    candidate: &[u8; 16],
    pii: &Pii<'_>,
    erasure_generation: i32,
) -> Result<Option<i32>, Reason> {
    let erasure_generation = u32::try_from(erasure_generation).unwrap_or(0);
    let sealed = pii.seal(keys, candidate, erasure_generation)?;
    let mut arguments = vec![bind(pgrx::Uuid::from_bytes(*candidate))];
    arguments.extend(sealed.into_iter().take(Field::ALL.len()));
    arguments.extend([
        bind(i32::from(pii.named().bits())),
        bind(i32::try_from(keys.dek.version()).unwrap_or(i32::MAX)),
        Some(pg_sys::Datum::from(clock::now())),
    ]);
    Ok(UPDATE.run(&mut arguments).get(0, 1))
}
