//! Is a partition of the log still as it was made? What is written below SQL is checked by nobody else.

use pgrx::pg_sys;

use crate::backend_local::BackendLocal;
use crate::relation;

/// The types of the log's columns, in the order of sql/50_log.sql.
const TYPES: [pg_sys::Oid; COLUMNS] = [
    pg_sys::INT8OID,
    pg_sys::INT4OID,
    pg_sys::INT8OID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::UUIDOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::NAMEOID,
    pg_sys::NAMEOID,
    pg_sys::BYTEAOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::INT4OID,
    pg_sys::TEXTARRAYOID,
    pg_sys::TEXTARRAYOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::BOOLOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::INT4OID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::INT4OID,
    pg_sys::INT4OID,
    pg_sys::INT4OID,
    pg_sys::BYTEAOID,
    pg_sys::BYTEAOID,
];
pub const COLUMNS: usize = 29;

/// The partition last found to be as we made it, and as of which change: (oid, count of relation changes).
static VETTED: BackendLocal<(u32, u32)> = BackendLocal::new((0, 0));

/// Whether the partition has our columns and none but plain indexes: below SQL nobody computes expressions or looks at predicates.
/// Asked again only after some relation has changed.
pub unsafe fn as_we_made_it(relation: pg_sys::Relation) -> bool {
    let (oid, changes) = unsafe { ((*relation).rd_id.to_u32(), relation::changes()) };
    if VETTED.with(|vetted| *vetted == (oid, changes)) {
        return true;
    }
    // SAFETY: an open relation; the list of its indexes is ours to read.
    let good = unsafe {
        let indexes = pg_sys::RelationGetIndexList(relation);
        let count = indexes
            .as_ref()
            .map_or(0, |list| usize::try_from(list.length).unwrap_or(0));
        let plain = (0..count).all(|at| is_plain((*(*indexes).elements.add(at)).oid_value));
        (*(*relation).rd_rel).relispartition && has_our_columns((*relation).rd_att) && plain
    };
    if good {
        VETTED.with(|vetted| *vetted = (oid, changes));
    }
    good
}

/// A column that was dropped stays in its place, without a type.
unsafe fn has_our_columns(columns: pg_sys::TupleDesc) -> bool {
    unsafe {
        (*columns).natts as usize == COLUMNS
            && (1..)
                .zip(TYPES)
                .all(|(at, type_)| pg_sys::SPI_gettypeid(columns, at) == type_)
    }
}

unsafe fn is_plain(index: pg_sys::Oid) -> bool {
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::RowExclusiveLock as i32);
        let form = (*index).rd_index;
        let plain = pg_sys::RelationGetIndexExpressions(index).is_null()
            && pg_sys::RelationGetIndexPredicate(index).is_null()
            && !(*form).indisexclusion
            && (*form).indimmediate;
        pg_sys::index_close(index, pg_sys::NoLock as i32);
        plain
    }
}
