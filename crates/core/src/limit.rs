//! Rate and volume: how much one caller may still do under one purpose. The clocks are arguments.
//!
//! Both only ever err towards refusing: a wall clock that steps back or forward gives nobody a second
//! allowance for a day, and what is counted twice is counted twice.

/// Microseconds in a day. A day is a UTC day: no session's time zone has a say in it.
const MICROS_PER_DAY: i64 = 86_400_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A counted day that lies further ahead than this came from a clock that was wrong.
pub const FAR_AHEAD_DAYS: i32 = 31;

/// The UTC day of a moment, both counted from 1970-01-01; the moment in microseconds.
#[must_use]
pub fn day(micros: i64) -> i32 {
    // Always fits: all the microseconds of an i64 are fewer days than an i32 counts.
    i32::try_from(micros.div_euclid(MICROS_PER_DAY)).unwrap_or_default()
}

/// The first microsecond of a day, since 1970-01-01.
#[must_use]
pub fn start_of(day: i32) -> i64 {
    i64::from(day).saturating_mul(MICROS_PER_DAY)
}

/// A token bucket that holds one second's worth of calls. Zeroed memory is a full one.
///
/// Kept as the moment at which it will be full again (the generic cell rate algorithm): one number,
/// and a rate that changes does not refill it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes one token, if there is one, at `now` nanoseconds of a clock that never goes back.
    pub fn take(&mut self, now: u64, per_second: u32) -> bool {
        let per_second = u64::from(per_second.max(1));
        let interval = NANOS_PER_SECOND.div_ceil(per_second);
        let full_at = self.full_at.max(now).saturating_add(interval);
        // Not one second, but as many intervals as tokens: an interval is rounded up, and three a second must be three.
        if full_at.saturating_sub(now) > interval.saturating_mul(per_second) {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

/// Subjects disclosed on a day. Zeroed memory is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    day: i32,
    subjects: u32,
}

impl Volume {
    /// What was counted before, on a day or after it.
    #[must_use]
    pub const fn of(day: i32, subjects: u32) -> Self {
        Self { day, subjects }
    }

    /// The day that is being counted.
    #[must_use]
    pub const fn day(&self) -> i32 {
        self.day
    }

    /// How many subjects were disclosed on it.
    #[must_use]
    pub const fn subjects(&self) -> u32 {
        self.subjects
    }

    /// Counts this many subjects, all or none: false if they do not fit under the cap.
    pub fn admit(&mut self, today: i32, subjects: u32, cap: u32) -> bool {
        self.roll(today);
        let after = self.subjects.saturating_add(subjects);
        // No subjects always fit: a call that discloses none is no matter of volume.
        if subjects > 0 && after > cap {
            return false;
        }
        self.subjects = after;
        true
    }

    /// Takes back what a call counted on a day and then did not disclose.
    pub fn give_back(&mut self, day: i32, subjects: u32) {
        if self.day == day {
            self.subjects = self.subjects.saturating_sub(subjects);
        }
    }

    /// What another count of the same caller and purpose knows: the stricter of both.
    pub fn merge(&mut self, mut other: Self, today: i32) {
        self.roll(today);
        other.roll(today);
        self.day = self.day.max(other.day);
        self.subjects = self.subjects.max(other.subjects);
    }

    /// Begins anew on a later day. A day never goes back: a clock that passes midnight twice would
    /// give the day after it twice. Only a day that no correct clock can have seen is given up, and
    /// what was counted on it stays.
    fn roll(&mut self, today: i32) {
        if today > self.day {
            *self = Self::of(today, 0);
        } else if self.day.saturating_sub(today) > FAR_AHEAD_DAYS {
            self.day = today;
        }
    }
}

/// What somebody is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Half of the cap.
    Half,
    /// The cap.
    Cap,
}

impl Threshold {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Half, Self::Cap];

    /// As percent of the cap.
    #[must_use]
    pub const fn percent(self) -> i32 {
        match self {
            Self::Half => 50,
            Self::Cap => 100,
        }
    }

    /// Whether so many subjects reach it.
    #[must_use]
    pub fn is_reached(self, subjects: u32, cap: u32) -> bool {
        u64::from(subjects) * 100 >= u64::from(cap) * u64::from(self.percent().unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = NANOS_PER_SECOND;

    fn taken(bucket: &mut Bucket, now: u64, per_second: u32, tries: u32) -> u32 {
        (0..tries)
            .filter(|_| bucket.take(now, per_second))
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_bucket_holds_one_second_and_fills_evenly() {
        for per_second in [1, 2, 3, 7, 100, 999, 12_345] {
            let mut bucket = Bucket::default();
            let start = 77 * SECOND;
            assert_eq!(
                taken(&mut bucket, start, per_second, per_second + 5),
                per_second
            );
            assert!(!bucket.take(start + SECOND / u64::from(per_second) - 1, per_second));
            assert!(bucket.take(start + SECOND.div_ceil(u64::from(per_second)), per_second));
            assert_eq!(
                taken(&mut bucket, start + 3 * SECOND, per_second, per_second + 5),
                per_second
            );
        }
    }

    #[test]
    fn a_rate_that_changes_does_not_refill_the_bucket() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(SECOND, 1));
        assert!(!bucket.take(SECOND, 1000));
        assert!(bucket.take(SECOND + SECOND / 1000, 1000));
        assert!(!bucket.take(SECOND + SECOND / 1000, 1));
    }

    #[test]
    fn the_last_unit_is_given_once() {
        let mut volume = Volume::default();
        assert!(volume.admit(100, 9, 10));
        assert!(volume.admit(100, 1, 10));
        assert!(!volume.admit(100, 1, 10));
        assert!(volume.admit(100, 0, 10), "no subjects always fit");
        assert!(volume.admit(100, 0, 9), "under a cap that came down too");
    }

    #[test]
    fn a_batch_that_does_not_fit_counts_nothing() {
        let mut volume = Volume::default();
        assert!(volume.admit(100, 6, 10));
        assert!(!volume.admit(100, 5, 10));
        assert_eq!(volume.subjects(), 6);
        assert!(volume.admit(100, 4, 10));
        assert!(!volume.admit(100, u32::MAX, u32::MAX - 11));
    }

    #[test]
    fn midnight_begins_anew_once() {
        let mut volume = Volume::default();
        assert!(volume.admit(100, 10, 10));
        assert!(volume.admit(101, 10, 10));
        assert!(!volume.admit(101, 1, 10));
        assert!(!volume.admit(100, 1, 10), "back over midnight");
        assert!(!volume.admit(101, 1, 10), "and forward again");
        assert!(volume.admit(102, 1, 10));
    }

    #[test]
    fn a_clock_that_was_far_ahead_neither_frees_nor_locks_for_ever() {
        let mut volume = Volume::default();
        assert!(volume.admit(100, 4, 10));
        assert!(volume.admit(20_000, 10, 10));
        assert!(!volume.admit(100, 1, 10), "what was counted stays");
        assert!(volume.admit(101, 1, 10), "until midnight");
        let mut near = Volume::of(100 + FAR_AHEAD_DAYS, 10);
        assert!(!near.admit(100, 1, 10));
        assert_eq!(near.day(), 100 + FAR_AHEAD_DAYS);
        assert!(!near.admit(100 + FAR_AHEAD_DAYS, 1, 10));
        assert!(near.admit(101 + FAR_AHEAD_DAYS, 1, 10));
    }

    #[test]
    fn only_the_day_it_was_counted_on_takes_back() {
        let mut volume = Volume::of(100, 5);
        volume.give_back(99, 5);
        assert_eq!(volume.subjects(), 5);
        volume.give_back(100, 2);
        assert_eq!(volume.subjects(), 3);
        volume.give_back(100, 9);
        assert_eq!(volume.subjects(), 0);
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day(0), 0);
        assert_eq!(day(-1), -1);
        assert_eq!(day(MICROS_PER_DAY - 1), 0);
        assert_eq!(day(MICROS_PER_DAY), 1);
        assert_eq!(day(i64::MAX), 106_751_991);
        assert_eq!(start_of(1), MICROS_PER_DAY);
        assert_eq!(start_of(-1), -MICROS_PER_DAY);
    }

    #[test]
    fn thresholds_are_reached_at_their_part_of_the_cap_and_not_before() {
        for (subjects, cap, half, full) in [
            (0, 1, false, false),
            (1, 1, true, true),
            (1, 3, false, false),
            (2, 3, true, false),
            (49, 100, false, false),
            (50, 100, true, false),
            (99, 100, true, false),
            (100, 100, true, true),
            (u32::MAX, u32::MAX, true, true),
        ] {
            assert_eq!(Threshold::Half.is_reached(subjects, cap), half);
            assert_eq!(Threshold::Cap.is_reached(subjects, cap), full);
        }
    }

    proptest! {
        /// However the wall clock jumps, no label of a day gets more than the cap, and no stretch
        /// of real days gets more allowances than it has midnights.
        #[test]
        fn no_day_is_given_twice(
            cap in 1u32..20,
            calls in proptest::collection::vec((0i32..FAR_AHEAD_DAYS, 0u32..8), 1..200),
        ) {
            let mut volume = Volume::default();
            let mut given = std::collections::HashMap::new();
            for (offset, subjects) in calls {
                let before = volume;
                if volume.admit(1000 + offset, subjects, cap) {
                    *given.entry(volume.day()).or_insert(0) += subjects;
                } else {
                    prop_assert_eq!(volume.subjects(), if volume.day() == before.day() { before.subjects() } else { 0 });
                }
                prop_assert!(volume.day() >= before.day());
                prop_assert!(volume.subjects() <= cap);
            }
            prop_assert!(given.values().all(|subjects| *subjects <= cap));
        }

        /// In any window of length t, at most rate × t calls and one second's worth come through.
        #[test]
        fn no_window_exceeds_the_rate(
            per_second in 1u32..50,
            gaps in proptest::collection::vec(0u64..400_000_000, 1..300),
        ) {
            let mut bucket = Bucket::default();
            let (mut now, mut taken) = (5 * SECOND, Vec::new());
            for gap in gaps {
                now += gap;
                if bucket.take(now, per_second) {
                    taken.push(now);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = u64::from(per_second) + (to - from) * u64::from(per_second) / SECOND;
                    prop_assert!(u64::try_from(last - first + 1).unwrap() <= most);
                }
            }
        }

        #[test]
        fn merging_is_never_laxer(
            a in (990i32..1040, 0u32..20), b in (990i32..1040, 0u32..20), today in 1000i32..1010, cap in 1u32..20, n in 1u32..20,
        ) {
            let (one, other) = (Volume::of(a.0, a.1), Volume::of(b.0, b.1));
            let mut merged = one;
            merged.merge(other, today);
            for mut alone in [one, other] {
                if !alone.admit(today, n, cap) {
                    prop_assert!(!merged.clone().admit(today, n, cap));
                }
            }
        }
    }
}
