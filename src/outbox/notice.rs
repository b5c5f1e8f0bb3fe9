//! A notice beside its event.

use identity_core::vocabulary::NoticeKind;
use pgrx::pg_sys;

use crate::answer::timestamp;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Entry;

/// The four members that may leave the house; the row's MAC says which row it is to whoever may read the log.
static ADD: Statement = Statement::write(
    c"WITH line AS (
          INSERT INTO identity.notifications (access_id, payload)
          SELECT l.access_id, pg_catalog.jsonb_build_object(
                     'event_kind', $3,
                     'timestamp', pg_catalog.to_char(l.accessed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                     'accessor_kind', l.accessor_kind,
                     'integrity_hash', pg_catalog.encode(l.integrity_hash, 'hex'))
            FROM identity.pii_access_log l WHERE l.access_id = $1 AND l.accessed_at = $2
          RETURNING access_id)
      INSERT INTO identity.outbox_deliveries (channel, access_id, queued_at, next_at)
      SELECT c.channel, line.access_id, $4, $4 FROM line, identity.outbox_channels c",
    &[
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static TELL: Statement =
    Statement::write(c"SELECT pg_catalog.pg_notify('identity_outbox', '')", &[]);

static TELL_OF_NEW: Statement = Statement::write(
    c"SELECT pg_catalog.pg_notify('identity_outbox', '')
       WHERE EXISTS (SELECT FROM identity.outbox_deliveries d WHERE d.delivered_at IS NULL AND d.dead_at IS NULL AND d.attempts = 0)",
    &[],
);

/// Adds the notice of an event whose row this transaction has just appended, and what has to be brought to each channel. Whoever records an event that
/// somebody outside should hear of calls this, and nothing else: the maintenance process sends the NOTIFY, since one of the transaction's own would have
/// it commit under a lock that all notifying transactions share.
pub fn add(access_id: i64, entry: &Entry, kind: NoticeKind) {
    // SAFETY: within a transaction; what was appended below SQL becomes visible to its next statement.
    unsafe { pg_sys::CommandCounterIncrement() };
    with_latest_snapshot(|| {
        connected(|| {
            ADD.run(&mut [
                bind(access_id),
                timestamp(entry.at - UNIX_EPOCH_MICROS),
                bind(kind.as_str()),
                timestamp(clock::now()),
            ]);
        });
    });
}

/// Wakes whoever brings notices: for the maintenance process, which may.
pub fn tell() {
    connected(|| TELL.run(&mut []));
}

/// The same, if there is a notice that nobody has tried to bring yet. Runs inside SPI and a snapshot.
pub fn tell_of_new() {
    TELL_OF_NEW.run(&mut []);
}
