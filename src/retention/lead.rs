//! Who does the nights: the worker that leads, or the maintenance process where none does.
//!
//! Trust: anybody may take the leader's lock, so only a member of `identity_worker` counts as a worker; and since a worker may lead and do nothing, it is
//! left alone with a night only for as long as it goes on.

use crate::query::{Statement, connected, with_latest_snapshot};

/// For how long a worker that leads may do nothing, in microseconds.
pub const PATIENCE: i64 = 30 * 60 * 1_000_000;

/// The lock is `idpx`, 1, of this database (anchor-worker/src/database.rs). Not pg_has_role: a superuser would be a worker by it.
static WORKER_LEADS: Statement = Statement::read(
    c"WITH RECURSIVE workers (oid) AS (
          SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = 'identity_worker'
          UNION SELECT m.member FROM pg_catalog.pg_auth_members m JOIN workers w ON m.roleid = w.oid)
      SELECT EXISTS (
          SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
           WHERE l.locktype = 'advisory' AND l.granted AND (l.classid, l.objid, l.objsubid) = (1768190072, 1, 2)
             AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
             AND a.usesysid IN (SELECT w.oid FROM workers w))",
    &[],
);

/// Whether a worker leads now.
pub fn is_a_workers() -> bool {
    with_latest_snapshot(|| connected(|| WORKER_LEADS.run(&mut []).get(0, 1) == Some(true)))
}
