//! The nights: sweeps that end what is over, the scrub after erasures, months of the log that are old enough. Small batches, one a round, in a session of
//! their own. When a night begins, and what of it is left, is the database's to say: by its clock, and from where whoever took the batch before came to.
//!
//! Where no worker leads the database's maintenance process does the same, except for the months: they go only once they are anchored.

mod ask;

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;
use tracing::{info, warn};

use crate::beside::Duty;
use crate::pace::Pace;
use crate::trouble::Trouble;
use ask::{Batch, Scrubbed, State, Sweep};

/// How often the database is asked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After a batch that failed at its smallest, and until subjects are tried again that somebody was changing.
const PAUSE: Duration = Duration::from_secs(600);

/// Between two parts, however quick one was: a database that always has more is not asked without end.
const BREATH: Duration = Duration::from_millis(50);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(30);

const SUBJECTS: Pace = Pace::new(50, 1000);
const PAGES: Pace = Pace::new(1000, 20_000);

/// How far the nights are.
pub(crate) struct Night {
    consent: Pass,
    biometric: Pass,
    retention: Pass,
    scrub: Scrub,
    /// The night in which months were last looked at.
    expired: Option<i64>,
    /// Months that do not go hold up nothing else.
    expire_paused_until: Instant,
}

/// One sweep's way through the subjects.
struct Pass {
    pace: Pace,
    paused_until: Instant,
    /// Of this pass, and whether there was anything that was not told.
    sum: Sum,
    told: Instant,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    done: i64,
    busy: i64,
    failed: i64,
}

struct Scrub {
    pace: Pace,
    paused_until: Instant,
    told: Option<State>,
}

impl Night {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            consent: Pass::new(now),
            biometric: Pass::new(now),
            retention: Pass::new(now),
            scrub: Scrub {
                pace: PAGES,
                paused_until: now,
                told: None,
            },
            expired: None,
            expire_paused_until: now,
        }
    }

    fn pass(&mut self, sweep: Sweep) -> &mut Pass {
        match sweep {
            Sweep::Consent => &mut self.consent,
            Sweep::Biometric => &mut self.biometric,
            Sweep::Retention => &mut self.retention,
        }
    }

    /// Once a night: what stays has its reason, which does not pass soon.
    async fn expire(&mut self, database: &Client, night: i64) -> Result<(), Trouble> {
        let expired = ask::expire(database)
            .await
            .inspect_err(|_| self.expire_paused_until = Instant::now() + PAUSE)?;
        self.expired = Some(night);
        for month in &expired.months {
            let name = month.name().unwrap_or("?");
            match month.kept {
                None => info!(
                    event = "expired",
                    month = name,
                    "a month of the log whose time is over is gone"
                ),
                Some(kept) => info!(
                    event = "expired",
                    month = name,
                    kept = kept.name(),
                    "a month of the log whose time is over stays"
                ),
            }
        }
        Ok(())
    }
}

impl Duty for Night {
    const EVENT: &'static str = "night";
    const FAILED: &'static str = "something that is due at night was not done";
    /// A batch that nobody waits for any more is not finished.
    const SETTINGS: &'static str = "SET client_connection_check_interval = '1s';";
    const CUT_OFF: bool = true;

    async fn round(&mut self, database: &Client) -> Result<Duration, Trouble> {
        let due = ask::due(database).await?;
        for sweep in due.sweeps {
            let pass = self.pass(sweep);
            if pass.paused_until <= Instant::now() {
                return pass.batch(database, sweep).await;
            }
        }
        if let Some(night) = due.night
            && self.expired != Some(night)
            && self.expire_paused_until <= Instant::now()
        {
            self.expire(database, night).await?;
        }
        if due.scrub && self.scrub.paused_until <= Instant::now() {
            return self.scrub.part(database).await;
        }
        Ok(LOOK_EVERY)
    }
}

impl Pass {
    fn new(now: Instant) -> Self {
        Self {
            pace: SUBJECTS,
            paused_until: now,
            sum: Sum::default(),
            told: now,
        }
    }

    async fn batch(&mut self, database: &Client, sweep: Sweep) -> Result<Duration, Trouble> {
        let began = Instant::now();
        let answer = ask::sweep(database, sweep, self.pace.size).await;
        let is_smallest = self.pace.size == 1;
        let took = self.pace.after(began, answer.is_ok());
        let batch = answer.inspect_err(|_| {
            if is_smallest {
                self.paused_until = Instant::now() + PAUSE;
                self.pace = SUBJECTS;
            }
        })?;
        self.count(sweep, &batch);
        if !batch.more {
            // Over until the next night, unless it left somebody behind.
            self.paused_until = Instant::now() + PAUSE;
        }
        // At most half of the time: the database has other things to do.
        Ok(took.max(BREATH))
    }

    fn count(&mut self, sweep: Sweep, batch: &Batch) {
        self.sum.done += batch.done;
        self.sum.busy += batch.busy;
        self.sum.failed += batch.failed;
        if batch.more && self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let Sum { done, busy, failed } = self.sum;
        let (sweep, over) = (sweep.name(), !batch.more);
        if self.sum != Sum::default() {
            info!(
                event = "night",
                sweep, done, busy, failed, over, "what is over is ended"
            );
        }
        if over && failed > 0 {
            warn!(
                event = "night",
                alarm = true,
                sweep,
                failed,
                "subjects were due, and a registered table did not let them go: they are tried again in the next night"
            );
        }
        if over {
            self.sum = Sum::default();
        }
    }
}

impl Scrub {
    async fn part(&mut self, database: &Client) -> Result<Duration, Trouble> {
        let began = Instant::now();
        let answer = ask::scrub(database, self.pace.size).await;
        let took = self.pace.after(began, answer.is_ok());
        let part = answer?;
        self.tell(&part);
        if part.state == State::GoingOn {
            return Ok(took.max(BREATH));
        }
        // Whatever is in the way may take its time.
        self.paused_until = Instant::now() + LOOK_EVERY;
        Ok(LOOK_EVERY)
    }

    /// Once for each turn that it takes; each end is told.
    fn tell(&mut self, part: &Scrubbed) {
        if self.told != Some(part.state) || part.state == State::Done {
            let (state, pages, rewritten) = (part.state.name(), part.pages, part.rewritten);
            info!(
                event = "scrub",
                state, pages, rewritten, "what erasures left in the pages"
            );
        }
        self.told = Some(part.state);
    }
}
