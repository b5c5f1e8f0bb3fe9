//! The tables of the ledger, read in order and a stretch at a time.
//!
//! What cannot be a number, a digest or a text is left out: it is then missing, and found as that.

use std::collections::VecDeque;

use identity_core::event_digest;
use identity_core::leaf::{MAX_LANE, MAX_SEQ};
use identity_core::merkle::Digest;
use identity_core::moment;
use identity_core::replay::{Anchor, Cut, Expired, Leaf, StoredHead, StoredSeal, StoredTile};
use identity_core::vocabulary::AccessorKind;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Statement};

use super::query::{Parameters, for_each, prepare};
use super::value::{Array, Moment, Natural, Value, get, get_nullable};
use identity_connect::Failure;

/// A tile is full with 256 hashes; one more shows that there are too many.
const MAX_TILE_ENTRIES: usize = 257;

/// What is read at once.
const TILES: i64 = 64;
const NODES: i64 = 2_000;
const ANCHORS: i64 = 16;

/// What one cut can have: a head for each lane, a batch for each month of a century.
const MAX_HEADS: i64 = 1 << 15;
const MAX_SEALS: i64 = 1_200;

/// A seal leaf has some hundred bytes.
const MAX_SEAL_BYTES: usize = 16 << 10;

pub struct Ledger {
    next_cut: Statement,
    heads: Statement,
    seals: Statement,
    tiles: Statement,
    leaves: Statement,
    nodes: Statement,
    anchors: Statement,
    expired: Statement,
    waiting: Vec<Level>,
}

/// Tiles of one level of a batch that were read and not asked for yet.
#[derive(Default)]
struct Level {
    batch: u64,
    tiles: VecDeque<(u64, StoredTile)>,
}

impl Ledger {
    pub async fn open(client: &Client) -> Result<Self, Failure> {
        let next_cut = "SELECT LEAST((SELECT pg_catalog.min(cut) FROM ONLY identity.ledger_heads WHERE cut > $1),
                                     (SELECT pg_catalog.min(cut) FROM ONLY identity.ledger_seals WHERE cut > $1))";
        let heads = "SELECT lane, seq, mac FROM ONLY identity.ledger_heads WHERE cut = $1 ORDER BY lane, seq LIMIT $2";
        let seals = "SELECT s.batch, s.leaf_index, s.partition, s.batch_rows, s.batch_root, s.sealed_at, s.leaf,
                            (SELECT pg_catalog.count(*) FROM ONLY identity.ledger_tiles t WHERE t.batch = s.batch)
                       FROM ONLY identity.ledger_seals s WHERE s.cut = $1 ORDER BY s.leaf_index LIMIT $2";
        let tiles = "SELECT tile, access_ids, hashes FROM ONLY identity.ledger_tiles
                      WHERE batch = $1 AND level = $2 AND tile >= $3 ORDER BY tile LIMIT $4";
        let leaves = "SELECT leaf_index, access_id FROM ONLY identity.ledger_leaves WHERE leaf_index >= $1 ORDER BY leaf_index LIMIT $2";
        let nodes = "SELECT index, hash FROM ONLY identity.ledger_nodes WHERE level = $1 AND index >= $2 ORDER BY index LIMIT $3";
        let anchors = "SELECT commit_id, tree_size, root_hash, checkpoint FROM ONLY identity.anchor_commits
                        WHERE (tree_size, commit_id) > ($1, $2) ORDER BY tree_size, commit_id LIMIT $3";
        let expired = "SELECT e.partition, e.last_batch, e.rows, e.tree_size, e.expired_at, l.event_digest,
                              NOT EXISTS (SELECT FROM identity.pii_access_log o WHERE o.access_id = e.access_id),
                              pg_catalog.to_char(e.expired_at AT TIME ZONE 'UTC', 'YYYY-MM')
                         FROM ONLY identity.ledger_expired e
                         LEFT JOIN identity.pii_access_log l ON l.access_id = e.access_id AND l.accessor_kind = 'log_expire' AND l.outcome = 'committed'
                        ORDER BY e.expired_at DESC, e.partition DESC LIMIT $1";
        let seal_types = [
            Type::INT8,
            Type::INT8,
            Type::TEXT,
            Type::INT8,
            Type::BYTEA,
            Type::TIMESTAMPTZ,
            Type::TEXT,
            Type::INT8,
        ];
        let anchor_types = [Type::INT8, Type::INT8, Type::BYTEA, Type::TEXT];
        let expired_types = [
            Type::TEXT,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::TIMESTAMPTZ,
            Type::BYTEA,
            Type::BOOL,
            Type::TEXT,
        ];
        Ok(Self {
            next_cut: prepare(client, next_cut, &[Type::INT8]).await?,
            heads: prepare(client, heads, &[Type::INT4, Type::INT8, Type::BYTEA]).await?,
            seals: prepare(client, seals, &seal_types).await?,
            tiles: prepare(client, tiles, &[Type::INT8, Type::INT8_ARRAY, Type::BYTEA]).await?,
            leaves: prepare(client, leaves, &[Type::INT8, Type::INT8]).await?,
            nodes: prepare(client, nodes, &[Type::INT8, Type::BYTEA]).await?,
            anchors: prepare(client, anchors, &anchor_types).await?,
            expired: prepare(client, expired, &expired_types).await?,
            waiting: Vec::new(),
        })
    }

    /// The first cut after one.
    pub async fn cut(&self, client: &Client, after: u64) -> Result<Option<Cut>, Failure> {
        let Ok(after) = i64::try_from(after) else {
            return Ok(None);
        };
        let answer = client.query_one(&self.next_cut, &[&after]).await?;
        let Some(number) = get::<Natural>(&answer, 0) else {
            return Ok(None);
        };
        let number = number.u64();
        let key = number.cast_signed();
        let heads = collect(client, &self.heads, &[&key, &MAX_HEADS], head).await?;
        let seals = collect(client, &self.seals, &[&key, &MAX_SEALS], seal).await?;
        Ok(Some(Cut {
            number,
            heads,
            seals,
        }))
    }

    /// One tile; those after it are read with it.
    pub async fn tile(
        &mut self,
        client: &Client,
        batch: u64,
        level: u8,
        tile: u64,
    ) -> Result<Option<StoredTile>, Failure> {
        let at = usize::from(level);
        if self.waiting.len() <= at {
            self.waiting.resize_with(at + 1, Level::default);
        }
        let Some(known) = self.waiting.get_mut(at) else {
            return Ok(None);
        };
        if known.batch != batch
            || known
                .tiles
                .front()
                .is_none_or(|(number, _)| *number != tile)
        {
            let (Ok(batch_key), Ok(tile_key)) = (i64::try_from(batch), i64::try_from(tile)) else {
                return Ok(None);
            };
            let key: Parameters<'_> = &[&batch_key, &i16::from(level), &tile_key, &TILES];
            known.batch = batch;
            known.tiles = collect(client, &self.tiles, key, stored_tile).await?.into();
        }
        let next = known.tiles.pop_front_if(|(number, _)| *number == tile);
        Ok(next.map(|(_, tile)| tile))
    }

    pub async fn leaves(&self, client: &Client, from: u64) -> Result<Vec<Leaf>, Failure> {
        let Ok(from) = i64::try_from(from) else {
            return Ok(Vec::new());
        };
        collect(client, &self.leaves, &[&from, &NODES], |row| {
            let index = get::<Natural>(row, 0)?.u64();
            let access_id = get_nullable(row, 1)?;
            Some(Leaf { index, access_id })
        })
        .await
    }

    pub async fn nodes(
        &self,
        client: &Client,
        level: u8,
        from: u64,
    ) -> Result<Vec<(u64, Digest)>, Failure> {
        let Ok(from) = i64::try_from(from) else {
            return Ok(Vec::new());
        };
        collect(
            client,
            &self.nodes,
            &[&i16::from(level), &from, &NODES],
            |row| Some((get::<Natural>(row, 0)?.u64(), get(row, 1)?)),
        )
        .await
    }

    pub async fn anchors(
        &self,
        client: &Client,
        after: Option<(u64, i64)>,
    ) -> Result<Vec<Anchor>, Failure> {
        let (size, id) = after.unwrap_or((0, i64::MIN));
        let Ok(size) = i64::try_from(size) else {
            return Ok(Vec::new());
        };
        collect(client, &self.anchors, &[&size, &id, &ANCHORS], |row| {
            Some(Anchor {
                commit_id: get(row, 0)?,
                tree_size: get::<Natural>(row, 1)?.u64(),
                root: get(row, 2),
                checkpoint: get::<&str>(row, 3)?.into(),
            })
        })
        .await
    }

    /// The months that were dropped as an event in the log has it, and those of which there is no such event. An event may be gone itself, if its
    /// month has expired later.
    pub async fn expired(
        &self,
        client: &Client,
        installation: &[u8; 16],
    ) -> Result<(Vec<Expired>, Vec<String>), Failure> {
        let (mut known, mut unrecorded) = (Vec::<Expired>::new(), Vec::new());
        for_each(client, &self.expired, &[&MAX_SEALS], |row| {
            let Some((expired, digest)) = expired(row, installation) else {
                unrecorded.push("one that cannot be read".into());
                return Ok(());
            };
            let gone = get(row, 6) == Some(true)
                && get::<&str>(row, 7).is_some_and(|month| {
                    *expired.partition < *month
                        && known.iter().any(|later| later.partition == month)
                });
            if get::<Digest>(row, 5) == Some(digest) || gone {
                known.push(expired);
            } else {
                unrecorded.push(expired.partition);
            }
            Ok(())
        })
        .await?;
        Ok((known, unrecorded))
    }
}

/// A month that was dropped, and what its event must say.
fn expired(row: &Row, installation: &[u8; 16]) -> Option<(Expired, Digest)> {
    let partition = get::<&str>(row, 0).filter(|text| text.len() <= 16)?;
    let [last_batch, rows, tree_size] = [1, 2, 3].map(|column| get::<i64>(row, column));
    let pairs = [
        ("partition", partition),
        ("rows", &rows?.to_string()),
        ("last_batch", &last_batch?.to_string()),
        ("tree_size", &tree_size?.to_string()),
        ("expired_at", &moment::text(get::<Moment>(row, 4)?.0)),
    ];
    let digest = event_digest(installation, AccessorKind::LogExpire.as_str(), &pairs);
    let expired = Expired {
        partition: partition.into(),
        last_batch: u64::try_from(last_batch?).ok()?,
    };
    Some((expired, digest))
}

/// What can be read of an answer.
async fn collect<T>(
    client: &Client,
    statement: &Statement,
    parameters: Parameters<'_>,
    read: impl Fn(&Row) -> Option<T>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    for_each(client, statement, parameters, |row| {
        found.extend(read(row));
        Ok(())
    })
    .await?;
    Ok(found)
}

fn head(row: &Row) -> Option<StoredHead> {
    let lane = u32::try_from(get::<i32>(row, 0)?)
        .ok()
        .filter(|lane| *lane <= MAX_LANE)?;
    let seq = get::<Natural>(row, 1)?.u64();
    let mac = get(row, 2);
    (1..=MAX_SEQ)
        .contains(&seq)
        .then_some(StoredHead { lane, seq, mac })
}

fn seal(row: &Row) -> Option<StoredSeal> {
    Some(StoredSeal {
        batch: get::<Natural>(row, 0)?.u64(),
        leaf_index: get::<Natural>(row, 1)?.u64(),
        partition: get::<&str>(row, 2).filter(|text| text.len() <= 16)?.into(),
        rows: get::<Natural>(row, 3)?.u64(),
        root: get(row, 4),
        sealed_at: get::<Moment>(row, 5)?.0,
        leaf: get::<&str>(row, 6)
            .filter(|text| text.len() <= MAX_SEAL_BYTES)?
            .into(),
        tiles: get::<Natural>(row, 7)?.u64(),
    })
}

/// Cut off behind what shows that it is too large.
fn stored_tile(row: &Row) -> Option<(u64, StoredTile)> {
    let number = get::<Natural>(row, 0)?.u64();
    let ids = get_nullable::<Array<'_>>(row, 1)?;
    let ids = ids.into_iter().flatten().take(MAX_TILE_ENTRIES);
    let hashes = get::<&[u8]>(row, 2)?;
    let tile = StoredTile {
        access_ids: ids.map(|id| i64::read(id?)).collect::<Option<_>>()?,
        hashes: hashes
            .get(..MAX_TILE_ENTRIES * 32)
            .unwrap_or(hashes)
            .to_vec(),
    };
    Some((number, tile))
}
