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
/// Rows of a batch that are formed before they are written: some pages' worth. PostgreSQL notes each slot's pin of the row type, and slows down with
/// many notes of the same.
const ROWS_AT_ONCE: usize = 64;

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
        let tuple = Values::of(row, mac).form(relation);
        // The plain way to insert a tuple and its index entries; nothing about it is particular to catalogs.
        pg_sys::CatalogTupleInsert(relation, tuple);
        pg_sys::heap_freetuple(tuple);
        // The lock stays until the transaction ends, as after any INSERT.
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    Ok(())
}

/// Inserts the rows of a batch: pages are filled and logged many rows at a time, and the indexes opened once.
pub fn insert_many<'a>(
    rows: impl Iterator<Item = (AccessRow<'a>, [u8; 32])>,
) -> Result<(), Reason> {
    let mut open: Option<(i64, Batch)> = None;
    for (row, mac) in rows {
        // Rows of one moment are of one month.
        if open.as_ref().is_some_and(|(at, _)| *at != row.accessed_at)
            && let Some((_, batch)) = open.take()
        {
            batch.close();
        }
        let batch = match &mut open {
            Some((_, batch)) => batch,
            None => {
                &mut open
                    .insert((row.accessed_at, Batch::open(row.accessed_at)?))
                    .1
            }
        };
        batch.add(&row, &mac);
    }
    if let Some((_, batch)) = open {
        batch.close();
    }
    Ok(())
}

/// Rows on their way into one partition.
struct Batch {
    relation: pg_sys::Relation,
    indexes: pg_sys::CatalogIndexState,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
    /// What the columns' values lie in until they are in a tuple; emptied after each write.
    memory: pg_sys::MemoryContext,
}

impl Batch {
    fn open(at: i64) -> Result<Self, Reason> {
        // SAFETY: the relation was checked to be as we made it; on ERROR the transaction's end gives everything back.
        unsafe {
            let relation = open_partition(at)?;
            let slot = |_| {
                pg_sys::MakeSingleTupleTableSlot(
                    (*relation).rd_att,
                    &raw const pg_sys::TTSOpsHeapTuple,
                )
            };
            Ok(Self {
                relation,
                indexes: pg_sys::CatalogOpenIndexes(relation),
                slots: (0..ROWS_AT_ONCE).map(slot).collect(),
                filled: 0,
                memory: pg_sys::AllocSetContextCreateInternal(
                    pg_sys::CurrentMemoryContext,
                    c"identity_pgx rows".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                ),
            })
        }
    }

    fn add(&mut self, row: &AccessRow<'_>, mac: &[u8; 32]) {
        if self.filled == self.slots.len() {
            self.write();
        }
        if let Some(slot) = self.slots.get(self.filled) {
            // SAFETY: the tuple is formed for the relation of the slot, which frees it.
            unsafe {
                let before = pg_sys::MemoryContextSwitchTo(self.memory);
                let mut values = Values::of(row, mac);
                pg_sys::MemoryContextSwitchTo(before);
                pg_sys::ExecStoreHeapTuple(values.form(self.relation), *slot, true);
            }
            self.filled += 1;
        }
    }

    fn write(&mut self) {
        // SAFETY: the first `filled` slots hold tuples.
        unsafe {
            pg_sys::CatalogTuplesMultiInsertWithInfo(
                self.relation,
                self.slots.as_mut_ptr(),
                i32::try_from(self.filled).unwrap_or(0),
                self.indexes,
            );
            pg_sys::MemoryContextReset(self.memory);
        }
        self.filled = 0;
    }

    fn close(mut self) {
        self.write();
        // SAFETY: closed once; the lock stays until the transaction ends, as after any INSERT.
        unsafe {
            pg_sys::CatalogCloseIndexes(self.indexes);
            for slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
            pg_sys::MemoryContextDelete(self.memory);
            pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
        }
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

struct Values {
    datums: [pg_sys::Datum; COLUMNS],
    nulls: [bool; COLUMNS],
    next: usize,
}

impl Values {
    /// The columns of a row, in PostgreSQL's current memory; what lies in the row is referred to.
    fn of(row: &AccessRow<'_>, mac: &[u8; 32]) -> Self {
        let mut values = Self {
            datums: [pg_sys::Datum::from(0); COLUMNS],
            nulls: [true; COLUMNS],
            next: 0,
        };
        values.push(Some(row.access_id()));
        values.push(i32::try_from(row.lane).ok());
        values.push(i64::try_from(row.seq).ok());
        values.push_datum(Some(pg_sys::Datum::from(
            row.accessed_at - UNIX_EPOCH_MICROS,
        )));
        values.push_reference(row.candidate_id.as_ref());
        values.push_text(Some(row.accessor_kind.as_str()));
        values.push_text(Some(row.accessor_id));
        values.push_name(row.accessor_role);
        values.push_name(row.accessor_outer);
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
        values
    }

    /// The tuple of them.
    ///
    /// # Safety
    /// The relation is open and was checked to have our columns; the row lives.
    unsafe fn form(&mut self, relation: pg_sys::Relation) -> pg_sys::HeapTuple {
        // SAFETY: the values are of the parent's column types in the parent's order, which partitions share.
        unsafe {
            pg_sys::heap_form_tuple(
                (*relation).rd_att,
                self.datums.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            )
        }
    }

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

    /// A `name`: 64 bytes, zero-padded.
    fn push_name(&mut self, text: &str) {
        let len = text.len().min(63);
        // SAFETY: 64 zeroed bytes, of which at most 63 are written.
        unsafe {
            let name = pg_sys::palloc0(64).cast::<u8>();
            std::ptr::copy_nonoverlapping(text.as_ptr(), name, len);
            self.push_datum(Some(pg_sys::Datum::from(name)));
        }
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
