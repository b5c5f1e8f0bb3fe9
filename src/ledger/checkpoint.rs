//! `ledger_checkpoint` and `ledger_consistency`: what the tree is now, and that it grew out of what it was.

use identity_core::checkpoint::{Checkpoint, origin};
use identity_core::incarnation;
use identity_core::merkle;
use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::tree_store::{self, Stored};
use crate::answer::value;
use crate::arrays::{Element, array};
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, error};

sql_function!(ledger_checkpoint, pg_finfo_ledger_checkpoint, run);
sql_function!(ledger_consistency, pg_finfo_ledger_consistency, consistency);

/// Under which incarnation's name it goes on.
static INCARNATION: Statement = Statement::read(
    c"SELECT pg_catalog.max(incarnation) FROM identity.ledger_incarnations",
    &[],
);
/// A log that was ever kept with development keys is another log: whoever reads this page can forge it.
static LOG: Statement = Statement::read(
    c"SELECT i.installation_id, EXISTS (SELECT FROM identity.keyring k WHERE k.provider = 'development') FROM identity.installation i",
    &[],
);

fn run(_: Arguments) -> pg_sys::Datum {
    call::operation();
    let checkpoint = with_latest_snapshot(|| connected(|| of_size(tree_store::size())));
    let text = checkpoint
        .unwrap_or_else(|reason| error::raise(reason))
        .text();
    value(text).unwrap_or(pg_sys::Datum::from(0))
}

/// What the log is called. Runs inside a call's snapshot.
pub fn name() -> Result<String, Reason> {
    let log = LOG.run(&mut []);
    let installation = log
        .datum(0, 1)
        .map(crate::sql_function::uuid)
        .ok_or(Reason::NotInitialized)?;
    let log = origin(&installation, log.get(0, 2).unwrap_or(true));
    let number = INCARNATION.run(&mut []).get::<i64>(0, 1);
    // A number that is none of ours makes a name that nobody has declared.
    let number = number.map_or(1, |number| u32::try_from(number).unwrap_or(u32::MAX));
    Ok(incarnation::name(&log, number))
}

/// The checkpoint of the tree as it was at a size. Runs inside a call's snapshot.
pub fn of_size(size: u64) -> Result<Checkpoint, Reason> {
    Ok(Checkpoint {
        origin: name()?,
        size,
        root: merkle::root(size, &Stored)?,
        extensions: Vec::new(),
    })
}

fn consistency(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let size = |number| {
        let size = arguments
            .get::<i64>(number)
            .unwrap_or_else(|| error::raise(Reason::NullArgument));
        u64::try_from(size).unwrap_or_else(|_| error::raise(Reason::BadArgument))
    };
    let (old, new) = (size(0), size(1));
    let path = with_latest_snapshot(|| {
        connected(|| {
            if old > new || new > tree_store::size() {
                return Err(Reason::BadArgument);
            }
            merkle::consistency(old, new, &Stored)
        })
    });
    let path = path.unwrap_or_else(|reason| error::raise(reason));
    hashes(&path)
}

/// Hashes, or salts, as a bytea[].
pub fn hashes<const N: usize>(hashes: &[[u8; N]]) -> pg_sys::Datum {
    let elements = hashes.iter().map(|hash| value(hash.to_vec()));
    array(&elements.collect::<Vec<_>>(), Element::Bytes)
}
