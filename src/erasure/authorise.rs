//! `erasure_authorise`: a request is fulfilled under a retention policy. Of one that was fulfilled already it tells how.

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::erase::{Ground, Wanted, erase};
use super::receipt::receipt;
use super::record::{Request, by_id};
use super::request::PURPOSE;
use crate::call::Call;
use crate::json_text::jsonb;
use crate::keys::region::Keys;
use crate::query::{connected, with_latest_snapshot};
use crate::retention::policy::{Kind, in_effect};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::subject::vertical::look;
use crate::{bucket, error};

sql_function!(erasure_authorise, pg_finfo_erasure_authorise, run);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Erasure);
    let keys = call.admit();
    let request = uuid(call.required(arguments.datum(0)));
    let authority: &str = call.required(arguments.get(1));
    let find = || with_latest_snapshot(|| connected(|| by_id(&request)));
    let asked = find().unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    call.entry.candidate = Some(asked.candidate);
    // Whom it is about never changes; how it stands may, until nobody else can write.
    bucket::keep_writers_out(&asked.candidate);
    with_latest_snapshot(|| {
        connected(|| {
            let asked = by_id(&request).unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
            if asked.state != "done" {
                fulfil(&mut call, &keys, &asked, authority);
            }
        });
    });
    let answer = with_latest_snapshot(|| connected(|| receipt(&asked.candidate)));
    jsonb(&answer.unwrap_or_else(|| error::fault("an erasure has no receipt")))
}

fn fulfil(call: &mut Call, keys: &Keys, asked: &Request, authority: &str) {
    let subject =
        look(call, &asked.candidate).unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    let policy = in_effect(subject.vertical, Kind::General);
    if asked.state != "requested" || policy.is_none_or(|policy| policy.schedule != authority) {
        call.refuse(Reason::Authority);
    }
    let wanted = Wanted {
        candidate: asked.candidate,
        request: Some(asked.request),
    };
    let ground = Ground {
        reason: &asked.reason,
        authority,
        purpose: PURPOSE,
    };
    let erased = erase(call, keys, &[wanted], &ground);
    if call.allow(erased).is_empty() {
        call.refuse(Reason::SubjectErased);
    }
    bucket::keep_reads_out(&[asked.candidate]);
}
