//! What a replay asks for, from a database over a connection.

use identity_core::merkle::Digest;
use identity_core::replay::{Anchor, Cut, Leaf, Row, Store, StoredTile};
use indicatif::ProgressBar;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::ledger::Ledger;
use super::log::Log;
use super::salts::Salts;
use identity_connect::Failure;

/// How often the progress is told.
const ROWS_BETWEEN_TICKS: u64 = 4096;

/// A database under one snapshot. The replay is no asynchronous program: each question waits for its answer.
pub struct Database<'a> {
    pub runtime: &'a Runtime,
    pub client: &'a Client,
    pub salts: Salts<'a>,
    pub log: Log,
    pub ledger: Ledger,
    pub progress: ProgressBar,
}

impl Store for Database<'_> {
    type Error = Failure;

    fn lanes(&mut self) -> Result<Vec<u32>, Failure> {
        self.runtime.block_on(self.log.lanes(self.client))
    }

    fn row(&mut self, lane: u32, through: u64) -> Result<Option<Row>, Failure> {
        if let Some(known) = self.log.waiting(lane, through) {
            if self.log.rows().is_multiple_of(ROWS_BETWEEN_TICKS) {
                self.progress.set_position(self.log.rows());
            }
            return Ok(known);
        }
        let read = self.log.read_on(self.client, &self.salts, lane);
        self.runtime.block_on(read)?;
        Ok(self.log.waiting(lane, through).flatten())
    }

    fn cut(&mut self, after: u64) -> Result<Option<Cut>, Failure> {
        self.runtime.block_on(self.ledger.cut(self.client, after))
    }

    fn tile(&mut self, batch: u64, level: u8, tile: u64) -> Result<Option<StoredTile>, Failure> {
        let tile = self.ledger.tile(self.client, batch, level, tile);
        self.runtime.block_on(tile)
    }

    fn leaves(&mut self, from: u64) -> Result<Vec<Leaf>, Failure> {
        self.runtime.block_on(self.ledger.leaves(self.client, from))
    }

    fn nodes(&mut self, level: u8, from: u64) -> Result<Vec<(u64, Digest)>, Failure> {
        let nodes = self.ledger.nodes(self.client, level, from);
        self.runtime.block_on(nodes)
    }

    fn anchors(&mut self, after: Option<(u64, i64)>) -> Result<Vec<Anchor>, Failure> {
        self.runtime
            .block_on(self.ledger.anchors(self.client, after))
    }

    fn seal_salt(
        &mut self,
        chain_version: i32,
        leaf_index: u64,
    ) -> Result<Option<[u8; 16]>, Failure> {
        let Ok(index) = i64::try_from(leaf_index) else {
            return Ok(None);
        };
        let salts = self
            .runtime
            .block_on(self.salts.seals(&[index], chain_version))?;
        Ok(salts.and_then(|salts| salts.first().copied()))
    }
}
