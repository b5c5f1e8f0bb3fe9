//! Can a table be cleaned, so that afterwards nothing of a subject is left in it? Asked when it is registered, and again each time it is cleaned:
//! whoever owns it may have changed it since.

use pgrx::pg_sys;

use super::table::{Action, Table, registered};
use crate::query::{Statement, bind};

/// The bits of pg_trigger.tgtype.
const FIRES_ON_DELETE: i16 = 8;
const FIRES_ON_UPDATE: i16 = 16;

/// One row if it can. `tree` is the table with its partitions and the tables that inherit from it, as the statements reach them.
///
/// A table of a superuser is none: what others hung on it, by a TRIGGER right or in a function that they can replace, would run as a superuser.
/// A rule could do something else instead. A foreign table is cleaned who knows where, a temporary one is another session's. A trigger that waits for
/// the commit would run as whoever commits. A generated subject column follows from columns that may be the ones to be cleared. A column that cannot
/// be NULL, parts rows into partitions, or is what others refer to, cannot be cleared.
static FIT: Statement = Statement::read(
    c"WITH RECURSIVE tree (oid) AS (
          SELECT $1 UNION SELECT i.inhrelid FROM tree p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid)
      SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relowner
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
       WHERE c.oid = $1 AND n.nspname NOT IN ('identity', 'pg_catalog', 'information_schema')
         AND NOT o.rolsuper AND o.rolname NOT IN ('identity_owner', 'identity_reader', 'identity_keeper')
         AND NOT EXISTS (SELECT FROM tree t JOIN pg_catalog.pg_class d ON d.oid = t.oid
                          WHERE d.relkind NOT IN ('r', 'p') OR d.relpersistence = 't' OR d.relowner <> c.relowner)
         AND NOT EXISTS (SELECT FROM tree t JOIN pg_catalog.pg_rewrite w ON w.ev_class = t.oid)
         AND NOT EXISTS (SELECT FROM tree t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid
                          WHERE g.tginitdeferred AND NOT g.tgisinternal AND g.tgtype & $4 <> 0)
         AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attname = $2::name AND a.attnum > 0 AND a.atttypid = 'pg_catalog.uuid'::pg_catalog.regtype
                        AND a.attgenerated = '')
         AND NOT EXISTS (
             SELECT FROM pg_catalog.unnest($3) AS w (name)
              WHERE w.name = $2 OR NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = w.name::name AND a.attnum > 0))
         AND NOT EXISTS (
             SELECT FROM pg_catalog.unnest($3) AS w (name)
              CROSS JOIN tree t
               JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname = w.name::name
               JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
              WHERE a.attnotnull OR a.attgenerated <> '' OR y.typnotnull
                 OR EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = t.oid AND a.attnum = ANY (p.partattrs))
                 OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid = t.oid AND k.contype = 'f' AND a.attnum = ANY (k.confkey)))",
    &[
        pg_sys::OIDOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::INT2OID,
    ],
);

/// A table that can be cleaned.
pub struct Fit {
    /// Qualified, and quoted where needed.
    pub name: String,
    pub owner: pg_sys::Oid,
}

/// `None` if it cannot be cleaned, or is not there. Runs inside SPI and under a snapshot that was taken after the table was locked.
pub fn look(table: &Table) -> Option<Fit> {
    let fires = match table.action {
        Action::Delete => FIRES_ON_DELETE,
        Action::NullColumns => FIRES_ON_UPDATE,
    };
    let rows = FIT.run(&mut [
        bind(table.relation),
        bind(table.subject_column.as_str()),
        table.columns_datum(),
        bind(fires),
    ]);
    Some(Fit {
        name: rows.get(0, 1)?,
        owner: rows.get(0, 2)?,
    })
}

/// How many tables are on the register, and how many of them cannot be cleaned as they are now. Runs inside a call's snapshot.
pub fn counts() -> (usize, usize) {
    let tables = registered();
    let unfit = tables.iter().filter(|table| look(table).is_none()).count();
    (tables.len(), unfit)
}
