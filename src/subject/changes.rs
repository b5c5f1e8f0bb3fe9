//! Which subjects changed: a feed that loses nothing whatever the order of commits, and waits for no transaction that stays open.
//!
//! A change is put down by its own transaction, without a number (the trigger of sql/45_changes.sql). The maintenance process numbers what has
//! committed: it alone does, one transaction after the other, so whoever sees a cursor sees all below it. `subject_changes` answers
//! what is not yet numbered too, so that a cache does not depend on that process for being told.
//!
//! A cursor is `epoch << 40 | count`. An epoch is one history: where it forks (a failover that lost the last moments, a restore) a new one
//! begins, and a cursor of the lost part is refused instead of being taken for one of ours.
//!
//! Trust: a hint for caches. Whoever can write these tables can make caches ask once more or, by removing rows, keep something that was replaced.

use identity_core::reason::Reason;
use pgrx::pg_sys;

use crate::answer::{Rows as Answer, value};
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::relation::Known;
use crate::sql_function::{Arguments, sql_function};
use crate::{call, error, keys, worker_process};

sql_function!(subject_changes, pg_finfo_subject_changes, run);

const MAX_CHANGES: i32 = 10_000;
const EPOCH_BITS: u32 = 40;
/// Changes numbered in one transaction, and transactions in one round.
const BATCH: i64 = 10_000;
const BATCHES_PER_ROUND: usize = 20;

static PENDING_CHANGES: Known = Known::new(c"subject_changes_pending");
static CHANGES: Known = Known::new(c"subject_changes");
static EPOCHS: Known = Known::new(c"change_epochs");

static IS_KNOWN: Statement = Statement::read(
    c"SELECT true FROM identity.change_epochs WHERE epoch = ($1 >> 40) AND last_cursor >= $1",
    &[pg_sys::INT8OID],
);

static LAST: Statement = Statement::read(
    c"SELECT epoch, last_cursor, history = $1 FROM identity.change_epochs ORDER BY epoch DESC LIMIT 1",
    &[pg_sys::TEXTOID],
);

static NUMBERED: Statement = Statement::read(
    c"SELECT candidate_id, generation, cursor FROM identity.subject_changes WHERE cursor > $1 ORDER BY cursor LIMIT $2",
    &[pg_sys::INT8OID, pg_sys::INT4OID],
);

static PENDING: Statement = Statement::read(
    c"SELECT candidate_id, generation FROM identity.subject_changes_pending LIMIT $1",
    &[pg_sys::INT4OID],
);

static BEGIN_EPOCH: Statement = Statement::write(
    c"INSERT INTO identity.change_epochs (epoch, history, last_cursor) VALUES ($1, $2, $1::bigint << 40)",
    &[pg_sys::INT4OID, pg_sys::TEXTOID],
);

/// Of one subject only the newest change is kept, under its newest cursor: the feed is never longer than there are subjects, and no cursor is
/// ever too old for it.
static NUMBER: Statement = Statement::write(
    c"WITH taken AS (
          DELETE FROM identity.subject_changes_pending p
           WHERE p.ctid = ANY (ARRAY(SELECT q.ctid FROM identity.subject_changes_pending q LIMIT $3)) RETURNING p.candidate_id, p.generation),
      newest AS (
          SELECT t.candidate_id, pg_catalog.max(t.generation) AS generation, $2 + pg_catalog.row_number() OVER () AS cursor FROM taken t GROUP BY 1),
      kept AS (
          INSERT INTO identity.subject_changes AS c (candidate_id, generation, cursor) SELECT n.candidate_id, n.generation, n.cursor FROM newest n
          ON CONFLICT (candidate_id) DO UPDATE SET generation = GREATEST(c.generation, EXCLUDED.generation), cursor = EXCLUDED.cursor
          RETURNING c.cursor)
      UPDATE identity.change_epochs e SET last_cursor = $2 + (SELECT pg_catalog.count(*) FROM kept)
       WHERE e.epoch = $1 AND EXISTS (SELECT FROM kept) RETURNING e.last_cursor, (SELECT pg_catalog.count(*) FROM taken)",
    &[pg_sys::INT4OID, pg_sys::INT8OID, pg_sys::INT8OID],
);

static NOTIFY: Statement = Statement::write(
    c"SELECT pg_catalog.pg_notify('identity_changed', $1::text)",
    &[pg_sys::INT8OID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::current_state();
    let (Some(since), Some(max)) = (arguments.get::<i64>(0), arguments.get::<i32>(1)) else {
        error::raise(Reason::NullArgument);
    };
    if since < 0 || max < 1 {
        error::raise(Reason::BadArgument);
    }
    if max > MAX_CHANGES {
        error::raise(Reason::TooMany);
    }
    let mut answer = Answer::of(arguments);
    with_latest_snapshot(|| {
        connected(|| {
            if since > 0 && IS_KNOWN.run(&mut [bind(since)]).count == 0 {
                error::raise(Reason::BadArgument);
            }
            let numbered = NUMBERED.run(&mut [bind(since), bind(max)]);
            push(&mut answer, &numbered, None);
            let room = max - i32::try_from(numbered.count).unwrap_or(max);
            if room > 0 {
                // Under the newest cursor: they come again once they have one of their own.
                let last = last().map_or(0, |(_, cursor, _)| cursor);
                push(&mut answer, &PENDING.run(&mut [bind(room)]), Some(last));
            }
        })
    });
    pg_sys::Datum::from(0)
}

fn push(answer: &mut Answer, rows: &Rows, cursor: Option<i64>) {
    for row in 0..rows.count {
        let cursor = cursor.or_else(|| rows.get(row, 3));
        answer.push(&[
            cursor.and_then(value),
            rows.datum(row, 1),
            rows.datum(row, 2),
        ]);
    }
}

/// Numbers what has committed, and tells whoever listens. Called by the maintenance process alone.
///
/// Does nothing while keys are locked: that is when a restore runs, and rows of ours would stand in its way.
pub fn number_committed() {
    for _ in 0..BATCHES_PER_ROUND {
        let taken = worker_process::in_transaction_as_keeper(|| {
            if keys::active().is_none() || !free_of_locks() {
                return 0;
            }
            connected(|| {
                let (epoch, last) = with_latest_snapshot(this_epoch);
                let done = with_latest_snapshot(|| {
                    NUMBER.run(&mut [bind(epoch), bind(last), bind(BATCH)])
                });
                if let Some(cursor) = done.get::<i64>(0, 1) {
                    with_latest_snapshot(|| NOTIFY.run(&mut [bind(cursor)]));
                }
                done.get::<i64>(0, 2).unwrap_or(0)
            })
        });
        if taken < BATCH {
            break;
        }
    }
}

/// The epoch of the history we are in, begun if need be, and the last cursor there is.
fn this_epoch() -> (i32, i64) {
    match last() {
        Some((epoch, cursor, true)) => (epoch, cursor),
        newest => {
            let epoch = newest.map_or(1, |(epoch, _, _)| epoch + 1);
            BEGIN_EPOCH.run(&mut [bind(epoch), bind(history())]);
            (epoch, i64::from(epoch) << EPOCH_BITS)
        }
    }
}

/// The newest epoch, its last cursor, and whether it is of the history we are in.
fn last() -> Option<(i32, i64, bool)> {
    let rows = LAST.run(&mut [bind(history())]);
    Some((rows.get(0, 1)?, rows.get(0, 2)?, rows.get(0, 3)?))
}

/// What is another after a failover (the timeline) and after a restore, be it into another server or the same (the table's oid).
fn history() -> String {
    // SAFETY: constants of a server that is not in recovery.
    let (system, timeline) = unsafe {
        (
            pg_sys::GetSystemIdentifier(),
            pg_sys::GetWALInsertionTimeLine(),
        )
    };
    format!("{system}/{timeline}/{}", CHANGES.oid().to_u32())
}

/// Whether the tables can be written without waiting for somebody's lock: partitions and settings must not wait with us.
fn free_of_locks() -> bool {
    // SAFETY: locks by oid, kept until the transaction ends.
    [&PENDING_CHANGES, &CHANGES, &EPOCHS]
        .iter()
        .all(|table| unsafe {
            pg_sys::ConditionalLockRelationOid(table.oid(), pg_sys::RowExclusiveLock as i32)
        })
}
