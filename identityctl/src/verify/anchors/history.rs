//! The true anchors of one incarnation together: one log, growing, locked for long enough, and no interval without one that nobody could explain.

use std::time::{SystemTime, UNIX_EPOCH};

use anchor_worker::store::Stored;
use identity_core::checkpoint::{Checkpoint, Tree};
use identity_core::incarnation::split;
use identity_core::moment;

use super::SECOND;
use crate::report::Report;

const DAY: i64 = 86_400 * SECOND;

/// The longest that a worker waits between two anchors while rows come.
const INTERVAL: i64 = 3_600 * SECOND;

/// Intervals that are named; the rest are counted.
const MAX_NAMED: usize = 20;

/// One anchor that can be believed.
#[derive(Clone)]
pub struct Anchor {
    pub tree: Tree,
    pub stored: Stored,
    /// When the store got it.
    pub modified: i64,
}

pub struct History {
    retention: i64,
    /// Whether the store's times are its own, and not those of files.
    timed: bool,
    incarnation: u32,
    origin: Option<String>,
    anchors: Vec<Anchor>,
    expired: u64,
    gaps: usize,
    /// Sizes of two neighbours, of which the larger one came first.
    late: Vec<[u64; 2]>,
    fine: [bool; 2],
}

impl History {
    /// `origin` is what they are of, if that is known already.
    pub fn new(retention_days: u32, timed: bool, incarnation: u32, origin: Option<String>) -> Self {
        Self {
            retention: days(retention_days),
            timed,
            incarnation,
            origin,
            anchors: Vec::new(),
            expired: 0,
            gaps: 0,
            late: Vec::new(),
            fine: [true; 2],
        }
    }

    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The next one, in the order of sizes.
    pub fn add(&mut self, origin: &str, anchor: Anchor, report: &mut Report) {
        let [order, retention] = &mut self.fine;
        let known = self.origin.get_or_insert_with(|| origin.to_owned());
        if known != origin || split(origin).1 != self.incarnation {
            *order = false;
            let size = anchor.tree.size;
            let detail = format!("of {size} leaves: it is of another log, {origin}");
            return report.bad("order", &detail);
        }
        if let Some(before) = self.anchors.last().filter(|_| self.timed) {
            let (from, to, passed) = (
                before.tree.size,
                anchor.tree.size,
                anchor.modified - before.modified,
            );
            if passed < 0 {
                *order = false;
                self.late.push([from, to]);
            } else if passed > INTERVAL {
                self.gaps += 1;
                if self.gaps <= MAX_NAMED {
                    let since = moment::text(before.modified);
                    let detail = format!(
                        "nothing for {} after {since}, between {from} and {to} leaves",
                        span(passed)
                    );
                    report.note("intervals", &detail);
                }
            }
        }
        if self.timed {
            let what = format!("{} leaves", anchor.tree.size);
            *retention &= locked(
                &what,
                &anchor.stored,
                anchor.modified,
                self.retention,
                report,
            );
        }
        self.expired += u64::from(anchor.stored.lock_until < now());
        self.anchors.push(anchor);
    }

    /// Sizes of two neighbours, of which the larger one came first.
    pub fn late(&self) -> &[[u64; 2]] {
        &self.late
    }

    /// Closes each check without a finding.
    pub fn close(&self, report: &mut Report) {
        let (Some(first), Some(last), Some(origin)) =
            (self.anchors.first(), self.anchors.last(), &self.origin)
        else {
            return;
        };
        let (first, size) = (first.tree.size, last.tree.size);
        let (count, [order, retention]) = (self.anchors.len(), self.fine);
        if count > 0 {
            report.good("signatures", &format!("{count} anchors of {origin}"));
        }
        let development = Checkpoint {
            origin: origin.clone(),
            size: 0,
            root: [0; 32],
            extensions: Vec::new(),
        };
        if development.is_development() {
            report.note(
                "signatures",
                "DEVELOPMENT: of a log that is kept with development keys, which everybody knows",
            );
        }
        if order {
            report.good("order", &format!("from {first} leaves to {size}"));
        }
        if !self.timed {
            report.note("intervals", "the times of files are nobody's evidence: neither intervals nor locks were compared with them");
            return;
        }
        if retention {
            report.good(
                "retention",
                &format!("each for {} at least", span(self.retention)),
            );
        }
        if self.expired > 0 {
            report.note(
                "retention",
                &format!(
                    "{} anchors are past their lock: they may be deleted",
                    self.expired
                ),
            );
        }
        match self.gaps {
            0 => report.good("intervals", "none longer than an hour without one"),
            gaps if gaps > MAX_NAMED => report.note(
                "intervals",
                &format!("{gaps} longer than an hour, {MAX_NAMED} of them named"),
            ),
            _ => {}
        }
        let age = span(now() - last.modified);
        report.note("intervals", &format!("the last one is {age} old"));
    }
}

/// Whether what was put there was locked for long enough, but for a day for clocks and for the way there.
pub fn locked(
    what: &str,
    stored: &Stored,
    modified: i64,
    retention: i64,
    report: &mut Report,
) -> bool {
    let locked = stored.lock_until - modified;
    let enough = locked >= retention - DAY;
    if !enough {
        let (locked, retention) = (span(locked), span(retention));
        let detail = format!("{what}: locked for {locked}, and not for {retention}");
        report.bad("retention", &detail);
    }
    enough
}

/// So many days.
pub fn days(days: u32) -> i64 {
    i64::from(days) * DAY
}

fn now() -> i64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.map_or(0, |passed| {
        i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
    })
}

/// A length of time, as people say it.
fn span(micros: i64) -> String {
    match micros / SECOND {
        seconds @ ..7_200 => format!("{} minutes", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
