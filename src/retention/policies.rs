//! The policies of one kind that are in effect, of all verticals.

use identity_core::vocabulary::Vertical;
use pgrx::pg_sys;

use super::policy::{Kind, Policy, in_effect};
use crate::query::bind;

/// Every vertical, in the order of `Vertical::ALL`, with its policy.
pub struct Policies(Vec<(Vertical, Option<Policy>)>);

impl Policies {
    /// For a sweep that goes by none.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Runs inside a call's snapshot.
    pub fn in_effect(kind: Kind) -> Self {
        let of = |vertical: &Vertical| (*vertical, in_effect(*vertical, kind));
        Self(Vertical::ALL.iter().map(of).collect())
    }

    /// The days of each vertical, in the order of `Vertical::ALL`: arguments of statements; NULL where there is no policy.
    pub fn days(&self) -> Vec<Option<pg_sys::Datum>> {
        let days = |policy: &Option<Policy>| policy.as_ref().and_then(|policy| bind(policy.days));
        self.0.iter().map(|(_, policy)| days(policy)).collect()
    }

    /// The schedule that covers a vertical.
    pub fn schedule(&self, vertical: &str) -> Option<&str> {
        let (_, policy) = self.0.iter().find(|(of, _)| of.as_str() == vertical)?;
        policy.as_ref().map(|policy| policy.schedule.as_str())
    }

    /// In words: two that are the same are the same policies.
    pub fn text(&self) -> String {
        let word = |(vertical, policy): &(Vertical, Option<Policy>)| {
            let policy = policy.as_ref()?;
            Some(format!(
                "{}={}@{}",
                vertical.as_str(),
                policy.days,
                policy.schedule
            ))
        };
        self.0.iter().filter_map(word).collect::<Vec<_>>().join(",")
    }
}
