//! The rows of the log, lane by lane: read in stretches, hashed as they come, never more than [`MAX_WAITING`] of them in memory.

use std::collections::{BTreeMap, VecDeque};

use identity_core::leaf::{MAX_LANE, MAX_SEQ, access_id};
use identity_core::merkle::leaf_hash;
use identity_core::replay::{Content, Link, Row};
use identity_core::vocabulary::{ChainKind, Outcome};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::columns;
use super::query::{for_each, prepare};
use super::salts::Salts;
use super::value::get;
use crate::connect::Failure;

/// Rows that wait to be asked for, in all lanes together.
const MAX_WAITING: usize = 60_000;

/// Rows that are read at once from one lane.
const STRETCH: std::ops::RangeInclusive<usize> = 50..=5_000;

/// The longest row: ten times what our writer can write.
const MAX_ROW_BYTES: usize = 64 << 10;

/// The log as it lies in one snapshot.
pub struct Log {
    next: Statement,
    lane: Statement,
    lanes: BTreeMap<u32, Lane>,
    stretch: usize,
    rows: u64,
}

/// What was read of a lane and not asked for yet.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Row>,
    from: u64,
    ended: bool,
}

/// A row whose salt is not known yet.
struct Unsalted {
    row: Row,
    leaf: Option<(i32, Vec<u8>)>,
}

impl Log {
    pub async fn open(client: &Client) -> Result<Self, Failure> {
        let next = prepare(client, columns::NEXT, &columns::TYPES).await?;
        let lane =
            "SELECT pg_catalog.min(access_id) FROM identity.pii_access_log WHERE access_id >= $1";
        let lane = prepare(client, lane, &[Type::INT8]).await?;
        Ok(Self {
            next,
            lane,
            lanes: BTreeMap::new(),
            stretch: *STRETCH.start(),
            rows: 0,
        })
    }

    /// How many rows were given out.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The lanes that have rows. Ids below zero have none, and are found by counting.
    pub async fn lanes(&mut self, client: &Client) -> Result<Vec<u32>, Failure> {
        let mut lanes = Vec::new();
        let mut from = Some(0);
        while let Some(first) = from.take() {
            let found = client.query_one(&self.lane, &[&first]).await?;
            let Some(id) = get::<i64>(&found, 0).filter(|id| *id >= first) else {
                break;
            };
            let lane = u32::try_from(id >> 48).unwrap_or(MAX_LANE);
            lanes.push(lane);
            from = (lane < MAX_LANE).then(|| access_id(lane + 1, 0));
        }
        self.stretch = (MAX_WAITING / lanes.len().max(1)).clamp(*STRETCH.start(), *STRETCH.end());
        Ok(lanes)
    }

    /// The next row of a lane, if it does not lie beyond `through`; `None` if more must be read to say so.
    pub fn waiting(&mut self, lane: u32, through: u64) -> Option<Option<Row>> {
        let known = self.lanes.entry(lane).or_default();
        if known.waiting.is_empty() {
            return known.ended.then_some(None);
        }
        let seq = |row: &Row| row.access_id.cast_unsigned() & MAX_SEQ;
        let row = known.waiting.pop_front_if(|row| seq(row) <= through);
        self.rows += u64::from(row.is_some());
        Some(row)
    }

    /// Reads the next stretch of a lane of which nothing waits.
    pub async fn read(
        &mut self,
        client: &Client,
        salts: &Salts<'_>,
        lane: u32,
    ) -> Result<(), Failure> {
        let known = self.lanes.entry(lane).or_default();
        let from = access_id(lane, known.from);
        let rows = read(
            client,
            &self.next,
            from,
            access_id(lane, MAX_SEQ),
            self.stretch,
        )
        .await?;
        known.keep(rows, self.stretch, salts).await
    }
}

impl Lane {
    /// Keeps a stretch but for the rows that share its last id, since more of them may follow: the next one begins with that id.
    /// Where a whole stretch claims one id there is no end to it; what is not read then is found by counting.
    async fn keep(
        &mut self,
        mut rows: Vec<Unsalted>,
        asked_for: usize,
        salts: &Salts<'_>,
    ) -> Result<(), Failure> {
        self.ended = rows.len() < asked_for;
        if !self.ended
            && let Some(last) = rows.last().map(|last| last.row.access_id)
        {
            let seq = last.cast_unsigned() & MAX_SEQ;
            match rows.partition_point(|row| row.row.access_id < last) {
                0 => self.from = seq + 1,
                before => {
                    rows.truncate(before);
                    self.from = seq;
                }
            }
        }
        self.waiting = salted(rows, salts).await?.into();
        Ok(())
    }
}

/// Reads a stretch. Its leaves are made here, since their rows are gone when the next ones come.
async fn read(
    client: &Client,
    next: &Statement,
    from: i64,
    to: i64,
    rows: usize,
) -> Result<Vec<Unsalted>, Failure> {
    let mut read = Vec::with_capacity(rows);
    let mut before = from;
    let limit = rows as i64;
    for_each(client, next, &[&from, &to, &limit], |row| {
        // What an honest server answers; another one could keep us going round for ever.
        let id = columns::id(row).filter(|id| (before..=to).contains(id) && read.len() < rows);
        before = id.ok_or("the server does not answer what it was asked")?;
        read.push(unsalted(before, row));
        Ok(())
    })
    .await?;
    Ok(read)
}

fn unsalted(access_id: i64, row: &tokio_postgres::Row) -> Unsalted {
    let small = row.raw_size_bytes() <= MAX_ROW_BYTES;
    let columns = small.then(|| columns::read(row)).flatten();
    let mac = columns::mac(row);
    let row = Row {
        access_id,
        accessed_at: columns.as_ref().map_or(0, |columns| columns.accessed_at),
        committed: columns
            .as_ref()
            .is_some_and(|columns| columns.outcome == Outcome::Committed),
        merkle: columns
            .as_ref()
            .is_some_and(|columns| columns.chain_kind == ChainKind::Merkle),
        mac: mac.unwrap_or_default(),
        content: Content::Malformed,
    };
    let leaf = columns.filter(|_| mac.is_some());
    let leaf = leaf.map(|columns| (columns.chain_version, columns.leaf()));
    Unsalted { row, leaf }
}

/// Hashes the leaves with their salts, asked for together.
async fn salted(rows: Vec<Unsalted>, salts: &Salts<'_>) -> Result<Vec<Row>, Failure> {
    let mut by_version = BTreeMap::<i32, Vec<i64>>::new();
    for row in &rows {
        if let Some((version, _)) = &row.leaf {
            by_version
                .entry(*version)
                .or_default()
                .push(row.row.access_id);
        }
    }
    let mut answers = BTreeMap::new();
    for (version, ids) in by_version {
        let salts = salts.rows(&ids, version).await?;
        answers.insert(version, salts.map(Vec::into_iter));
    }
    let salt = |Unsalted { row, leaf }| {
        let Some((version, leaf)) = leaf else {
            return row;
        };
        let salt = answers
            .get_mut(&version)
            .and_then(Option::as_mut)
            .and_then(Iterator::next);
        let content = salt.map_or(Content::NoKey, |salt| Content::Leaf {
            hash: leaf_hash(&salt, &leaf),
            link: Link::Unknown,
        });
        Row { content, ..row }
    };
    Ok(rows.into_iter().map(salt).collect())
}
