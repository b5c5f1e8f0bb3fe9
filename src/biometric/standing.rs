//! Where a subject stands with its biometrics: what decides whether they may be collected or used.

use identity_core::reason::Reason;
use identity_core::vocabulary::{ConsentKind, ConsentStatus};
use pgrx::pg_sys;

use crate::call::Call;
use crate::consent::template;
use crate::query::{Statement, bind};
use crate::subject::standing::Standing;

static SUBJECT: Statement = Statement::read(
    c"SELECT vertical, consent_status, erased_at IS NOT NULL, generation, biometric_consent_status, biometric_consent_version, biometric_consent_valid_until,
             biometric_collected_at IS NOT NULL, erasure_generation, consent_valid_until
        FROM identity.subjects WHERE candidate_id = $1",
    &[pg_sys::UUIDOID],
);

/// A subject that is there, and what its biometrics depend on.
pub struct Found {
    pub standing: Standing,
    pub collected: bool,
    pub erasure_generation: u32,
    given: bool,
    version: Option<String>,
    /// Until when the consent holds; `None` = until withdrawn.
    valid_until: Option<i64>,
}

/// The subject, noted for the record of the call; one that is not there or erased refuses it. Runs inside the call's snapshot.
pub fn present(call: &mut Call, candidate: &[u8; 16]) -> Found {
    let rows = SUBJECT.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate))]);
    let standing = Standing::of(&rows).unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    standing.note(&mut call.entry);
    if standing.erased {
        call.refuse(Reason::SubjectErased);
    }
    Found {
        standing,
        collected: rows.get(0, 8).unwrap_or(true),
        erasure_generation: rows
            .get::<i32>(0, 9)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        given: rows.get(0, 5) == Some("given"),
        version: rows.get(0, 6),
        valid_until: rows.moment(0, 7),
    }
}

impl Found {
    /// The text that the subject agreed to, if its consent stands now: to biometrics, under the version that is in effect, and to the use of its data at
    /// all. Where that was not asked yet, or was taken back, nothing more is collected.
    pub fn consented_version(&self, now: i64) -> Result<String, Reason> {
        let version = self
            .version
            .clone()
            .filter(|_| self.given && self.standing.consent == ConsentStatus::Given)
            .filter(|_| self.valid_until.is_none_or(|until| until > now))
            .ok_or(Reason::Consent)?;
        match template::in_effect(ConsentKind::Biometric, &version, now, now) {
            Some(_) => Ok(version),
            None => Err(Reason::Consent),
        }
    }
}
