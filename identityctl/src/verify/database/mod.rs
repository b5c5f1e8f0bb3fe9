//! `identityctl verify database`: reads every row of the log and of the ledger in one snapshot, and replays how the one became the other.
//!
//! The database is not trusted: not to have kept its rows, not to answer what it was asked, not to be the server it says it is. What an
//! outside tool cannot see is said in `docs/howto/verify.md`.

mod anchored;
mod checkpoint;
mod columns;
mod ledger;
mod log;
pub(super) mod query;
mod salts;
mod shape;
mod store;
pub(super) mod value;

use std::time::{SystemTime, UNIX_EPOCH};

use identity_connect::{Failure, Options};
use identity_core::checkpoint::Checkpoint;
use identity_core::replay::{Check, Context, Summary, replay};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::cli;
use crate::report::Report;
use crate::verify::anchors::{self, Lineage};
use ledger::Ledger;
use log::Log;
use salts::Salts;
use store::Database;

/// What a session begins with. `row_security = off` makes a table whose rows a policy would hide an error, not an empty table. Tables are
/// read a stretch at a time, each by its index: a planner that thinks a table small would read all of it each time.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET row_security = off; SET default_transaction_read_only = on; \
                       SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET TimeZone = 'UTC'; SET jit = off; \
                       SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The log is read by its indexes; an index can hide a row. Counted without them, the row is there.
const COUNT_BY_HEAP: &str = "SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off";
const COUNT_DONE: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on";

pub fn run(arguments: &cli::Database) -> Report {
    let mut report = Report::new("verify database");
    if let Err(failure) = verify(arguments, &mut report) {
        report.unchecked("database", &failure.0);
    }
    report
}

fn verify(arguments: &cli::Database, report: &mut Report) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let options = Options::parse(arguments.url.as_deref(), variable)?;
    let signed = match &arguments.checkpoint {
        None => None,
        Some(file) => match checkpoint::read(file, &arguments.keys, report)? {
            None => return Ok(()),
            signed => signed,
        },
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| Failure::from("no runtime could be started"))?;
    let lineage = match arguments.anchors {
        true => {
            let gathered = anchors::gather(&arguments.store, &arguments.keys, report);
            Some(runtime.block_on(gathered)?)
        }
        false => None,
    };
    let outside = Outside {
        signed: signed.as_ref(),
        lineage: lineage.as_ref(),
    };
    let reader = runtime.block_on(identity_connect::open(&options, SESSION))?;
    let salter = runtime.block_on(identity_connect::open(&options, SESSION))?;
    let audited = audit(&runtime, &reader.client, &salter.client, &outside, report);
    let closed = runtime.block_on(reader.close());
    let closed = closed.and(runtime.block_on(salter.close()));
    // Only a connection that broke knows why: the statement that was under way knows that it did.
    if let Some(lineage) = &lineage {
        lineage.name_late(audited.as_ref().is_ok_and(|grew| *grew), report);
    }
    if audited.is_err() {
        closed?;
    }
    audited.map(drop)
}

/// Whether the log grew from each anchor of the store is the answer, if there is one.
fn audit(
    runtime: &Runtime,
    client: &Client,
    salter: &Client,
    outside: &Outside<'_>,
    report: &mut Report,
) -> Result<bool, Failure> {
    runtime.block_on(client.batch_execute(SNAPSHOT))?;
    if !runtime.block_on(shape::check(client, report))? {
        return Ok(false);
    }
    let installation = runtime.block_on(installation(client))?;
    let rows = runtime.block_on(count(client))?;
    let mut database = Database {
        runtime,
        client,
        salts: runtime.block_on(Salts::new(salter))?,
        log: runtime.block_on(Log::open(client))?,
        ledger: runtime.block_on(Ledger::open(client))?,
        progress: progress(rows),
    };
    let summary = follow(&mut database, &installation, report)?;
    database.progress.finish_and_clear();
    if rows == summary.rows {
        report.good("count", &format!("{rows} rows, by index and without"));
    } else {
        let seen = summary.rows;
        report.bad(
            "count",
            &format!("the log has {rows} rows, and its indexes show {seen}"),
        );
    }
    if let Some(signed) = outside.signed {
        checkpoint::compare(signed, &installation, &summary, &database, report)?;
    }
    let mut grew = false;
    if let Some(lineage) = outside.lineage {
        grew = anchored::compare(lineage, &installation, &summary, &database, report)?;
    }
    if let (None, None) = (outside.signed, outside.lineage) {
        let note =
            "none was given: a database that was rewritten as a whole would look like this too";
        report.note("checkpoint", note);
    }
    Ok(grew)
}

/// What the database is compared with that it could not have made itself.
struct Outside<'a> {
    signed: Option<&'a Checkpoint>,
    lineage: Option<&'a Lineage>,
}

/// Replays the ledger, and closes each check without a finding.
fn follow(
    database: &mut Database<'_>,
    installation: &[u8; 16],
    report: &mut Report,
) -> Result<Summary, Failure> {
    let (expired, unrecorded) = database
        .runtime
        .block_on(database.ledger.expired(database.client, installation))?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since_epoch.map_or(0, |passed| {
        i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
    });
    let context = Context {
        installation,
        expired: &expired,
        now,
    };
    let mut failed = [false; Check::ALL.len()];
    let mut bad = |check: Check, detail: &str| {
        if let Some(failed) = failed.get_mut(check as usize) {
            *failed = true;
        }
        report.bad(check.as_str(), detail);
    };
    for month in unrecorded {
        let detail =
            format!("month {month}: it is said to have expired, and the log has no record of that");
        bad(Check::Seals, &detail);
    }
    let summary = replay(database, &context, &mut |finding| {
        bad(finding.fault.check(), &finding.to_string());
    })?;
    for (check, _) in Check::ALL.iter().zip(failed).filter(|(_, failed)| !failed) {
        report.good(check.as_str(), &good(*check, &summary, expired.len()));
    }
    Ok(summary)
}

fn good(check: Check, summary: &Summary, expired: usize) -> String {
    let Summary {
        rows,
        cuts,
        batches,
        tree_size,
        anchors,
        unsealed,
        ..
    } = summary;
    match check {
        Check::Chain => format!(
            "{rows} rows in {} lanes follow one another; their MACs are the database's own check",
            summary.lanes.len()
        ),
        Check::Seals => format!(
            "{batches} batches of {cuts} cuts hold the rows that are there; {expired} months have expired"
        ),
        Check::Tree => {
            let root = summary.root.iter().map(|byte| format!("{byte:02x}"));
            format!("{tree_size} leaves, root {}", root.collect::<String>())
        }
        Check::Anchors => format!("{anchors} anchors are of this tree"),
        Check::Clock => "it went forward".into(),
        Check::Unsealed => {
            format!("{unsealed} rows wait for the next seal, none longer than an hour")
        }
    }
}

pub(super) async fn installation(client: &Client) -> Result<[u8; 16], Failure> {
    let sql = "SELECT installation_id FROM ONLY identity.installation LIMIT 2";
    let statement = query::prepare(client, sql, &[Type::UUID]).await?;
    let rows = client.query(&statement, &[]).await?;
    let id = match rows.as_slice() {
        [row] => value::get(row, 0),
        _ => None,
    };
    id.ok_or("the database does not say which installation it is".into())
}

async fn count(client: &Client) -> Result<u64, Failure> {
    client.batch_execute(COUNT_BY_HEAP).await?;
    let sql = "SELECT pg_catalog.count(*) FROM identity.pii_access_log";
    let statement = query::prepare(client, sql, &[Type::INT8]).await?;
    let row = client.query_one(&statement, &[]).await?;
    client.batch_execute(COUNT_DONE).await?;
    let rows = value::get::<value::Natural>(&row, 0);
    rows.map(value::Natural::u64)
        .ok_or("the database cannot count its rows".into())
}

/// On standard error, and nowhere when that is no terminal.
fn progress(rows: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} rows, {eta} left");
    let bar = ProgressBar::new(rows);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
