//! `identity.pii_access_log` below SQL: its partitions, and the newest row of a lane.

use std::ffi::CString;

use identity_core::chain::Head;
use identity_core::leaf::{MAX_SEQ, access_id};
use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::vetting;
use crate::backend_local::BackendLocal;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::columns::Columns;
use crate::error;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::{relation, scan};

/// Columns by their position in sql/50_log.sql.
const SEQ: usize = 3;
const INTEGRITY_HASH: usize = 29;
/// And those of ledger_heads.
const SEALED_SEQ: usize = 2;
const SEALED_MAC: usize = 3;

const DAY_MICROS: i64 = 86_400_000_000;

/// The day, the count of relation changes, and the partition that was found then.
static KNOWN: BackendLocal<(i64, u32, pg_sys::Oid)> = BackendLocal::new((0, 0, pg_sys::InvalidOid));

/// The newest partition first. Names end in year and month, so they sort by time.
static PARTITIONS: Statement = Statement::read(
    c"SELECT c.oid, x.indexrelid,
             c.relname <= 'pii_access_log_' || pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM')
        FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
        JOIN pg_catalog.pg_index x ON x.indrelid OPERATOR(pg_catalog.=) c.oid AND x.indisprimary
       WHERE i.inhparent OPERATOR(pg_catalog.=) $1
       ORDER BY c.relname DESC",
    &[pg_sys::OIDOID],
);

/// The newest row of a lane, or `None` if it has none.
///
/// Looks at committed rows as they are, not under an MVCC snapshot, which in a SERIALIZABLE transaction would take predicate
/// locks on the log and make unrelated readers fail. Never asks the parent: with years of partitions that is hundreds of locks.
pub fn newest(lane: u32) -> Option<Head> {
    let partitions = with_latest_snapshot(|| {
        connected(|| {
            let rows = PARTITIONS.run(&mut [bind(relation::find(c"pii_access_log"))]);
            let partition = |row| Some((rows.get(row, 1)?, rows.get(row, 2)?, rows.get(row, 3)?));
            (0..rows.count)
                .filter_map(partition)
                .collect::<Vec<(pg_sys::Oid, pg_sys::Oid, bool)>>()
        })
    });
    let mut newest: Option<Head> = None;
    let mut with_rows = 0;
    for (table, index, begun) in partitions {
        if let Some(head) = newest_in(table, index, lane) {
            with_rows += usize::from(begun);
            if newest.is_none_or(|known| head.seq > known.seq) {
                newest = Some(head);
            }
        }
        // Months ahead hold rows of a clock that was wrong, and one month more than seems needed those of one that was set back: the
        // newest row need not be in the newest month.
        if with_rows == 2 {
            break;
        }
    }
    // A lane whose rows have all been dropped with their months goes on where it was sealed.
    let sealed = newest_sealed(lane);
    [newest, sealed]
        .into_iter()
        .flatten()
        .max_by_key(|head| head.seq)
}

/// The newest sealed head of a lane, read as the log is.
fn newest_sealed(lane: u32) -> Option<Head> {
    let (table, index) = (
        relation::find(c"ledger_heads"),
        relation::find(c"ledger_heads_pkey"),
    );
    let same = scan::comparison(
        pg_sys::BTEqualStrategyNumber,
        pg_sys::F_INT4EQ,
        pg_sys::Datum::from(lane),
    );
    // SAFETY: the key compares the int column lane.
    unsafe {
        let snapshot = &raw mut pg_sys::SnapshotSelfData;
        scan::backwards((table, index), snapshot, &mut [same], |row| {
            Some(head(row, SEALED_SEQ, SEALED_MAC))
        })
    }
}

fn newest_in(table: pg_sys::Oid, index: pg_sys::Oid, lane: u32) -> Option<Head> {
    // Not "before the next lane": the last lane has none.
    let mut keys = [
        scan::comparison(
            pg_sys::BTGreaterEqualStrategyNumber,
            pg_sys::F_INT8GE,
            pg_sys::Datum::from(access_id(lane, 0)),
        ),
        scan::comparison(
            pg_sys::BTLessEqualStrategyNumber,
            pg_sys::F_INT8LE,
            pg_sys::Datum::from(access_id(lane, MAX_SEQ)),
        ),
    ];
    // SAFETY: the keys compare the bigint column access_id.
    unsafe {
        let snapshot = &raw mut pg_sys::SnapshotSelfData;
        scan::backwards((table, index), snapshot, &mut keys, |row| {
            Some(head(row, SEQ, INTEGRITY_HASH))
        })
    }
}

fn head(row: &Columns, seq: usize, mac: usize) -> Head {
    let seq = row.get::<i64>(seq).and_then(|seq| u64::try_from(seq).ok());
    let mac = row.get::<Vec<u8>>(mac).and_then(|mac| mac.try_into().ok());
    match (seq, mac) {
        (Some(seq), Some(mac)) => Head { seq, mac },
        _ => error::raise(Reason::Chain),
    }
}

/// The partition for a moment (µs since the Unix epoch), locked for inserting.
pub(super) unsafe fn open_partition(at: i64) -> Result<pg_sys::Relation, Reason> {
    unsafe {
        let table = partition(at);
        if table == pg_sys::InvalidOid {
            return Err(Reason::AuditUnwritable);
        }
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if vetting::as_we_made_it(relation) {
            Ok(relation)
        } else {
            Err(Reason::AuditUnwritable)
        }
    }
}

/// Whether a row of this moment has a partition to go to.
pub fn has_partition(at: i64) -> bool {
    let table = partition(at);
    // SAFETY: a syscache look-up.
    table != pg_sys::InvalidOid && unsafe { pg_sys::get_rel_relispartition(table) }
}

/// The partition for a moment, `InvalidOid` if there is none. Rows come many a day: the last answer is kept until some relation has changed.
fn partition(at: i64) -> pg_sys::Oid {
    let (day, changes) = (at.div_euclid(DAY_MICROS), relation::changes());
    let known = KNOWN.with(|known| *known);
    if known.0 == day && known.1 == changes && known.2 != pg_sys::InvalidOid {
        return known.2;
    }
    let found = partition_name(at).map_or(pg_sys::InvalidOid, |name| relation::find(&name));
    KNOWN.with(|known| *known = (day, changes, found));
    found
}

fn partition_name(at: i64) -> Option<CString> {
    let mut month = pg_sys::pg_tm::default();
    let mut fraction = 0;
    // SAFETY: plain arithmetic on the given timestamp; without a time zone it is UTC.
    let failed = unsafe {
        pg_sys::timestamp2tm(
            at - UNIX_EPOCH_MICROS,
            std::ptr::null_mut(),
            &mut month,
            &mut fraction,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    (failed == 0)
        .then(|| {
            CString::new(format!(
                "pii_access_log_y{:04}m{:02}",
                month.tm_year, month.tm_mon
            ))
            .ok()
        })
        .flatten()
}
