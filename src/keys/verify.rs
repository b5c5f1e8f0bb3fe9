//! Keys must be those that were recorded: every event of a key as it was put on the chain, and the keyring as its events left it.

use std::collections::BTreeMap;

use identity_core::vocabulary::KeyState;

use super::history::Event;
use super::region::Keys;
use super::ring::Ring;
use crate::ledger::dropped;
use crate::ledger::verify::Report;
use crate::query::Statement;

const CHECK: &str = "keys";

/// In the order that keys go through, and not that of the clock, which may have been set back in between.
static HISTORY: Statement = Statement::read(
    c"SELECT h.access_id, l.event_digest, h.event, h.kind, h.version, h.check_value, h.old_version, h.old_check_value, h.provider, h.kek_uri, h.wrapped_digest,
             h.reason, h.witness, h.operator::text, h.recorded_at
        FROM identity.key_history h
        LEFT JOIN identity.pii_access_log l
          ON l.access_id = h.access_id AND l.accessed_at = h.recorded_at AND l.outcome = 'committed' AND l.accessor_kind = h.event
       ORDER BY pg_catalog.array_position('{key_enrol,key_rewrap,key_rotation,key_retire}', h.event), h.version, h.recorded_at, h.access_id",
    &[],
);
const EVENT: i32 = 3;
static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind IN ('key_enrol', 'key_rewrap', 'key_rotation', 'key_retire')
         AND NOT EXISTS (SELECT FROM identity.key_history h WHERE h.access_id = l.access_id)",
    &[],
);

/// A key as its events left it.
struct Known {
    check_value: Vec<u8>,
    provider: String,
    kek_uri: Option<String>,
    wrapped_digest: Option<Vec<u8>>,
    state: KeyState,
}

/// Compares all of it, and says by name what does not fit. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    let mut known = BTreeMap::<(String, i32), Known>::new();
    let rows = HISTORY.run(&mut []);
    for row in 0..rows.count {
        let access_id = rows.get::<i64>(row, 1).unwrap_or_default();
        let event = Event::stored(&rows, row, EVENT);
        let digest = event.as_ref().map(|event| event.digest(&keys.installation));
        let fits = digest.is_some_and(|digest| match rows.bytes(row, 2) {
            Some(recorded) => recorded == digest,
            None => dropped::event(access_id),
        });
        if !fits {
            report.finding(
                CHECK,
                &format!("access_id {access_id}: it is not what was recorded"),
            );
        }
        if let Some(event) = event {
            follow(&mut known, &event);
        }
    }
    let lost = LOST.run(&mut []);
    report.events(CHECK, &lost, "its readable row is not there");
    for key in Ring::read().0.iter().filter(|key| !key.is_development()) {
        let recorded = known.remove(&(key.kind.as_str().to_owned(), key.version));
        let fits = recorded.is_some_and(|known| {
            known.check_value == key.check_value
                && known.provider == key.provider
                && known.kek_uri == key.kek_uri
                && known.wrapped_digest == key.wrapped_digest
                && known.state == key.state
        });
        if !fits {
            report.finding(
                CHECK,
                &format!(
                    "{} version {}: the keyring does not say what was recorded of it",
                    key.kind.as_str(),
                    key.version
                ),
            );
        }
    }
    for (kind, version) in known.into_keys() {
        report.finding(
            CHECK,
            &format!("{kind} version {version}: it is not in the keyring"),
        );
    }
    report.close(CHECK, "the keyring and what was recorded of it agree");
}

/// What an event does to the keyring.
fn follow(known: &mut BTreeMap<(String, i32), Known>, event: &Event<'_>) {
    let place = |version| (event.kind.to_owned(), version);
    match event.event {
        "key_enrol" => {
            let state = if event.version == 1 {
                KeyState::Active
            } else {
                KeyState::Enrolled
            };
            let key = Known {
                check_value: event.check_value.to_vec(),
                provider: event.provider.to_owned(),
                kek_uri: event.kek_uri.map(str::to_owned),
                wrapped_digest: event.wrapped_digest.map(<[u8]>::to_vec),
                state,
            };
            known.insert(place(event.version), key);
        }
        "key_rewrap" => {
            if let Some(key) = known.get_mut(&place(event.version)) {
                key.provider = event.provider.to_owned();
                key.kek_uri = event.kek_uri.map(str::to_owned);
                key.wrapped_digest = event.wrapped_digest.map(<[u8]>::to_vec);
            }
        }
        "key_rotation" => {
            let old = event.old.map(|(version, _)| version);
            for (version, state) in [
                (old, KeyState::VerifyOnly),
                (Some(event.version), KeyState::Active),
            ] {
                let key = version.and_then(|version| known.get_mut(&place(version)));
                if let Some(key) = key {
                    key.state = state;
                }
            }
        }
        _ => {
            if let Some(key) = known.get_mut(&place(event.version)) {
                key.state = KeyState::Retired;
            }
        }
    }
}
