//! How far a pass has come in each relation: a row of `scrub_progress`.

use pgrx::pg_sys;

use crate::forget;
use crate::query::{Rows, Statement, bind};

/// What a relation of the pass is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Heap,
    Toast,
    Index,
    /// An access method whose pages we do not know.
    Other,
}

/// How far a relation has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Pages,
    /// All pages were looked at; entries of rows that are gone are still in an index.
    Vacuum,
    Done,
}

/// One relation of the pass.
pub struct Progress {
    ordinal: i32,
    pub relation: pg_sys::Oid,
    pub name: String,
    pub kind: Kind,
    /// The table of an index or a TOAST table.
    pub of_table: pg_sys::Oid,
    /// The index can hold more than keys, or the table has one that can.
    pub has_entries: bool,
    pub state: State,
    pub file: u32,
    pub next_block: u32,
    pub blocks: u32,
    /// Blocks that could not be had.
    pub left_blocks: Vec<u32>,
    pub dead: Option<(u32, u16)>,
}

/// `$1`: the tables of ours in which something about subjects lies; `$2`: those that applications registered. A registered table stands for its
/// partitions and children. What belongs to a session, or has no pages, is not gone over.
static BEGIN: Statement = Statement::write(
    c"INSERT INTO identity.scrub_progress (ordinal, relation, name, kind, of_table, has_entries, state)
      WITH RECURSIVE registered (oid) AS (
          SELECT pg_catalog.unnest($2)
          UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN registered r ON i.inhparent = r.oid),
      tables AS (
          SELECT c.oid, c.relam, c.reltoastrelid, o.ours
            FROM (SELECT pg_catalog.to_regclass(name)::oid AS oid, true AS ours FROM pg_catalog.unnest($1) AS name UNION ALL SELECT oid, false FROM registered) o
            JOIN pg_catalog.pg_class c ON c.oid = o.oid
           WHERE c.relkind = 'r' AND c.relpersistence <> 't'),
      indexes AS (
          SELECT i.indexrelid AS oid, i.indrelid AS of_table, a.amname, i.indexprs IS NOT NULL OR EXISTS (
                     SELECT FROM pg_catalog.pg_attribute c
                      WHERE c.attrelid = i.indrelid AND c.attnum = ANY (i.indkey::int2[]) AND c.atttypid <> 'uuid'::regtype
                        AND NOT (i.indisprimary AND c.atttypid = ANY ('{int2,int4,int8}'::regtype[]))) AS has_entries
            FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            JOIN pg_catalog.pg_am a ON a.oid = c.relam
           WHERE NOT t.ours),
      relations AS (
          SELECT t.oid, t.oid AS of_table, CASE a.amname WHEN 'heap' THEN 'heap' ELSE 'other' END AS kind,
                 a.amname = 'heap' AND EXISTS (SELECT FROM indexes i WHERE i.of_table = t.oid AND i.has_entries) AS has_entries
            FROM tables t JOIN pg_catalog.pg_am a ON a.oid = t.relam
          UNION ALL
          SELECT t.reltoastrelid, t.oid, CASE a.amname WHEN 'heap' THEN 'toast' ELSE 'other' END, false
            FROM tables t JOIN pg_catalog.pg_class c ON c.oid = t.reltoastrelid JOIN pg_catalog.pg_am a ON a.oid = c.relam
          UNION ALL
          SELECT i.oid, i.of_table, CASE i.amname WHEN 'btree' THEN 'index' ELSE 'other' END, i.has_entries
            FROM indexes i WHERE i.amname = 'btree' OR i.has_entries)
      SELECT pg_catalog.row_number() OVER (ORDER BY r.kind = 'index', r.of_table, r.oid), r.oid, r.oid::regclass::text, r.kind, r.of_table, r.has_entries,
             CASE r.kind WHEN 'other' THEN 'done' ELSE 'pages' END
        FROM relations r",
    &[pg_sys::TEXTARRAYOID, pg_sys::OIDARRAYOID],
);
static READ: Statement = Statement::read(
    c"SELECT ordinal, relation, name, kind, of_table, has_entries, state, file, next_block, blocks, left_blocks, dead_block, dead_item
        FROM identity.scrub_progress ORDER BY ordinal",
    &[],
);
static WRITE: Statement = Statement::write(
    c"UPDATE identity.scrub_progress
         SET state = $2, file = $3, next_block = $4, blocks = $5, left_blocks = $6, dead_block = $7, dead_item = $8
       WHERE ordinal = $1",
    &[
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT8OID,
        pg_sys::INT4OID,
    ],
);
static FORGET: Statement = Statement::write(c"DELETE FROM identity.scrub_progress", &[]);

/// Writes down what a new pass has before it. Runs inside SPI and a snapshot, as do all of these.
pub fn begin(ours: &[&str]) {
    FORGET.run(&mut []);
    BEGIN.run(&mut [bind(ours.to_vec()), bind(forget::relations())]);
}

/// The relations of the pass, tables before indexes.
pub fn read() -> Vec<Progress> {
    let rows = READ.run(&mut []);
    (0..rows.count).filter_map(|row| one(&rows, row)).collect()
}

fn one(rows: &Rows, row: usize) -> Option<Progress> {
    let block = |column| Some(u32::try_from(rows.get::<i64>(row, column)?).unwrap_or(0));
    let left_blocks = rows.get::<Vec<i64>>(row, 11)?;
    Some(Progress {
        ordinal: rows.get(row, 1)?,
        relation: rows.get(row, 2)?,
        name: rows.get(row, 3)?,
        kind: match rows.get::<&str>(row, 4)? {
            "heap" => Kind::Heap,
            "toast" => Kind::Toast,
            "index" => Kind::Index,
            _ => Kind::Other,
        },
        of_table: rows.get(row, 5)?,
        has_entries: rows.get(row, 6)?,
        state: match rows.get::<&str>(row, 7)? {
            "pages" => State::Pages,
            "vacuum" => State::Vacuum,
            _ => State::Done,
        },
        file: block(8)?,
        next_block: block(9)?,
        blocks: block(10)?,
        left_blocks: left_blocks
            .into_iter()
            .filter_map(|block| u32::try_from(block).ok())
            .collect(),
        dead: block(12).zip(
            rows.get::<i32>(row, 13)
                .and_then(|item| u16::try_from(item).ok()),
        ),
    })
}

impl Progress {
    /// Notes how far it has come.
    pub fn write(&self) {
        let state = match self.state {
            State::Pages => "pages",
            State::Vacuum => "vacuum",
            State::Done => "done",
        };
        WRITE.run(&mut [
            bind(self.ordinal),
            bind(state),
            bind(i64::from(self.file)),
            bind(i64::from(self.next_block)),
            bind(i64::from(self.blocks)),
            bind(
                self.left_blocks
                    .iter()
                    .map(|block| i64::from(*block))
                    .collect::<Vec<_>>(),
            ),
            self.dead.and_then(|(block, _)| bind(i64::from(block))),
            self.dead.and_then(|(_, item)| bind(i32::from(item))),
        ]);
    }
}
