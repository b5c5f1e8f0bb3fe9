//! SQL from inside: constant text, bound arguments, plans kept per backend, under the snapshot of the call.
//!
//! pgrx's `select` chooses between the statement's and the transaction's snapshot; a policy that was revoked after that snapshot would
//! still allow. So every statement here runs under the snapshot that `with_latest_snapshot` pushed.

use std::cell::RefCell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::datum::FromDatum;
use pgrx::{IntoDatum, pg_sys};

use crate::columns::Columns;
use crate::error;

/// One statement, prepared on first use and kept as long as the backend lives.
pub struct Statement {
    text: &'static CStr,
    types: &'static [pg_sys::Oid],
    writes: bool,
    plan: AtomicPtr<pg_sys::_SPI_plan>,
}

/// The rows a statement gave.
pub struct Rows {
    table: *mut pg_sys::SPITupleTable,
    pub count: usize,
    /// The row that was looked at last.
    looked_at: RefCell<(Option<usize>, Columns)>,
}

impl Statement {
    pub const fn read(text: &'static CStr, types: &'static [pg_sys::Oid]) -> Self {
        Self {
            text,
            types,
            writes: false,
            plan: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    pub const fn write(text: &'static CStr, types: &'static [pg_sys::Oid]) -> Self {
        Self {
            text,
            types,
            writes: true,
            plan: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Runs the statement inside `connected` and the call's snapshot; `None` is NULL.
    pub fn run(&self, arguments: &mut [Option<pg_sys::Datum>]) -> Rows {
        if arguments.len() != self.types.len() {
            error::fault("a statement was given the wrong number of arguments");
        }
        execute(self.plan(), arguments, self.writes)
    }

    fn plan(&self) -> pg_sys::SPIPlanPtr {
        let known = self.plan.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: constant text and types; SPI copies both.
        unsafe {
            let mut types = self.types.to_vec();
            let count = i32::try_from(types.len()).unwrap_or(0);
            let plan = pg_sys::SPI_prepare(self.text.as_ptr(), count, types.as_mut_ptr());
            if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                error::fault("a statement of identity_pgx could not be prepared");
            }
            self.plan.store(plan, Ordering::Relaxed);
            plan
        }
    }
}

/// Runs a plan under the call's snapshot.
fn execute(plan: pg_sys::SPIPlanPtr, arguments: &[Option<pg_sys::Datum>], writes: bool) -> Rows {
    let nulls = arguments
        .iter()
        .map(|a| if a.is_none() { b'n' } else { b' ' } as i8)
        .collect::<Vec<_>>();
    let mut values = arguments
        .iter()
        .map(|a| a.unwrap_or(pg_sys::Datum::from(0)))
        .collect::<Vec<_>>();
    // SAFETY: the plan was prepared with as many types as there are values and nulls; an active snapshot is pushed.
    unsafe {
        let code = pg_sys::SPI_execute_snapshot(
            plan,
            values.as_mut_ptr(),
            nulls.as_ptr().cast(),
            pg_sys::GetActiveSnapshot(),
            std::ptr::null_mut(),
            !writes,
            true,
            0,
        );
        if code < 0 {
            error::fault("a statement of identity_pgx could not be run");
        }
        Rows {
            table: pg_sys::SPI_tuptable,
            count: usize::try_from(pg_sys::SPI_processed).unwrap_or(0),
            looked_at: RefCell::default(),
        }
    }
}

/// A statement on a table that is not ours, whose text is only known now: its names must come through `quote_ident`. Gone when `connected` ends.
pub struct Made {
    plan: pg_sys::SPIPlanPtr,
    arguments: usize,
}

impl Made {
    /// Parses the statement, as whoever the current user is.
    pub fn new(text: &str, types: &[pg_sys::Oid]) -> Self {
        let text = std::ffi::CString::new(text).unwrap_or_default();
        let mut types = types.to_vec();
        let count = i32::try_from(types.len()).unwrap_or(0);
        // SAFETY: a C string and as many types as are counted; SPI copies both.
        let plan = unsafe { pg_sys::SPI_prepare(text.as_ptr(), count, types.as_mut_ptr()) };
        if plan.is_null() {
            error::fault("a statement on an application's table could not be prepared");
        }
        Self {
            plan,
            arguments: types.len(),
        }
    }

    /// Runs it; it sees what this transaction has done so far.
    pub fn run(&self, arguments: &[Option<pg_sys::Datum>]) -> Rows {
        if arguments.len() != self.arguments {
            error::fault("a statement was given the wrong number of arguments");
        }
        execute(self.plan, arguments, true)
    }
}

impl Rows {
    /// A column (from 1) of a row (from 0); `None` is NULL. By-reference values live until `connected` ends.
    pub fn datum(&self, row: usize, column: i32) -> Option<pg_sys::Datum> {
        if row >= self.count || self.table.is_null() {
            return None;
        }
        let (looked_at, columns) = &mut *self.looked_at.borrow_mut();
        if *looked_at != Some(row) {
            // SAFETY: the row is below the count SPI gave for this table.
            unsafe { columns.take_apart(*(*self.table).vals.add(row), (*self.table).tupdesc) };
            *looked_at = Some(row);
        }
        columns.datum(usize::try_from(column).ok()?)
    }

    /// The same as a Rust value of the column's type.
    pub fn get<T: FromDatum>(&self, row: usize, column: i32) -> Option<T> {
        // SAFETY: the statements beside their callers say the column types.
        unsafe { T::from_datum(self.datum(row, column)?, false) }
    }

    /// A timestamptz, in microseconds since 2000.
    pub fn moment(&self, row: usize, column: i32) -> Option<i64> {
        self.datum(row, column).map(|at| at.value() as i64)
    }

    /// The last column of a row, which must be a timestamptz; in microseconds since 2000.
    pub fn last_moment(&self, row: usize) -> Option<i64> {
        if row >= self.count || self.table.is_null() {
            return None;
        }
        // SAFETY: the table's own descriptor.
        let column = unsafe {
            let descriptor = (*self.table).tupdesc;
            let column = (*descriptor).natts;
            if pg_sys::SPI_gettypeid(descriptor, column) != pg_sys::TIMESTAMPTZOID {
                error::fault("a statement does not end with the column it must end with");
            }
            column
        };
        self.datum(row, column).map(|at| at.value() as i64)
    }

    /// The bytes of a bytea column, without copying those that lie flat in their row.
    pub fn bytes(&self, row: usize, column: i32) -> Option<&[u8]> {
        // SAFETY: a bytea datum; detoasted memory lives until `connected` ends, which outlives `self`.
        unsafe {
            Some(pgrx::varlena_to_byte_slice(
                pg_sys::pg_detoast_datum_packed(self.datum(row, column)?.cast_mut_ptr()),
            ))
        }
    }
}

/// Runs `work` connected to SPI. What it returns must own its memory.
pub fn connected<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: on ERROR the transaction's end cleans SPI up.
    unsafe {
        if pg_sys::SPI_connect() < 0 {
            error::fault("SPI is not available");
        }
        let result = work();
        pg_sys::SPI_finish();
        result
    }
}

/// Runs `work` under one snapshot taken now, whatever the isolation level: what has committed by now binds this call.
pub fn with_latest_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: on ERROR the (sub)transaction's end pops what it pushed.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let result = work();
        pg_sys::PopActiveSnapshot();
        result
    }
}

/// An argument for a statement.
pub fn bind<T: IntoDatum>(value: T) -> Option<pg_sys::Datum> {
    value.into_datum()
}
