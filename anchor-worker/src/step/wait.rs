//! How long to wait after trouble.

use std::time::Duration;

use crate::trouble::Kind;

/// The wait after the `failures`-th failure in a row, counted from 1: doubled each time, up to a minute where the trouble passes by itself, and longer
/// where a person has to do something.
#[must_use]
pub fn after(kind: Kind, failures: u32) -> Duration {
    let (first, longest) = match kind {
        Kind::Unreachable | Kind::Unavailable | Kind::Conflict => (1, 60),
        Kind::Throttled => (5, 300),
        Kind::Denied | Kind::Missing | Kind::Configuration | Kind::Untrue => (2, 600),
    };
    let doubled = 1u64
        .checked_shl(failures.saturating_sub(1))
        .map_or(longest, |times| times.saturating_mul(first));
    Duration::from_secs(doubled.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_never_end() {
        let of = |kind, failures| after(kind, failures).as_secs();
        assert_eq!(
            [1, 2, 3, 7, 8, 64, 65, u32::MAX].map(|n| of(Kind::Unreachable, n)),
            [1, 2, 4, 60, 60, 60, 60, 60]
        );
        assert_eq!([1, 2, 70].map(|n| of(Kind::Throttled, n)), [5, 10, 300]);
        assert_eq!([0, 1, 2, 70].map(|n| of(Kind::Denied, n)), [2, 2, 4, 600]);
    }
}
