//! One row by its index, without the executor: for the few look-ups that every read makes.
//!
//! Reading a purpose this way takes about half of what a planned statement took (docs/performance.md). Tables that name a subject are never read
//! this way: row-level security lives in the executor.

use pgrx::pg_sys;

use crate::columns::Columns;
use crate::error;
use crate::relation::Known;

/// A table and a btree index of it whose first column is a text with collation "C".
pub struct Index {
    pub table: Known,
    pub index: Known,
    /// The number of the table's columns: a table that was altered is not read by position.
    pub columns: usize,
}

impl Index {
    /// Whether the table was never written. Whoever inserts makes a block of it before committing, so this is as of now.
    pub fn is_empty(&self) -> bool {
        // SAFETY: the relation is opened and closed here.
        unsafe {
            let relation = pg_sys::table_open(self.table.oid(), pg_sys::AccessShareLock as i32);
            let empty = was_never_written(relation);
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            empty
        }
    }

    /// Goes through the rows with this key, the last in the index's order first, until `pick` takes one. Sees what the active snapshot
    /// sees, so it belongs inside the call's latest snapshot.
    pub fn last<T>(&self, key: &str, pick: impl FnMut(&Columns) -> Option<T>) -> Option<T> {
        // SAFETY: the call's snapshot stays active while `go` runs.
        unsafe { self.go(pg_sys::GetActiveSnapshot(), key, pick) }
    }

    /// The same, but blind to what this transaction itself has done: what it may yet roll back is nobody's policy.
    pub fn last_committed<T>(
        &self,
        key: &str,
        pick: impl FnMut(&Columns) -> Option<T>,
    ) -> Option<T> {
        // SAFETY: a copy of the active snapshot, whose arrays live as long as that; with the command counter at the beginning of the
        // transaction, its own insertions are not there yet and its own deletions have not happened.
        unsafe {
            let mut snapshot = *pg_sys::GetActiveSnapshot();
            snapshot.curcid = 0;
            self.go(&mut snapshot, key, pick)
        }
    }

    unsafe fn go<T>(
        &self,
        snapshot: pg_sys::Snapshot,
        key: &str,
        pick: impl FnMut(&Columns) -> Option<T>,
    ) -> Option<T> {
        // SAFETY: the key compares the text in the index's first column, and outlives the scan.
        unsafe {
            let wanted = pg_sys::cstring_to_text_with_len(
                key.as_ptr().cast(),
                i32::try_from(key.len()).unwrap_or(0),
            );
            let mut scan_key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(
                &mut scan_key,
                1,
                pg_sys::BTEqualStrategyNumber as u16,
                pg_sys::F_TEXTEQ.into(),
                pg_sys::Datum::from(wanted),
            );
            let relations = (self.table.oid(), self.index.oid());
            backwards(relations, snapshot, &mut scan_key, self.columns, pick)
        }
    }
}

/// Goes through the rows that a key finds in the index of a table, the last first, until `pick` takes one. A table that has not so many columns was
/// altered, and is not read by position.
///
/// # Safety
/// The key must fit the index, and the snapshot stay valid.
pub unsafe fn backwards<T>(
    (table, index): (pg_sys::Oid, pg_sys::Oid),
    snapshot: pg_sys::Snapshot,
    key: &mut pg_sys::ScanKeyData,
    width: usize,
    mut pick: impl FnMut(&Columns) -> Option<T>,
) -> Option<T> {
    // SAFETY: relations are opened and closed here; rows are taken apart by the table's own descriptor.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        if was_never_written(relation) {
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
            return None;
        }
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
        let descriptor = (*relation).rd_att;
        if (*descriptor).natts as usize != width {
            error::fault("a table of identity_pgx was altered");
        }
        let scan = pg_sys::systable_beginscan_ordered(relation, index, snapshot, 1, key);
        let mut columns = Columns::default();
        let mut picked = None;
        while picked.is_none() {
            let tuple = pg_sys::systable_getnext_ordered(
                scan,
                pg_sys::ScanDirection::BackwardScanDirection,
            );
            if tuple.is_null() {
                break;
            }
            columns.take_apart(tuple, descriptor);
            picked = pick(&columns);
        }
        pg_sys::systable_endscan_ordered(scan);
        pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        picked
    }
}

/// Most servers never revoke anything: then there is no index to go through.
unsafe fn was_never_written(relation: pg_sys::Relation) -> bool {
    // SAFETY: an open relation.
    unsafe {
        pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM) == 0
    }
}
