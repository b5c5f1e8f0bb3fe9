//! `identity.pii_access_log` below SQL: forms a row, inserts it into the month's partition, finds the newest row of a lane.
//!
//! Why not `INSERT` through SPI: a row written below SQL pays no executor start and no routing through the partitioned parent, and meets no
//! trigger, rule or policy that somebody could have put in its way.

use std::ffi::CString;

use identity_core::chain::Head;
use identity_core::field::FieldSet;
use identity_core::leaf::AccessRow;
use identity_core::reason::Reason;
use pgrx::{IntoDatum, pg_sys};

use crate::backend_local::BackendLocal;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::error;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::relation;

/// Columns of the log, in the order of sql/50_log.sql.
const COLUMNS: usize = 29;
const ACCESS_ID: i16 = 1;
const SEQ: i32 = 3;
const INTEGRITY_HASH: i32 = 29;

/// The partition last found to be as we made it, and as of which change: (oid, count of relation changes).
static VETTED: BackendLocal<(u32, u32)> = BackendLocal::new((0, 0));

/// The newest partition first. Names end in year and month, so they sort by time.
static PARTITIONS: Statement = Statement::read(
    c"SELECT c.oid, x.indexrelid,
             c.relname <= 'pii_access_log_' || pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM')
        FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
        JOIN pg_catalog.pg_index x ON x.indrelid OPERATOR(pg_catalog.=) c.oid AND x.indisprimary
       WHERE i.inhparent OPERATOR(pg_catalog.=) $1
       ORDER BY c.relname DESC",
    &[pg_sys::OIDOID],
);

/// Inserts the row into the partition of its month; `audit_unwritable` if there is none.
pub fn insert(row: &AccessRow<'_>, mac: &[u8; 32]) -> Result<(), Reason> {
    // SAFETY: the tuple is formed for the partition that it goes to.
    unsafe {
        let relation = open_partition(row.accessed_at)?;
        let tuple = form(relation, row, mac);
        // The plain way to insert a tuple and its index entries; nothing about it is particular to catalogs.
        pg_sys::CatalogTupleInsert(relation, tuple);
        pg_sys::heap_freetuple(tuple);
        // The lock stays until the transaction ends, as after any INSERT.
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    Ok(())
}

/// Inserts the rows of a batch: the pages are filled and logged many rows at a time, and the indexes opened once.
pub fn insert_many(rows: &[(AccessRow<'_>, [u8; 32])]) -> Result<(), Reason> {
    let month = |row: &AccessRow<'_>| partition_name(row.accessed_at);
    for rows in rows.chunk_by(|(a, _), (b, _)| month(a) == month(b)) {
        let Some((first, _)) = rows.first() else {
            continue;
        };
        // SAFETY: the tuples are formed for the partition that they go to, one for each slot; slots free what they were given.
        unsafe {
            let relation = open_partition(first.accessed_at)?;
            let mut slots = rows
                .iter()
                .map(|(row, mac)| {
                    let slot = pg_sys::MakeSingleTupleTableSlot(
                        (*relation).rd_att,
                        &raw const pg_sys::TTSOpsHeapTuple,
                    );
                    pg_sys::ExecStoreHeapTuple(form(relation, row, mac), slot, true);
                    slot
                })
                .collect::<Vec<_>>();
            let indexes = pg_sys::CatalogOpenIndexes(relation);
            let count = i32::try_from(slots.len()).unwrap_or(0);
            pg_sys::CatalogTuplesMultiInsertWithInfo(relation, slots.as_mut_ptr(), count, indexes);
            pg_sys::CatalogCloseIndexes(indexes);
            for slot in slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
    }
    Ok(())
}

/// The tuple of a row.
///
/// # Safety
/// The relation is open and was checked to have our columns.
unsafe fn form(
    relation: pg_sys::Relation,
    row: &AccessRow<'_>,
    mac: &[u8; 32],
) -> pg_sys::HeapTuple {
    let mut values = Values {
        datums: [pg_sys::Datum::from(0); COLUMNS],
        nulls: [true; COLUMNS],
        next: 0,
    };
    let (role, outer) = (name(row.accessor_role), name(row.accessor_outer));
    values.push(Some(row.access_id()));
    values.push(i32::try_from(row.lane).ok());
    values.push(i64::try_from(row.seq).ok());
    values.push_datum(Some(pg_sys::Datum::from(
        row.accessed_at - UNIX_EPOCH_MICROS,
    )));
    values.push_reference(row.candidate_id.as_ref());
    values.push_text(Some(row.accessor_kind.as_str()));
    values.push_text(Some(row.accessor_id));
    values.push_reference(Some(&role));
    values.push_reference(Some(&outer));
    values.push_bytes(row.cert_fingerprint.as_ref());
    values.push_text(row.application_name);
    values.push_text(row.purpose_token);
    values.push(row.purpose_version);
    values.push_fields(row.fields_accessed);
    values.push_fields(row.phi_fields);
    values.push_text(row.request_trace_id);
    values.push_text(Some(row.chain_kind.as_str()));
    values.push(Some(row.is_legal_tier_event));
    values.push_text(Some(row.outcome.as_str()));
    values.push_text(row.denial.map(Reason::code));
    values.push(i32::try_from(row.repeats).ok());
    values.push_text(row.consent_status.map(|status| status.as_str()));
    values.push_text(row.vertical.map(|vertical| vertical.as_str()));
    values.push_text(Some(row.zone.as_str()));
    values.push(row.generation);
    values.push(row.key_version);
    values.push(Some(row.chain_version));
    values.push_bytes(row.event_digest.as_ref());
    values.push_bytes(Some(mac));
    // SAFETY: the values are of the parent's column types in the parent's order, which partitions share (checked when they are opened).
    unsafe {
        pg_sys::heap_form_tuple(
            (*relation).rd_att,
            values.datums.as_mut_ptr(),
            values.nulls.as_mut_ptr(),
        )
    }
}

/// The newest row of a lane, or `None` if it has none.
///
/// Looks at committed rows as they are, not under an MVCC snapshot, which in a SERIALIZABLE transaction would take predicate
/// locks on the log and make unrelated readers fail. Never asks the parent: with years of partitions that is hundreds of locks.
pub fn newest(lane: u32) -> Option<Head> {
    let partitions = with_latest_snapshot(|| {
        connected(|| {
            let rows = PARTITIONS.run(&mut [bind(relation::find(c"pii_access_log"))]);
            let partition = |row| Some((rows.get(row, 1)?, rows.get(row, 2)?, rows.get(row, 3)?));
            (0..rows.count)
                .filter_map(partition)
                .collect::<Vec<(pg_sys::Oid, pg_sys::Oid, bool)>>()
        })
    });
    let mut newest: Option<Head> = None;
    let mut with_rows = 0;
    for (table, index, begun) in partitions {
        if let Some(head) = newest_in(table, index, lane) {
            with_rows += usize::from(begun);
            if newest.is_none_or(|known| head.seq > known.seq) {
                newest = Some(head);
            }
        }
        // Months ahead hold rows of a clock that was wrong, and one month more than seems needed those of one that was set back: the
        // newest row need not be in the newest month.
        if with_rows == 2 {
            break;
        }
    }
    newest
}

fn newest_in(table: pg_sys::Oid, index: pg_sys::Oid, lane: u32) -> Option<Head> {
    // SAFETY: the relations are opened and closed here; the key compares the bigint column access_id.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        let end = (i64::from(lane) + 1) << 48;
        pg_sys::ScanKeyInit(
            &mut key,
            ACCESS_ID,
            pg_sys::BTLessStrategyNumber as u16,
            pg_sys::F_INT8LT.into(),
            pg_sys::Datum::from(end),
        );
        let scan = pg_sys::systable_beginscan_ordered(
            relation,
            index,
            &raw mut pg_sys::SnapshotSelfData,
            1,
            &mut key,
        );
        let tuple =
            pg_sys::systable_getnext_ordered(scan, pg_sys::ScanDirection::BackwardScanDirection);
        let head = if tuple.is_null() {
            None
        } else {
            head_of(tuple, (*relation).rd_att, lane)
        };
        pg_sys::systable_endscan_ordered(scan);
        pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        head
    }
}

unsafe fn head_of(
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    lane: u32,
) -> Option<Head> {
    unsafe {
        let mut null = false;
        let access_id =
            pg_sys::heap_getattr(tuple, i32::from(ACCESS_ID), descriptor, &mut null).value() as i64;
        if null || access_id >> 48 != i64::from(lane) {
            return None;
        }
        let seq = pg_sys::heap_getattr(tuple, SEQ, descriptor, &mut null).value() as i64;
        let mac = pg_sys::heap_getattr(tuple, INTEGRITY_HASH, descriptor, &mut null);
        let mac = pgrx::varlena_to_byte_slice(pg_sys::pg_detoast_datum_packed(mac.cast_mut_ptr()));
        match (u64::try_from(seq), <[u8; 32]>::try_from(mac)) {
            (Ok(seq), Ok(mac)) => Some(Head { seq, mac }),
            _ => error::raise(Reason::Chain),
        }
    }
}

/// The partition for a moment (µs since the Unix epoch), locked for inserting.
unsafe fn open_partition(at: i64) -> Result<pg_sys::Relation, Reason> {
    unsafe {
        let table = partition_name(at).map_or(pg_sys::InvalidOid, |name| relation::find(&name));
        if table == pg_sys::InvalidOid {
            return Err(Reason::AuditUnwritable);
        }
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if as_we_made_it(relation) {
            Ok(relation)
        } else {
            Err(Reason::AuditUnwritable)
        }
    }
}

/// Whether a row of this moment has a partition to go to.
pub fn has_partition(at: i64) -> bool {
    let table = partition_name(at).map_or(pg_sys::InvalidOid, |name| relation::find(&name));
    // SAFETY: a syscache look-up.
    table != pg_sys::InvalidOid && unsafe { pg_sys::get_rel_relispartition(table) }
}

/// Whether the partition has our columns and none but plain indexes: below SQL nobody computes expressions or looks at predicates.
/// Asked again only after some relation has changed.
unsafe fn as_we_made_it(relation: pg_sys::Relation) -> bool {
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
        (*(*relation).rd_rel).relispartition
            && (*(*relation).rd_att).natts as usize == COLUMNS
            && plain
    };
    if good {
        VETTED.with(|vetted| *vetted = (oid, changes));
    }
    good
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

fn partition_name(at: i64) -> Option<CString> {
    let mut month = pg_sys::pg_tm::default();
    let mut fraction = 0;
    // SAFETY: plain arithmetic on the given timestamp; without a time zone it is UTC.
    let failed = unsafe {
        pg_sys::timestamp2tm(
            at - UNIX_EPOCH_MICROS,
            std::ptr::null_mut(),
            &mut month,
            &mut fraction,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    (failed == 0)
        .then(|| {
            CString::new(format!(
                "pii_access_log_y{:04}m{:02}",
                month.tm_year, month.tm_mon
            ))
            .ok()
        })
        .flatten()
}

/// A `name`: 64 bytes, zero-padded.
fn name(text: &str) -> [u8; 64] {
    let mut name = [0; 64];
    for (to, from) in name.iter_mut().zip(text.as_bytes().iter().take(63)) {
        *to = *from;
    }
    name
}

struct Values {
    datums: [pg_sys::Datum; COLUMNS],
    nulls: [bool; COLUMNS],
    next: usize,
}

impl Values {
    fn push_datum(&mut self, datum: Option<pg_sys::Datum>) {
        if let (Some(datum), Some(slot), Some(null)) = (
            datum,
            self.datums.get_mut(self.next),
            self.nulls.get_mut(self.next),
        ) {
            *slot = datum;
            *null = false;
        }
        self.next += 1;
    }

    fn push<T: IntoDatum>(&mut self, value: Option<T>) {
        self.push_datum(value.and_then(IntoDatum::into_datum));
    }

    /// A fixed-length value by reference (uuid, name): it must outlive the forming of the tuple.
    fn push_reference<const N: usize>(&mut self, bytes: Option<&[u8; N]>) {
        self.push_datum(bytes.map(|bytes| pg_sys::Datum::from(bytes.as_ptr())));
    }

    fn push_text(&mut self, text: Option<&str>) {
        self.push_datum(text.map(|text| varlena(text.as_bytes())));
    }

    fn push_bytes(&mut self, bytes: Option<&[u8; 32]>) {
        self.push_datum(bytes.map(|bytes| varlena(bytes)));
    }

    fn push_fields(&mut self, fields: FieldSet) {
        let mut elements = fields
            .iter()
            .map(|field| varlena(field.name().as_bytes()))
            .collect::<Vec<_>>();
        let count = i32::try_from(elements.len()).unwrap_or(0);
        // SAFETY: `count` text datums.
        let array = unsafe {
            pg_sys::construct_array(
                elements.as_mut_ptr(),
                count,
                pg_sys::TEXTOID,
                -1,
                false,
                b'i' as i8,
            )
        };
        self.push_datum(Some(pg_sys::Datum::from(array)));
    }
}

/// text and bytea share one layout.
fn varlena(bytes: &[u8]) -> pg_sys::Datum {
    // SAFETY: copies the bytes into palloc'd memory.
    unsafe {
        pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
            bytes.as_ptr().cast(),
            i32::try_from(bytes.len()).unwrap_or(0),
        ))
    }
}
