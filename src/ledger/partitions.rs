//! The partitions of the log, as catalogs tell of them.

use crate::query::Statement;

/// Whether `initialize()` has been here. Everybody may ask: it looks at catalogs only.
pub static INITIALIZED: Statement = Statement::read(
    c"SELECT pg_catalog.to_regclass('identity.pii_access_log') IS NOT NULL AND EXISTS
        (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent OPERATOR(pg_catalog.=) pg_catalog.to_regclass('identity.pii_access_log'))",
    &[],
);

/// How many months after this one have their partition. Names end in year and month, so this needs no look into bounds.
pub static AHEAD: Statement = Statement::read(
    c"SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
       WHERE i.inhparent = 'identity.pii_access_log'::pg_catalog.regclass
         AND c.relname > 'pii_access_log_' || pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM')",
    &[],
);

/// Makes the partition of the month of a moment, if it is missing.
pub static MAKE_FOR: Statement = Statement::write(
    c"SELECT identity._make_partition(($1 AT TIME ZONE 'UTC')::pg_catalog.date)",
    &[pgrx::pg_sys::TIMESTAMPTZOID],
);

/// Makes this month's partition and the next three, where they are missing.
pub static MAKE: Statement = Statement::write(c"SELECT identity._make_partitions()", &[]);
