//! `caller_revoke` and `caller_reinstate`: a login is shut out of every call, and let in again. Nothing is cached: what has committed binds the
//! next call of every session of that login, one inside a REPEATABLE READ transaction included.

use std::ffi::CStr;

use identity_core::event_digest;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, NoticeKind};
use pgrx::pg_sys;

use crate::answer::timestamp;
use crate::call::Call;
use crate::caller::{self, Caller};
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::relation::Known;
use crate::scan::Index;
use crate::sql_function::{Arguments, sql_function, void};
use crate::{clock, outbox};

sql_function!(caller_revoke, pg_finfo_caller_revoke, revoke);
sql_function!(caller_reinstate, pg_finfo_caller_reinstate, reinstate);

const MAX_REASON_BYTES: usize = 1000;

/// Columns by their position in sql/41_callers.sql.
static REVOCATIONS: Index = Index {
    table: Known::new(c"caller_revocations"),
    index: Known::new(c"caller_revocations_pkey"),
    columns: 7,
};
const REVOCATION: usize = 2;
const REINSTATED: usize = 3;

static CAN_LOG_IN: Statement = Statement::read(
    c"SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE oid = $1",
    &[pg_sys::OIDOID],
);
static REVOKE: Statement = Statement::write(
    c"INSERT INTO identity.caller_revocations (role, revocation, reinstated, access_id, changed_at, changed_by, reason)
      VALUES ($1, $2, false, $2, $3, $4::name, $5)",
    &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::TEXTOID],
);
static STANDING: Statement = Statement::read(
    c"SELECT pg_catalog.string_agg(r.revocation::text, ',' ORDER BY r.revocation), pg_catalog.count(*) FROM identity.caller_revocations r
       WHERE r.role = $1 AND NOT r.reinstated AND NOT EXISTS (
             SELECT FROM identity.caller_revocations u WHERE u.role = $1 AND u.revocation = r.revocation AND u.reinstated)",
    &[pg_sys::TEXTOID],
);
static REINSTATE: Statement = Statement::write(
    c"INSERT INTO identity.caller_revocations (role, revocation, reinstated, access_id, changed_at, changed_by)
      SELECT $1, r.revocation::bigint, true, $3, $4, $5::name FROM pg_catalog.string_to_table($2, ',') AS r (revocation)
      ON CONFLICT DO NOTHING RETURNING true",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID],
);

/// Whether the session user or the outer user is shut out: SET ROLE is no way out of a revocation, and none around one. What this transaction itself
/// has changed and not committed does not count. Runs inside the call's snapshot.
pub fn stands(caller: &Caller) -> bool {
    if REVOCATIONS.is_empty() {
        return false;
    }
    let [session, outer] = caller.roles();
    shut_out(session.as_str()) || outer != session && shut_out(outer.as_str())
}

fn shut_out(role: &str) -> bool {
    let mut undone = None;
    // Of one revocation the row that undoes it comes first.
    let stands = REVOCATIONS.last_committed(role, |row| {
        let revocation = row.get::<i64>(REVOCATION);
        if row.get(REINSTATED) == Some(true) {
            undone = revocation;
        }
        (undone != revocation).then_some(())
    });
    stands.is_some()
}

fn revoke(arguments: Arguments) -> pg_sys::Datum {
    let call = Call::begin(AccessorKind::CallerRevoke);
    let keys = call.admit();
    let (role, oid) = role(call.required(arguments.datum(0)));
    let reason: &str = call.required(arguments.get(1));
    if reason.is_empty() || reason.len() > MAX_REASON_BYTES {
        call.refuse(Reason::BadArgument);
    }
    with_latest_snapshot(|| {
        connected(|| {
            // A group does not call: revoking one would look as if its members were shut out.
            if CAN_LOG_IN.run(&mut [bind(oid)]).get(0, 1) != Some(true) {
                call.refuse(Reason::BadArgument);
            }
            let by = call.caller.role();
            let digest = digest(
                &keys.installation,
                &Change {
                    role: role.as_str(),
                    by: by.as_str(),
                    reason: Some(reason),
                    undone: "",
                },
            );
            let access_id = call.append(&keys, &Fate::event(digest));
            REVOKE.run(&mut [
                bind(role.as_str()),
                bind(access_id),
                timestamp(clock::now()),
                bind(by.as_str()),
                bind(reason),
            ]);
            outbox::add(access_id, &call.entry, NoticeKind::CallerRevoke);
        });
    });
    void(arguments)
}

fn reinstate(arguments: Arguments) -> pg_sys::Datum {
    let call = Call::begin(AccessorKind::CallerReinstate);
    // Refuses whoever is shut out: nobody lets himself in again.
    let keys = call.admit();
    let (role, _) = role(call.required(arguments.datum(0)));
    with_latest_snapshot(|| {
        connected(|| {
            let standing = STANDING.run(&mut [bind(role.as_str())]);
            let Some(undone) = standing.get::<&str>(0, 1) else {
                call.refuse(Reason::BadArgument)
            };
            let by = call.caller.role();
            let digest = digest(
                &keys.installation,
                &Change {
                    role: role.as_str(),
                    by: by.as_str(),
                    reason: None,
                    undone,
                },
            );
            let access_id = call.append(&keys, &Fate::event(digest));
            let added = REINSTATE.run(&mut [
                bind(role.as_str()),
                bind(undone),
                bind(access_id),
                timestamp(clock::now()),
                bind(by.as_str()),
            ]);
            // Somebody else has let it in meanwhile; the row above goes with this refusal.
            if i64::try_from(added.count).ok() != standing.get(0, 2) {
                call.refuse(Reason::BadArgument);
            }
            outbox::add(access_id, &call.entry, NoticeKind::CallerReinstate);
        });
    });
    void(arguments)
}

/// The name of a role as callers are recorded by it, and its oid if there is such a role.
fn role(name: pg_sys::Datum) -> (Short<64>, pg_sys::Oid) {
    // SAFETY: a name datum is a zero-terminated string; a syscache look-up.
    unsafe {
        let name = CStr::from_ptr(name.cast_mut_ptr());
        (
            caller::name_text(name),
            pg_sys::get_role_oid(name.as_ptr(), true),
        )
    }
}

/// A revocation (with a reason) or a reinstatement.
struct Change<'a> {
    role: &'a str,
    by: &'a str,
    reason: Option<&'a str>,
    /// The revocations undone, by their access ids in order.
    undone: &'a str,
}

fn digest(installation: &[u8; 16], change: &Change<'_>) -> [u8; 32] {
    match change.reason {
        Some(reason) => event_digest(
            installation,
            "caller_revoke",
            &[
                ("role", change.role),
                ("revoked_by", change.by),
                ("reason", reason),
            ],
        ),
        None => event_digest(
            installation,
            "caller_reinstate",
            &[
                ("role", change.role),
                ("reinstated_by", change.by),
                ("revocations", change.undone),
            ],
        ),
    }
}

/// The digest of one recorded change, from the columns role, by, reason, revocations, of which the first is at `column`.
pub fn stored_digest(
    installation: &[u8; 16],
    rows: &Rows,
    row: usize,
    column: i32,
) -> Option<[u8; 32]> {
    let change = Change {
        role: rows.get(row, column)?,
        by: rows.get(row, column + 1)?,
        reason: rows.get(row, column + 2),
        undone: rows.get(row, column + 3)?,
    };
    Some(digest(installation, &change))
}
