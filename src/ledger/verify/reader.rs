//! The rows of the log, lane by lane, digested: each is read once, hashed once and forgotten.
//!
//! A replay goes through the lanes cut by cut, and a page of rows costs about as much as a row. So some rows of each lane are read ahead, as
//! digests of a hundred bytes, and all lanes together read ahead no more than a fixed number.

use std::collections::{BTreeMap, VecDeque};

use identity_core::chain::{Head, genesis, link};
use identity_core::key::ChainKey;
use identity_core::leaf::{MAX_SEQ, access_id};
use identity_core::merkle::leaf_hash;
use identity_core::replay::{Content, Link, Row};
use identity_core::salt::row_salt;
use identity_core::vocabulary::{ChainKind, Outcome};
use pgrx::pg_sys;

use crate::keys::region::{self, Keys};
use crate::ledger::row::{self, PAGE, Stored, stored};
use crate::query::{Statement, bind, connected};

/// Digests that are kept at a time, over all lanes.
const AHEAD: usize = 100_000;
/// The fewest rows that are worth a statement.
const LEAST_PAGE: usize = 50;

/// The row before the first that is left of a lane whose months were dropped.
static SEALED: Statement = Statement::read(
    c"SELECT mac FROM identity.ledger_heads WHERE lane = ($1 >> 48)::int AND seq = ($1 & 281474976710655) - 1",
    &[pg_sys::INT8OID],
);

pub struct Reader<'a> {
    keys: &'a Keys,
    chain_keys: BTreeMap<i32, Option<ChainKey>>,
    lanes: BTreeMap<u32, Lane>,
    page: usize,
}

/// A lane as far as it was read.
struct Lane {
    ahead: VecDeque<Row>,
    /// The last row read, or what stands for it before the first.
    last: Head,
    begun: bool,
    ended: bool,
}

impl<'a> Reader<'a> {
    /// Reads these lanes, each after the row with this head.
    pub fn new(keys: &'a Keys, lanes: BTreeMap<u32, Head>) -> Self {
        let page = AHEAD / lanes.len().max(1);
        let lane = |last| Lane {
            ahead: VecDeque::new(),
            last,
            begun: false,
            ended: false,
        };
        Self {
            keys,
            chain_keys: BTreeMap::new(),
            lanes: lanes
                .into_iter()
                .map(|(number, head)| (number, lane(head)))
                .collect(),
            page: page.clamp(LEAST_PAGE, PAGE),
        }
    }

    /// The same lanes from their beginning.
    pub fn whole(keys: &'a Keys, lanes: &[u32]) -> Self {
        let from = |lane: &u32| (*lane, genesis(&keys.installation, *lane));
        Self::new(keys, lanes.iter().map(from).collect())
    }

    /// The next row of a lane that does not lie beyond a sequence number. Runs inside a call's snapshot, outside of `connected`.
    pub fn next(&mut self, number: u32, through: u64) -> Option<Row> {
        let through = access_id(number, through);
        let lane = self.lanes.get(&number)?;
        if lane.ahead.is_empty() && !lane.ended {
            self.read(number);
        }
        self.lanes
            .get_mut(&number)?
            .ahead
            .pop_front_if(|row| row.access_id <= through)
    }

    fn read(&mut self, number: u32) {
        let Some(mut lane) = self.lanes.remove(&number) else {
            return;
        };
        // Before its first row, a row that claims to be of number 0 is read, too.
        let from = access_id(number, lane.last.seq) - i64::from(lane.last.seq == 0 && !lane.begun);
        lane.begun = true;
        let to = access_id(number, MAX_SEQ);
        connected(|| {
            let rows = row::next(from, to, self.page);
            lane.ended = rows.count < self.page;
            for at in 0..rows.count {
                let row = stored(&rows, at);
                lane.ahead.push_back(self.digest(&row, &mut lane.last));
            }
        });
        self.lanes.insert(number, lane);
    }

    fn digest(&mut self, stored: &Stored<'_>, last: &mut Head) -> Row {
        let seq = stored.access_id.cast_unsigned() & MAX_SEQ;
        let before = *last;
        *last = Head {
            seq,
            mac: stored.mac,
        };
        let row = |content| Row {
            access_id: stored.access_id,
            accessed_at: stored.accessed_at,
            committed: stored
                .row
                .as_ref()
                .is_some_and(|row| row.outcome == Outcome::Committed),
            merkle: stored
                .row
                .as_ref()
                .is_some_and(|row| row.chain_kind == ChainKind::Merkle),
            mac: stored.mac,
            content,
        };
        let Some(columns) = &stored.row else {
            return row(Content::Malformed);
        };
        let version = columns.chain_version;
        let key = self
            .chain_keys
            .entry(version)
            .or_insert_with(|| region::chain_key(u32::try_from(version).ok()?));
        let Some(key) = key else {
            return row(Content::NoKey);
        };
        let leaf = columns.leaf();
        let salt = row_salt(key, &self.keys.installation, stored.access_id);
        let before = if seq == before.seq + 1 {
            Some(before.mac)
        } else {
            sealed_mac(stored.access_id)
        };
        let holds = match before {
            None => Link::Unknown,
            Some(mac) if link(key, &mac, &leaf) == stored.mac => Link::Holds,
            Some(_) => Link::Broken,
        };
        row(Content::Leaf {
            hash: leaf_hash(&salt, &leaf),
            link: holds,
        })
    }
}

/// The MAC that a seal remembers of the row before this one.
fn sealed_mac(access_id: i64) -> Option<[u8; 32]> {
    let mac = SEALED.run(&mut [bind(access_id)]);
    mac.bytes(0, 1)?.try_into().ok()
}
