//! `identityctl restore-check`: a database that was restored from an older backup has people again who were erased since. What was published of their erasures tells
//! who; with `--erase` they are erased again.
//!
//! | file | one job |
//! |---|---|
//! | `lists.rs` | what lies in the store: every list, signed, none missing in between |
//! | `database.rs` | who of them the database has, and has erased |

mod database;
mod lists;

use anchor_worker::store::Store;
use identity_connect::Failure;
use tokio::runtime::Builder;

use crate::cli;
use crate::report::Report;
use crate::verify::anchors::place;
use database::Database;

pub fn run(arguments: &cli::RestoreCheck) -> Report {
    let mut report = Report::new("restore-check");
    let runtime = Builder::new_current_thread().enable_all().build();
    let checked = match runtime {
        Ok(runtime) => runtime.block_on(check(arguments, &mut report)),
        Err(_) => Err("no runtime could be started".into()),
    };
    if let Err(failure) = checked {
        report.unchecked("restored", &failure.0);
    }
    report
}

async fn check(arguments: &cli::RestoreCheck, report: &mut Report) -> Result<(), Failure> {
    let anchors = &arguments.anchors;
    let config = place::config(&anchors.store).map_err(|trouble| Failure(trouble.text))?;
    let store = Store::open(&config)
        .await
        .map_err(|trouble| Failure(trouble.text))?;
    let lists = lists::read(&store, &anchors.keys, report).await?;
    let database = Database::open(anchors.database.as_deref()).await?;
    let checked = database.check(&lists, arguments.erase, report).await;
    let closed = database.close().await;
    // Only a connection that broke knows why.
    if checked.is_err() {
        closed?;
    }
    checked
}
