//! `vertical_review`: a person decides what a subject's vertical is; never down from healthcare.

use identity_core::evidence_digest;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, Vertical};
use pgrx::pg_sys;

use super::history::{Cause, present, record};
use crate::call::Call;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, uuid, void};
use crate::{bucket, clock};

sql_function!(vertical_review, pg_finfo_vertical_review, run);

/// A note stays in its row, beside salt and id.
const MAX_NOTE_BYTES: usize = 2000;

static NOTE: Statement = Statement::write(
    c"INSERT INTO identity.subject_texts (access_id, candidate_id, kind, salt, content) VALUES ($1, $2, 'vertical_review', $3, $4)",
    &[pg_sys::INT8OID, pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::TEXTOID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::VerticalReview);
    let keys = call.admit();
    // Whoever sends data away does not decide where it may go. A grant of EXECUTE makes nobody a reviewer.
    if call.caller.either_is_member_of(c"identity_gateway")
        || !call.caller.is_member_of(c"identity_reviewer")
    {
        call.refuse(Reason::RoleConflict);
    }
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let vertical: &str = call.required(arguments.get(1));
    let note: &str = call.required(arguments.get(2));
    let after = Vertical::parse(vertical)
        .filter(|after| *after != Vertical::Unknown)
        .unwrap_or_else(|| call.refuse(Reason::BadArgument));
    if note.is_empty() || note.len() > MAX_NOTE_BYTES {
        call.refuse(Reason::BadArgument);
    }
    let salt = clock::random::<16>();
    let cause = Cause::Review {
        note: evidence_digest(&salt, note),
    };
    // A text that escalates at the same time waits here, or we for it; whoever comes second decides by what the first has done.
    bucket::exclusive(&candidate);
    with_latest_snapshot(|| {
        connected(|| {
            let before = present(&mut call, &candidate);
            if before.vertical == Vertical::Healthcare && after != Vertical::Healthcare {
                call.refuse(Reason::RoleConflict);
            }
            let access_id = record(&mut call, &keys, &candidate, &before, after, &cause);
            NOTE.run(&mut [
                bind(access_id),
                bind(pgrx::Uuid::from_bytes(candidate)),
                bind(salt.to_vec()),
                bind(note),
            ]);
        });
    });
    void(arguments)
}
