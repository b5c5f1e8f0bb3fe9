//! `key_enrol`: a key that the key service made enters the keyring, wrapped; or one that is there was wrapped anew.

use identity_core::key::KeyKind;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, KeyState};
use pgrx::pg_sys;

use super::history::Event;
use super::region::{self, Keys};
use super::ring::{self, Enrolment, Key, Ring};
use super::{pending, unlock};
use crate::bucket;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, void};

sql_function!(key_enrol, pg_finfo_key_enrol, run);

/// Key services wrap 32 bytes in some hundreds.
const MOST_WRAPPED_BYTES: usize = 8192;
const MOST_URI_BYTES: usize = 2048;
const CHECK_VALUE_BYTES: usize = 32;
/// The key services that there are: what their URIs begin with.
const PROVIDERS: [&str; 3] = ["vault", "aws", "file"];

/// Whether the vault was ever in use: then its first keys were too.
static USED: Statement = Statement::read(
    c"SELECT EXISTS (SELECT FROM identity.pii_access_log) OR EXISTS (SELECT FROM identity.subjects)",
    &[],
);

/// Whether the chain says of a key that it was enrolled: those that entered while there was no key to chain with wait for the first unlocking.
static RECORDED: Statement = Statement::read(
    c"SELECT EXISTS (SELECT FROM identity.key_history WHERE event = 'key_enrol' AND kind = $1 AND version = $2)",
    &[pg_sys::TEXTOID, pg_sys::INT4OID],
);

/// What is to be in the keyring.
struct Wanted<'a> {
    kind: KeyKind,
    version: i32,
    wrapped: &'a [u8],
    kek_uri: &'a str,
    provider: &'a str,
    check_value: &'a [u8],
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::KeyEnrol);
    call.admit_locked();
    let wanted = wanted(&call, arguments);
    bucket::keyring();
    pending::writes_keyring();
    let now = clock::now();
    call.entry.at = now + UNIX_EPOCH_MICROS;
    with_latest_snapshot(|| {
        connected(|| {
            unlock::installation(&call);
            let keys = super::active();
            let ring = Ring::read();
            // Development keys must never mix with those of a key service.
            if ring.0.iter().any(Key::is_development) {
                call.refuse(Reason::RoleConflict);
            }
            match ring.key(wanted.kind, wanted.version) {
                None => enrol(&call, &ring, &wanted, now),
                Some(key) if !rewrap(&mut call, key, &wanted, keys.is_some(), now) => return,
                Some(_) => {}
            }
            if let Some(keys) = keys {
                record(&call, &wanted, &keys);
            }
        });
    });
    void(arguments)
}

fn wanted<'a>(call: &Call, arguments: Arguments) -> Wanted<'a> {
    let kind = KeyKind::parse(call.required(arguments.get(0)));
    let version = call.required(arguments.get(1));
    let wrapped: &[u8] = call.required(arguments.get(2));
    let kek_uri: &str = call.required(arguments.get(3));
    let check_value: &[u8] = call.required(arguments.get(4));
    let scheme = kek_uri.split_once(':').map(|(scheme, _)| scheme);
    let provider = PROVIDERS.into_iter().find(|name| scheme == Some(*name));
    let well_formed = (1..=MOST_WRAPPED_BYTES).contains(&wrapped.len())
        && kek_uri.len() <= MOST_URI_BYTES
        && kek_uri.chars().all(|c| c.is_ascii_graphic())
        && check_value.len() == CHECK_VALUE_BYTES;
    let (Some(kind), Some(provider), true) = (kind, provider, well_formed) else {
        call.refuse(Reason::BadArgument)
    };
    Wanted {
        kind,
        version,
        wrapped,
        kek_uri,
        provider,
        check_value,
    }
}

/// The next version, while no other waits to be used; the first one only where nothing was ever encrypted or chained.
fn enrol(call: &Call, ring: &Ring, wanted: &Wanted<'_>, now: i64) {
    let last = ring.of(wanted.kind).last();
    let next = last.map_or(1, |key| key.version.saturating_add(1));
    let waits = last.is_some_and(|key| key.state == KeyState::Enrolled);
    if wanted.version != next || waits {
        call.refuse(Reason::BadArgument);
    }
    // One more could not be brought, and from the next start on would keep out one that has to be.
    let kept = ring.0.iter().filter(|key| key.state != KeyState::Retired);
    if kept.count() >= region::MAX_KEYS {
        call.refuse(Reason::TooMany);
    }
    if next == 1 {
        // A log without its keyring, or without that part of it, was restored: another key would be taken for the one that made it.
        let is_late = matches!(wanted.kind, KeyKind::Index | KeyKind::Signing)
            && ring.active(KeyKind::Chain).is_some();
        if !is_late && USED.run(&mut []).get(0, 1) != Some(false) {
            call.refuse(Reason::RoleConflict);
        }
    }
    let role = call.caller.role();
    ring::add(&Enrolment {
        kind: wanted.kind,
        version: next,
        state: if next == 1 {
            KeyState::Active
        } else {
            KeyState::Enrolled
        },
        provider: wanted.provider,
        kek_uri: Some(wanted.kek_uri),
        wrapped: Some(wanted.wrapped),
        check_value: wanted.check_value,
        created_at: now,
        enrolled_by: Some(role.as_str()),
    });
}

/// False if it is already so.
fn rewrap(call: &mut Call, key: &Key, wanted: &Wanted<'_>, unlocked: bool, now: i64) -> bool {
    if key.check_value != wanted.check_value || key.state == KeyState::Retired {
        call.refuse(Reason::BadArgument);
    }
    call.shape.kind = AccessorKind::KeyRewrap;
    let changed = ring::rewrap(key, wanted.provider, wanted.kek_uri, wanted.wrapped, now);
    if changed && !ring::has_room_for(key, wanted.wrapped) {
        call.refuse(Reason::TooMany);
    }
    // Nothing would ever say so on the chain, and the keyring would not be what was recorded of it any more.
    let mut name = [bind(key.kind.as_str()), bind(key.version)];
    if changed && !unlocked && RECORDED.run(&mut name).get(0, 1) != Some(false) {
        call.refuse(Reason::Locked);
    }
    changed
}

/// Puts it on the chain. What enters while there is no key to chain with, the first unlocking does.
fn record(call: &Call, wanted: &Wanted<'_>, keys: &Keys) {
    // A snapshot of its own sees what was just written.
    with_latest_snapshot(|| {
        let ring = Ring::read();
        let role = call.caller.role();
        if let Some(key) = ring.key(wanted.kind, wanted.version) {
            Event::of(call, key, role.as_str()).record(call, keys);
        }
    });
}
