//! What is sealed and anchored, and what not yet: for status and metrics.

use super::lanes::{self, After};
use super::tree_store;
use crate::query::{Rows, Statement};

static LAST: Statement = Statement::read(
    c"SELECT cut, sealed_at FROM identity.ledger_seals ORDER BY cut DESC LIMIT 1",
    &[],
);
/// The last cut that the newest anchor covers, how large the tree was, until when it is locked, and when it was made. A cut of several months has as
/// many seals: an anchor of a size in between covers the cut before.
static ANCHOR: Statement = Statement::read(
    c"SELECT (SELECT s.cut - (EXISTS (SELECT FROM identity.ledger_seals n WHERE n.cut = s.cut AND n.leaf_index >= a.tree_size))::int
                FROM identity.ledger_seals s WHERE s.leaf_index < a.tree_size ORDER BY s.leaf_index DESC LIMIT 1),
             a.tree_size, a.s3_lock_until, a.checkpoint_at
        FROM identity.anchor_commits a ORDER BY a.tree_size DESC, a.commit_id DESC LIMIT 1",
    &[],
);
/// Times are PostgreSQL's microseconds.
pub struct Progress {
    pub tree_size: u64,
    pub sealed_at: Option<i64>,
    pub sealed_rows: u64,
    pub unsealed: After,
    /// The newest anchor: when it was recorded, of how large a tree, and until when it is locked.
    pub anchored_at: Option<i64>,
    pub anchored_size: u64,
    pub locked_until: Option<i64>,
    pub unanchored: After,
}

/// How things stand. Runs inside a call's snapshot.
pub fn progress() -> Progress {
    let (last, anchor) = (LAST.run(&mut []), ANCHOR.run(&mut []));
    let cut = |row: &Rows| row.get(0, 1).unwrap_or(0_i64);
    Progress {
        tree_size: tree_store::size(),
        sealed_at: last.last_moment(0),
        sealed_rows: lanes::sealed().values().map(|head| head.seq).sum(),
        unsealed: lanes::after(cut(&last)),
        anchored_at: anchor.last_moment(0),
        anchored_size: anchor.get::<i64>(0, 2).map_or(0, i64::unsigned_abs),
        locked_until: anchor.moment(0, 3),
        unanchored: lanes::after(cut(&anchor)),
    }
}

/// What no anchor covers. Runs inside a call's snapshot.
pub fn unanchored() -> After {
    let anchor = ANCHOR.run(&mut []);
    lanes::after(anchor.get(0, 1).unwrap_or(0))
}
