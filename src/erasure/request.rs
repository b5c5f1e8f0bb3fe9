//! `erasure_request`: somebody wants a subject erased. It is asked for once: whoever asks again is told of the request that stands, or that was fulfilled.

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::{IntoDatum, pg_sys};

use super::record::{Asked, DUE_MICROS, standing};
use crate::bucket;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::keys::region::Keys;
use crate::query::{connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::subject::register::fresh_id;
use crate::subject::vertical::look;

sql_function!(erasure_request, pg_finfo_erasure_request, run);

/// What a gateway may say. `retention_expired` is for sweeps alone.
const REASONS: [&str; 3] = ["rtbf_request", "consent_withdrawn", "candidate_request"];
/// The purpose token of what is erased because somebody asked.
pub const PURPOSE: &str = "rtbf_request";

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::ErasureRequest);
    let keys = call.admit();
    let candidate = uuid(call.required(arguments.datum(0)));
    call.entry.candidate = Some(candidate);
    call.shape.purpose = Short::new(PURPOSE);
    let reason: &str = call.required(arguments.get(1));
    if !REASONS.contains(&reason) {
        call.refuse(Reason::BadArgument);
    }
    // Reads go on: asking changes nothing that they are decided by.
    bucket::keep_writers_out(&candidate);
    let request = with_latest_snapshot(|| connected(|| ask(&mut call, &keys, &candidate, reason)));
    pgrx::Uuid::from_bytes(request)
        .into_datum()
        .unwrap_or(pg_sys::Datum::from(0))
}

fn ask(call: &mut Call, keys: &Keys, candidate: &[u8; 16], reason: &str) -> [u8; 16] {
    if let Some(standing) = standing(candidate) {
        return standing.request;
    }
    let subject = look(call, candidate).unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    if subject.erased {
        call.refuse(Reason::SubjectErased);
    }
    let now = clock::now();
    call.entry.at = now + UNIX_EPOCH_MICROS;
    let role = call.caller.role();
    let asked = Asked {
        request: fresh_id(),
        candidate: *candidate,
        reason,
        requested_by: role.as_str(),
        requested_at: now,
        due_at: now + DUE_MICROS,
    };
    let digest = asked.digest(&keys.installation);
    let access_id = call.append(keys, &Fate::event(digest));
    asked.keep(access_id);
    asked.request
}
