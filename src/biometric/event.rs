//! What is recorded of a subject's biometrics: the readable rows, and their digests on the chain.

use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use crate::event::{self, hex, instant};
use crate::query::{Rows, Statement, bind};
use crate::sql_function::uuid;

static KEEP: Statement = Statement::write(
    c"INSERT INTO identity.biometric_history (access_id, candidate_id, kind, consent_version, schedule_version, retention_until, reason, file, erasure, generation,
                                              recorded_by, recorded_at, text_digest)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::name, $12, $13)",
    &[
        pg_sys::INT8OID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::TEXTOID,
        pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::BYTEAOID,
    ],
);

/// Purpose tokens of the rows.
pub const COLLECTION: &str = "biometric_collection";
pub const ERASURE: &str = "biometric_erasure";

/// What became of biometrics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Attach,
    Classify,
    Erase,
    /// The uploaded file is gone.
    File,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Classify => "classify",
            Self::Erase => "erase",
            Self::File => "file",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Attach, Self::Classify, Self::Erase, Self::File]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// What its access row is.
    pub fn accessor(self) -> AccessorKind {
        match self {
            Self::Attach => AccessorKind::BiometricAttach,
            Self::Classify => AccessorKind::BiometricClassify,
            Self::Erase | Self::File => AccessorKind::BiometricErase,
        }
    }
}

/// One event, as `biometric_history` has it.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    pub candidate: [u8; 16],
    pub kind: Kind,
    pub consent_version: Option<&'a str>,
    /// The schedule under which they were collected, or the authority under which they were erased.
    pub schedule_version: Option<&'a str>,
    /// Microseconds since 2000, as the next but one.
    pub retention_until: Option<i64>,
    pub reason: Option<&'a str>,
    pub file: Option<&'a str>,
    pub erasure: Option<i64>,
    pub generation: i32,
    pub recorded_by: &'a str,
    /// The moment of the access row too.
    pub recorded_at: i64,
    pub text: Option<[u8; 32]>,
}

impl<'a> Event<'a> {
    /// An event of which no more is said.
    pub fn new(
        kind: Kind,
        candidate: [u8; 16],
        generation: i32,
        recorded_by: &'a str,
        recorded_at: i64,
    ) -> Self {
        Self {
            candidate,
            kind,
            consent_version: None,
            schedule_version: None,
            retention_until: None,
            reason: None,
            file: None,
            erasure: None,
            generation,
            recorded_by,
            recorded_at,
            text: None,
        }
    }

    pub fn digest(&self, installation: &[u8; 16]) -> [u8; 32] {
        let candidate = hex(&self.candidate);
        let recorded_at = instant(self.recorded_at);
        let until = self.retention_until.map(instant);
        let erasure = self.erasure.map(|access_id| access_id.to_string());
        let generation = self.generation.to_string();
        let text = self.text.map(|digest| hex(&digest));
        let pairs = [
            ("candidate_id", Some(candidate.as_str())),
            ("kind", Some(self.kind.as_str())),
            ("consent_version", self.consent_version),
            ("schedule_version", self.schedule_version),
            ("retention_until", until.as_deref()),
            ("reason", self.reason),
            ("file", self.file),
            ("erasure", erasure.as_deref()),
            ("generation", Some(&generation)),
            ("recorded_by", Some(self.recorded_by)),
            ("recorded_at", Some(&recorded_at)),
            ("text_digest", text.as_deref()),
        ];
        event::digest(installation, self.kind.accessor().as_str(), &pairs)
    }

    /// Stores the readable row of an event that was appended. Runs inside the call's snapshot.
    pub fn keep(&self, access_id: i64) {
        KEEP.run(&mut [
            bind(access_id),
            bind(pgrx::Uuid::from_bytes(self.candidate)),
            bind(self.kind.as_str()),
            self.consent_version.and_then(bind),
            self.schedule_version.and_then(bind),
            self.retention_until.map(pg_sys::Datum::from),
            self.reason.and_then(bind),
            self.file.and_then(bind),
            self.erasure.and_then(bind),
            bind(self.generation),
            bind(self.recorded_by),
            Some(pg_sys::Datum::from(self.recorded_at)),
            self.text.and_then(|digest| bind(digest.to_vec())),
        ]);
    }
}

/// The event that a row holds which begins with the columns of the history but the access id, in the table's order.
pub fn stored(rows: &Rows, at: usize) -> Option<Event<'_>> {
    let moment = |column| rows.moment(at, column);
    let text = match rows.bytes(at, 12) {
        None => None,
        Some(bytes) => Some(bytes.try_into().ok()?),
    };
    Some(Event {
        candidate: rows.datum(at, 1).map(uuid)?,
        kind: rows.get(at, 2).and_then(Kind::parse)?,
        consent_version: rows.get(at, 3),
        schedule_version: rows.get(at, 4),
        retention_until: moment(5),
        reason: rows.get(at, 6),
        file: rows.get(at, 7),
        erasure: rows.get(at, 8),
        generation: rows.get(at, 9)?,
        recorded_by: rows.get(at, 10)?,
        recorded_at: moment(11)?,
        text,
    })
}
