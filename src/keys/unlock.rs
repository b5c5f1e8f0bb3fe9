//! Getting keys in and out: `dev_unlock`, `key_wipe_all`, `key_status`, and what `initialize()` needs.

use identity_core::event_digest;
use identity_core::key::{KeyKind, check_value, development_key};
use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::LOG;
use super::region::{self, Loading};
use crate::answer::{Rows as Answer, timestamp, value};
use crate::call::{self, Call};
use crate::ledger::lag;
use crate::purpose::{change, content};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function, void};
use crate::vertical::patterns;
use crate::{clock, error, gucs, lane, limits};

sql_function!(dev_unlock, pg_finfo_dev_unlock, unlock_for_development);
sql_function!(key_wipe_all, pg_finfo_key_wipe_all, wipe_all);
sql_function!(key_status, pg_finfo_key_status, status);
sql_function!(_forget, pg_finfo__forget, forget);

const DEVELOPMENT: &str = "development";
/// Encryption and chain keys are rotated once a year.
const ROTATION_DAYS: i64 = 365;
const DAY_MICROS: i64 = 86_400_000_000;

static INSTALLATION: Statement =
    Statement::read(c"SELECT installation_id FROM identity.installation", &[]);
static KEYRING: Statement = Statement::read(
    c"SELECT kind, version, state, provider, check_value, created_at FROM identity.keyring ORDER BY kind, version",
    &[],
);
static ENROL: Statement = Statement::write(
    c"INSERT INTO identity.keyring (kind, version, state, provider, check_value, created_at) VALUES ($1, 1, 'active', $2, $3, $4)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::BYTEAOID, pg_sys::TIMESTAMPTZOID],
);
static SUBJECTS_BY_VERSION: Statement = Statement::read(
    c"SELECT pg_catalog.count(*) FROM identity.subjects WHERE dek_version = $1",
    &[pg_sys::INT4OID],
);

/// Loads the development keys, which everybody can derive. Works with `identity_pgx.allow_dev_keys` only.
fn unlock_for_development(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::KeyUnlock);
    call.admit_locked();
    if !gucs::ALLOW_DEV_KEYS.get()
        || !(call.caller.is_superuser() || call.caller.is_member_of(c"identity_worker"))
    {
        call.refuse(Reason::RoleConflict);
    }
    // The keys are there at once, whatever becomes of this transaction: so a rolled-back unlock leaves a row too.
    call.hold();
    let first_time = with_latest_snapshot(|| {
        connected(|| {
            let installation = INSTALLATION.run(&mut []).get::<pgrx::Uuid>(0, 1);
            let installation = *installation
                .unwrap_or_else(|| call.refuse(Reason::NotInitialized))
                .as_bytes();
            let first_time = enrol_development_keys(&call);
            let keys = [KeyKind::Dek, KeyKind::Chain].map(|kind| (kind, development_key(kind)));
            let loading = keys.each_ref().map(|(kind, bytes)| Loading {
                kind: *kind,
                version: 1,
                active: true,
                bytes,
            });
            // What was restored while keys were locked may hold reads of today.
            limits::rebuild::from_log();
            lag::refresh();
            if !region::load(&installation, LOG.oid(), &loading) {
                error::fault("the key region has no room");
            }
            // What was restored or rewritten while keys were locked may have changed the log under the cached heads.
            lane::forget_heads();
            first_time
        })
    });
    let Some(keys) = super::active() else {
        call.refuse(Reason::Locked)
    };
    let digest = event_digest(
        &keys.installation,
        "key_unlock",
        &[("provider", DEVELOPMENT)],
    );
    call.append(&keys, &Fate::event(digest));
    if first_time {
        record_default_purposes(&keys);
        patterns::record_all(&keys);
    }
    pgrx::warning!("identity_pgx: unlocked with DEVELOPMENT keys, which are public");
    void(arguments)
}

/// What `initialize()` wrote while there was no key to chain with.
fn record_default_purposes(keys: &region::Keys) {
    for (token, version) in with_latest_snapshot(|| connected(content::all)) {
        change::record(
            &mut Call::begin(AccessorKind::PurposeChange),
            keys,
            &token,
            version,
        );
    }
}

/// Makes sure that the keyring holds the development keys and nothing else. Returns whether they are new.
fn enrol_development_keys(call: &Call) -> bool {
    let mut enrolled = false;
    let ring = KEYRING.run(&mut []);
    for kind in [KeyKind::Dek, KeyKind::Chain] {
        let expected = check_value(kind, 1, &development_key(kind));
        let known = (0..ring.count).find(|row| ring.get::<&str>(*row, 1) == Some(kind.as_str()));
        match known {
            None => {
                ENROL.run(&mut [
                    bind(kind.as_str()),
                    bind(DEVELOPMENT),
                    bind(expected.to_vec()),
                    Some(pg_sys::Datum::from(clock::now())),
                ]);
                enrolled = true;
            }
            Some(row)
                if ring.get::<&str>(row, 4) == Some(DEVELOPMENT)
                    && ring.bytes(row, 5) == Some(&expected) => {}
            // Keys of a key service: development keys must never mix with them.
            Some(_) => call.refuse(Reason::RoleConflict),
        }
    }
    enrolled
}

/// Locks: every PII function refuses until the keys are brought again. The row is written first, with the key it is chained by.
fn wipe_all(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::KeyWipe);
    call.admit_locked();
    if let Some(keys) = super::active() {
        call.hold();
        call.append(
            &keys,
            &Fate::event(event_digest(&keys.installation, "key_wipe", &[])),
        );
    }
    region::wipe();
    void(arguments)
}

fn status(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let unlocked = super::active().is_some();
    let mut answer = Answer::of(arguments);
    with_latest_snapshot(|| {
        connected(|| {
            let ring = KEYRING.run(&mut []);
            for row in 0..ring.count {
                let (kind, version, state) = (
                    ring.get::<&str>(row, 1),
                    ring.get::<i32>(row, 2),
                    ring.get::<&str>(row, 3),
                );
                let created = ring.datum(row, 6).map_or(0, |at| at.value() as i64);
                let subjects = if kind == Some(KeyKind::Dek.as_str()) {
                    SUBJECTS_BY_VERSION
                        .run(&mut [version.and_then(bind)])
                        .datum(0, 1)
                } else {
                    None
                };
                answer.push(&[
                    kind.and_then(value),
                    version.and_then(value),
                    (if unlocked { state } else { Some("locked") }).and_then(value),
                    ring.get::<&str>(row, 4).and_then(value),
                    timestamp(created),
                    timestamp(created + ROTATION_DAYS * DAY_MICROS),
                    subjects,
                ]);
            }
        });
    });
    pg_sys::Datum::from(0)
}

/// The tables under a running server are new: keys bound to the old installation and heads of the old lanes are of no use.
fn forget(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    region::wipe();
    lane::forget_heads();
    void(arguments)
}
