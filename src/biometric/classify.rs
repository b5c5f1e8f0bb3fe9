//! `biometric_classify`: what a subject's biometrics say of it (an age band, say). Off unless the server's configuration turns it on; kept as ciphertext.

use identity_core::envelope::{self, ClassificationsContext, MAX_VALUE_BYTES};
use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;
use zeroize::Zeroizing;

use super::event::{COLLECTION, Event, Kind};
use super::standing;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::sql_function::{Arguments, sql_function, uuid, void};
use crate::{bucket, gucs, json};

sql_function!(biometric_classify, pg_finfo_biometric_classify, run);

static CLASSIFY: Statement = Statement::write(
    c"UPDATE identity.subjects SET biometric_classifications_ct = $2, updated_at = $3, generation = generation + 1, dek_version = LEAST(dek_version, $4)
       WHERE candidate_id = $1 RETURNING generation",
    &[pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::BiometricClassify);
    call.shape.purpose = Short::new(COLLECTION);
    let keys = call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let argument = call.required(arguments.datum(1));
    if !gucs::BIOMETRIC_CLASSIFICATIONS.get() {
        call.refuse(Reason::ClassificationsOff);
    }
    let classifications = call.allow(text(argument));
    bucket::keep_writers_out(&candidate);
    with_latest_snapshot(|| {
        connected(|| classify(&mut call, &keys, &candidate, &classifications));
    });
    void(arguments)
}

/// A JSON object that says something, bounded before it is taken apart.
fn text(argument: pg_sys::Datum) -> Result<Zeroizing<String>, Reason> {
    // SAFETY: a jsonb datum; its size is known without detoasting it.
    let size = unsafe { pg_sys::toast_raw_datum_size(argument) };
    let says_something = size <= 8 * MAX_VALUE_BYTES
        && json::object(argument).is_some_and(|object| !object.is_empty());
    let text = says_something.then(|| Zeroizing::new(json::to_text(argument)));
    text.filter(|text| text.len() <= MAX_VALUE_BYTES)
        .ok_or(Reason::BadArgument)
}

fn classify(call: &mut Call, keys: &Keys, candidate: &[u8; 16], classifications: &str) {
    let now = clock::now();
    call.entry.at = now + UNIX_EPOCH_MICROS;
    let found = standing::present(call, candidate);
    call.allow(found.consented_version(now));
    if !found.collected {
        call.refuse(Reason::BadArgument);
    }
    let context = ClassificationsContext {
        installation: &keys.installation,
        candidate,
        erasure_generation: found.erasure_generation,
    };
    let sealed = envelope::seal(
        &keys.dek,
        &clock::random(),
        &context,
        classifications.as_bytes(),
    );
    let sealed = call.allow(sealed.map_err(|_| Reason::BadArgument));
    let generation = CLASSIFY
        .run(&mut [
            bind(pgrx::Uuid::from_bytes(*candidate)),
            bind(sealed),
            Some(pg_sys::Datum::from(now)),
            i32::try_from(keys.dek.version()).ok().and_then(bind),
        ])
        .get(0, 1)
        .unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    call.entry.generation = Some(generation);
    call.entry.key_version = i32::try_from(keys.dek.version()).ok();
    let role = call.caller.role();
    let event = Event::new(Kind::Classify, *candidate, generation, role.as_str(), now);
    let access_id = call.append(keys, &Fate::event(event.digest(&keys.installation)));
    event.keep(access_id);
}
