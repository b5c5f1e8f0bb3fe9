//! What is sealed and anchored, and what not yet: for status and metrics.

use super::lanes::{self, After};
use super::tree_store;
use crate::query::{Rows, Statement};

static LAST: Statement = Statement::read(
    c"SELECT cut, sealed_at FROM identity.ledger_seals ORDER BY cut DESC LIMIT 1",
    &[],
);
/// The last cut that the newest anchor covers, and when it was made.
static ANCHOR: Statement = Statement::read(
    c"SELECT (SELECT s.cut FROM identity.ledger_seals s WHERE s.leaf_index < a.tree_size ORDER BY s.leaf_index DESC LIMIT 1), a.checkpoint_at
        FROM identity.anchor_commits a ORDER BY a.tree_size DESC LIMIT 1",
    &[],
);
/// Times are PostgreSQL's microseconds.
pub struct Progress {
    pub tree_size: u64,
    pub sealed_at: Option<i64>,
    pub sealed_rows: u64,
    pub unsealed: After,
    pub anchored_at: Option<i64>,
    pub unanchored: After,
}

/// How things stand. Runs inside a call's snapshot.
pub fn progress() -> Progress {
    let (last, anchor) = (LAST.run(&mut []), ANCHOR.run(&mut []));
    let cut = |row: &Rows| row.get::<i64>(0, 1).unwrap_or(0);
    Progress {
        tree_size: tree_store::size(),
        sealed_at: last.last_moment(0),
        sealed_rows: lanes::sealed().values().map(|head| head.seq).sum(),
        unsealed: lanes::after(cut(&last)),
        anchored_at: anchor.last_moment(0),
        unanchored: lanes::after(cut(&anchor)),
    }
}
