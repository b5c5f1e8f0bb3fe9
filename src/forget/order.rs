//! In what order tables are cleaned, and what of theirs must not wait for the commit.

use pgrx::pg_sys;

use super::table::Table;
use crate::query::{Statement, bind};

static REFERENCES: Statement = Statement::read(
    c"SELECT DISTINCT k.conrelid, k.confrelid
        FROM pg_catalog.pg_constraint k
        JOIN identity.forget_tables r ON r.relation = k.conrelid
        JOIN identity.forget_tables t ON t.relation = k.confrelid
       WHERE k.contype = 'f' AND k.conrelid <> k.confrelid",
    &[],
);

/// The foreign keys of a table and of those that deleting from it reaches, as far as they can be told to check at once. One whose name another kind
/// of constraint has too is left out: that one's trigger, which may be anybody's, would be told the same.
static DEFERRABLE: Statement = Statement::read(
    c"WITH RECURSIVE reached (oid) AS (
          SELECT $1
          UNION
          SELECT n.oid FROM reached r CROSS JOIN LATERAL (
              SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = r.oid
              UNION ALL
              SELECT k.conrelid FROM pg_catalog.pg_constraint k WHERE k.confrelid = r.oid AND k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')) n (oid))
      SELECT DISTINCT pg_catalog.format('%I.%I', s.nspname, k.conname)
        FROM reached r
        JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid OR k.confrelid = r.oid
        JOIN pg_catalog.pg_namespace s ON s.oid = k.connamespace
       WHERE k.contype = 'f' AND k.condeferrable
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.connamespace = k.connamespace AND o.conname = k.conname AND o.contype <> 'f')",
    &[pg_sys::OIDOID],
);

/// The same tables, each before those it refers to. Runs inside a call's snapshot.
pub fn referring_first(mut tables: Vec<Table>) -> Vec<Table> {
    let rows = REFERENCES.run(&mut []);
    let references = (0..rows.count)
        .filter_map(|row| Some((rows.get(row, 1)?, rows.get(row, 2)?)))
        .collect::<Vec<(pg_sys::Oid, pg_sys::Oid)>>();
    let mut ordered = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let referred_to = |table: &Table| {
            references.iter().any(|(from, to)| {
                *to == table.relation && tables.iter().any(|other| other.relation == *from)
            })
        };
        // Of tables that refer to each other in a circle any may be the first.
        let next = tables.iter().position(|table| !referred_to(table));
        ordered.push(tables.remove(next.unwrap_or(0)));
    }
    ordered
}

/// Names of constraints, for SET CONSTRAINTS. Runs inside a call's snapshot.
pub fn deferrable(relation: pg_sys::Oid) -> Vec<String> {
    let rows = DEFERRABLE.run(&mut [bind(relation)]);
    (0..rows.count).filter_map(|row| rows.get(row, 1)).collect()
}
