//! May this call read these fields? Pure: state in, verdict out.
//!
//! The order of the checks is part of the contract: it decides which reason a caller is told when
//! several apply, and so what a refusal reveals. A caller who may not use a purpose learns nothing
//! about the subject.

use crate::field::FieldSet;
use crate::reason::Reason;
use crate::vocabulary::{AuthTier, ConsentSet, ConsentStatus, Vertical, Zone};

/// A purpose as of the latest snapshot, with what the caller's roles make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// Active version, counted from 1.
    pub version: i32,
    /// Who may use it.
    pub tier: AuthTier,
    /// Whether a revocation stands.
    pub revoked: bool,
    /// Whether session user and outer user are both among `allowed_roles` (superuser membership
    /// counts for nothing).
    pub caller_allowed: bool,
    /// The fields it may read.
    pub allowed_fields: FieldSet,
    /// Whether it may read protected health information.
    pub phi_access: bool,
    /// The consent states it accepts.
    pub accepted_consent: ConsentSet,
}

/// What of a subject decides, as of the latest snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its vertical.
    pub vertical: Vertical,
    /// Its consent.
    pub consent: ConsentStatus,
    /// Whether it was erased.
    pub erased: bool,
}

/// Whether the caller may use the purpose for these fields at all, whoever the subject is.
///
/// # Errors
/// The first that applies of: `unknown_purpose` (`None`), `purpose_revoked`, `tier` (legal),
/// `purpose_role`, `field_not_allowed` (one field too many refuses the whole call).
pub fn may_use(purpose: Option<&Purpose>, fields: FieldSet) -> Result<(), Reason> {
    let purpose = purpose.ok_or(Reason::UnknownPurpose)?;
    if purpose.revoked {
        return Err(Reason::PurposeRevoked);
    }
    if purpose.tier == AuthTier::Legal {
        return Err(Reason::Tier);
    }
    if !purpose.caller_allowed {
        return Err(Reason::PurposeRole);
    }
    if !fields.is_subset_of(purpose.allowed_fields) {
        return Err(Reason::FieldNotAllowed);
    }
    Ok(())
}

/// Whether these fields of the subject may be read; returns those that are protected health
/// information, to be counted in the row: all of them for a healthcare or unknown subject.
///
/// Call [`may_use`] first: this does not look at the purpose's tier, callers or fields.
///
/// # Errors
/// The first that applies of: `subject_unavailable` (`None`, or not visible from the zone: the same
/// words, so that a cloud caller cannot probe for healthcare subjects), `subject_erased`, `consent`
/// (not accepted by the purpose, or pending for a PHI subject whatever the purpose accepts),
/// `phi_access`.
pub fn may_read(
    purpose: &Purpose,
    zone: Zone,
    subject: Option<&Subject>,
    fields: FieldSet,
) -> Result<FieldSet, Reason> {
    let subject = subject
        .filter(|subject| zone.sees(subject.vertical))
        .ok_or(Reason::SubjectUnavailable)?;
    if subject.erased {
        return Err(Reason::SubjectErased);
    }
    let phi = subject.vertical.is_phi();
    if !purpose.accepted_consent.contains(subject.consent) || phi && subject.consent.is_pending() {
        return Err(Reason::Consent);
    }
    if phi && !purpose.phi_access {
        return Err(Reason::PhiAccess);
    }
    Ok(if phi { fields } else { FieldSet::EMPTY })
}
