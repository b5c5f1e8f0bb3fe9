//! What reads a [`Ledger`] for a replay, and holds the replay to what it promises a store.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;

use identity_core::merkle::Digest;
use identity_core::replay::*;
use identity_core::salt::seal_salt;
use identity_core::{access_id, genesis, link};

use super::{Ledger, key, row_hash};
use crate::support::INSTALLATION;

/// Gives everything in small pieces, so that each seam is met. It might be a stream: it panics when it is asked for what it gave
/// already, or for more after it said that there is none.
pub(super) struct Reader<'a> {
    ledger: &'a Ledger,
    rows: BTreeMap<u32, usize>,
    cuts: Given<u64>,
    tiles: HashSet<(u64, u8, u64)>,
    leaves: Given<u64>,
    nodes: BTreeMap<u8, Given<u64>>,
    anchors: Given<(u64, i64)>,
}

/// How far a table was given.
#[derive(Default)]
struct Given<T> {
    last: Option<T>,
    ended: bool,
}

impl<T: Copy> Given<T> {
    /// Gives what ends with `last`; nothing is the end.
    fn give(&mut self, last: Option<T>, is_beyond: impl Fn(T) -> bool) {
        assert!(!self.ended, "asked for more than there is");
        assert!(self.last.is_none_or(is_beyond), "asked twice for the same");
        self.ended = last.is_none();
        self.last = last;
    }
}

impl<'a> Reader<'a> {
    pub(super) fn of(ledger: &'a Ledger) -> Self {
        Self {
            ledger,
            rows: BTreeMap::new(),
            cuts: Given::default(),
            tiles: HashSet::new(),
            leaves: Given::default(),
            nodes: BTreeMap::new(),
            anchors: Given::default(),
        }
    }
}

impl Store for Reader<'_> {
    type Error = Infallible;

    fn lanes(&mut self) -> Result<Vec<u32>, Infallible> {
        let rows = self.ledger.rows.iter().filter(|(_, rows)| !rows.is_empty());
        Ok(rows.map(|(lane, _)| *lane).collect())
    }

    fn row(&mut self, lane: u32, through: u64) -> Result<Option<Row>, Infallible> {
        let Some(rows) = self.ledger.rows.get(&lane) else {
            return Ok(None);
        };
        let at = self.rows.entry(lane).or_default();
        let Some(row) = rows
            .get(*at)
            .filter(|row| row.id <= access_id(lane, through))
        else {
            return Ok(None);
        };
        let before = match at.checked_sub(1) {
            None => Some((access_id(lane, 0), genesis(&INSTALLATION, lane).mac)),
            Some(before) => rows.get(before).map(|row| (row.id, row.mac)),
        };
        let link = match before {
            Some((id, mac)) if id + 1 == row.id => {
                if link(&key(), &mac, row.text.as_bytes()) == row.mac {
                    Link::Holds
                } else {
                    Link::Broken
                }
            }
            _ => Link::Unknown,
        };
        *at += 1;
        Ok(Some(Row {
            access_id: row.id,
            accessed_at: row.at,
            committed: row.committed,
            merkle: row.merkle,
            mac: row.mac,
            content: Content::Leaf {
                hash: row_hash(row),
                link,
            },
        }))
    }

    fn cut(&mut self, after: u64) -> Result<Option<Cut>, Infallible> {
        let next = self.ledger.cuts.range(after + 1..).next();
        let number = next.map(|(number, _)| *number);
        self.cuts.give(number, |last| after >= last);
        Ok(next.map(|(_, cut)| cut.clone()))
    }

    fn tile(&mut self, batch: u64, level: u8, tile: u64) -> Result<Option<StoredTile>, Infallible> {
        let place = (batch, level, tile);
        assert!(self.tiles.insert(place), "asked twice for {place:?}");
        Ok(self.ledger.tiles.get(&place).cloned())
    }

    fn leaves(&mut self, from: u64) -> Result<Vec<Leaf>, Infallible> {
        let some = self.ledger.leaves.range(from..).take(3);
        let leaves = some
            .map(|(index, id)| Leaf {
                index: *index,
                access_id: *id,
            })
            .collect::<Vec<_>>();
        let last = leaves.last().map(|leaf| leaf.index);
        self.leaves.give(last, |last| from > last);
        Ok(leaves)
    }

    fn nodes(&mut self, level: u8, from: u64) -> Result<Vec<(u64, Digest)>, Infallible> {
        let level_nodes = (level, from)..=(level, u64::MAX);
        let some = self.ledger.nodes.range(level_nodes).take(3);
        let nodes = some
            .map(|((_, index), hash)| (*index, *hash))
            .collect::<Vec<_>>();
        let last = nodes.last().map(|(index, _)| *index);
        let given = self.nodes.entry(level).or_default();
        given.give(last, |last| from > last);
        Ok(nodes)
    }

    fn anchors(&mut self, after: Option<(u64, i64)>) -> Result<Vec<Anchor>, Infallible> {
        let place = |anchor: &Anchor| (anchor.tree_size, anchor.commit_id);
        let mut some = self.ledger.anchors.clone();
        some.sort_by_key(place);
        some.retain(|anchor| after.is_none_or(|after| place(anchor) > after));
        some.truncate(2);
        let last = some.last().map(place);
        self.anchors.give(last, |last| after >= Some(last));
        Ok(some)
    }

    fn seal_salt(&mut self, version: i32, index: u64) -> Result<Option<[u8; 16]>, Infallible> {
        Ok((version == 1).then(|| seal_salt(&key(), &INSTALLATION, index)))
    }
}
