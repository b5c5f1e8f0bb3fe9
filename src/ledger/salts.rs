//! `ledger_salts` and `ledger_seal_salts`: what a tool needs that streams rows and seals and hashes them by itself. A salt tells nothing about a row, and no
//! table is read: whether there is such a row is not answered.

use identity_core::reason::Reason;
use identity_core::salt::Salts;
use pgrx::pg_sys;

use super::checkpoint::hashes;
use crate::arrays::Element;
use crate::keys::{self, region};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, error};

sql_function!(ledger_salts, pg_finfo_ledger_salts, of_rows);
sql_function!(ledger_seal_salts, pg_finfo_ledger_seal_salts, of_seals);

const MAX_NUMBERS: usize = 10_000;

fn of_rows(arguments: Arguments) -> pg_sys::Datum {
    salts(arguments, |salts, id| Some(salts.row(id)))
}

/// Seals are told by where their leaf stands in the tree.
fn of_seals(arguments: Arguments) -> pg_sys::Datum {
    salts(arguments, |salts, index| {
        Some(salts.seal(u64::try_from(index).ok()?))
    })
}

fn salts(arguments: Arguments, salt: impl Fn(&Salts, i64) -> Option<[u8; 16]>) -> pg_sys::Datum {
    call::operation();
    let numbers = numbers(arguments).unwrap_or_else(|reason| error::raise(reason));
    let version = arguments
        .get::<i32>(1)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let key = u32::try_from(version).ok().and_then(region::chain_key);
    let key = key.unwrap_or_else(|| error::raise(Reason::BadArgument));
    let of_key = Salts::new(&key, &keys.installation);
    let salts = numbers
        .into_iter()
        .map(|number| salt(&of_key, number))
        .collect::<Option<Vec<_>>>();
    hashes(&salts.unwrap_or_else(|| error::raise(Reason::BadArgument)))
}

fn numbers(arguments: Arguments) -> Result<Vec<i64>, Reason> {
    let numbers = arguments
        .list(0, MAX_NUMBERS, Element::Int8)
        .ok_or(Reason::NullArgument)??;
    numbers
        .into_iter()
        .map(|number| Ok(number.ok_or(Reason::NullArgument)?.value() as i64))
        .collect()
}
