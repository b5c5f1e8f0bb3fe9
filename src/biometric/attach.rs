//! `biometric_attach`: biometrics of a subject were collected. Refused unless the subject has agreed to the text in effect, and a published schedule says
//! when they will be destroyed.

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::event::{COLLECTION, Event, Kind};
use super::path::{self, Place};
use super::{files, standing};
use crate::answer::{RowType, timestamp, value};
use crate::bucket;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::consent::texts::Text;
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::retention::policy;
use crate::sql_function::{Arguments, sql_function, uuid};

sql_function!(biometric_attach, pg_finfo_biometric_attach, run);

const DAY_MICROS: i64 = 86_400_000_000;

static COLLECT: Statement = Statement::write(
    c"UPDATE identity.subjects
         SET biometric_data_path = $2, biometric_template_hash = $3, biometric_collected_at = $4, biometric_retention_until = $5, updated_at = $4, generation = generation + 1
       WHERE candidate_id = $1 RETURNING generation",
    &[
        pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TIMESTAMPTZOID,
    ],
);

static TEXT: Statement = Statement::read(
    c"SELECT pg_catalog.jsonb_build_object('data_path', $1, 'template_hash', $2)::text",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

static ANSWER: RowType = RowType::new(&[
    (c"retention_until", pg_sys::TIMESTAMPTZOID),
    (c"consent_version", pg_sys::TEXTOID),
]);

struct Upload<'a> {
    candidate: [u8; 16],
    path: &'a str,
    hash: &'a str,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::BiometricAttach);
    call.shape.purpose = Short::new(COLLECTION);
    let keys = call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let upload = Upload {
        candidate,
        path: call.required(arguments.get(1)),
        hash: call.required(arguments.get(2)),
    };
    if !path::bounded(upload.path)
        || path::place(upload.path, &candidate) == Place::Refused
        || !is_template_hash(upload.hash)
    {
        call.refuse(Reason::BadArgument);
    }
    // A withdrawal or an erasure that runs is waited for, and what it committed is what we decide by. Reads go on: none is decided by biometrics.
    bucket::keep_writers_out(&candidate);
    let (until, version) = with_latest_snapshot(|| connected(|| attach(&mut call, &keys, &upload)));
    ANSWER.record(&[timestamp(until), value(version)])
}

/// SHA-256 in hex as it is usually written: one hash has one form here, so that equal ones compare equal.
fn is_template_hash(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Everything that must see one state of the world. Returns until when they may be kept, and which text was agreed to.
fn attach(call: &mut Call, keys: &Keys, upload: &Upload<'_>) -> (i64, String) {
    let now = clock::now();
    call.entry.at = now + UNIX_EPOCH_MICROS;
    let found = standing::present(call, &upload.candidate);
    let version = call.allow(found.consented_version(now));
    let policy = policy::in_effect(found.standing.vertical, policy::Kind::Biometric)
        .unwrap_or_else(|| call.refuse(Reason::RetentionSchedule));
    // The file of an erasure that is still to be destroyed would take this one with it.
    if found.collected || files::waits(&upload.candidate, upload.path) {
        call.refuse(Reason::BiometricAlreadyCollected);
    }
    let until = now.saturating_add(i64::from(policy.days).saturating_mul(DAY_MICROS));
    let (path, hash) = (bind(upload.path), bind(upload.hash));
    let [now_datum, until_datum] = [now, until].map(|at| Some(pg_sys::Datum::from(at)));
    let candidate = bind(pgrx::Uuid::from_bytes(upload.candidate));
    let generation = COLLECT
        .run(&mut [candidate, path, hash, now_datum, until_datum])
        .get(0, 1)
        .unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    call.entry.generation = Some(generation);

    let content = TEXT.run(&mut [path, hash]).get::<String>(0, 1);
    let text = Text::new(content.unwrap_or_default());
    let role = call.caller.role();
    let event = Event {
        consent_version: Some(&version),
        schedule_version: Some(&policy.schedule),
        retention_until: Some(until),
        text: Some(text.digest),
        ..Event::new(
            Kind::Attach,
            upload.candidate,
            generation,
            role.as_str(),
            now,
        )
    };
    let access_id = call.append(keys, &Fate::event(event.digest(&keys.installation)));
    event.keep(access_id);
    text.keep(access_id, &upload.candidate, "biometric");
    (until, version)
}
