//! The row that a trigger fired for, and what becomes of it.

use pgrx::pg_sys;

use crate::error;
use crate::sql_function::{Arguments, text};

/// A row of the table that a trigger is on.
pub struct Row {
    pub tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
}

impl Row {
    /// The row as it is to become, or the one that is to go; and before it, the row that it replaces. `width` is the number of the table's columns.
    pub fn fired_for(arguments: Arguments, width: i32) -> (Option<Self>, Self) {
        // SAFETY: a trigger's data; its relation is open.
        unsafe {
            let trigger = arguments.trigger();
            let descriptor = (*(*trigger).tg_relation).rd_att;
            if (*descriptor).natts != width {
                error::fault("a table of identity_pgx was altered");
            }
            let row = |tuple| Self { tuple, descriptor };
            match is_event(trigger, pg_sys::TRIGGER_EVENT_UPDATE) {
                true => (
                    Some(row((*trigger).tg_trigtuple)),
                    row((*trigger).tg_newtuple),
                ),
                false => (None, row((*trigger).tg_trigtuple)),
            }
        }
    }

    pub fn datum(&self, column: i32) -> Option<pg_sys::Datum> {
        let mut null = false;
        // SAFETY: the descriptor is the tuple's, the column is one of its.
        let datum = unsafe { pg_sys::heap_getattr(self.tuple, column, self.descriptor, &mut null) };
        (!null).then_some(datum)
    }

    pub fn text(&self, column: i32) -> Option<&str> {
        self.datum(column).map(text)
    }

    pub fn int(&self, column: i32) -> Option<i32> {
        self.datum(column).map(|number| number.value() as i32)
    }

    /// Microseconds since 2000.
    pub fn moment(&self, column: i32) -> Option<i64> {
        self.datum(column).map(|at| at.value() as i64)
    }

    /// A copy with these columns replaced.
    pub fn with(&self, values: &[(i32, Option<pg_sys::Datum>)]) -> pg_sys::HeapTuple {
        let mut columns = values.iter().map(|(column, _)| *column).collect::<Vec<_>>();
        let mut datums = values
            .iter()
            .map(|(_, value)| value.unwrap_or(pg_sys::Datum::from(0)))
            .collect::<Vec<_>>();
        let mut nulls = values
            .iter()
            .map(|(_, value)| value.is_none())
            .collect::<Vec<_>>();
        // SAFETY: as many columns as values and nulls, of the columns' types; the copy is made in the context the trigger was called in.
        unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                self.tuple,
                self.descriptor,
                i32::try_from(columns.len()).unwrap_or(0),
                columns.as_mut_ptr(),
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        }
    }
}

/// Whether the trigger fired because a row is being removed.
pub fn removes(arguments: Arguments) -> bool {
    // SAFETY: a trigger's data.
    unsafe { is_event(arguments.trigger(), pg_sys::TRIGGER_EVENT_DELETE) }
}

unsafe fn is_event(trigger: *mut pg_sys::TriggerData, event: u32) -> bool {
    // SAFETY: the caller's trigger data.
    unsafe { (*trigger).tg_event & pg_sys::TRIGGER_EVENT_OPMASK == event }
}

/// A role's name as a name datum points to it: 64 bytes, filled up with zeros.
pub fn name(role: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (to, from) in bytes.iter_mut().zip(role.bytes().take(63)) {
        *to = from;
    }
    bytes
}
