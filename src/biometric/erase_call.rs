//! `biometric_erase`: the biometrics of one subject, by somebody who answers for it. The person stays, and may be asked anew.

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::event::ERASURE;
use super::{erase, files, standing};
use crate::call::Call;
use crate::json_text::{jsonb, object, quoted};
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Short;
use crate::scrub::waits::{self, What};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{bucket, clock};

sql_function!(biometric_erase, pg_finfo_biometric_erase, run);

/// Why: words, not free text, since they stay when everything else about the subject is gone.
const REASONS: [&str; 6] = [
    "candidate_request",
    "consent_expired",
    "consent_withdrawn",
    "purpose_fulfilled",
    "retention_expired",
    "rtbf_request",
];

/// The schedule that was promised when they were collected.
static PROMISED: Statement = Statement::read(
    c"SELECT schedule_version FROM identity.biometric_history WHERE candidate_id = $1 AND kind = 'attach' ORDER BY generation DESC LIMIT 1",
    &[pg_sys::UUIDOID],
);
/// A write, so that it sees what this call has done.
static LAST: Statement = Statement::write(
    c"SELECT access_id, generation FROM identity.biometric_history WHERE candidate_id = $1 AND kind = 'erase' ORDER BY generation DESC LIMIT 1",
    &[pg_sys::UUIDOID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::BiometricErase);
    call.shape.purpose = Short::new(ERASURE);
    let keys = call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    let reason: &str = call.required(arguments.get(1));
    if !REASONS.contains(&reason) {
        call.refuse(Reason::BadArgument);
    }
    bucket::keep_writers_out(&candidate);
    let answer =
        with_latest_snapshot(|| connected(|| destroy(&mut call, &keys, &candidate, reason)));
    jsonb(&answer)
}

/// Once or again: where there is nothing any more, the last erasure is told of.
fn destroy(call: &mut Call, keys: &Keys, candidate: &[u8; 16], reason: &str) -> String {
    standing::present(call, candidate);
    let id = bind(pgrx::Uuid::from_bytes(*candidate));
    let promised = PROMISED.run(&mut [id]).get::<String>(0, 1);
    let authority = promised.unwrap_or_default();
    let erased = !erase::erase(call, keys, &[*candidate], reason, &authority).is_empty();
    if erased {
        waits::add(What::Biometrics, &[*candidate], clock::now());
    }
    let last = LAST.run(&mut [id]);
    let null = || String::from("null");
    let access_id = last.get::<i64>(0, 1);
    object([
        ("erased", erased.to_string()),
        (
            "access_id",
            access_id.map_or_else(null, |access_id| quoted(&access_id.to_string())),
        ),
        (
            "generation",
            last.get::<i32>(0, 2)
                .map_or_else(null, |generation| generation.to_string()),
        ),
        (
            "file",
            files::of(candidate).map_or_else(null, |word| quoted(&word)),
        ),
    ])
}
