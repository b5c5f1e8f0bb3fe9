//! `ledger_expire`: drops the months of the log whose time is over. Their hashes stay in batches and tree, so whoever kept a row can still prove it.
//!
//! A month goes only when all of it lies further back than `log_retention`, every row of it is sealed, and an anchor outside covers its last seal.
//! Lock order: sealers first (bucket.rs), then the log, then its partition. Both are locked only if that takes no waiting: a request that waits for
//! the log would make everybody wait who comes after it, and so would the log's lock while its holder tries for the partition's.

use std::ffi::CString;
use std::time::Duration;

use identity_core::event_digest;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::event::instant;
use crate::json_text::{jsonb, object, quoted};
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate};
use crate::sql_function::{Arguments, sql_function};
use crate::{bucket, gucs, relation};

sql_function!(ledger_expire, pg_finfo_ledger_expire, run);

/// How often the locks are tried, and for how long in between: two seconds in all.
const TRIES: usize = 200;
const BETWEEN: Duration = Duration::from_millis(10);
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Months that have a partition and lie as a whole before a moment, oldest first; and the newest batch of each. One that was dropped before and has
/// rows again, from a clock that was years behind, stays.
static OLD: Statement = Statement::read(
    c"SELECT m.partition, m.name, s.batch, s.leaf_index
        FROM (SELECT pg_catalog.substr(c.relname::text, 17, 4) || '-' || pg_catalog.substr(c.relname::text, 22, 2) AS partition, c.relname::text AS name
                FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'identity.pii_access_log'::pg_catalog.regclass) m
        LEFT JOIN LATERAL (SELECT s.batch, s.leaf_index FROM identity.ledger_seals s WHERE s.partition = m.partition ORDER BY s.leaf_index DESC LIMIT 1) s ON true
       WHERE m.name ~ '^pii_access_log_y[0-9]{4}m[0-9]{2}$'
         AND ((m.partition || '-01')::timestamp + interval '1 month') AT TIME ZONE 'UTC' <= $1
         AND NOT EXISTS (SELECT FROM identity.ledger_expired e WHERE e.partition = m.partition)
       ORDER BY 1",
    &[pg_sys::TIMESTAMPTZOID],
);
/// How many rows a month has, and how many of them no seal has taken in.
static ROWS: Statement = Statement::read(
    c"SELECT COALESCE(pg_catalog.sum(n), 0)::bigint,
             pg_catalog.count(*) FILTER (WHERE NOT EXISTS (SELECT FROM identity.ledger_heads h WHERE h.lane = l.lane AND h.seq >= l.last))
        FROM (SELECT lane, pg_catalog.max(seq) AS last, pg_catalog.count(*) AS n FROM identity.pii_access_log
               WHERE accessed_at >= ($1 || '-01')::timestamp AT TIME ZONE 'UTC'
                 AND accessed_at < (($1 || '-01')::timestamp + interval '1 month') AT TIME ZONE 'UTC' GROUP BY lane) l",
    &[pg_sys::TEXTOID],
);
static ANCHORED: Statement = Statement::read(
    c"SELECT pg_catalog.max(tree_size) FROM identity.anchor_commits WHERE tree_size > $1",
    &[pg_sys::INT8OID],
);
static RECORD: Statement = Statement::write(
    c"INSERT INTO identity.ledger_expired (partition, access_id, rows, last_batch, tree_size, expired_at) VALUES ($1, $2, $3, $4, $5, $6)",
    &[
        pg_sys::TEXTOID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// A month that is dropped, as its event has it.
pub struct Month {
    /// `2026-11`.
    pub partition: String,
    pub rows: i64,
    pub last_batch: i64,
    /// How large the tree was that an anchor covers.
    pub tree_size: i64,
}

impl Month {
    /// The event's digest; `at` is its moment, in PostgreSQL's microseconds.
    pub fn digest(&self, installation: &[u8; 16], at: i64) -> [u8; 32] {
        let pairs = [
            ("partition", self.partition.as_str()),
            ("rows", &self.rows.to_string()),
            ("last_batch", &self.last_batch.to_string()),
            ("tree_size", &self.tree_size.to_string()),
            ("expired_at", &instant(at)),
        ];
        event_digest(installation, AccessorKind::LogExpire.as_str(), &pairs)
    }
}

fn run(_: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::LogExpire);
    let keys = call.admit();
    bucket::sealing();
    let retention = i64::from(gucs::LOG_RETENTION.get()) * MICROS_PER_MINUTE;
    let before = clock::now().saturating_sub(retention);
    let mut answer = Vec::new();
    with_latest_snapshot(|| {
        for (name, partition, seal) in connected(|| old_months(before)) {
            let done = connected(|| ready(&partition, seal)).and_then(|_| {
                lock_month(&name)?;
                // Again, now that nobody writes: a row of that month may have come since the snapshot, from a clock that was set back.
                let month = with_latest_snapshot(|| connected(|| ready(&partition, seal)))?;
                Ok(drop_month(&mut call, &keys, &name, month))
            });
            let (word, value) = match done {
                Ok(access_id) => ("access_id", access_id.to_string()),
                Err(kept) => ("kept", kept.to_owned()),
            };
            answer.push(object([
                ("partition", quoted(&partition)),
                (word, quoted(&value)),
            ]));
        }
    });
    jsonb(&object([("months", format!("[{}]", answer.join(",")))]))
}

/// Name of the partition, month, and the newest seal of it: batch and leaf.
type Old = (String, String, Option<(i64, i64)>);

fn old_months(before: i64) -> Vec<Old> {
    let rows = OLD.run(&mut [Some(pg_sys::Datum::from(before))]);
    let old = |row| {
        let seal = rows.get(row, 3).zip(rows.get(row, 4));
        Some((rows.get(row, 2)?, rows.get(row, 1)?, seal))
    };
    (0..rows.count).filter_map(old).collect()
}

/// The month as it is to be recorded, or why it stays.
fn ready(partition: &str, seal: Option<(i64, i64)>) -> Result<Month, &'static str> {
    let rows = ROWS.run(&mut [bind(partition)]);
    if rows.get::<i64>(0, 1) == Some(0) {
        return Err("empty");
    }
    let Some((last_batch, leaf_index)) = seal.filter(|_| rows.get(0, 2) == Some(0_i64)) else {
        return Err("unsealed");
    };
    let anchored = ANCHORED.run(&mut [bind(leaf_index)]).get::<i64>(0, 1);
    Ok(Month {
        partition: partition.to_owned(),
        rows: rows.get(0, 1).unwrap_or(0),
        last_batch,
        tree_size: anchored.ok_or("unanchored")?,
    })
}

/// Locks the log and one month of it against everybody, without ever standing in a queue.
fn lock_month(name: &str) -> Result<(), &'static str> {
    let (log, month) = (relation::find(c"pii_access_log"), find(name));
    // From the month before: then everybody waits for us already.
    let tries = if is_locked(log) { 1 } else { TRIES };
    for _ in 0..tries {
        if lock(log) {
            if lock(month) {
                return Ok(());
            }
            // SAFETY: locked a line above, and nothing depends on it.
            unsafe { pg_sys::UnlockRelationOid(log, pg_sys::AccessExclusiveLock as i32) };
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(BETWEEN);
    }
    Err("in use")
}

fn lock(relation: pg_sys::Oid) -> bool {
    // SAFETY: a transaction-level lock.
    unsafe { pg_sys::ConditionalLockRelationOid(relation, pg_sys::AccessExclusiveLock as i32) }
}

fn is_locked(relation: pg_sys::Oid) -> bool {
    // SAFETY: looks among this transaction's own locks.
    unsafe {
        pg_sys::CheckRelationOidLockedByMe(relation, pg_sys::AccessExclusiveLock as i32, true)
    }
}

fn find(name: &str) -> pg_sys::Oid {
    relation::find(&CString::new(name).unwrap_or_default())
}

/// Records it and drops it, locked as it is. Returns the access id of the record.
fn drop_month(call: &mut Call, keys: &Keys, name: &str, month: Month) -> i64 {
    call.entry = Entry::now();
    let at = call.entry.at - UNIX_EPOCH_MICROS;
    call.hold();
    let digest = month.digest(&keys.installation, at);
    let access_id = call.append(keys, &Fate::event(digest));
    connected(|| {
        RECORD.run(&mut [
            bind(month.partition),
            bind(access_id),
            bind(month.rows),
            bind(month.last_batch),
            bind(month.tree_size),
            Some(pg_sys::Datum::from(at)),
        ])
    });
    drop_relation(find(name));
    access_id
}

/// Drops a table as its owner, who can do nothing else meanwhile: whatever somebody hung onto the drop runs with the right to drop this table, and
/// cannot change who it runs as.
fn drop_relation(relation: pg_sys::Oid) {
    // SAFETY: both relations are locked; user and context are put back, and on ERROR the end of the (sub)transaction does it.
    unsafe {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let restricted =
            pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        let owner = pg_sys::get_role_oid(c"identity_owner".as_ptr(), false);
        pg_sys::SetUserIdAndSecContext(owner, context | restricted as i32);
        let table = pg_sys::ObjectAddress {
            classId: pg_sys::RelationRelationId,
            objectId: relation,
            objectSubId: 0,
        };
        pg_sys::performDeletion(&table, pg_sys::DropBehavior::DROP_RESTRICT, 0);
        pg_sys::SetUserIdAndSecContext(user, context);
    }
}
