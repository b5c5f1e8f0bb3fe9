//! One row taken apart.
//!
//! All its columns at once: that costs less than asking PostgreSQL for each, which walks past those before it every time, and every call
//! into PostgreSQL has its guard.

use pgrx::pg_sys;

use crate::error;

/// The columns of a row, by number from 1. By-reference values lie in the row they came from.
#[derive(Default)]
pub struct Columns {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Columns {
    /// Holds the columns of this row from now on.
    ///
    /// # Safety
    /// The row must be of this descriptor.
    pub unsafe fn take_apart(&mut self, tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) {
        // SAFETY: both lists get as long as the descriptor says.
        unsafe {
            let width = usize::try_from((*descriptor).natts).unwrap_or(0);
            self.values.resize(width, pg_sys::Datum::from(0));
            self.nulls.resize(width, true);
            let (values, nulls) = (self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(tuple, descriptor, values, nulls);
        }
    }

    /// A table that has not so many columns was altered, and is not read by position.
    pub fn must_be(&self, width: usize) {
        if self.values.len() != width {
            error::fault("a table of identity_pgx was altered");
        }
    }

    /// A column; `None` is NULL.
    pub fn datum(&self, column: usize) -> Option<pg_sys::Datum> {
        let at = column.checked_sub(1)?;
        let value = self.values.get(at).copied();
        value.filter(|_| self.nulls.get(at) == Some(&false))
    }

    /// The same as a Rust value of the column's type.
    pub fn get<T: pgrx::FromDatum>(&self, column: usize) -> Option<T> {
        // SAFETY: the tables and statements beside the callers say the column types.
        unsafe { T::from_datum(self.datum(column)?, false) }
    }
}
