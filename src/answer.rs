//! Answers: a record, or a set of them.

use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::{IntoDatum, pg_sys};

use crate::sql_function::Arguments;

/// The most that an answer of many rows may take: PostgreSQL writes one that outgrows work_mem to a file, in plaintext.
pub fn most_bytes() -> usize {
    // SAFETY: a setting, in kB.
    usize::try_from(unsafe { pg_sys::work_mem }).unwrap_or(0) * 1024 / 2
}

/// The row type of a function that returns one row, made once per backend.
pub struct RowType {
    columns: &'static [(&'static CStr, pg_sys::Oid)],
    descriptor: AtomicPtr<pg_sys::TupleDescData>,
}

impl RowType {
    pub const fn new(columns: &'static [(&'static CStr, pg_sys::Oid)]) -> Self {
        Self {
            columns,
            descriptor: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// A record of these columns; `None` is NULL.
    pub fn record(&self, values: &[Option<pg_sys::Datum>]) -> pg_sys::Datum {
        let (mut datums, mut nulls) = split(values);
        // SAFETY: as many values as columns, of their types.
        unsafe {
            let tuple =
                pg_sys::heap_form_tuple(self.descriptor(), datums.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data)
        }
    }

    fn descriptor(&self) -> pg_sys::TupleDesc {
        let known = self.descriptor.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: built in the context that lives as long as the backend.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let made =
                pg_sys::CreateTemplateTupleDesc(i32::try_from(self.columns.len()).unwrap_or(0));
            for (number, (name, oid)) in (1..).zip(self.columns) {
                pg_sys::TupleDescInitEntry(made, number, name.as_ptr(), *oid, -1, 0);
            }
            let blessed = pg_sys::BlessTupleDesc(made);
            pg_sys::MemoryContextSwitchTo(before);
            self.descriptor.store(blessed, Ordering::Relaxed);
            blessed
        }
    }
}

/// The rows of a function that returns a set, collected as they come.
pub struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Rows {
    pub fn of(call: Arguments) -> Self {
        // SAFETY: sets the call up for materialized results, or raises if the caller cannot take them.
        unsafe {
            pg_sys::InitMaterializedSRF(call.raw(), 0);
            let result = (*call.raw()).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            Self {
                store: (*result).setResult,
                descriptor: (*result).setDesc,
            }
        }
    }

    pub fn push(&mut self, values: &[Option<pg_sys::Datum>]) {
        let (mut datums, mut nulls) = split(values);
        // SAFETY: as many values as the function's result has columns, of their types.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        };
    }
}

/// A value as a datum.
pub fn value<T: IntoDatum>(value: T) -> Option<pg_sys::Datum> {
    value.into_datum()
}

/// A PostgreSQL timestamp (µs since 2000) as a timestamptz datum.
pub fn timestamp(micros: i64) -> Option<pg_sys::Datum> {
    Some(pg_sys::Datum::from(micros))
}

fn split(values: &[Option<pg_sys::Datum>]) -> (Vec<pg_sys::Datum>, Vec<bool>) {
    values
        .iter()
        .map(|value| (value.unwrap_or(pg_sys::Datum::from(0)), value.is_none()))
        .unzip()
}
