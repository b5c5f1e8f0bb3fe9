//! Does a new version of a purpose need a second person's approval? Pure: contents in, verdict out.
//!
//! Whoever writes purposes may narrow one alone and at once, and may widen none that reaches sensitive data. What a version is
//! measured against is everything that may still be relied on: the version in effect, and every version written after it.
//! Measured against the one in effect alone, a narrow version that is to hold from tomorrow and a wide one after it would
//! bring back by themselves what the narrow one took away.

use crate::field::{Field, FieldSet};
use crate::vocabulary::{AuthTier, ConsentSet};
use crate::words::words;

words! {
    /// Which versions wait for approval: the setting `purpose_approval`.
    pub enum ApprovalPolicy : as_str {
        /// Those that reach sensitive data.
        Sensitive = "sensitive",
        /// All.
        All = "all",
        /// None.
        None = "none",
    }
}

/// What a version opens, to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The fields it may read.
    pub allowed_fields: FieldSet,
    /// Who may use it.
    pub tier: AuthTier,
    /// Names of roles; a caller is a member of one.
    pub allowed_roles: Vec<Vec<u8>>,
    /// The consent states it accepts.
    pub accepted_consent: ConsentSet,
    /// Whether it may read protected health information.
    pub phi_access: bool,
    /// Calls a second; `None` is no limit.
    pub rate_limit_qps: Option<i32>,
    /// Subjects a day; `None` is the ceiling of the service tier.
    pub daily_volume_cap: Option<i32>,
}

impl Content {
    /// Whether the version reaches what one person alone must not open: social security numbers, dates of birth, health
    /// information, or more subjects a day than the ceiling. A missing cap counts as one above the ceiling: it
    /// follows a setting that may be raised later.
    #[must_use]
    pub fn is_sensitive(&self, ceiling: i32) -> bool {
        self.allowed_fields.contains(Field::Ssn)
            || self.allowed_fields.contains(Field::Dob)
            || self.phi_access
            || self.daily_volume_cap.is_none_or(|cap| cap > ceiling)
    }

    /// Whether the version opens anything, to anybody, that `other` does not.
    #[must_use]
    pub fn is_wider_than(&self, other: &Self, ceiling: i32) -> bool {
        let more_calls = match (self.rate_limit_qps, other.rate_limit_qps) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(rate), Some(known)) => rate > known,
        };
        let more_subjects = match (self.daily_volume_cap, other.daily_volume_cap) {
            (None, None) => false,
            (None, Some(_)) => true,
            (Some(cap), known) => cap > known.unwrap_or(ceiling),
        };
        !self.allowed_fields.is_subset_of(other.allowed_fields)
            || !self
                .allowed_roles
                .iter()
                .all(|role| other.allowed_roles.contains(role))
            || !self.accepted_consent.is_subset_of(other.accepted_consent)
            || self.phi_access && !other.phi_access
            || self.tier != other.tier
            || more_calls
            || more_subjects
    }
}

/// Whether a version with this content has to wait for approval.
///
/// `in_effect` is the version that decides reads at the moment: `None` if there is none, or if it is revoked, so that what was
/// stopped comes back through two people. `later` are all versions written after it: those that are to hold later, and
/// those that wait for approval themselves.
#[must_use]
pub fn needs_approval(
    policy: ApprovalPolicy,
    ceiling: i32,
    content: &Content,
    in_effect: Option<&Content>,
    later: &[Content],
) -> bool {
    let asked_for = match policy {
        ApprovalPolicy::None => false,
        ApprovalPolicy::Sensitive => content.is_sensitive(ceiling),
        ApprovalPolicy::All => true,
    };
    let wider = |known| content.is_wider_than(known, ceiling);
    asked_for && (in_effect.is_none_or(wider) || later.iter().any(wider))
}
