//! The retention policies in effect.

use identity_core::vocabulary::{ConsentKind, Vertical};

use crate::clock;
use crate::consent::template;
use crate::query::{Statement, bind};

/// Only as its last change on record made it: of what a superuser writes while keys are locked (a restore) nothing is derived, and nothing follows.
static POLICY: Statement = Statement::read(
    c"SELECT p.days, p.schedule_version
        FROM identity.retention_policies p
             CROSS JOIN LATERAL (SELECT c.days, c.schedule_version FROM identity.retention_policy_changes c
                                  WHERE c.vertical = p.vertical AND c.kind = p.kind ORDER BY c.change_no DESC LIMIT 1) c
       WHERE p.vertical = $1 AND p.kind = $2 AND (c.days, c.schedule_version) = (p.days, p.schedule_version)",
    &[pgrx::pg_sys::TEXTOID, pgrx::pg_sys::TEXTOID],
);

/// What is kept so long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything of a subject.
    General,
    /// Its biometrics.
    Biometric,
}

impl Kind {
    pub fn parse(word: &str) -> Option<Self> {
        [Self::General, Self::Biometric]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Biometric => "biometric",
        }
    }

    /// Biometrics are destroyed three years after they were collected at the latest, whatever a schedule says.
    pub const fn most_days(self) -> i32 {
        match self {
            Self::General => 36_500,
            Self::Biometric => 1095,
        }
    }
}

/// How long, and on whose word.
pub struct Policy {
    pub days: i32,
    /// The schedule that it was published under: a consent version of kind retention_schedule.
    pub schedule: String,
}

/// The policy of a vertical, if its schedule is in effect. Runs inside a call's snapshot.
pub fn in_effect(vertical: Vertical, kind: Kind) -> Option<Policy> {
    let rows = POLICY.run(&mut [bind(vertical.as_str()), bind(kind.as_str())]);
    let policy = Policy {
        days: rows.get(0, 1)?,
        schedule: rows.get(0, 2)?,
    };
    let now = clock::now();
    template::in_effect(ConsentKind::RetentionSchedule, &policy.schedule, now, now).map(|_| policy)
}
