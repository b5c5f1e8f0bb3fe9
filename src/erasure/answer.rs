//! `erasure_status` and `erasure_receipt`: how things stand with the erasure of one subject. No row: neither tells anything of the subject itself.

use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::receipt;
use crate::answer::RowType;
use crate::json_text::jsonb;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{call, error};

sql_function!(erasure_status, pg_finfo_erasure_status, status);
sql_function!(erasure_receipt, pg_finfo_erasure_receipt, receipt);

/// The request that stands; if none does, the last one that was refused; a subject without any has a row of nothing.
static STATUS: Statement = Statement::read(
    c"SELECT r.state, r.requested_at, r.due_at, r.done_at, r.scrubbed_at, r.residual_in_backups_until
        FROM identity.subjects s LEFT JOIN identity.erasure_requests r ON r.candidate_id = s.candidate_id
       WHERE s.candidate_id = $1 ORDER BY r.state = 'refused', r.requested_at DESC LIMIT 1",
    &[pg_sys::UUIDOID],
);
static KNOWN: Statement = Statement::read(
    c"SELECT true FROM identity.subjects WHERE candidate_id = $1",
    &[pg_sys::UUIDOID],
);

static ANSWER: RowType = RowType::new(&[
    (c"state", pg_sys::TEXTOID),
    (c"requested_at", pg_sys::TIMESTAMPTZOID),
    (c"due_at", pg_sys::TIMESTAMPTZOID),
    (c"done_at", pg_sys::TIMESTAMPTZOID),
    (c"scrubbed_at", pg_sys::TIMESTAMPTZOID),
    (c"residual_in_backups_until", pg_sys::TIMESTAMPTZOID),
]);

fn status(arguments: Arguments) -> pg_sys::Datum {
    let candidate = asked(arguments);
    let (state, times) = with_latest_snapshot(|| {
        connected(|| {
            let rows = STATUS.run(&mut [bind(pgrx::Uuid::from_bytes(candidate))]);
            if rows.count == 0 {
                error::raise(Reason::SubjectUnavailable);
            }
            let state = rows.get::<String>(0, 1);
            (state, [2, 3, 4, 5, 6].map(|column| rows.datum(0, column)))
        })
    });
    let [requested_at, due_at, done_at, scrubbed_at, residual] = times;
    let state = state.as_deref().and_then(bind);
    ANSWER.record(&[state, requested_at, due_at, done_at, scrubbed_at, residual])
}

/// NULL of a subject that was not erased: there is nothing yet to receive.
fn receipt(arguments: Arguments) -> pg_sys::Datum {
    let candidate = asked(arguments);
    let answer = with_latest_snapshot(|| {
        connected(|| {
            let known = KNOWN.run(&mut [bind(pgrx::Uuid::from_bytes(candidate))]);
            if known.count == 0 {
                error::raise(Reason::SubjectUnavailable);
            }
            receipt::receipt(&candidate)
        })
    });
    match answer {
        Some(answer) => jsonb(&answer),
        None => crate::sql_function::void(arguments),
    }
}

fn asked(arguments: Arguments) -> [u8; 16] {
    call::current_state();
    let candidate = arguments.datum(0);
    uuid(candidate.unwrap_or_else(|| error::raise(Reason::NullArgument)))
}
