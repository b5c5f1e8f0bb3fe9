//! `purpose_approve`: a second person lets a version take effect that the first could not let take effect alone.

use identity_core::event_digest;
use identity_core::reason::Reason;
use identity_core::trace::is_purpose_token;
use identity_core::vocabulary::{AccessorKind, NoticeKind};
use pgrx::pg_sys;

use super::change::supersede;
use super::lists::{fields, words};
use crate::answer::timestamp;
use crate::call::Call;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::sql_function::{Arguments, sql_function, void};
use crate::{clock, outbox};

sql_function!(purpose_approve, pg_finfo_purpose_approve, run);

static NAMED: Statement = Statement::read(
    c"SELECT true FROM identity.purpose_versions WHERE purpose_token = $1 LIMIT 1",
    &[pg_sys::TEXTOID],
);

/// A version that a later one holds instead of cannot be approved any more: that would say of a reach that it is open, and it is not.
static VERSION: Statement = Statement::read(
    c"SELECT v.changed_by::text, v.allowed_fields, v.effective_at,
             v.needs_approval AND v.approved_by IS NULL AND NOT EXISTS (
                SELECT FROM identity.purpose_versions c
                 WHERE c.purpose_token = $1 AND c.version > $2 AND (NOT c.needs_approval OR c.approved_by IS NOT NULL)
                   AND (c.effective_at <= c.changed_at OR c.effective_at <= $3)),
             COALESCE(v.version <= r.revoked_version OR v.revocations_seen < r.revocations, false)
        FROM identity.purpose_versions v
        LEFT JOIN identity.purpose_revocations r ON r.purpose_token = v.purpose_token
       WHERE v.purpose_token = $1 AND v.version = $2",
    &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TIMESTAMPTZOID],
);

/// What is digested of an approval, in the order of `digest`.
static APPROVE: Statement = Statement::write(
    c"UPDATE identity.purpose_versions SET approved_by = $3::name, approved_at = $4
       WHERE purpose_token = $1 AND version = $2 AND approved_by IS NULL
      RETURNING purpose_token, version, approved_by::text, pg_catalog.to_char(approved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::PurposeApprove);
    let keys = call.admit();
    let token: &str = call.required(arguments.get(0));
    let version: i32 = call.required(arguments.get(1));
    // Whoever may write purposes approves none, in whatever role: else SET ROLE would make one person two.
    if !call.caller.is_member_of(c"identity_approver")
        || call.caller.either_is_member_of(c"identity_dba")
    {
        call.refuse(Reason::RoleConflict);
    }
    if !is_purpose_token(token) {
        call.refuse(Reason::UnknownPurpose);
    }
    let role = call.caller.role();
    let digest = with_latest_snapshot(|| {
        connected(|| {
            let now = clock::now();
            let found = VERSION.run(&mut [bind(token), bind(version), timestamp(now)]);
            let Some(author) = found.get::<&str>(0, 1) else {
                let known = NAMED.run(&mut [bind(token)]).count > 0;
                call.refuse(if known {
                    Reason::BadArgument
                } else {
                    Reason::UnknownPurpose
                })
            };
            call.shape.purpose = Short::new(token);
            call.shape.purpose_version = Some(version);
            call.shape.fields = fields(&words(found.datum(0, 2))).unwrap_or_default();
            if author == role.as_str() || author == call.shape.outer.as_str() {
                call.refuse(Reason::RoleConflict);
            }
            if found.get(0, 4) != Some(true) {
                call.refuse(Reason::BadArgument);
            }
            if found.get(0, 5) != Some(false) {
                call.refuse(Reason::PurposeRevoked);
            }
            let approved = APPROVE.run(&mut [
                bind(token),
                bind(version),
                bind(role.as_str()),
                timestamp(now),
            ]);
            // Another approver was quicker.
            let digest = digest(&keys.installation, &approved, 0)
                .unwrap_or_else(|| call.refuse(Reason::BadArgument));
            let effective = found.datum(0, 3).map_or(now, |at| at.value() as i64);
            supersede(token, version, timestamp(effective.max(now)));
            digest
        })
    });
    let access_id = call.append(&keys, &Fate::event(digest));
    outbox::add(access_id, &call.entry, NoticeKind::PurposeApprove);
    void(arguments)
}

/// The digest of an approval, from four columns of a row: token, version, who, when.
pub fn digest(installation: &[u8; 16], rows: &Rows, row: usize) -> Option<[u8; 32]> {
    let version = rows.get::<i32>(row, 2)?.to_string();
    let pairs = [
        ("purpose_token", rows.get::<&str>(row, 1)?),
        ("version", version.as_str()),
        ("approved_by", rows.get::<&str>(row, 3)?),
        ("approved_at", rows.get::<&str>(row, 4)?),
    ];
    Some(event_digest(installation, "purpose_approve", &pairs))
}
