//! Who can still see rows that are gone: what holds the horizon, by name, so that somebody can end it.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::event::instant;
use crate::json_text::{object, quoted};
use crate::query::Statement;

static PREPARED: Statement = Statement::read(
    c"SELECT gid, transaction, prepared FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()",
    &[],
);

/// Everybody who holds the horizon before a transaction id, each as a JSON object. Runs inside SPI and a snapshot.
pub fn before(limit: pg_sys::TransactionId) -> Vec<String> {
    let mut holders = backends(limit);
    let prepared = PREPARED.run(&mut []);
    for row in 0..prepared.count {
        if holds(prepared.get(row, 2), limit) {
            let gid = prepared.get(row, 1).unwrap_or_default();
            let since = prepared.last_moment(row);
            holders.push(holder("prepared_transaction", "gid", quoted(gid), since));
        }
    }
    holders.extend(slots(limit));
    holders.extend(deferred());
    holders
}

fn backends(limit: pg_sys::TransactionId) -> Vec<String> {
    let mut holders = Vec::new();
    // SAFETY: PostgreSQL's copy of all backends' states, made anew; entries are counted from 1. What runs in other databases does not hold rows of this
    // one, but a standby's feedback belongs to none. A plain VACUUM holds nothing either.
    unsafe {
        pg_sys::pgstat_clear_backend_activity_snapshot();
        for number in 1..=pg_sys::pgstat_fetch_stat_numbackends() {
            #[cfg(feature = "pg15")]
            let entry = pg_sys::pgstat_fetch_stat_local_beentry(number);
            #[cfg(not(feature = "pg15"))]
            let entry = pg_sys::pgstat_get_local_beentry_by_index(number);
            if entry.is_null() {
                continue;
            }
            let entry = &*entry;
            let status = &entry.backendStatus;
            let is_standby = status.st_backendType == pg_sys::BackendType::B_WAL_SENDER
                && status.st_databaseid == pg_sys::InvalidOid;
            let is_vacuum =
                status.st_progress_command == pg_sys::ProgressCommandType::PROGRESS_COMMAND_VACUUM;
            let is_here = is_standby || status.st_databaseid == pg_sys::MyDatabaseId;
            let is_old =
                holds(Some(entry.backend_xid), limit) || holds(Some(entry.backend_xmin), limit);
            if !is_here || is_vacuum || !is_old {
                continue;
            }
            if is_standby {
                let name = CStr::from_ptr(status.st_appname).to_string_lossy();
                holders.push(holder("standby_feedback", "standby", quoted(&name), None));
                continue;
            }
            let kind = if status.st_procpid == pg_sys::MyProcPid {
                "own_transaction"
            } else {
                "transaction"
            };
            let since = Some(status.st_xact_start_timestamp).filter(|at| *at != 0);
            holders.push(holder(kind, "pid", status.st_procpid.to_string(), since));
        }
    }
    holders
}

/// A logical slot holds the catalogs, and the log that it has not sent, but rows of tables only while it is made: that the view of slots does not show.
fn slots(limit: pg_sys::TransactionId) -> Vec<String> {
    // SAFETY: the server's array of slots, which has as many as the setting says. It is read without its lock: a slot that changes just now may be named
    // wrongly, or not at all, and the next call names it.
    unsafe {
        let slots = (*pg_sys::ReplicationSlotCtl).replication_slots.as_ptr();
        let count = usize::try_from(pg_sys::max_replication_slots).unwrap_or(0);
        (0..count)
            .map(|at| &*slots.add(at))
            .filter(|slot| slot.in_use && holds(Some(slot.effective_xmin), limit))
            .map(|slot| {
                let name = CStr::from_ptr(slot.data.name.data.as_ptr()).to_string_lossy();
                holder("replication_slot", "slot", quoted(&name), None)
            })
            .collect()
    }
}

/// Before PostgreSQL 16 a setting can hold the horizon as well.
fn deferred() -> Option<String> {
    #[cfg(feature = "pg15")]
    // SAFETY: a setting of the server.
    if unsafe { pg_sys::vacuum_defer_cleanup_age } > 0 {
        let name = quoted("vacuum_defer_cleanup_age");
        return Some(holder("setting", "name", name, None));
    }
    None
}

fn holds(xid: Option<pg_sys::TransactionId>, limit: pg_sys::TransactionId) -> bool {
    // SAFETY: compares two numbers.
    xid.is_some_and(|xid| {
        xid != pg_sys::InvalidTransactionId && unsafe { pg_sys::TransactionIdPrecedes(xid, limit) }
    })
}

fn holder(kind: &str, named: &str, name: String, since: Option<i64>) -> String {
    let since = since.map_or("null".to_owned(), |at| quoted(&instant(at)));
    object([("kind", quoted(kind)), (named, name), ("since", since)])
}
