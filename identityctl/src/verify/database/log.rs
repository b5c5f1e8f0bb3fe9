//! The rows of the log, lane by lane: read in stretches, hashed as they come, never more than twice [`MAX_WAITING`] of them in memory.

use std::collections::{BTreeMap, VecDeque};

use futures_util::future::try_join;
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
use identity_connect::Failure;

/// Rows that wait to be asked for, in all lanes together; and as many that wait for their salts.
const MAX_WAITING: usize = 40_000;

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
    next: Option<Stretch>,
    ended: bool,
}

/// Rows without their salts, and where to read on if there can be more.
struct Stretch {
    rows: Vec<Unsalted>,
    next_from: Option<u64>,
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

    /// Reads on in a lane of which nothing waits: while one session is asked for the salts of a stretch, the other reads the next.
    pub async fn read_on(
        &mut self,
        client: &Client,
        salts: &Salts<'_>,
        lane: u32,
    ) -> Result<(), Failure> {
        let known = self.lanes.entry(lane).or_default();
        let stretch = match known.next.take() {
            Some(stretch) => stretch,
            None => read(client, &self.next, lane, 0, self.stretch).await?,
        };
        let waiting = salted(stretch.rows, salts);
        known.waiting = match stretch.next_from {
            None => {
                known.ended = true;
                waiting.await?
            }
            Some(from) => {
                let next = read(client, &self.next, lane, from, self.stretch);
                let (waiting, next) = try_join(waiting, next).await?;
                known.next = Some(next);
                waiting
            }
        }
        .into();
        Ok(())
    }
}

/// Reads a stretch. Its leaves are made here, since their rows are gone when the next ones come.
async fn read(
    client: &Client,
    next: &Statement,
    lane: u32,
    from: u64,
    asked_for: usize,
) -> Result<Stretch, Failure> {
    let (from, to) = (access_id(lane, from), access_id(lane, MAX_SEQ));
    let mut rows = Vec::with_capacity(asked_for);
    let mut before = from;
    let limit = asked_for as i64;
    for_each(client, next, &[&from, &to, &limit], |row| {
        // What an honest server answers; another one could keep us going round for ever.
        let id = columns::id(row).filter(|id| (before..=to).contains(id) && rows.len() < asked_for);
        before = id.ok_or("the server does not answer what it was asked")?;
        rows.push(unsalted(before, row));
        Ok(())
    })
    .await?;
    Ok(Stretch::of(rows, asked_for))
}

impl Stretch {
    /// Without the rows that share its last id, since more of them may follow: the next one begins with that id. Where a whole stretch
    /// claims one id there is no end to it; what is not read then is found by counting.
    fn of(mut rows: Vec<Unsalted>, asked_for: usize) -> Self {
        let last = rows.last().map(|last| last.row.access_id);
        let Some(last) = last.filter(|_| rows.len() == asked_for) else {
            return Self {
                rows,
                next_from: None,
            };
        };
        let seq = last.cast_unsigned() & MAX_SEQ;
        let next_from = match rows.partition_point(|row| row.row.access_id < last) {
            0 => seq + 1,
            before => {
                rows.truncate(before);
                seq
            }
        };
        Self {
            rows,
            next_from: Some(next_from),
        }
    }
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
    let leaf = leaf.map(|columns| {
        let mut leaf = columns.leaf();
        leaf.shrink_to_fit();
        (columns.chain_version, leaf)
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(seqs: &[u64], asked_for: usize) -> (Vec<u64>, Option<u64>) {
        let unsalted = |seq: &u64| Unsalted {
            row: Row {
                access_id: access_id(3, *seq),
                accessed_at: 0,
                committed: true,
                merkle: false,
                mac: [0; 32],
                content: Content::Malformed,
            },
            leaf: None,
        };
        let stretch = Stretch::of(seqs.iter().map(unsalted).collect(), asked_for);
        let seq = |row: &Unsalted| row.row.access_id.cast_unsigned() & MAX_SEQ;
        (stretch.rows.iter().map(seq).collect(), stretch.next_from)
    }

    #[test]
    fn a_second_row_of_one_id_is_not_lost_between_stretches() {
        assert_eq!(stretch(&[1, 2, 3], 4), (vec![1, 2, 3], None));
        assert_eq!(stretch(&[1, 2, 3], 3), (vec![1, 2], Some(3)));
        assert_eq!(stretch(&[1, 3, 3], 3), (vec![1], Some(3)));
        assert_eq!(stretch(&[3, 3, 3], 3), (vec![3, 3, 3], Some(4)));
        assert_eq!(stretch(&[], 3), (vec![], None));
    }
}
