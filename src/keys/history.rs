//! What is recorded of a key: the readable row, and its digest on the chain.

use pgrx::pg_sys;

use super::region::Keys;
use super::ring::Key;
use crate::call::Call;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::event::{self, hex, instant};
use crate::query::{Rows, Statement, bind};
use crate::record::Fate;

static KEEP: Statement = Statement::write(
    c"INSERT INTO identity.key_history (access_id, event, kind, version, check_value, old_version, old_check_value, provider, kek_uri, wrapped_digest, reason,
             witness, operator, recorded_at)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::name, $14)",
    &[
        pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::BYTEAOID, pg_sys::INT4OID, pg_sys::BYTEAOID, pg_sys::TEXTOID,
        pg_sys::TEXTOID, pg_sys::BYTEAOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID,
    ],
);

/// An event of a key, as `key_history` has it.
pub struct Event<'a> {
    /// `key_enrol` and so on: what the access row says too.
    pub event: &'a str,
    pub kind: &'a str,
    pub version: i32,
    pub check_value: &'a [u8],
    /// Version and check value of the key that was in use before.
    pub old: Option<(i32, &'a [u8])>,
    pub provider: &'a str,
    pub kek_uri: Option<&'a str>,
    pub wrapped_digest: Option<&'a [u8]>,
    pub reason: Option<&'a str>,
    pub witness: Option<&'a str>,
    pub operator: &'a str,
    /// Microseconds since 2000: the moment of the access row too.
    pub recorded_at: i64,
}

impl<'a> Event<'a> {
    /// What happens to this key now.
    pub fn of(call: &Call, key: &'a Key, operator: &'a str) -> Self {
        Self {
            event: call.shape.kind.as_str(),
            kind: key.kind.as_str(),
            version: key.version,
            check_value: &key.check_value,
            old: None,
            provider: &key.provider,
            kek_uri: key.kek_uri.as_deref(),
            wrapped_digest: key.wrapped_digest.as_deref(),
            reason: None,
            witness: None,
            operator,
            recorded_at: call.entry.at - UNIX_EPOCH_MICROS,
        }
    }

    pub fn digest(&self, installation: &[u8; 16]) -> [u8; 32] {
        let version = self.version.to_string();
        let check_value = hex(self.check_value);
        let old_version = self.old.map(|(version, _)| version.to_string());
        let old_check_value = self.old.map(|(_, value)| hex(value));
        let wrapped_digest = self.wrapped_digest.map(hex);
        let recorded_at = instant(self.recorded_at);
        let pairs = [
            ("kind", Some(self.kind)),
            ("version", Some(version.as_str())),
            ("check_value", Some(check_value.as_str())),
            ("old_version", old_version.as_deref()),
            ("old_check_value", old_check_value.as_deref()),
            ("provider", Some(self.provider)),
            ("kek_uri", self.kek_uri),
            ("wrapped_digest", wrapped_digest.as_deref()),
            ("reason", self.reason),
            ("witness", self.witness),
            ("operator", Some(self.operator)),
            ("recorded_at", Some(recorded_at.as_str())),
        ];
        event::digest(installation, self.event, &pairs)
    }

    /// Appends the event's row to the log, and keeps the readable one. Returns the row's access id. Runs inside SPI and a snapshot.
    pub fn record(&self, call: &Call, keys: &Keys) -> i64 {
        let access_id = call.append(keys, &Fate::event(self.digest(&keys.installation)));
        KEEP.run(&mut [
            bind(access_id),
            bind(self.event),
            bind(self.kind),
            bind(self.version),
            bind(self.check_value),
            self.old.and_then(|(version, _)| bind(version)),
            self.old.and_then(|(_, value)| bind(value)),
            bind(self.provider),
            self.kek_uri.and_then(bind),
            self.wrapped_digest.and_then(bind),
            self.reason.and_then(bind),
            self.witness.and_then(bind),
            bind(self.operator),
            Some(pg_sys::Datum::from(self.recorded_at)),
        ]);
        access_id
    }

    /// The event of a stored row: its columns in the order of the table, but for the first, from this one on.
    pub fn stored(rows: &Rows, row: usize, from: i32) -> Option<Event<'_>> {
        Some(Event {
            event: rows.get(row, from)?,
            kind: rows.get(row, from + 1)?,
            version: rows.get(row, from + 2)?,
            check_value: rows.bytes(row, from + 3)?,
            old: rows.get(row, from + 4).zip(rows.bytes(row, from + 5)),
            provider: rows.get(row, from + 6)?,
            kek_uri: rows.get(row, from + 7),
            wrapped_digest: rows.bytes(row, from + 8),
            reason: rows.get(row, from + 9),
            witness: rows.get(row, from + 10),
            operator: rows.get(row, from + 11)?,
            recorded_at: rows.moment(row, from + 12)?,
        })
    }
}
