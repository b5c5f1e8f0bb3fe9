//! Whether the tables are what they seem: plain tables of our owner, without rules that would answer in their place.
//!
//! The catalog is the database's word too. This finds a view put in the place of a table, not a server that was changed.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::query::{for_each, prepare};
use super::value::get;
use crate::report::Report;
use identity_connect::Failure;

/// The log, and what else is read, with the kind that each must have.
const TABLES: [(&str, &str); 9] = [
    ("pii_access_log", "p"),
    ("installation", "r"),
    ("ledger_seals", "r"),
    ("ledger_heads", "r"),
    ("ledger_tiles", "r"),
    ("ledger_leaves", "r"),
    ("ledger_nodes", "r"),
    ("anchor_commits", "r"),
    ("ledger_expired", "r"),
];

const RELATIONS: &str = "SELECT c.relname::text, c.relkind::text, c.relpersistence::text,
            pg_catalog.pg_get_userbyid(c.relowner)::text = 'identity_owner',
            EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid)
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'identity' AND c.relname = ANY ($1)";

/// The months of the log; a foreign table could be one.
const PARTITIONS: &str = "SELECT c.relname::text, c.relkind::text, c.relpersistence::text,
            pg_catalog.pg_get_userbyid(c.relowner)::text = 'identity_owner',
            EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid)
       FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
       JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
      WHERE n.nspname = 'identity' AND p.relname = 'pii_access_log'";

const TYPES: [Type; 5] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::BOOL, Type::BOOL];

/// Returns whether the tables may be read: what stands in the place of one could do anything.
pub async fn check(client: &Client, report: &mut Report) -> Result<bool, Failure> {
    let before = report.findings();
    let mut missing = TABLES.map(|(name, _)| name).to_vec();
    let names = missing.clone();
    let relations = prepare(client, RELATIONS, &TYPES).await?;
    for_each(client, &relations, &[&names], |row| {
        let name = get::<&str>(row, 0).unwrap_or_default();
        let kind = TABLES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind);
        missing.retain(|known| *known != name);
        if !is_plain(row, kind) {
            report.bad(
                "tables",
                &format!("identity.{name} is not the table it was made as"),
            );
        }
        Ok(())
    })
    .await?;
    if missing.len() == TABLES.len() {
        return Err("there is no vault in this database".into());
    }
    for name in missing {
        report.bad("tables", &format!("identity.{name} is not there"));
    }
    let mut months = 0;
    let partitions = prepare(client, PARTITIONS, &TYPES).await?;
    for_each(client, &partitions, &[], |row| {
        months += 1;
        if !is_plain(row, Some("r")) {
            let name = get::<&str>(row, 0).unwrap_or_default();
            report.bad(
                "tables",
                &format!("{name}, a month of the log, is not the table it was made as"),
            );
        }
        Ok(())
    })
    .await?;
    let plain = report.findings() == before;
    if plain {
        report.good(
            "tables",
            &format!("the log has {months} months; nothing stands in the place of a table"),
        );
    }
    Ok(plain)
}

fn is_plain(row: &tokio_postgres::Row, kind: Option<&str>) -> bool {
    kind.is_some()
        && get::<&str>(row, 1) == kind
        && get(row, 2) == Some("p")
        && get(row, 3) == Some(true)
        && get(row, 4) == Some(false)
}
