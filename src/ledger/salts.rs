//! `ledger_salts`: what a tool needs that streams rows and hashes them by itself. A salt tells nothing about a row, and no table is read: whether there
//! is such a row is not answered.

use identity_core::reason::Reason;
use identity_core::salt::row_salt;
use pgrx::pg_sys;

use super::checkpoint::hashes;
use crate::arrays::Element;
use crate::keys::{self, region};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, error};

sql_function!(ledger_salts, pg_finfo_ledger_salts, run);

const MAX_IDS: usize = 10_000;

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let ids = access_ids(arguments).unwrap_or_else(|reason| error::raise(reason));
    let version = arguments
        .get::<i32>(1)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let key = u32::try_from(version).ok().and_then(region::chain_key);
    let key = key.unwrap_or_else(|| error::raise(Reason::BadArgument));
    let salts = ids
        .into_iter()
        .map(|id| row_salt(&key, &keys.installation, id))
        .collect::<Vec<_>>();
    hashes(&salts)
}

fn access_ids(arguments: Arguments) -> Result<Vec<i64>, Reason> {
    let ids = arguments
        .list(0, MAX_IDS, Element::Int8)
        .ok_or(Reason::NullArgument)??;
    ids.into_iter()
        .map(|id| Ok(id.ok_or(Reason::NullArgument)?.value() as i64))
        .collect()
}
