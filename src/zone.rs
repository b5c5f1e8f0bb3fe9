//! `_zone_sees`: what the row-level policies on `subjects` ask.

use identity_core::vocabulary::Vertical;
use pgrx::pg_sys;

use crate::caller::Caller;
use crate::sql_function::{Arguments, sql_function};

sql_function!(_zone_sees, pg_finfo__zone_sees, run);

/// A vertical that is not understood is treated as unknown, hence as healthcare.
fn run(arguments: Arguments) -> pg_sys::Datum {
    let vertical = arguments
        .get::<&str>(0)
        .and_then(Vertical::parse)
        .unwrap_or(Vertical::Unknown);
    pg_sys::Datum::from(Caller::current().zone.sees(vertical))
}
