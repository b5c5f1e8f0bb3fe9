//! What is recorded of a subject's consent and of where it lives: the readable rows, and their digests on the chain.

use identity_core::vocabulary::{AccessorKind, ConsentStatus};
use pgrx::pg_sys;

use crate::event::{self, hex, instant};
use crate::query::{Rows, Statement, bind};

/// The state of a consent that ran out.
pub const EXPIRED: &str = ConsentStatus::Expired.as_str();

static CONSENT: Statement = Statement::write(
    c"INSERT INTO identity.consent_history (access_id, candidate_id, recorded_by, recorded_at, evidence_digest, kind, status, version, valid_until, generation)
      VALUES ($1, $2, $3::name, $4, $5, $6, $7, $8, $9, $10)",
    &[
        pg_sys::INT8OID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::BYTEAOID,
        pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID,
    ],
);

static EU: Statement = Statement::write(
    c"INSERT INTO identity.eu_history (access_id, candidate_id, recorded_by, recorded_at, text_digest, eu_resident) VALUES ($1, $2, $3::name, $4, $5, $6)",
    &[
        pg_sys::INT8OID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::BYTEAOID,
        pg_sys::BOOLOID,
    ],
);

/// What both kinds of event say.
pub struct Event<'a> {
    pub candidate: [u8; 16],
    pub recorded_by: &'a str,
    /// Microseconds since 2000: the moment of the access row too.
    pub recorded_at: i64,
    /// The digest of the text beside it.
    pub text: Option<[u8; 32]>,
}

pub struct Consent<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub version: Option<&'a str>,
    pub valid_until: Option<i64>,
    pub generation: i32,
}

impl Event<'_> {
    pub fn consent_digest(&self, installation: &[u8; 16], consent: &Consent<'_>) -> [u8; 32] {
        let (generation, until) = (
            consent.generation.to_string(),
            consent.valid_until.map(instant),
        );
        let own = [
            ("kind", Some(consent.kind)),
            ("status", Some(consent.status)),
            ("version", consent.version),
            ("valid_until", until.as_deref()),
            ("generation", Some(&generation)),
        ];
        // Nobody said that it ran out: that is another event than what somebody said.
        let kind = match consent.status {
            EXPIRED => AccessorKind::ConsentExpiry,
            _ => AccessorKind::Consent,
        };
        self.digest(installation, kind.as_str(), "evidence_digest", &own)
    }

    pub fn eu_digest(&self, installation: &[u8; 16], resident: bool) -> [u8; 32] {
        let own = [("eu_resident", Some(if resident { "true" } else { "false" }))];
        self.digest(installation, "eu_status", "text_digest", &own)
    }

    /// Stores the readable row of an event that was appended. Runs inside the call's snapshot.
    pub fn keep_consent(&self, access_id: i64, consent: &Consent<'_>) {
        let mut values = self.values(access_id);
        values.extend([
            bind(consent.kind),
            bind(consent.status),
            consent.version.and_then(bind),
            consent.valid_until.map(pg_sys::Datum::from),
            bind(consent.generation),
        ]);
        CONSENT.run(&mut values);
    }

    pub fn keep_eu(&self, access_id: i64, resident: bool) {
        let mut values = self.values(access_id);
        values.push(bind(resident));
        EU.run(&mut values);
    }

    fn values(&self, access_id: i64) -> Vec<Option<pg_sys::Datum>> {
        vec![
            bind(access_id),
            bind(pgrx::Uuid::from_bytes(self.candidate)),
            bind(self.recorded_by),
            Some(pg_sys::Datum::from(self.recorded_at)),
            self.text.and_then(|digest| bind(digest.to_vec())),
        ]
    }

    fn digest(
        &self,
        installation: &[u8; 16],
        kind: &str,
        text_name: &str,
        own: &[(&str, Option<&str>)],
    ) -> [u8; 32] {
        let candidate = hex(&self.candidate);
        let recorded_at = instant(self.recorded_at);
        let text = self.text.map(|digest| hex(&digest));
        let shared = [
            ("candidate_id", Some(candidate.as_str())),
            ("recorded_by", Some(self.recorded_by)),
            ("recorded_at", Some(&recorded_at)),
            (text_name, text.as_deref()),
        ];
        event::digest(installation, kind, &[shared.as_slice(), own].concat())
    }
}

/// The event that a row holds which begins with candidate_id, recorded_by, recorded_at, and the digest of the text.
pub fn stored(rows: &Rows, at: usize) -> Option<Event<'_>> {
    let text = match rows.bytes(at, 4) {
        None => None,
        Some(bytes) => Some(bytes.try_into().ok()?),
    };
    Some(Event {
        candidate: rows.datum(at, 1).map(crate::sql_function::uuid)?,
        recorded_by: rows.get(at, 2)?,
        recorded_at: rows.moment(at, 3)?,
        text,
    })
}
