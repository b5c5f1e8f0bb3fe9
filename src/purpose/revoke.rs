//! `purpose_revoke`: a misconfigured purpose is standing permission to exfiltrate, so stopping one takes one call and no deployment.

use identity_core::event_digest;
use identity_core::reason::Reason;
use identity_core::trace::is_purpose_token;
use identity_core::vocabulary::{AccessorKind, NoticeKind};
use pgrx::pg_sys;

use crate::call::Call;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::sql_function::{Arguments, sql_function, void};
use crate::{clock, outbox};

sql_function!(purpose_revoke, pg_finfo_purpose_revoke, run);

const MAX_REASON_BYTES: usize = 1000;

/// Revokes up to the newest version there is, one that is not yet in effect included.
static REVOKE: Statement = Statement::write(
    c"INSERT INTO identity.purpose_revocations AS r (purpose_token, revoked_at, revoked_by, reason, revoked_version, revocations)
      SELECT v.purpose_token, $2, $3::name, $4, pg_catalog.max(v.version), 1 FROM identity.purpose_versions v WHERE v.purpose_token = $1 GROUP BY v.purpose_token
      ON CONFLICT (purpose_token) DO UPDATE
         SET revoked_at = EXCLUDED.revoked_at, revoked_by = EXCLUDED.revoked_by, reason = EXCLUDED.reason, revoked_version = EXCLUDED.revoked_version,
             revocations = r.revocations + 1
      RETURNING r.revoked_version",
    &[pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::PurposeRevoke);
    let keys = call.admit();
    let token: &str = call.required(arguments.get(0));
    let reason: &str = call.required(arguments.get(1));
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
        call.refuse(Reason::BadArgument);
    }
    if !is_purpose_token(token) {
        call.refuse(Reason::UnknownPurpose);
    }
    let role = call.caller.role();
    let version = with_latest_snapshot(|| {
        connected(|| {
            let now = Some(pg_sys::Datum::from(clock::now()));
            REVOKE
                .run(&mut [bind(token), now, bind(role.as_str()), bind(reason)])
                .get::<i32>(0, 1)
        })
    });
    let version = version.unwrap_or_else(|| call.refuse(Reason::UnknownPurpose));
    call.shape.purpose = Short::new(token);
    call.shape.purpose_version = Some(version);
    let pairs = [
        ("purpose_token", token),
        ("revoked_version", &version.to_string()),
        ("revoked_by", role.as_str()),
        ("reason", reason),
    ];
    let digest = event_digest(&keys.installation, "purpose_revoke", &pairs);
    let access_id = call.append(&keys, &Fate::event(digest));
    outbox::add(access_id, &call.entry, NoticeKind::PurposeRevoke);
    void(arguments)
}
