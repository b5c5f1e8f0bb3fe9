//! The receipt of an erasure: what was done, when, why and under what authority, and until when bytes may still lie in places that no page scrub reaches.

use identity_core::subject_digest;
use pgrx::pg_sys;

use super::wal;
use crate::biometric;
use crate::event::{hex, instant};
use crate::json_text::{object, quoted};
use crate::query::{Statement, bind};
use crate::sql_function::uuid;

static DONE: Statement = Statement::read(
    c"SELECT r.request_id, r.reason, r.authority, r.requested_at, r.due_at, r.done_at, r.access_id, r.generation, r.erasure_generation, r.forgotten,
             r.scrubbed_at, r.scrubbed_lsn, i.installation_id, EXISTS (SELECT FROM identity.keyring k WHERE k.provider = 'development'),
             r.residual_in_backups_until
        FROM identity.erasure_requests r, identity.installation i WHERE r.candidate_id = $1 AND r.state = 'done'",
    &[pg_sys::UUIDOID],
);

/// The receipt as JSON; `None` if the subject was not erased. Runs inside a call's snapshot.
pub fn receipt(candidate: &[u8; 16]) -> Option<String> {
    let rows = DONE.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate))]);
    let installation = rows.datum(0, 13).map(uuid)?;
    let moment = |column| rows.moment(0, column);
    let lsn = rows.datum(0, 12).map(|lsn| lsn.value() as u64);
    let text = |column| rows.get::<&str>(0, column).map(quoted);
    let number = |column| rows.get::<i32>(0, column).map(|number| number.to_string());
    let time = |moment: Option<i64>| moment.map(|moment| quoted(&instant(moment)));
    let keys = match rows.get(0, 14) {
        Some(false) => "production",
        _ => "development",
    };
    let members = [
        ("schema", Some(quoted("erasure.receipt.v1"))),
        (
            "subject",
            Some(quoted(&hex(&subject_digest(&installation, candidate)))),
        ),
        (
            "request_id",
            rows.get::<pgrx::Uuid>(0, 1)
                .map(|id| quoted(&id.to_string())),
        ),
        ("reason", text(2)),
        ("authority", text(3)),
        ("requested_at", time(moment(4))),
        ("due_at", time(moment(5))),
        ("erased_at", time(moment(6))),
        // Beyond what a number of JSON holds exactly.
        (
            "access_id",
            rows.get::<i64>(0, 7).map(|id| quoted(&id.to_string())),
        ),
        ("generation", number(8)),
        ("erasure_generation", number(9)),
        ("forgotten", text(10)),
        // `elsewhere`: the application's to destroy.
        (
            "biometric_file",
            biometric::files::of(candidate).map(|word| quoted(&word)),
        ),
        ("scrubbed_at", time(moment(11))),
        ("residual_in_backups_until", time(moment(15))),
        ("wal", Some(wal_honesty(lsn))),
        ("keys", Some(quoted(keys))),
    ];
    Some(object(members.map(|(name, value)| {
        (name, value.unwrap_or_else(|| String::from("null")))
    })))
}

/// `residue`: whether this server's own WAL may still hold bytes of the subject. Before the scrub it does.
fn wal_honesty(scrubbed: Option<u64>) -> String {
    let clean_after = scrubbed.map(|lsn| {
        let text = format!("{:X}/{:X}", lsn >> 32, lsn & u64::from(u32::MAX));
        quoted(&text)
    });
    let residue = scrubbed.is_none_or(wal::residue);
    object([
        (
            "clean_after",
            clean_after.unwrap_or_else(|| String::from("null")),
        ),
        ("wal_recycle", wal::recycles().to_string()),
        ("residue", residue.to_string()),
    ])
}
