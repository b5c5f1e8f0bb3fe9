//! What is counted for one caller and purpose. The arithmetic is the core's; this is what lies in shared memory.

use identity_core::limit::{Bucket, Threshold, Volume};
use identity_core::reason::Reason;

/// Zeroed memory is a caller that has not called.
#[repr(C)]
#[derive(Default)]
pub(super) struct Counters {
    bucket: Bucket,
    volume: Volume,
    /// The cap that the newest call was measured by; 0 if none was yet.
    cap: u32,
    /// By threshold: the day on which it was last reached, and the last day whose notice is written. Days begin at 1970, and 0 is never.
    reached: [i32; 2],
    noticed: [i32; 2],
}

/// A notice that is not written yet.
pub(super) struct Due {
    pub threshold: Threshold,
    pub day: i32,
    pub cap: u32,
}

impl Counters {
    /// Counts a call and its subjects; tells the day on which they count.
    pub fn admit(
        &mut self,
        now: u64,
        today: i32,
        rate: Option<u32>,
        cap: u32,
        subjects: u32,
    ) -> Result<i32, Reason> {
        if rate.is_some_and(|rate| !self.bucket.take(now, rate)) {
            return Err(Reason::RateLimited);
        }
        let fits = self.volume.admit(today, subjects, cap);
        self.cap = cap;
        self.note_thresholds();
        if !fits {
            // Whoever is refused has come to the cap, also if what was asked for at once was more than what was left.
            self.reached = [self.volume.day(); 2];
            return Err(Reason::DailyCap);
        }
        Ok(self.volume.day())
    }

    /// Counts a call that discloses nobody; false if it is one too many for this second.
    pub fn call(&mut self, now: u64, rate: u32) -> bool {
        self.bucket.take(now, rate)
    }

    /// Takes back what was not disclosed, and with it a threshold that was not reached after all.
    pub fn give_back(&mut self, day: i32, subjects: u32) {
        self.volume.give_back(day, subjects);
        let marks = self.reached.iter_mut().zip(self.noticed);
        for (threshold, (reached, noticed)) in Threshold::ALL.into_iter().zip(marks) {
            if *reached == day && !threshold.is_reached(self.volume.subjects(), self.cap) {
                *reached = noticed;
            }
        }
    }

    /// What the log says was disclosed.
    pub fn restore(&mut self, logged: Volume, today: i32, cap: u32) {
        self.volume.merge(logged, today);
        self.cap = cap;
        if cap > 0 {
            self.note_thresholds();
        }
    }

    /// The highest threshold that was reached on a day or after it.
    pub fn level(&self, day: i32) -> Option<Threshold> {
        Threshold::ALL
            .into_iter()
            .zip(self.reached)
            .rfind(|(_, reached)| *reached >= day)
            .map(|(threshold, _)| threshold)
    }

    /// The last day that is counted.
    pub fn day(&self) -> i32 {
        self.volume.day()
    }

    /// When each threshold was last reached.
    pub fn reached(&self) -> [i32; 2] {
        self.reached
    }

    pub fn due(&self) -> impl Iterator<Item = Due> {
        Threshold::ALL
            .into_iter()
            .zip(self.reached.into_iter().zip(self.noticed))
            .filter(|(_, (reached, noticed))| reached != noticed)
            .map(|(threshold, (day, _))| Due {
                threshold,
                day,
                cap: self.cap,
            })
    }

    pub fn settle(&mut self, threshold: Threshold, day: i32) {
        for (known, noticed) in Threshold::ALL.into_iter().zip(&mut self.noticed) {
            if known == threshold {
                *noticed = day;
            }
        }
    }

    fn note_thresholds(&mut self) {
        for (threshold, reached) in Threshold::ALL.into_iter().zip(&mut self.reached) {
            if threshold.is_reached(self.volume.subjects(), self.cap) {
                *reached = self.volume.day();
            }
        }
    }
}
