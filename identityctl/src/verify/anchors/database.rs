//! The tree of a database: its leaves, hashed together anew, must have had each anchored root when they were that many. And the database's own record of anchors must be
//! what the store has.

use std::collections::BTreeMap;

use identity_connect::{Failure, Options};
use identity_core::checkpoint::Tree;
use identity_core::checkpoint::origin;
use identity_core::incarnation::split;
use identity_core::merkle::{Digest, Frontier};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::history::Anchor;
use super::lineage::Lineage;
use crate::report::Report;
use crate::verify::database::installation;
use crate::verify::database::query::{for_each, prepare};
use crate::verify::database::value::{Natural, get};

/// See `verify database`: a policy that would hide rows is an error.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET row_security = off; SET default_transaction_read_only = on; \
                       SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET TimeZone = 'UTC'; SET jit = off";

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const LEAVES: &str =
    "SELECT index, hash FROM ONLY identity.ledger_nodes WHERE level = 0 ORDER BY index";

const RECORDS: &str =
    "SELECT tree_size, root_hash, version_id FROM ONLY identity.anchor_commits ORDER BY tree_size";

pub async fn compare(url: &str, lineage: &Lineage, report: &mut Report) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let options = Options::parse(Some(url), variable)?;
    let session = identity_connect::open(&options, SESSION).await?;
    let compared = read(&session.client, lineage, report).await;
    let closed = session.close().await;
    // Only a connection that broke knows why.
    if compared.is_err() {
        closed?;
    }
    compared
}

async fn read(client: &Client, lineage: &Lineage, report: &mut Report) -> Result<(), Failure> {
    client.batch_execute(SNAPSHOT).await?;
    let installation = installation(client).await?;
    if !comparable(&installation, lineage, report) {
        return Ok(());
    }
    tree(client, lineage.points(), report).await?;
    records(client, lineage.anchors(), report).await
}

/// Whether the anchors can be compared with the database: they must be of the log that it says it has.
pub fn comparable(installation: &[u8; 16], lineage: &Lineage, report: &mut Report) -> bool {
    if !lineage.is_whole() {
        let detail = "it was not compared with the anchors: which of them still count is not known";
        report.unchecked("database", detail);
        return false;
    }
    let names = [false, true].map(|development| origin(installation, development));
    let own = lineage.origin().map(|origin| split(origin).0);
    let is = names.iter().any(|name| Some(name.as_str()) == own);
    if !is {
        report.bad("database", "it is of another log than the anchors");
    }
    is
}

async fn tree(client: &Client, points: &[Tree], report: &mut Report) -> Result<(), Failure> {
    let before = report.findings();
    let grown = grown(client, points).await?;
    let leaves = grown.leaves;
    for size in grown.unlike {
        let detail = format!("rewritten: its first {size} leaves are not those that were anchored");
        report.bad("database", &detail);
    }
    if !grown.whole {
        report.bad("database", &format!("its leaf {leaves} is missing"));
    }
    if let Some(size) = grown.lost {
        let detail = format!("rolled back: it has {leaves} leaves, and {size} were anchored");
        report.bad("database", &detail);
    }
    if report.findings() == before {
        let count = points.len();
        let detail = format!("its {leaves} leaves grew from each of {count} anchors");
        report.good("database", &detail);
    }
    Ok(())
}

/// How the tree that the leaves make compares with what was anchored of it.
pub struct Grown {
    /// Leaves up to the first that is missing.
    pub leaves: u64,
    /// Whether none is missing among them.
    pub whole: bool,
    /// Sizes of which another root was anchored.
    pub unlike: Vec<u64>,
    /// The largest that was anchored and that there are no leaves for.
    pub lost: Option<u64>,
}

/// Hashes the leaves together anew, and compares the root at each point; these are in the order of sizes.
pub async fn grown(client: &Client, points: &[Tree]) -> Result<Grown, Failure> {
    let (mut tree, mut whole, mut unlike) = (Frontier::new(), true, Vec::new());
    let mut waiting = points.iter().peekable();
    let mut meets = |tree: &Frontier| {
        while let Some(anchor) = waiting.next_if(|anchor| anchor.size == tree.size()) {
            if tree.root() != anchor.root {
                unlike.push(anchor.size);
            }
        }
    };
    meets(&tree);
    let statement = prepare(client, LEAVES, &[Type::INT8, Type::BYTEA]).await?;
    for_each(client, &statement, &[], |row| {
        let index = get::<Natural>(row, 0).map(Natural::u64);
        let hash = get::<Digest>(row, 1).filter(|_| index == Some(tree.size()));
        match hash {
            Some(hash) if whole => {
                tree.append(hash, &mut |_, _, _| {});
                meets(&tree);
            }
            _ => whole = false,
        }
        Ok(())
    })
    .await?;
    Ok(Grown {
        leaves: tree.size(),
        whole,
        lost: waiting.last().map(|anchor| anchor.size),
        unlike,
    })
}

/// Compares the database's own record of what was anchored with the store: each that it has must be there. What it does not have is told.
pub async fn records(
    client: &Client,
    anchors: &[Anchor],
    report: &mut Report,
) -> Result<(), Failure> {
    let before = report.findings();
    let mut known: BTreeMap<u64, &Anchor> = anchors
        .iter()
        .map(|anchor| (anchor.tree.size, anchor))
        .collect();
    let mut recorded = 0_u64;
    let types = [Type::INT8, Type::BYTEA, Type::TEXT];
    let statement = prepare(client, RECORDS, &types).await?;
    let mut seen = BTreeMap::new();
    for_each(client, &statement, &[], |row| {
        recorded += 1;
        let size = get::<Natural>(row, 0).map(Natural::u64).unwrap_or_default();
        let anchor = known.remove(&size).or_else(|| seen.get(&size).copied());
        let Some(anchor) = anchor else {
            report.bad("records", &format!("the database says that {size} leaves were anchored, and the store has no such anchor"));
            return Ok(());
        };
        seen.insert(size, anchor);
        // Not its uri: a copy of the store is as good, wherever it lies.
        let same = get::<Digest>(row, 1) == Some(anchor.tree.root)
            && get::<&str>(row, 2) == Some(&anchor.stored.version_id);
        if !same {
            report.bad("records", &format!("of {size} leaves the database has recorded another anchor than the store's"));
        }
        Ok(())
    })
    .await?;
    if !known.is_empty() {
        report.note(
            "records",
            &format!("{} anchors are not recorded in the database", known.len()),
        );
    }
    if report.findings() == before {
        report.good(
            "records",
            &format!("{recorded} that the database has are in the store"),
        );
    }
    Ok(())
}
