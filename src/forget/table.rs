//! The tables on the register.

use pgrx::pg_sys;

use crate::arrays::{Element, array};
use crate::error;
use crate::purpose::lists::words;
use crate::query::{Rows, Statement, bind};

static REGISTERED: Statement = Statement::read(
    c"SELECT t.relation::pg_catalog.oid, t.subject_column::text, t.action, t.columns::text[] FROM identity.forget_tables t ORDER BY t.relation::pg_catalog.oid",
    &[],
);
/// A day's slack: clocks step back. An oid that means another table by now costs a look at that one's pages.
static THERE: Statement = Statement::read(
    c"SELECT c.oid FROM pg_catalog.pg_class c
       WHERE c.oid IN (SELECT t.relation FROM identity.forget_tables t
                       UNION SELECT h.relation_oid FROM identity.forget_history h
                        WHERE h.registration <> h.access_id
                          AND h.changed_at >= (SELECT pg_catalog.min(w.since) - interval '1 day' FROM identity.scrub_waits w))
       ORDER BY c.oid",
    &[],
);

/// What is done to the rows of a subject that is erased.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Delete,
    NullColumns,
}

impl Action {
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Delete, Self::NullColumns]
            .into_iter()
            .find(|action| action.as_str() == word)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::NullColumns => "null_columns",
        }
    }
}

/// A table as it is to be cleaned. By oid: a name can come to mean another table.
pub struct Table {
    pub relation: pg_sys::Oid,
    pub subject_column: String,
    pub action: Action,
    /// The columns that lose their values; none under `delete`.
    pub columns: Vec<String>,
}

impl Table {
    /// The columns as a `text[]`; `None` under `delete`.
    pub fn columns_datum(&self) -> Option<pg_sys::Datum> {
        let names = self.columns.iter().map(|name| bind(name.as_str()));
        (self.action == Action::NullColumns)
            .then(|| array(&names.collect::<Vec<_>>(), Element::Text))
    }

    fn at(rows: &Rows, row: usize) -> Option<Self> {
        Some(Self {
            relation: rows.get(row, 1)?,
            subject_column: rows.get(row, 2)?,
            action: rows.get(row, 3).and_then(Action::parse)?,
            columns: words(rows.datum(row, 4))
                .into_iter()
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// All of them, in the order of their oids. Runs inside a call's snapshot.
pub fn registered() -> Vec<Table> {
    let rows = REGISTERED.run(&mut []);
    (0..rows.count)
        .map(|row| {
            // Left out, it would stay as it is and nobody would know.
            Table::at(&rows, row)
                .unwrap_or_else(|| error::fault("the register of tables is damaged"))
        })
        .collect()
}

/// Those that are there, and those that left the register since somebody was erased who is not scrubbed yet. Runs inside a call's snapshot.
pub fn relations() -> Vec<pg_sys::Oid> {
    let rows = THERE.run(&mut []);
    (0..rows.count).filter_map(|row| rows.get(row, 1)).collect()
}
