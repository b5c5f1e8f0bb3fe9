//! `key_rotate`: from its commit on the newest key of a kind is used, and the one before only opens and verifies.

use identity_core::key::KeyKind;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, KeyState, NoticeKind, RotationReason};
use pgrx::pg_sys;

use super::history::Event;
use super::pending::{self, Change};
use super::region::{self, Keys};
use super::ring::{self, Ring};
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::query::{connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{bucket, outbox};

sql_function!(key_rotate, pg_finfo_key_rotate, run);

const MOST_WITNESS_BYTES: usize = 200;

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::KeyRotation);
    let keys = call.admit();
    let kind = KeyKind::parse(call.required(arguments.get(0)));
    let reason = RotationReason::parse(call.required(arguments.get(1)));
    let witness: Option<&str> = arguments.get(2);
    let named = witness.is_none_or(|name| (1..=MOST_WITNESS_BYTES).contains(&name.len()));
    let (Some(kind), Some(reason), true) = (kind, reason, named) else {
        call.refuse(Reason::BadArgument)
    };
    bucket::keyring();
    pending::writes_keyring();
    call.entry.at = clock::now() + UNIX_EPOCH_MICROS;
    let version =
        with_latest_snapshot(|| connected(|| rotate(&call, &keys, kind, reason, witness)));
    pgrx::IntoDatum::into_datum(version).unwrap_or(pg_sys::Datum::from(0))
}

fn rotate(
    call: &Call,
    keys: &Keys,
    kind: KeyKind,
    reason: RotationReason,
    witness: Option<&str>,
) -> i32 {
    let ring = Ring::read();
    let (Some(old), Some(new)) = (ring.active(kind), ring.in_state(kind, KeyState::Enrolled))
    else {
        call.refuse(Reason::BadArgument)
    };
    // The pair before the look: were the keys wiped in between, nothing changes in memory.
    let epoch = region::pair().epoch;
    if !region::holds(kind, new.number()) {
        call.refuse(Reason::Locked);
    }
    // In this order: two are never active at once.
    ring::set_state(old, KeyState::VerifyOnly, None);
    ring::set_state(new, KeyState::Active, None);
    let role = call.caller.role();
    let event = Event {
        old: Some((old.version, &old.check_value)),
        reason: Some(reason.as_str()),
        witness,
        ..Event::of(call, new, role.as_str())
    };
    let access_id = event.record(call, keys);
    outbox::add(access_id, &call.entry, NoticeKind::KeyRotation);
    pending::at_commit(Change::Activate {
        epoch,
        kind,
        version: new.number(),
    });
    new.version
}
