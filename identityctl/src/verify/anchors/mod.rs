//! `identityctl verify anchors`: reads every version in the store of anchors, believes what is signed, and compares it with a database if one is given.
//!
//! | file | one job |
//! |---|---|
//! | `place.rs` | which store |
//! | `walk.rs` | every key with all its versions: the true one, and what was put over it |
//! | `history.rs` | the true ones of one incarnation together: sizes, times, locks |
//! | `lineage.rs` | the incarnations of the log: what each kept of the one before, and who declared it |
//! | `database.rs` | the tree of a database, and its own record of what was anchored |

pub mod database;
mod history;
mod lineage;
pub mod place;
mod walk;

use anchor_worker::config::parties;
use anchor_worker::store::Store;
use anchor_worker::trouble::Trouble;
use identity_connect::Failure;
use identity_core::note::VerifierKey;
use tokio::runtime::Builder;

use crate::cli;
use crate::report::Report;
pub use lineage::Lineage;

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
    let lineage = gather(&arguments.store, &arguments.keys, report).await?;
    let Some(url) = &arguments.database else {
        let note = "no database was given: nothing shows here that each tree grew from the one before it, or that a database has it";
        report.note("database", note);
        lineage.name_late(false, report);
        return Ok(());
    };
    let before = report.findings();
    let compared = database::compare(url, &lineage, report).await;
    let grew = compared.is_ok() && report.findings() == before;
    lineage.name_late(grew, report);
    compared
}

/// Reads and verifies what lies in the store.
pub async fn gather(
    arguments: &cli::Store,
    keys: &[VerifierKey],
    report: &mut Report,
) -> Result<Lineage, Failure> {
    let config = place::config(arguments).map_err(failure)?;
    let parties = arguments.parties.as_deref().map(parties).transpose();
    let parties = parties.map_err(failure)?;
    let store = Store::open(&config).await.map_err(failure)?;
    let days = arguments
        .retention_days
        .unwrap_or_else(|| config.retention_days());
    let timed = check(&store, report).await;
    let asked = lineage::Asked {
        keys,
        parties: parties.as_ref(),
        days,
        timed,
    };
    lineage::follow(&store, &asked, report).await
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
