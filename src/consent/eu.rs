//! `eu_record`: whether a subject lives in the EU, on what basis its data is held and how it may leave. Nothing is decided by it yet.

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::event::Event;
use super::texts::Text;
use crate::bucket;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function, uuid, void};
use crate::subject::attributes::bounded;
use crate::subject::standing::Standing;

sql_function!(eu_record, pg_finfo_eu_record, run);

static SUBJECT: Statement = Statement::read(
    c"SELECT vertical, consent_status, erased_at IS NOT NULL, generation, consent_valid_until FROM identity.subjects WHERE candidate_id = $1",
    &[pg_sys::UUIDOID],
);

static UPDATE: Statement = Statement::write(
    c"UPDATE identity.subjects SET eu_resident = $2, lawful_basis = $3, transfer_mechanism = $4, updated_at = $5 WHERE candidate_id = $1",
    &[
        pg_sys::UUIDOID,
        pg_sys::BOOLOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static TEXT: Statement = Statement::read(
    c"SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('lawful_basis', $1, 'transfer_mechanism', $2))::text",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

struct Status<'a> {
    candidate: [u8; 16],
    resident: bool,
    lawful_basis: Option<&'a str>,
    transfer_mechanism: Option<&'a str>,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::EuStatus);
    let keys = call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let status = Status {
        candidate,
        resident: call.required(arguments.get(1)),
        lawful_basis: arguments.get(2),
        transfer_mechanism: arguments.get(3),
    };
    let texts = [status.lawful_basis, status.transfer_mechanism];
    if !texts.into_iter().flatten().all(bounded) {
        call.refuse(Reason::BadArgument);
    }
    bucket::exclusive(&candidate);
    with_latest_snapshot(|| connected(|| record(&mut call, &keys, &status)));
    void(arguments)
}

fn record(call: &mut Call, keys: &Keys, status: &Status<'_>) {
    let now = clock::now();
    call.entry.at = now + UNIX_EPOCH_MICROS;
    let candidate = bind(pgrx::Uuid::from_bytes(status.candidate));
    let standing = Standing::of(&SUBJECT.run(&mut [candidate]))
        .unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    standing.note(&mut call.entry);
    if standing.erased {
        call.refuse(Reason::SubjectErased);
    }
    let texts = [status.lawful_basis, status.transfer_mechanism].map(|text| text.and_then(bind));
    let [basis, mechanism] = texts;
    let moment = Some(pg_sys::Datum::from(now));
    UPDATE.run(&mut [candidate, bind(status.resident), basis, mechanism, moment]);

    let any = texts.iter().any(Option::is_some);
    let content = any.then(|| TEXT.run(&mut [basis, mechanism]).get::<String>(0, 1));
    let text = content.flatten().map(Text::new);
    let role = call.caller.role();
    let event = Event {
        candidate: status.candidate,
        recorded_by: role.as_str(),
        recorded_at: now,
        text: text.as_ref().map(|text| text.digest),
    };
    let digest = event.eu_digest(&keys.installation, status.resident);
    let access_id = call.append(keys, &Fate::event(digest));
    event.keep_eu(access_id, status.resident);
    if let Some(text) = &text {
        text.keep(access_id, &status.candidate, "eu_status");
    }
}
