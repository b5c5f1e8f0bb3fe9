//! A ledger in memory: rows in lanes, and what seals make of them, to be tampered with and replayed.

mod reader;

use std::collections::BTreeMap;

use identity_core::checkpoint::{self, Checkpoint};
use identity_core::merkle::{Digest, Frontier, leaf_hash};
use identity_core::replay::*;
use identity_core::salt::{row_salt, seal_salt};
use identity_core::seal_leaf::{LaneHeads, SealLeaf};
use identity_core::tile::{BatchBuilder, Tile};
use identity_core::{ChainKey, Head, access_id, genesis, link, moment};

use self::reader::Reader;
use crate::support::INSTALLATION;

/// 2026-11-01T00:00:00Z.
pub const NOVEMBER: i64 = 1_793_491_200_000_000;
pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: i64,
    pub at: i64,
    pub merkle: bool,
    pub committed: bool,
    pub text: String,
    pub mac: Digest,
}

/// Every table, as plain as can be.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub rows: BTreeMap<u32, Vec<Entry>>,
    pub cuts: BTreeMap<u64, Cut>,
    pub tiles: BTreeMap<(u64, u8, u64), StoredTile>,
    pub leaves: BTreeMap<u64, Option<i64>>,
    pub nodes: BTreeMap<(u8, u64), Digest>,
    pub anchors: Vec<Anchor>,
    pub expired: Vec<Expired>,
    pub now: i64,
    sealed: BTreeMap<u32, Head>,
    batches: u64,
}

pub fn key() -> ChainKey {
    ChainKey::new(1, &[9; 32])
}

impl Ledger {
    /// Appends a row to a lane.
    pub fn add(&mut self, lane: u32, at: i64, merkle: bool) -> i64 {
        let rows = self.rows.entry(lane).or_default();
        let (last, before) = match rows.last() {
            Some(row) => (row.id, row.mac),
            None => (access_id(lane, 0), genesis(&INSTALLATION, lane).mac),
        };
        let id = last + 1;
        let text = format!("{id} at {at}");
        rows.push(Entry {
            id,
            at,
            merkle,
            committed: true,
            mac: link(&key(), &before, text.as_bytes()),
            text,
        });
        self.now = self.now.max(at);
        id
    }

    /// Makes all MACs of a lane anew: what somebody can do who has the chain key.
    pub fn chain(&mut self, lane: u32) {
        let mut mac = genesis(&INSTALLATION, lane).mac;
        for row in self.rows.entry(lane).or_default() {
            mac = link(&key(), &mac, row.text.as_bytes());
            row.mac = mac;
        }
    }

    pub fn row(&mut self, id: i64) -> &mut Entry {
        let lane = u32::try_from(id >> 48).unwrap();
        let rows = self.rows.get_mut(&lane).unwrap();
        rows.iter_mut().find(|row| row.id == id).unwrap()
    }

    pub fn remove(&mut self, keep: impl Fn(&Entry) -> bool) {
        for rows in self.rows.values_mut() {
            rows.retain(&keep);
        }
    }

    fn frontier(&self) -> Frontier {
        let mut tree = Frontier::new();
        for index in 0..self.leaves.len() as u64 {
            tree.append(self.nodes[&(0, index)], &mut |_, _, _| {});
        }
        tree
    }

    /// What `ledger_seal` does.
    pub fn seal(&mut self, at: i64) {
        let mut tree = self.frontier();
        let mut cut = Cut {
            number: self.cuts.len() as u64 + 1,
            ..Cut::default()
        };
        let mut batches: BTreeMap<String, (u64, BatchBuilder, u64)> = BTreeMap::new();
        let mut tiles: Vec<(u64, Tile)> = Vec::new();
        for (lane, rows) in self.rows.clone() {
            let from = self.sealed.get(&lane).map_or(0, |head| head.seq);
            let mut head = None;
            for row in rows.iter().filter(|row| row.id > access_id(lane, from)) {
                let hash = row_hash(row);
                let month = moment::text(row.at)[..7].to_owned();
                let next = self.batches + batches.len() as u64 + 1;
                let (number, batch, merkle) =
                    batches
                        .entry(month)
                        .or_insert((next, BatchBuilder::new(), 0));
                if row.merkle {
                    self.leaf(&mut tree, Some(row.id), hash);
                    *merkle += 1;
                } else {
                    batch.push(row.id, hash, &mut |tile| tiles.push((*number, tile)));
                }
                head = Some(Head {
                    seq: row.id.cast_unsigned() & 0xFFFF_FFFF_FFFF,
                    mac: row.mac,
                });
            }
            if let Some(Head { seq, mac }) = head {
                self.sealed.insert(lane, Head { seq, mac });
                let mac = Some(mac);
                cut.heads.push(StoredHead { lane, seq, mac });
            }
        }
        if cut.heads.is_empty() {
            return;
        }
        let mut heads = LaneHeads::new();
        for (lane, head) in &self.sealed {
            heads.push(*lane, head.seq, &head.mac);
        }
        let lane_heads = heads.finish();
        self.batches += batches.len() as u64;
        for (partition, (batch, builder, merkle_rows)) in batches {
            let rows = builder.rows();
            let root = builder.finish(&mut |tile| tiles.push((batch, tile)));
            let leaf = SealLeaf {
                batch,
                batch_root: root,
                batch_rows: rows,
                chain_version: 1,
                cut: cut.number,
                keys: "development",
                lane_heads,
                lsn: 1,
                merkle_rows,
                partition: &partition,
                sealed_at: at,
                settings: [7; 32],
                system_identifier: 1,
                timeline: 1,
            }
            .leaf();
            let leaf_index = tree.size();
            let salt = seal_salt(&key(), &INSTALLATION, leaf_index);
            self.leaf(&mut tree, None, leaf_hash(&salt, &leaf));
            cut.seals.push(StoredSeal {
                batch,
                leaf_index,
                partition: partition.clone(),
                rows,
                root: Some(root),
                sealed_at: at,
                leaf: String::from_utf8(leaf).unwrap(),
                tiles: tiles.iter().filter(|(of, _)| *of == batch).count() as u64,
            });
        }
        for (batch, tile) in tiles {
            let stored = StoredTile {
                access_ids: tile.access_ids,
                hashes: tile.hashes.concat(),
            };
            self.tiles.insert((batch, tile.level, tile.index), stored);
        }
        self.cuts.insert(cut.number, cut);
        self.now = self.now.max(at);
    }

    fn leaf(&mut self, tree: &mut Frontier, access_id: Option<i64>, hash: Digest) {
        self.leaves.insert(tree.size(), access_id);
        tree.append(hash, &mut |level, index, hash| {
            self.nodes.insert((level, index), hash);
        });
    }

    /// What an anchor-worker would have recorded of the tree as it is.
    pub fn anchor(&mut self) {
        let tree = self.frontier();
        let body = Checkpoint {
            origin: checkpoint::origin(&INSTALLATION, true),
            size: tree.size(),
            root: tree.root(),
            extensions: Vec::new(),
        };
        self.anchors.push(Anchor {
            commit_id: self.anchors.len() as i64 + 1,
            tree_size: tree.size(),
            root: Some(tree.root()),
            checkpoint: format!("{}\n\u{2014} test AAAA\n", body.text()),
        });
    }

    pub fn replay(&self) -> (Summary, Vec<Finding>) {
        let mut found = Vec::new();
        let context = Context {
            installation: &INSTALLATION,
            expired: &self.expired,
            now: self.now,
        };
        let mut reader = Reader::of(self);
        let Ok(summary) = replay(&mut reader, &context, &mut |finding| found.push(finding));
        (summary, found)
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.replay().1
    }

    /// The faults found, each once, in the order of their names.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self
            .findings()
            .into_iter()
            .map(|f| f.fault)
            .collect::<Vec<_>>();
        faults.sort_by_key(|fault| format!("{fault:?}"));
        faults.dedup();
        faults
    }
}

fn row_hash(row: &Entry) -> Digest {
    leaf_hash(
        &row_salt(&key(), &INSTALLATION, row.id),
        row.text.as_bytes(),
    )
}
