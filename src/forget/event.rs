//! What is recorded when a table is put on the register and taken off it: the readable row, and its digest on the chain.

use pgrx::pg_sys;

use crate::event::{self, instant};
use crate::query::{Rows, Statement, bind};

static KEEP: Statement = Statement::write(
    c"INSERT INTO identity.forget_history (access_id, registration, relation, relation_oid, subject_column, action, columns, changed_by, changed_at)
      VALUES ($1, $2, $3, $4, $5::name, $6, $7::name[], $8::name, $9)",
    &[
        pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// A registration or its end, as `forget_history` has it.
pub struct Event<'a> {
    /// Qualified, and quoted where needed.
    pub relation: &'a str,
    pub oid: pg_sys::Oid,
    pub subject_column: &'a str,
    pub action: &'a str,
    /// As PostgreSQL writes a list.
    pub columns: Option<&'a str>,
    /// The registration that this ends; `None` for one that begins.
    pub ends: Option<i64>,
    pub changed_by: &'a str,
    /// Microseconds since 2000: the moment of the access row too.
    pub changed_at: i64,
}

impl Event<'_> {
    pub fn digest(&self, installation: &[u8; 16]) -> [u8; 32] {
        let kind = match self.ends {
            None => "forget_register",
            Some(_) => "forget_unregister",
        };
        let oid = self.oid.to_u32().to_string();
        let ends = self.ends.map(|id| id.to_string());
        let changed_at = instant(self.changed_at);
        let pairs = [
            ("relation", Some(self.relation)),
            ("relation_oid", Some(oid.as_str())),
            ("subject_column", Some(self.subject_column)),
            ("action", Some(self.action)),
            ("columns", self.columns),
            ("registration", ends.as_deref()),
            ("changed_by", Some(self.changed_by)),
            ("changed_at", Some(changed_at.as_str())),
        ];
        event::digest(installation, kind, &pairs)
    }

    /// Stores the readable row of an event that was appended. Runs inside the call's snapshot.
    pub fn keep(&self, access_id: i64) {
        KEEP.run(&mut [
            bind(access_id),
            bind(self.ends.unwrap_or(access_id)),
            bind(self.relation),
            bind(self.oid),
            bind(self.subject_column),
            bind(self.action),
            self.columns.and_then(bind),
            bind(self.changed_by),
            Some(pg_sys::Datum::from(self.changed_at)),
        ]);
    }

    /// The event of a stored row: access_id, registration, relation, relation_oid, subject_column, action, columns, changed_by, changed_at, all names
    /// and lists as text.
    pub fn stored(rows: &Rows, row: usize) -> Option<Event<'_>> {
        let (access_id, registration): (i64, i64) = (rows.get(row, 1)?, rows.get(row, 2)?);
        Some(Event {
            relation: rows.get(row, 3)?,
            oid: rows.get(row, 4)?,
            subject_column: rows.get(row, 5)?,
            action: rows.get(row, 6)?,
            columns: rows.get(row, 7),
            ends: (registration != access_id).then_some(registration),
            changed_by: rows.get(row, 8)?,
            changed_at: rows.moment(row, 9)?,
        })
    }
}
