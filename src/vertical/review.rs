//! `vertical_review`: a person decides what a subject's vertical is; never down from healthcare.

use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, Vertical};
use pgrx::pg_sys;

use super::history::{Cause, present, record};
use crate::bucket;
use crate::call::Call;
use crate::consent::texts::Text;
use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, uuid, void};

sql_function!(vertical_review, pg_finfo_vertical_review, run);

/// A note stays in its row, beside salt and id.
const MAX_NOTE_BYTES: usize = 2000;

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
    let note = Text::new(note.to_owned());
    let cause = Cause::Review { note: note.digest };
    // A text that escalates at the same time waits here, or we for it; whoever comes second decides by what the first has done.
    bucket::exclusive(&candidate);
    with_latest_snapshot(|| {
        connected(|| {
            let before = present(&mut call, &candidate);
            if before.vertical == Vertical::Healthcare && after != Vertical::Healthcare {
                call.refuse(Reason::RoleConflict);
            }
            let access_id = record(&mut call, &keys, &candidate, &before, after, &cause);
            note.keep(access_id, &candidate, "vertical_review");
        });
    });
    void(arguments)
}
