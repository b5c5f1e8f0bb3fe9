//! Notices: a caller has had half of its day's rows under a purpose, or all of them.
//!
//! The caller only leaves a mark in shared memory; the maintenance process makes of it a row on the chain, a line in the outbox and a NOTIFY, in a
//! transaction of its own: what one person's transaction does must not hold up a read, nor be undone with it.

use std::sync::atomic::{AtomicU64, Ordering};

use identity_core::event_digest;
use identity_core::limit::Threshold;
use identity_core::vocabulary::{AccessorKind, NoticeKind};
use pgrx::pg_sys;

use super::table;
use crate::caller::{self, Caller};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate, Short};
use crate::{error, keys, lane, outbox, worker_process};

/// Days between the Unix epoch and PostgreSQL's.
const UNIX_EPOCH_DAYS: i32 = 10_957;

static KNOWN: Statement = Statement::read(
    c"SELECT pg_catalog.to_char($3::pg_catalog.timestamp, 'YYYY-MM-DD'),
             EXISTS (SELECT FROM identity.volume_notices n
                      WHERE n.accessor_role = $1::name AND n.purpose_token = $2 AND n.day = $3 AND n.percent = $4)",
    &[
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::DATEOID,
        pg_sys::INT4OID,
    ],
);
static RECORD: Statement = Statement::write(
    c"INSERT INTO identity.volume_notices (access_id, accessor_role, purpose_token, day, percent, daily_cap) VALUES ($1, $2::name, $3, $4, $5, $6)",
    &[
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::DATEOID,
        pg_sys::INT4OID,
        pg_sys::INT4OID,
    ],
);
/// What the table's count of thresholds was when last all notices were written.
static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);

struct Notice {
    session: u32,
    purpose: Short<64>,
    threshold: Threshold,
    day: i32,
    cap: u32,
}

/// Writes the notices that are due. While keys are locked they wait.
pub fn write_due() {
    let reached = table::reached();
    if reached == SEEN.load(Ordering::Relaxed) {
        return;
    }
    let mut due = Vec::new();
    table::each(|session, purpose, counters| {
        due.extend(counters.due().map(|due| Notice {
            session,
            purpose: *purpose,
            threshold: due.threshold,
            day: due.day,
            cap: due.cap,
        }));
    });
    for notice in &due {
        if !worker_process::in_transaction(|| write(notice)) {
            return;
        }
        table::find(notice.session, &notice.purpose, |counters| {
            counters.settle(notice.threshold, notice.day);
        });
    }
    SEEN.store(reached, Ordering::Relaxed);
}

/// Writes one notice unless it is there already, which it is if the server was restarted since; false while keys are locked.
fn write(notice: &Notice) -> bool {
    let Some(keys) = keys::active() else {
        return false;
    };
    let role = caller::role_name(notice.session.into());
    // A role that was dropped meanwhile has its number left.
    let number = notice.session.to_string();
    let role = role.present().unwrap_or(&number);
    let token = notice.purpose.as_str();
    let date = Some(pg_sys::Datum::from(notice.day - UNIX_EPOCH_DAYS));
    let percent = notice.threshold.percent();
    let (day, known) = connected(|| {
        let rows = KNOWN.run(&mut [bind(role), bind(token), date, bind(percent)]);
        (
            rows.get::<String>(0, 1).unwrap_or_default(),
            rows.get(0, 2).unwrap_or(false),
        )
    });
    if known {
        return true;
    }
    let digest = event_digest(
        &keys.installation,
        AccessorKind::VolumeNotice.as_str(),
        &[
            ("accessor_role", role),
            ("purpose_token", token),
            ("day", &day),
            ("percent", &percent.to_string()),
            ("daily_cap", &notice.cap.to_string()),
        ],
    );
    let mut shape = Caller::current().shape(AccessorKind::VolumeNotice);
    shape.purpose = notice.purpose;
    let entry = Entry::now();
    let access_id = lane::append(&keys, &shape, &entry, &Fate::event(digest))
        .unwrap_or_else(|reason| error::raise(reason));
    let kind = match notice.threshold {
        Threshold::Half => NoticeKind::VolumeHalf,
        Threshold::Cap => NoticeKind::VolumeCap,
    };
    let cap = i32::try_from(notice.cap).unwrap_or(i32::MAX);
    with_latest_snapshot(|| {
        connected(|| {
            RECORD.run(&mut [
                bind(access_id),
                bind(role),
                bind(token),
                date,
                bind(percent),
                bind(cap),
            ]);
        });
    });
    outbox::add(access_id, &entry, kind);
    outbox::tell();
    true
}
