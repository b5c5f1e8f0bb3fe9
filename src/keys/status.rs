//! What is told about keys: `key_status`, and what status and metrics say of them.

use identity_core::key::KeyKind;
use identity_core::vocabulary::KeyState;
use pgrx::pg_sys;

use super::region;
use super::ring::{Key, Ring};
use crate::answer::{Rows as Answer, timestamp, value};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, clock};

sql_function!(key_status, pg_finfo_key_status, status);

const ROTATION_DAYS: i64 = 90;
const DAY_MICROS: i64 = 86_400_000_000;

static SUBJECTS_BY_VERSION: Statement = Statement::read(
    c"SELECT pg_catalog.count(*) FROM identity.subjects WHERE dek_version = $1 AND dek_version > 0 AND erased_at IS NULL",
    &[pg_sys::INT4OID],
);
static LEFT: Statement = Statement::read(
    c"SELECT pg_catalog.count(*) FROM identity.subjects s
       WHERE s.erased_at IS NULL AND s.dek_version > 0 AND s.dek_version < (SELECT k.version FROM identity.keyring k WHERE k.kind = 'dek' AND k.state = 'active')",
    &[],
);

/// Keys that should have been rotated by now, and subjects that wait to be encrypted anew.
pub struct Gauges {
    /// The oldest key in use: kind, and when it became due.
    pub overdue: Option<(KeyKind, i64)>,
    pub waiting: i64,
    /// Kinds in use with the age of their key, in microseconds.
    pub ages: Vec<(KeyKind, i64)>,
}

/// Runs inside SPI and a snapshot. Development keys are never due.
pub fn gauges() -> Gauges {
    let (ring, now) = (Ring::read(), clock::now());
    let in_use = || {
        let keys = ring.0.iter();
        keys.filter(|key| key.state == KeyState::Active && !key.is_development())
    };
    Gauges {
        overdue: in_use()
            .map(|key| (key.kind, due(key)))
            .filter(|(_, due)| *due <= now)
            .min_by_key(|(_, due)| *due),
        waiting: LEFT.run(&mut []).get(0, 1).unwrap_or(0),
        ages: in_use()
            .map(|key| (key.kind, now - key.created_at))
            .collect(),
    }
}

fn due(key: &Key) -> i64 {
    key.created_at + ROTATION_DAYS * DAY_MICROS
}

fn status(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let unlocked = super::active().is_some();
    let mut answer = Answer::of(arguments);
    with_latest_snapshot(|| {
        connected(|| {
            for key in Ring::read().0 {
                let subjects = (key.kind == KeyKind::Dek).then(|| {
                    SUBJECTS_BY_VERSION
                        .run(&mut [bind(key.version)])
                        .datum(0, 1)
                });
                let state = if unlocked {
                    key.state.as_str()
                } else {
                    "locked"
                };
                let retired = key.state == KeyState::Retired;
                answer.push(&[
                    value(key.kind.as_str()),
                    value(key.version),
                    value(state),
                    value(key.provider.as_str()),
                    timestamp(key.created_at),
                    (!retired).then(|| timestamp(due(&key))).flatten(),
                    subjects.flatten(),
                    value(region::holds(key.kind, key.number())),
                ]);
            }
        });
    });
    pg_sys::Datum::from(0)
}
