//! The statements that clean a table. Their first argument are the subjects, as `uuid[]`.
//!
//! The operators are named with their schema: one of the same name for uuid, in a schema that comes first, could find no row equal. What is counted is
//! grouped below a CTE, so that no answer grows with the rows.

use pgrx::spi::quote_identifier;

use super::fitness::Fit;
use super::table::{Action, Table};

/// Does it. A row for each subject that had any: subject, and how many. The subjects are those of the rows as they became, after what triggers made
/// of them.
pub fn cleaning(table: &Table, fit: &Fit) -> String {
    let (name, mine) = (&fit.name, rows_of(table));
    let subject = quote_identifier(&table.subject_column);
    let cleaned = match table.action {
        Action::Delete => {
            format!("DELETE FROM {name} AS t WHERE {mine} RETURNING t.{subject}")
        }
        Action::NullColumns => {
            let cleared = table
                .columns
                .iter()
                .map(|column| format!("{} = NULL", quote_identifier(column)))
                .collect::<Vec<_>>()
                .join(", ");
            format!("UPDATE {name} AS t SET {cleared} WHERE {mine} RETURNING t.{subject}")
        }
    };
    format!(
        "WITH cleaned (subject) AS ({cleaned}) SELECT subject, pg_catalog.count(*) FROM cleaned GROUP BY subject"
    )
}

/// A row if there is still something to clean.
pub fn left(table: &Table, fit: &Fit) -> String {
    format!(
        "SELECT FROM {} AS t WHERE {} LIMIT 1",
        fit.name,
        rows_of(table)
    )
}

/// Has constraints checked when a statement ends, and not at the commit.
pub fn at_once(constraints: &[String]) -> String {
    format!("SET CONSTRAINTS {} IMMEDIATE", constraints.join(", "))
}

/// What is true of the rows that are to be cleaned.
fn rows_of(table: &Table) -> String {
    let subject = quote_identifier(&table.subject_column);
    let of_subjects = format!("t.{subject} OPERATOR(pg_catalog.=) ANY ($1)");
    match table.action {
        Action::Delete => of_subjects,
        Action::NullColumns => format!("{of_subjects} AND {}", filled(table)),
    }
}

/// Whether one of the columns holds anything. Not IS NOT NULL: of a composite value that is false as soon as one of its fields is NULL.
fn filled(table: &Table) -> String {
    let columns = table
        .columns
        .iter()
        .map(|column| format!("t.{}", quote_identifier(column)))
        .collect::<Vec<_>>()
        .join(", ");
    format!("pg_catalog.num_nonnulls({columns}) OPERATOR(pg_catalog.>) 0")
}
