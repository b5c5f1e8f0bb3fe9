//! `metrics`: numbers for monitoring. What happened is counted in shared memory since the server started, which costs a read nothing that could be
//! measured; what was recorded of it is in the log. No label ever names a subject or carries a value.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use identity_core::limit::{self, Threshold};
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, Outcome};
use pgrx::pg_sys;

use crate::answer::{Rows as Answer, value};
use crate::biometric::files;
use crate::erasure::gauges::gauges;
use crate::ledger::{lag, partitions, progress};
use crate::limits::table;
use crate::query::{connected, with_latest_snapshot};
use crate::recorder::slots::{self, Record};
use crate::sql_function::{Arguments, sql_function};
use crate::vertical::forecast;
use crate::{call, clock, json_text, keys, lane, outbox, retention};

sql_function!(metrics, pg_finfo_metrics, run);

/// Zeroed memory is none of anything.
#[repr(C)]
struct Counts {
    reads: AtomicU64,
    rolled_back: AtomicU64,
    denials: [AtomicU64; Reason::ALL.len()],
}

static COUNTS: AtomicPtr<Counts> = AtomicPtr::new(std::ptr::null_mut());

pub fn shared_size() -> usize {
    size_of::<Counts>() + align_of::<Counts>()
}

pub unsafe fn attach(area: *mut u8) {
    let aligned = unsafe { area.add(area.align_offset(align_of::<Counts>())) };
    COUNTS.store(aligned.cast(), Ordering::Relaxed);
}

/// A call is about to be recorded and answered.
pub fn read(kind: AccessorKind) {
    if kind == AccessorKind::GatewayLookup {
        counts().reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads whose transaction or savepoint was rolled back. Called at the end of transactions: allocates nothing, cannot raise.
pub fn rolled_back(record: &Record) {
    let answered = record.fate.outcome == Outcome::RolledBack;
    if answered && record.shape.kind == AccessorKind::GatewayLookup {
        counts()
            .rolled_back
            .fetch_add(record.entries().count() as u64, Ordering::Relaxed);
    }
}

pub fn denied(reason: Reason) {
    if let Some(count) = counts().denials.get(reason as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let mut report = Report(Answer::of(arguments));
    report.since_start();
    report.limits();
    report.state();
    report.keys();
    report.ledger();
    report.erasures();
    report.files();
    report.retention();
    report.outbox();
    pg_sys::Datum::from(0)
}

struct Report(Answer);

impl Report {
    fn line(&mut self, name: &str, labels: &[(&str, &str)], number: f64) {
        self.0
            .push(&[value(name), Some(object(labels)), value(number)]);
    }

    fn since_start(&mut self) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        self.line("identity_reads_total", &[], load(&counts().reads));
        self.line(
            "identity_reads_rolled_back_total",
            &[],
            load(&counts().rolled_back),
        );
        for (reason, count) in Reason::ALL.iter().zip(&counts().denials) {
            if count.load(Ordering::Relaxed) > 0 {
                let labels = [("reason", reason.code())];
                self.line("identity_denials_total", &labels, load(count));
            }
        }
    }

    /// Callers by how far into today's cap they are, each at the highest level only.
    fn limits(&mut self) {
        let today = limit::day(clock::now_unix_micros());
        let mut callers = BTreeMap::<(String, &str), f64>::new();
        let mut taken = 0;
        table::levels(today, |purpose, level| {
            taken += 1;
            let level = match level {
                Some(Threshold::Half) => "half",
                Some(Threshold::Cap) => "cap",
                None => return,
            };
            *callers.entry((purpose.to_owned(), level)).or_default() += 1.0;
        });
        for ((purpose, level), count) in callers {
            let labels = [("purpose", purpose.as_str()), ("level", level)];
            self.line("identity_volume_callers", &labels, count);
        }
        self.line("identity_limit_places_taken", &[], f64::from(taken));
        self.line("identity_limit_places", &[], table::capacity() as f64);
        self.line(
            "identity_limit_turned_away_total",
            &[],
            table::turned_away() as f64,
        );
    }

    fn state(&mut self) {
        let switch = |on: bool| f64::from(u8::from(on));
        let load = slots::load();
        self.line(
            "identity_recorder_running",
            &[],
            switch(slots::recorder_lives()),
        );
        for (state, number) in [
            ("held", load.held),
            ("waiting", load.waiting - load.aside),
            ("set_aside", load.aside),
        ] {
            self.line(
                "identity_recorder_slots",
                &[("state", state)],
                number as f64,
            );
        }
        self.line("identity_recorder_capacity", &[], slots::capacity() as f64);
        self.line("identity_lanes", &[], lane::published().len() as f64);
        self.line(
            "identity_keys_unlocked",
            &[],
            switch(keys::active().is_some()),
        );
        let (ahead, unreviewed) = with_latest_snapshot(|| {
            connected(|| {
                let ahead = partitions::AHEAD.run(&mut []).get::<i32>(0, 1);
                (ahead.unwrap_or(0), forecast::queue().0)
            })
        });
        self.line("identity_partitions_ahead", &[], f64::from(ahead));
        self.line("identity_review_queue", &[], unreviewed as f64);
    }

    /// Of keys from a key service.
    fn keys(&mut self) {
        let gauges = with_latest_snapshot(|| connected(keys::status::gauges));
        for (kind, age) in gauges.ages {
            let labels = [("kind", kind.as_str())];
            self.line("identity_key_age_seconds", &labels, age as f64 / 1e6);
        }
        self.line("identity_reencrypt_waiting", &[], gauges.waiting as f64);
    }

    /// Ages are 0 where nothing waits.
    fn erasures(&mut self) {
        let now = clock::now();
        let gauges = with_latest_snapshot(gauges);
        self.line("identity_erasures_overdue", &[], gauges.overdue as f64);
        for (state, waiting) in [("open", gauges.open), ("unscrubbed", gauges.unscrubbed)] {
            let labels = [("state", state)];
            let age = waiting
                .oldest
                .map_or(0.0, |since| (now - since) as f64 / 1e6);
            self.line("identity_erasures", &labels, waiting.count as f64);
            self.line("identity_erasures_oldest_seconds", &labels, age);
        }
    }

    /// An age of 0 where nothing waits.
    fn files(&mut self) {
        let now = clock::now();
        let list = with_latest_snapshot(|| connected(files::list));
        let age = list.oldest.map_or(0.0, |since| (now - since) as f64 / 1e6);
        self.line("identity_biometric_files", &[], list.waiting as f64);
        self.line("identity_biometric_files_stuck", &[], list.stuck as f64);
        self.line("identity_biometric_files_oldest_seconds", &[], age);
    }

    /// What a vertical without subjects would show is left out; there is no age of a sweep that never was.
    fn retention(&mut self) {
        let now = clock::now();
        let gauges = with_latest_snapshot(retention::gauges::gauges);
        for of in gauges.verticals {
            let labels = [("vertical", of.vertical)];
            self.line("identity_retention_due", &labels, of.due as f64);
            self.line(
                "identity_retention_without_policy",
                &labels,
                of.uncovered as f64,
            );
        }
        for (sweep, pass) in gauges.sweeps {
            let Some(pass) = pass else { continue };
            let name = ("sweep", sweep.name());
            if let Some(ended) = pass.ended_at {
                let age = (now - ended) as f64 / 1e6;
                self.line("identity_sweep_last_seconds", &[name], age);
            }
            let states = [
                ("done", pass.done),
                ("busy", pass.busy),
                ("failed", pass.failed),
            ];
            for (state, count) in states {
                let labels = [name, ("state", state)];
                self.line("identity_sweep_subjects", &labels, count as f64);
            }
        }
    }

    /// An age of 0 where nothing waits.
    fn outbox(&mut self) {
        let now = clock::now();
        let outbox = with_latest_snapshot(|| connected(outbox::gauges));
        let age = outbox
            .oldest
            .map_or(0.0, |since| (now - since) as f64 / 1e6);
        self.line("identity_outbox_channels", &[], outbox.channels as f64);
        self.line("identity_outbox_waiting", &[], outbox.waiting as f64);
        self.line("identity_outbox_oldest_seconds", &[], age);
        self.line("identity_outbox_dead", &[], outbox.dead as f64);
    }

    /// Ages are 0 where nothing waits; there is none of a seal or an anchor that never was.
    fn ledger(&mut self) {
        let now = clock::now();
        let progress = with_latest_snapshot(|| connected(progress::progress));
        let age = |moment: i64| (now - moment) as f64 / 1e6;
        self.line("identity_ledger_tree_size", &[], progress.tree_size as f64);
        let rows = [
            ("sealed", progress.sealed_rows as f64),
            ("unsealed", progress.unsealed.rows as f64),
        ];
        for (state, number) in rows {
            self.line("identity_ledger_rows", &[("state", state)], number);
        }
        let oldest = [
            ("unsealed", &progress.unsealed),
            ("unanchored", &progress.unanchored),
        ];
        for (state, after) in oldest {
            let seconds = after.oldest.map_or(0.0, age);
            self.line(
                "identity_ledger_oldest_seconds",
                &[("state", state)],
                seconds,
            );
        }
        if let Some(sealed_at) = progress.sealed_at {
            self.line("identity_ledger_last_seal_seconds", &[], age(sealed_at));
        }
        let anchored = progress.anchored_size as f64;
        self.line("identity_ledger_anchored_size", &[], anchored);
        if let Some(anchored_at) = progress.anchored_at {
            let seconds = age(anchored_at);
            self.line("identity_ledger_last_anchor_seconds", &[], seconds);
        }
        let stale = lag::stale(now + clock::UNIX_EPOCH_MICROS);
        let stale = f64::from(u8::from(stale));
        self.line("identity_ledger_anchor_stale", &[], stale);
    }
}

/// A jsonb object. Its texts are words of ours and purpose tokens.
fn object(labels: &[(&str, &str)]) -> pg_sys::Datum {
    let members = labels
        .iter()
        .map(|(name, text)| (*name, json_text::quoted(text)));
    json_text::jsonb(&json_text::object(members))
}

fn counts() -> &'static Counts {
    // SAFETY: attached at startup, lives as long as the process.
    unsafe { &*COUNTS.load(Ordering::Relaxed) }
}
