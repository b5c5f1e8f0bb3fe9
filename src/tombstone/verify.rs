//! What `ledger_verify(true)` asks: has every erasure its tombstone, and is nothing else among them? One that is missing is published nowhere, and whose it is comes
//! back with a backup unseen; one too many would have somebody erased who was not.

use identity_core::tombstone::{Tombstones, What};
use pgrx::pg_sys;

use crate::clock::UNIX_EPOCH_MICROS;
use crate::keys::region::Keys;
use crate::ledger::verify::Report;
use crate::query::{Rows, Statement, bind};
use crate::sql_function::uuid;

const CHECK: &str = "tombstones";

static SUBJECTS: Statement = Statement::read(
    c"SELECT r.access_id, r.candidate_id, t.tombstone, r.done_at, r.request_id
        FROM identity.erasure_requests r LEFT JOIN identity.tombstones t ON t.access_id = r.access_id AND t.kind = 'subject'
       WHERE r.state = 'done' AND ($1 IS NULL OR r.request_id > $1) ORDER BY r.request_id LIMIT 5000",
    &[pg_sys::UUIDOID],
);
/// Each with the moment of the collection that it ended.
static BIOMETRICS: Statement = Statement::read(
    c"SELECT h.access_id, h.candidate_id, t.tombstone,
             (SELECT a.recorded_at FROM identity.biometric_history a
               WHERE a.candidate_id = h.candidate_id AND a.kind = 'attach' AND a.generation < h.generation ORDER BY a.generation DESC LIMIT 1)
        FROM identity.biometric_history h LEFT JOIN identity.tombstones t ON t.access_id = h.access_id AND t.kind = 'biometric'
       WHERE h.kind = 'erase' AND h.access_id > $1 ORDER BY h.access_id LIMIT 5000",
    &[pg_sys::INT8OID],
);
static COUNT: Statement =
    Statement::read(c"SELECT pg_catalog.count(*) FROM identity.tombstones", &[]);

/// Compares all of it, and says by name what does not fit. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    let maker = super::maker(keys);
    let mut erasures = 0;
    let mut last = None;
    loop {
        let rows = SUBJECTS.run(&mut [last.and_then(bind::<pgrx::Uuid>)]);
        for row in 0..rows.count {
            last = rows.get(row, 5);
            compare(&maker, What::Subject, &rows, row, report);
        }
        erasures += rows.count;
        if rows.count == 0 {
            break;
        }
    }
    let mut last = i64::MIN;
    loop {
        let rows = BIOMETRICS.run(&mut [bind(last)]);
        for row in 0..rows.count {
            last = rows.get(row, 1).unwrap_or(i64::MAX);
            compare(&maker, What::Biometric, &rows, row, report);
        }
        erasures += rows.count;
        if rows.count == 0 {
            break;
        }
    }
    let count = COUNT.run(&mut []).get::<i64>(0, 1);
    if count.and_then(|count| usize::try_from(count).ok()) != Some(erasures) {
        report.finding(CHECK, "there are others than those of the erasures");
    }
    report.close(
        CHECK,
        "every erasure has its tombstone, and nothing else has one",
    );
}

fn compare(maker: &Tombstones, what: What, rows: &Rows, row: usize, report: &mut Report) {
    let expected = rows.datum(row, 2).map(uuid).map(|candidate| match what {
        What::Subject => maker.subject(&candidate),
        What::Biometric => {
            let collected_at = rows.moment(row, 4).map_or(0, |at| at + UNIX_EPOCH_MICROS);
            maker.biometric(&candidate, collected_at)
        }
    });
    let found = rows.bytes(row, 3);
    if found.is_some() && found == expected.as_ref().map(<[u8; 32]>::as_slice) {
        return;
    }
    let access_id = rows.get::<i64>(row, 1).unwrap_or_default();
    let how = if found.is_none() {
        "it has no tombstone"
    } else {
        "its tombstone is another one"
    };
    report.finding(CHECK, &format!("access_id {access_id}: {how}"));
}
