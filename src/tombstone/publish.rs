//! `tombstones`: what the worker publishes of the erasures that some leaves of the tree record.

use identity_core::reason::Reason;
use identity_core::tombstone::MAX_TOMBSTONES;
use pgrx::pg_sys;

use crate::answer::Rows as Answer;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, error};

sql_function!(tombstones, pg_finfo_tombstones, run);

static SEALED: Statement = Statement::read(
    c"SELECT l.leaf_index, t.kind, t.tombstone FROM identity.ledger_leaves l JOIN identity.tombstones t ON t.access_id = l.access_id
       WHERE l.leaf_index >= $1 AND l.leaf_index < $2 ORDER BY l.leaf_index LIMIT $3",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::INT8OID],
);

/// In the order of the leaves; where there are more than one object may hold, the first of them.
fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let (Some(from), Some(to)) = (arguments.get::<i64>(0), arguments.get::<i64>(1)) else {
        error::raise(Reason::NullArgument);
    };
    if from < 0 || to < from {
        error::raise(Reason::BadArgument);
    }
    // Whoever erases, asks and rolls back would have the tombstone of somebody who was never erased.
    // SAFETY: reads the transaction's state.
    if unsafe { pg_sys::GetTopTransactionIdIfAny() } != pg_sys::InvalidTransactionId {
        error::raise(Reason::NotSealed);
    }
    let mut answer = Answer::of(arguments);
    with_latest_snapshot(|| {
        connected(|| {
            let most = i64::try_from(MAX_TOMBSTONES).unwrap_or(i64::MAX);
            let rows = SEALED.run(&mut [bind(from), bind(to), bind(most)]);
            for row in 0..rows.count {
                answer.push(&[1, 2, 3].map(|column| rows.datum(row, column)));
            }
        });
    });
    pg_sys::Datum::from(0)
}
