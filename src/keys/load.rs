//! `key_challenge` and `key_load`: the worker brings the keys, each sealed to the key pair that this server made for this run.
//!
//! Trust: whoever may call SQL hands bytes in; only what the worker sealed whose public key the server's configuration names opens, and only here, now, and
//! as the key that it was sealed as. What opens is compared with the keyring, so that the worker cannot mistake one key for another either.

use identity_core::key::{KeyKind, is_key};
use identity_core::reason::Reason;
use identity_core::sealing::{KeyLoad, open_key};
use identity_core::vocabulary::{AccessorKind, KeyState};
use pgrx::pg_sys;

use super::history::Event;
use super::pending::{self, Change};
use super::region::{self, Pair};
use super::ring::{Key, Ring};
use super::{LOG, unlock};
use crate::answer::{RowType, value};
use crate::call::{self, Call};
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, void};
use crate::{bucket, error, gucs};

sql_function!(key_challenge, pg_finfo_key_challenge, challenge);
sql_function!(key_load, pg_finfo_key_load, load);

/// Keys whose entry into the keyring is not on the chain: they entered it while there was no key to chain with.
static UNRECORDED: Statement = Statement::read(
    c"SELECT k.kind, k.version FROM identity.keyring k
       WHERE NOT EXISTS (SELECT FROM identity.key_history h WHERE h.event = 'key_enrol' AND h.kind = k.kind AND h.version = k.version)
       ORDER BY 1, 2",
    &[],
);

static ANSWER: RowType = RowType::new(&[
    (c"public_key", pg_sys::BYTEAOID),
    (c"epoch", pg_sys::UUIDOID),
    (c"system_identifier", pg_sys::TEXTOID),
]);

fn challenge(_: Arguments) -> pg_sys::Datum {
    call::operation();
    // SAFETY: reads the server's state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        error::raise(Reason::ReadOnly);
    }
    if gucs::worker_public_key().is_none() {
        error::raise(Reason::Signature);
    }
    let pair = region::pair();
    ANSWER.record(&[
        value(pair.secret.public().to_vec()),
        value(pgrx::Uuid::from_bytes(pair.epoch)),
        value(system_identifier()),
    ])
}

fn load(arguments: Arguments) -> pg_sys::Datum {
    let call = Call::begin(AccessorKind::KeyUnlock);
    call.admit_locked();
    let kind = KeyKind::parse(call.required(arguments.get(0)));
    let kind = kind.unwrap_or_else(|| call.refuse(Reason::BadArgument));
    let version: i32 = call.required(arguments.get(1));
    let sealed: &[u8] = call.required(arguments.get(2));
    let worker = gucs::worker_public_key().unwrap_or_else(|| call.refuse(Reason::Signature));
    // What this transaction wrote there may never commit, and nothing must be encrypted with a key that is in no keyring.
    if pending::wrote_keyring() {
        call.refuse(Reason::RoleConflict);
    }
    bucket::keyring();
    with_latest_snapshot(|| {
        connected(|| {
            let installation = unlock::installation(&call);
            let ring = Ring::read();
            let key = ring
                .key(kind, version)
                .filter(|key| key.state != KeyState::Retired && !key.is_development())
                .unwrap_or_else(|| call.refuse(Reason::BadArgument));
            let pair = region::pair();
            let put = put(&installation, key, &pair, &worker, sealed);
            call.allow(put);
            let brought = |key: &Key| region::holds(key.kind, key.number());
            if super::active().is_none() && ring.needed().all(brought) {
                open(&call, &ring, &installation, &pair);
            }
        });
    });
    void(arguments)
}

/// Puts the key into the region, if it is what it has to be.
fn put(
    installation: &[u8; 16],
    key: &Key,
    pair: &Pair,
    worker: &[u8; 32],
    sealed: &[u8],
) -> Result<(), Reason> {
    let load = KeyLoad {
        installation: *installation,
        system_identifier: &system_identifier(),
        epoch: pair.epoch,
        kind: key.kind,
        version: key.number(),
    };
    let bytes = open_key(&pair.secret, worker, &load, sealed).ok_or(Reason::Signature)?;
    if !is_key(key.kind, key.number(), &bytes, &key.check_value) {
        return Err(Reason::KeyCheck);
    }
    // Keys were wiped meanwhile: it was sealed to a pair that is no more.
    if !region::put(&pair.epoch, key.kind, key.number(), &bytes) {
        return Err(Reason::Signature);
    }
    Ok(())
}

/// Every key is there: they may be used once this commits, with a row of it, and of what was done before there was a key to chain with.
fn open(call: &Call, ring: &Ring, installation: &[u8; 16], pair: &Pair) {
    let (Some(dek), Some(chain)) = (ring.active(KeyKind::Dek), ring.active(KeyKind::Chain)) else {
        return;
    };
    unlock::catch_up();
    let keys = region::brought(installation, dek.number(), chain.number())
        .unwrap_or_else(|| call.refuse(Reason::Signature));
    unlock::record(call, &keys, &chain.provider);
    let unrecorded = UNRECORDED.run(&mut []);
    for row in 0..unrecorded.count {
        let kind = unrecorded.get::<&str>(row, 1).and_then(KeyKind::parse);
        let version = unrecorded.get::<i32>(row, 2);
        let key = kind
            .zip(version)
            .and_then(|(kind, version)| ring.key(kind, version));
        if let Some(key) = key {
            let entry = Call::begin(AccessorKind::KeyEnrol);
            let by = key.enrolled_by.as_deref().unwrap_or_default();
            Event::of(&entry, key, by).record(&entry, &keys);
            if (key.kind, key.version) == (KeyKind::Chain, 1) {
                unlock::record_defaults(&keys);
            }
        }
    }
    pending::at_commit(Change::Unlock {
        epoch: pair.epoch,
        installation: *installation,
        log: LOG.oid(),
        active: [
            KeyKind::Dek,
            KeyKind::Chain,
            KeyKind::Index,
            KeyKind::Signing,
        ]
        .map(|kind| Some((kind, ring.active(kind)?.number()))),
    });
}

/// The database cluster, in decimal.
fn system_identifier() -> String {
    // SAFETY: constant while the server runs.
    unsafe { pg_sys::GetSystemIdentifier() }.to_string()
}
