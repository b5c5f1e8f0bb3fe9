//! One row by its index, without the executor: for the few look-ups that every read makes.
//!
//! Reading a purpose this way takes about half of what a planned statement took (docs/performance.md). Tables that name a subject are never read
//! this way: row-level security lives in the executor.

use pgrx::pg_sys;

use crate::columns::Columns;
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
        mut pick: impl FnMut(&Columns) -> Option<T>,
    ) -> Option<T> {
        // SAFETY: the key compares the text in the index's first column, and outlives the scan.
        unsafe {
            let wanted = pg_sys::cstring_to_text_with_len(
                key.as_ptr().cast(),
                i32::try_from(key.len()).unwrap_or(0),
            );
            let wanted = comparison(
                pg_sys::BTEqualStrategyNumber,
                pg_sys::F_TEXTEQ,
                pg_sys::Datum::from(wanted),
            );
            let relations = (self.table.oid(), self.index.oid());
            backwards(relations, snapshot, &mut [wanted], |row| {
                row.must_be(self.columns);
                pick(row)
            })
        }
    }
}

/// What a column, the first of a table and of its index, is compared with: by which of the operators that a btree knows, and by which function.
pub fn comparison(strategy: u32, function: u32, with: pg_sys::Datum) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: fills the key in.
    unsafe { pg_sys::ScanKeyInit(&mut key, 1, strategy as u16, function.into(), with) };
    key
}

/// Goes through the rows that keys find in the index of a table, the last first, until `pick` takes one.
///
/// # Safety
/// The keys must fit the index, and the snapshot stay valid.
pub unsafe fn backwards<T>(
    (table, index): (pg_sys::Oid, pg_sys::Oid),
    snapshot: pg_sys::Snapshot,
    keys: &mut [pg_sys::ScanKeyData],
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
        let scan = pg_sys::systable_beginscan_ordered(
            relation,
            index,
            snapshot,
            i32::try_from(keys.len()).unwrap_or(0),
            keys.as_mut_ptr(),
        );
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
