//! `identityctl verify anchors`: reads every version in the store of anchors, believes what is signed, and compares it with a database if one is given.
//!
//! | file | one job |
//! |---|---|
//! | `place.rs` | which store |
//! | `walk.rs` | every key with all its versions: the true one, and what was put over it |
//! | `history.rs` | the true ones together: sizes, times, locks |
//! | `database.rs` | the tree of a database, and its own record of what was anchored |

mod database;
mod history;
mod place;
mod walk;

use anchor_worker::store::Store;
use anchor_worker::trouble::Trouble;
use identity_connect::Failure;
use tokio::runtime::Builder;

use crate::cli;
use crate::report::Report;
use history::History;

/// Microseconds.
const SECOND: i64 = 1_000_000;

pub fn run(arguments: &cli::Anchors) -> Report {
    let mut report = Report::new("verify anchors");
    let runtime = Builder::new_current_thread().enable_all().build();
    let verified = match runtime {
        Ok(runtime) => runtime.block_on(verify(arguments, &mut report)),
        Err(_) => Err("no runtime could be started".into()),
    };
    if let Err(failure) = verified {
        report.unchecked("anchors", &failure.0);
    }
    report
}

async fn verify(arguments: &cli::Anchors, report: &mut Report) -> Result<(), Failure> {
    let config = place::config(arguments).map_err(failure)?;
    let store = Store::open(&config).await.map_err(failure)?;
    let days = arguments
        .retention_days
        .unwrap_or_else(|| config.retention_days());
    let immutable = check(&store, report).await;
    let mut history = History::new(days, immutable);
    walk::walk(&store, &arguments.keys, &mut history, report).await?;
    history.close(report);
    let Some(url) = &arguments.database else {
        let note = "no database was given: nothing shows here that each tree grew from the one before it, or that a database has it";
        report.note("database", note);
        history.name_late(false, report);
        return Ok(());
    };
    let before = report.findings();
    let compared = database::compare(url, &history, report).await;
    let grew = compared.is_ok() && report.findings() == before;
    history.name_late(grew, report);
    compared
}

/// What the store says of itself. An auditor may not be allowed to ask; the anchors tell the rest.
async fn check(store: &Store, report: &mut Report) -> bool {
    match store.check().await {
        Ok(checked) if checked.immutable => {
            report.good("store", &checked.text);
            true
        }
        Ok(checked) => {
            report.note("store", &checked.text);
            false
        }
        Err(trouble) => {
            report.note(
                "store",
                &format!("what it is could not be asked: {trouble}"),
            );
            matches!(store, Store::S3(_))
        }
    }
}

fn failure(trouble: Trouble) -> Failure {
    Failure(trouble.text)
}
