//! The anchors of a store outside: the tree that the rows make must have had the root of each when it had its size. What came after the last can still be
//! rewritten.

use identity_connect::Failure;
use identity_core::replay::Summary;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::query::prepare;
use super::store::Database;
use super::value::{Natural, get};
use crate::report::Report;
use crate::verify::anchors::{Lineage, database};

/// Rows that no tree of this size holds, but for those that no seal has taken in.
const LATER: &str = "SELECT (SELECT pg_catalog.count(*) FROM ONLY identity.ledger_leaves WHERE leaf_index >= $1 AND access_id IS NOT NULL)
          + (SELECT COALESCE(pg_catalog.sum(batch_rows), 0)::bigint FROM ONLY identity.ledger_seals WHERE leaf_index >= $1)";

/// Whether the log grew from each of the anchors is the answer, too.
pub fn compare(
    lineage: &Lineage,
    installation: &[u8; 16],
    summary: &Summary,
    of: &Database<'_>,
    report: &mut Report,
) -> Result<bool, Failure> {
    // Without an anchor the store has said so.
    let Some(last) = lineage.points().last() else {
        return Ok(false);
    };
    if !database::comparable(installation, lineage, report) {
        return Ok(false);
    }
    let (size, tree_size) = (last.size, summary.tree_size);
    if size > tree_size {
        let detail =
            format!("rolled back: the tree has {tree_size} leaves, and {size} were anchored");
        report.bad("anchored", &detail);
        return Ok(false);
    }
    let before = report.findings();
    let grown = of
        .runtime
        .block_on(database::grown(of.client, lineage.points()))?;
    for size in grown.unlike {
        let detail = format!("rewritten: the first {size} leaves are not those that were anchored");
        report.bad("anchored", &detail);
    }
    if !grown.whole || grown.lost.is_some() {
        let detail = format!("the tree's leaf {} is missing", grown.leaves);
        report.bad("anchored", &detail);
    }
    if report.findings() == before {
        let later = of.runtime.block_on(later(of.client, size))? + summary.unsealed;
        let detail =
            format!("the first {size} of {tree_size} leaves are those that were anchored last");
        report.good("anchored", &detail);
        report.note("anchored", &format!("{later} rows are not anchored yet"));
    }
    let records = database::records(of.client, lineage.anchors(), report);
    of.runtime.block_on(records)?;
    Ok(report.findings() == before)
}

async fn later(client: &Client, size: u64) -> Result<u64, Failure> {
    let statement = prepare(client, LATER, &[Type::INT8]).await?;
    let row = client.query_one(&statement, &[&size.cast_signed()]).await?;
    let rows = get::<Natural>(&row, 0).map(Natural::u64);
    rows.ok_or_else(|| "the database cannot count its rows".into())
}
