//! `interaction_record`: when there was last something between us and a subject, which is what retention is counted from. It opens nothing and
//! changes no decision, so it leaves no row and caches stay good; a refusal leaves one like any other.

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use crate::call::Call;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, uuid, void};
use crate::{bucket, clock};

sql_function!(interaction_record, pg_finfo_interaction_record, run);

static SUBJECT: Statement = Statement::read(
    c"SELECT erased_at IS NOT NULL FROM identity.subjects WHERE candidate_id = $1",
    &[pg_sys::UUIDOID],
);

static UPDATE: Statement = Statement::write(
    c"UPDATE identity.subjects SET last_interaction = $2 WHERE candidate_id = $1 AND (last_interaction IS NULL OR last_interaction < $2)",
    &[pg_sys::UUIDOID, pg_sys::TIMESTAMPTZOID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Update);
    call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let now = clock::now();
    let at = arguments.datum(1).map_or(now, |at| at.value() as i64);
    // The earliest time of all is PostgreSQL's -infinity.
    if at > now || at == i64::MIN {
        call.refuse(Reason::BadArgument);
    }
    bucket::exclusive(&candidate);
    with_latest_snapshot(|| connected(|| record(&call, &candidate, at)));
    void(arguments)
}

fn record(call: &Call, candidate: &[u8; 16], at: i64) {
    let id = bind(pgrx::Uuid::from_bytes(*candidate));
    match SUBJECT.run(&mut [id]).get(0, 1) {
        None => call.refuse(Reason::SubjectUnavailable),
        Some(true) => call.refuse(Reason::SubjectErased),
        Some(false) => {}
    }
    UPDATE.run(&mut [id, Some(pg_sys::Datum::from(at))]);
}
