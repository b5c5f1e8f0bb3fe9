//! Unlocking and locking: what every unlocking does, `dev_unlock`, `key_wipe_all`, and what `initialize()` needs.

use identity_core::event_digest;
use identity_core::key::{KeyKind, check_value, development_key};
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, KeyState};
use pgrx::pg_sys;

use super::LOG;
use super::region::{self, Keys, Loading};
use super::ring::{self, DEVELOPMENT, Enrolment, Ring};
use crate::call::{self, Call};
use crate::ledger::lag;
use crate::purpose::{change, content};
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function, void};
use crate::vertical::patterns;
use crate::{bucket, clock, error, gucs, lane, limits};

sql_function!(dev_unlock, pg_finfo_dev_unlock, unlock_for_development);
sql_function!(key_wipe_all, pg_finfo_key_wipe_all, wipe_all);
sql_function!(_forget, pg_finfo__forget, forget);

static INSTALLATION: Statement =
    Statement::read(c"SELECT installation_id FROM identity.installation", &[]);

/// Whose keyring it is. Runs inside SPI and a snapshot.
pub fn installation(call: &Call) -> [u8; 16] {
    let id = INSTALLATION.run(&mut []).get::<pgrx::Uuid>(0, 1);
    *id.unwrap_or_else(|| call.refuse(Reason::NotInitialized))
        .as_bytes()
}

/// What was restored or rewritten while keys were locked may hold reads of today, and may have changed the log under the cached heads.
pub fn catch_up() {
    limits::rebuild::from_log();
    lag::refresh();
    lane::forget_heads();
}

/// The row of an unlocking.
pub fn record(call: &Call, keys: &Keys, provider: &str) {
    let digest = event_digest(&keys.installation, "key_unlock", &[("provider", provider)]);
    call.append(keys, &Fate::event(digest));
}

/// What `initialize()` wrote while there was no key to chain with.
pub fn record_defaults(keys: &Keys) {
    for (token, version) in with_latest_snapshot(|| connected(content::all)) {
        change::record(
            &mut Call::begin(AccessorKind::PurposeChange),
            keys,
            &token,
            version,
        );
    }
    patterns::record_all(keys);
}

/// Loads the development keys, which everybody can derive. Works with `identity_pgx.allow_dev_keys` only.
fn unlock_for_development(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::KeyUnlock);
    call.admit_locked();
    if !gucs::ALLOW_DEV_KEYS.get()
        || !(call.caller.is_superuser() || call.caller.is_member_of(c"identity_worker"))
    {
        call.refuse(Reason::RoleConflict);
    }
    bucket::keyring();
    // The keys are there at once, whatever becomes of this transaction: so a rolled-back unlock leaves a row too.
    call.hold();
    let first_time = with_latest_snapshot(|| {
        connected(|| {
            let installation = installation(&call);
            let first_time = enrol_development_keys(&call);
            let keys = [KeyKind::Dek, KeyKind::Chain].map(|kind| (kind, development_key(kind)));
            let loading = keys.each_ref().map(|(kind, bytes)| Loading {
                kind: *kind,
                version: 1,
                bytes,
            });
            catch_up();
            if !region::load(&installation, LOG.oid(), &loading) {
                error::fault("the key region has no room");
            }
            first_time
        })
    });
    let Some(keys) = super::active() else {
        call.refuse(Reason::Locked)
    };
    record(&call, &keys, DEVELOPMENT);
    if first_time {
        record_defaults(&keys);
    }
    pgrx::warning!("identity_pgx: unlocked with DEVELOPMENT keys, which are public");
    void(arguments)
}

/// Makes sure that the keyring holds the development keys and nothing else. Returns whether they are new.
fn enrol_development_keys(call: &Call) -> bool {
    let ring = Ring::read();
    // Keys of a key service: development keys must never mix with them.
    if !ring.0.iter().all(|key| key.is_development()) {
        call.refuse(Reason::RoleConflict);
    }
    let mut enrolled = false;
    for kind in [KeyKind::Dek, KeyKind::Chain] {
        let expected = check_value(kind, 1, &development_key(kind));
        match ring.key(kind, 1) {
            None => {
                ring::add(&Enrolment {
                    kind,
                    version: 1,
                    state: KeyState::Active,
                    provider: DEVELOPMENT,
                    kek_uri: None,
                    wrapped: None,
                    check_value: &expected,
                    created_at: clock::now(),
                    enrolled_by: None,
                });
                enrolled = true;
            }
            Some(key) if key.check_value == expected => {}
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

/// The tables under a running server are new: keys bound to the old installation and heads of the old lanes are of no use.
fn forget(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    region::wipe();
    lane::forget_heads();
    void(arguments)
}
