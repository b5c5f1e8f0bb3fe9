//! Rows of `identity.pii_access_log`: formed and inserted into the partition of their month, below SQL.
//!
//! Why not `INSERT` through SPI: a row written below SQL pays no executor start and no routing through the partitioned parent, and meets no
//! trigger, rule or policy that somebody could have put in its way.

use identity_core::field::FieldSet;
use identity_core::leaf::AccessRow;
use identity_core::reason::Reason;
use pgrx::{IntoDatum, pg_sys};

use super::table::open_partition;
use super::vetting::COLUMNS;
use crate::clock::UNIX_EPOCH_MICROS;

/// Rows of a batch that are formed before they are written: some pages' worth. PostgreSQL notes each slot's pin of the row type, and slows down with
/// many notes of the same.
const ROWS_AT_ONCE: usize = 64;

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
