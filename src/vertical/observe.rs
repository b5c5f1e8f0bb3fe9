//! `text_observe`: a text that speaks of healthcare makes its subject healthcare, at once and for good.

use identity_core::reason::Reason;
use identity_core::text::{MAX_TEXT_BYTES, is_source};
use identity_core::vocabulary::{AccessorKind, Vertical};
use pgrx::{IntoDatum, pg_sys};

use super::history::{Cause, present, record};
use super::patterns;
use crate::bucket;
use crate::call::Call;
use crate::keys::region::Keys;
use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, text, uuid};

sql_function!(text_observe, pg_finfo_text_observe, run);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::VerticalEscalation);
    let keys = call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let source: &str = call.required(arguments.get(1));
    let content = call.required(arguments.datum(2));
    // Asked before it is unpacked: a compressed gigabyte is small until then. SAFETY: a text datum.
    let bytes = unsafe { pg_sys::toast_raw_datum_size(content) }.saturating_sub(pg_sys::VARHDRSZ);
    if !is_source(source) || bytes > MAX_TEXT_BYTES {
        call.refuse(Reason::BadArgument);
    }
    // Before any lock: a search takes milliseconds, and a bucket is shared with other subjects.
    let found = patterns::found_in(text(content));
    let vertical = escalate(&mut call, &keys, &candidate, source, &found);
    vertical
        .as_str()
        .into_datum()
        .unwrap_or(pg_sys::Datum::from(0))
}

/// The vertical after what was found. Only what changes it locks and leaves a row: a healthcare subject stays one whatever is found.
fn escalate(
    call: &mut Call,
    keys: &Keys,
    candidate: &[u8; 16],
    source: &str,
    found: &[i32],
) -> Vertical {
    let seen = with_latest_snapshot(|| connected(|| present(call, candidate)));
    if found.is_empty() || seen.vertical == Vertical::Healthcare {
        return seen.vertical;
    }
    bucket::exclusive(candidate);
    with_latest_snapshot(|| {
        connected(|| {
            let before = present(call, candidate);
            if before.vertical != Vertical::Healthcare {
                let numbers = found.iter().map(i32::to_string).collect::<Vec<_>>();
                let cause = Cause::Text {
                    source,
                    patterns: numbers.join(","),
                };
                record(call, keys, candidate, &before, Vertical::Healthcare, &cause);
            }
        });
    });
    Vertical::Healthcare
}
