//! `pii_vertical` and `pii_vertical_many`: where a subject's data may go. Visible from every zone, since that is what routing asks
//! before it knows; no PII, but each answer is recorded.

use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, Route};
use pgrx::pg_sys;

use super::standing::Standing;
use crate::answer::{self, RowType, Rows as Answer, value};
use crate::arrays::Element;
use crate::call::Call;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate};
use crate::sql_function::{Arguments, sql_function, uuid};

sql_function!(pii_vertical, pg_finfo_pii_vertical, one);
sql_function!(pii_vertical_many, pg_finfo_pii_vertical_many, many);

const MAX_IDS: usize = 1000;
/// What one row of the answer takes in PostgreSQL's memory, rounded up.
const ROW_BYTES: usize = 128;

static SUBJECT: Statement =
    Statement::read(c"SELECT vertical, consent_status, erased_at IS NOT NULL, generation, consent_valid_until FROM identity.subjects WHERE candidate_id = $1", &[pg_sys::UUIDOID]);

static ANSWER: RowType = RowType::new(&[
    (c"vertical", pg_sys::TEXTOID),
    (c"consent_status", pg_sys::TEXTOID),
    (c"route", pg_sys::TEXTOID),
    (c"generation", pg_sys::INT4OID),
]);

fn one(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Vertical);
    let keys = call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    let found = with_latest_snapshot(|| {
        connected(|| {
            let found = look(&mut call, &candidate)
                .unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
            if found.erased {
                call.refuse(Reason::SubjectErased);
            }
            call.hold();
            call.append(&keys, &Fate::READ);
            found
        })
    });
    ANSWER.record(&[
        value(found.vertical.as_str()),
        value(found.consent.as_str()),
        value(found.vertical.route().as_str()),
        value(found.generation),
    ])
}

/// One row per id in the order given. An id that is not there has a route all the same: the one for what is unknown. So has one that was erased; its
/// generation tells a cache to drop what it has.
fn many(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Vertical);
    let keys = call.admit();
    let ids = call.allow(call.required(arguments.list(0, most_ids(), Element::Uuid)));
    let candidates = ids
        .into_iter()
        .map(|id| uuid(call.required(id)))
        .collect::<Vec<_>>();
    let found = with_latest_snapshot(|| {
        connected(|| {
            let answer = |candidate| {
                let found = look(&mut call, &candidate);
                call.hold();
                call.append(&keys, &Fate::READ);
                (candidate, found)
            };
            candidates.into_iter().map(answer).collect::<Vec<_>>()
        })
    });
    let mut rows = Answer::of(arguments);
    for (candidate, found) in found {
        let present = found.filter(|found| !found.erased);
        let route = present.map_or(Route::OnboxOnly, |found| found.vertical.route());
        rows.push(&[
            value(pgrx::Uuid::from_bytes(candidate)),
            present.and_then(|found| value(found.vertical.as_str())),
            present.and_then(|found| value(found.consent.as_str())),
            value(route.as_str()),
            found.and_then(|found| value(found.generation)),
        ]);
    }
    pg_sys::Datum::from(0)
}

fn most_ids() -> usize {
    MAX_IDS.min(answer::most_bytes() / ROW_BYTES)
}

/// Where a subject stands, noted for the record of the call. Runs inside its snapshot.
pub fn look(call: &mut Call, candidate: &[u8; 16]) -> Option<Standing> {
    let standing = Standing::of(&SUBJECT.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate))]));
    call.entry = Entry::now();
    call.entry.candidate = Some(*candidate);
    if let Some(standing) = &standing {
        standing.note(&mut call.entry);
    }
    standing
}
