//! `identity_health` and `identity_status`.

use identity_core::ApprovalPolicy;
use identity_core::reason::Reason;
use pgrx::{IntoDatum, pg_sys};

use crate::answer::{Rows as Answer, timestamp, value};
use crate::biometric::files;
use crate::erasure::gauges::gauges;
use crate::keys::{self, region};
use crate::ledger::progress::{self, Progress};
use crate::ledger::{guards, lag, partitions};
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::recorder::slots;
use crate::sql_function::{Arguments, sql_function};
use crate::vertical::forecast;
use crate::{call, clock, error, forget, gucs, lane, outbox, retention, worker_process};

sql_function!(identity_health, pg_finfo_identity_health, health);
sql_function!(identity_status, pg_finfo_identity_status, status);

static INSTALLATION: Statement =
    Statement::read(c"SELECT created_at FROM identity.installation", &[]);
static PROVIDERS: Statement = Statement::read(
    c"SELECT DISTINCT provider FROM identity.keyring ORDER BY 1",
    &[],
);
/// Settings under which statements reach the server log; ours are hidden there, a wrapper's first call may not be.
static STATEMENT_LOGGING: Statement = Statement::read(
    c"SELECT (pg_catalog.current_setting('log_statement') IN ('all', 'mod') OR pg_catalog.current_setting('log_min_duration_statement') <> '-1')
         AND pg_catalog.current_setting('log_parameter_max_length') <> '0'",
    &[],
);

/// For load balancers: ok, or the error that a PII call would meet.
fn health(_: Arguments) -> pg_sys::Datum {
    call::operation();
    // SAFETY: reads the server's state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        error::raise(Reason::ReadOnly);
    }
    if !slots::recorder_lives() {
        worker_process::wake_postmaster();
        error::raise(Reason::RecorderDown);
    }
    if keys::active().is_none() {
        let initialized = with_latest_snapshot(|| {
            connected(|| {
                partitions::INITIALIZED
                    .run(&mut [])
                    .get(0, 1)
                    .unwrap_or(false)
            })
        });
        error::raise(if initialized {
            Reason::Locked
        } else {
            Reason::NotInitialized
        });
    }
    // SAFETY: a constant, well-formed text.
    unsafe {
        pgrx::direct_function_call_as_datum(
            pg_sys::jsonb_in,
            &[c"{\"status\":\"ok\"}".into_datum()],
        )
        .unwrap_or(pg_sys::Datum::from(0))
    }
}

fn status(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let mut report = Report(Answer::of(arguments));
    with_latest_snapshot(|| connected(|| fill(&mut report)));
    pg_sys::Datum::from(0)
}

struct Report(Answer);

impl Report {
    fn line(&mut self, item: &str, state: &str, since: Option<pg_sys::Datum>, hint: Option<&str>) {
        self.0
            .push(&[value(item), value(state), since, hint.and_then(value)]);
    }

    /// A line whose hint shows only when something is not as it should be.
    fn check(&mut self, item: &str, good: bool, states: (&str, &str), hint: &str) {
        self.line(
            item,
            if good { states.0 } else { states.1 },
            None,
            (!good).then_some(hint),
        );
    }
}

fn fill(report: &mut Report) {
    let created = INSTALLATION.run(&mut []).datum(0, 1);
    let initialized = created.is_some();
    report.line(
        "installation",
        if initialized {
            "initialized"
        } else {
            "not initialized"
        },
        created,
        (!initialized).then_some("SELECT identity.initialize()"),
    );

    let (unlocked, changed) = (keys::active().is_some(), region::state().1);
    let since = (changed != 0).then(|| timestamp(changed)).flatten();
    report.line(
        "keys",
        if unlocked { "unlocked" } else { "locked" },
        since,
        (!unlocked).then_some("every PII function refuses until keys are unlocked"),
    );
    let providers = PROVIDERS.run(&mut []);
    for provider in (0..providers.count).filter_map(|row| providers.get::<&str>(row, 1)) {
        let development = provider == "development";
        report.line(
            "key provider",
            if development { "DEVELOPMENT" } else { provider },
            None,
            development
                .then_some("development keys are public: no real person's data may lie here"),
        );
    }
    rotations(report);
    report.check(
        "key memory",
        region::protected(),
        ("protected", "unprotected"),
        "raise the memory lock limit (LimitMEMLOCK) of the server and restart",
    );

    report.check(
        "recorder",
        slots::recorder_lives(),
        ("running", "down"),
        "reads refuse until it is back; look for \"identity_pgx recorder\" in the server log",
    );
    let load = slots::load();
    report.line(
        "recorder queue",
        &format!(
            "{} held, {} waiting, {} of them set aside, of {}",
            load.held,
            load.waiting,
            load.aside,
            slots::capacity()
        ),
        None,
        (load.aside > 0).then_some("rows that could not be written are tried again; look for \"set aside\" in the server log"),
    );
    report.line(
        "lanes",
        &format!("{} in use", lane::published().len()),
        None,
        None,
    );

    erasures(report);
    retention(report);
    let (tables, unfit) = forget::counts();
    report.line(
        "registered tables",
        &format!("{tables} registered, {unfit} cannot be cleaned"),
        None,
        (unfit > 0).then_some("nobody can be erased: mend them, or take them off the register with identity.forget_unregister(relation)"),
    );
    biometrics(report);
    let (waiting, oldest) = forecast::queue();
    report.line("review queue", &format!("{waiting} waiting"), oldest, None);

    let ahead = partitions::AHEAD.run(&mut []).get::<i32>(0, 1).unwrap_or(0);
    report.line(
        "partitions",
        &format!("{ahead} months ahead"),
        None,
        (ahead < 2).then_some("look for \"identity_pgx maintenance\" in the server log"),
    );
    ledger(report);
    notices(report);
    let guarded = guards::unguarded().is_empty() && guards::opened_roles().is_empty();
    report.check(
        "guards",
        guarded,
        ("in place", "missing"),
        "run SELECT * FROM identity.ledger_verify() and find out who removed them",
    );

    report.check(
        "transport",
        gucs::REQUIRE_MTLS.get(),
        ("Unix socket or TLS with client certificate", "any"),
        "identity_pgx.require_mtls is off",
    );
    report.check(
        "approval",
        gucs::PURPOSE_APPROVAL.get().policy() != ApprovalPolicy::None,
        ("by a second person", "off"),
        "identity_pgx.purpose_approval is none: one person alone can open any field",
    );
    report.check(
        "development keys",
        !gucs::ALLOW_DEV_KEYS.get(),
        ("not allowed", "allowed"),
        "identity_pgx.allow_dev_keys is on",
    );
    let logging = STATEMENT_LOGGING.run(&mut []).get(0, 1).unwrap_or(true);
    report.check("server log", !logging, ("no parameters", "parameters of other statements"), "set log_parameter_max_length = 0: a wrapper's first call is logged before it reaches identity_pgx");
}

fn rotations(report: &mut Report) {
    let gauges = keys::status::gauges();
    let due = gauges.overdue.map(|(kind, _)| kind.as_str());
    report.line(
        "key rotation",
        &due.map_or_else(|| String::from("not due"), |kind| format!("{kind} is due")),
        gauges.overdue.and_then(|(_, since)| timestamp(since)),
        due.map(|_| "keys are rotated every 90 days: anchor-worker enrol, then identity.key_rotate(kind)"),
    );
    report.line(
        "reencryption",
        &format!("{} subjects under an older key", gauges.waiting),
        None,
        (gauges.waiting > 0)
            .then_some("a member of identity_worker calls identity.reencrypt() until none is left"),
    );
}

/// An erasure that is not scrubbed for this long waits for somebody.
const MOST_UNSCRUBBED_MICROS: i64 = 24 * 3_600_000_000;

fn erasures(report: &mut Report) {
    let gauges = gauges();
    report.line(
        "open erasures",
        &format!("{} open, {} overdue", gauges.open.count, gauges.overdue),
        gauges.open.oldest.and_then(timestamp),
        (gauges.overdue > 0).then_some(
            "the worker calls identity.erasure_authorise for what waits in identity.erasure_queue, within 72 hours",
        ),
    );
    report.line(
        "unscrubbed erasures",
        &format!("{} done, not scrubbed", gauges.unscrubbed.count),
        gauges.unscrubbed.oldest.and_then(timestamp),
        gauges
            .unscrubbed
            .oldest
            .is_some_and(|oldest| clock::now() - oldest > MOST_UNSCRUBBED_MICROS)
            .then_some("something is in the way of the scrub: identity.erasure_scrub() says what"),
    );
}

/// A sweep that was not over for this long missed its night.
const MOST_UNSWEPT_MICROS: i64 = 26 * 3_600_000_000;

fn retention(report: &mut Report) {
    let gauges = retention::gauges::gauges();
    let due = gauges.verticals.iter().map(|of| of.due).sum::<i64>();
    let uncovered = gauges.verticals.iter().filter(|of| of.uncovered > 0);
    let uncovered = uncovered
        .map(|of| format!("{} of {}", of.uncovered, of.vertical))
        .collect::<Vec<_>>();
    report.line(
        "retention",
        &match uncovered.as_slice() {
            [] => format!("{due} due"),
            _ => format!("{due} due, without a policy {}", uncovered.join(", ")),
        },
        None,
        (!uncovered.is_empty()).then_some(
            "these subjects are kept for good: identity.retention_policies has no general policy for them whose schedule is in effect",
        ),
    );
    for (sweep, progress) in gauges.sweeps {
        let item = format!("{} sweep", sweep.name());
        let Some(pass) = progress else {
            report.line(&item, "never", None, None);
            continue;
        };
        let late = pass
            .ended_at
            .is_none_or(|ended| clock::now() - ended > MOST_UNSWEPT_MICROS);
        report.line(
            &item,
            &format!(
                "{} done, {} busy, {} failed",
                pass.done, pass.busy, pass.failed
            ),
            pass.ended_at.and_then(timestamp),
            (late || pass.failed > 0)
                .then_some("look for \"sweep\" and \"registered table\" in the server log"),
        );
    }
}

fn biometrics(report: &mut Report) {
    report.check(
        "biometric classifications",
        !gucs::BIOMETRIC_CLASSIFICATIONS.get(),
        ("off", "on"),
        "identity_pgx.biometric_classifications is on",
    );
    let list = files::list();
    let hint = list
        .trouble
        .map(|(access_id, word)| format!("access_id {access_id}: {word}"));
    report.line(
        "biometric files",
        &format!("{} to destroy", list.waiting),
        list.oldest.and_then(timestamp),
        hint.as_deref(),
    );
}

/// A row that waits for its seal this long waits for somebody who does not come.
const MOST_UNSEALED_MICROS: i64 = 3_600_000_000;

fn ledger(report: &mut Report) {
    let progress = progress::progress();
    let late = |oldest: Option<i64>| {
        oldest.is_some_and(|oldest| clock::now() - oldest > MOST_UNSEALED_MICROS)
    };
    let last = match progress.sealed_at {
        Some(_) => format!(
            "tree of {} leaves, {} rows since",
            progress.tree_size, progress.unsealed.rows
        ),
        None => format!("never, {} rows wait", progress.unsealed.rows),
    };
    report.line(
        "last seal",
        &last,
        progress.sealed_at.and_then(timestamp),
        late(progress.unsealed.oldest)
            .then_some("rows wait for more than an hour: the anchor-worker seals every 10 minutes; without one, a job calls identity.ledger_seal()"),
    );
    anchors(report, &progress);
}

fn anchors(report: &mut Report, progress: &Progress) {
    let anchored = match progress.anchored_at {
        Some(_) => format!("{} rows since", progress.unanchored.rows),
        None => String::from("nothing is anchored"),
    };
    let now = clock::now();
    let hint = if lag::stale(now + clock::UNIX_EPOCH_MICROS) {
        Some("reads are refused: look into the log of the anchor-worker")
    } else if progress.anchored_at.is_some() && progress.locked_until.is_none_or(|end| end <= now) {
        Some("the newest anchor is not locked: whoever can write to its store can take it back")
    } else {
        None
    };
    report.line(
        "anchor age",
        &anchored,
        progress.unanchored.oldest.and_then(timestamp),
        hint,
    );
    report.check(
        "anchor lag",
        gucs::MAX_ANCHOR_LAG.get() != 0,
        ("limited", "off"),
        "identity_pgx.max_anchor_lag is 0: reads go on however long rows wait for an anchor",
    );
}

fn notices(report: &mut Report) {
    let outbox = outbox::gauges();
    let hint = if outbox.dead > 0 {
        Some(
            "notices reached nobody: identityctl outbox list names them, identityctl outbox retry sends them again",
        )
    } else if outbox.channels == 0 {
        Some("notices are told to nobody: give the anchor-worker an [[outbox]]")
    } else {
        None
    };
    report.line(
        "outbox",
        &format!(
            "{} channels, {} notices wait, {} are dead",
            outbox.channels, outbox.waiting, outbox.dead
        ),
        outbox.oldest.and_then(timestamp),
        hint,
    );
}
