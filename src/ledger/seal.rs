//! `ledger_seal`: takes what has been recorded since the last seal into the tree.
//!
//! All of it happens in the caller's transaction, so a crash or a rollback leaves the tree as it was, and the next call does the work. Sealers take
//! turns (bucket.rs); no client ever waits for one: it reads the log as any query does, and writes tables that clients do not look at.

use identity_core::merkle::{self, Frontier};
use identity_core::reason::Reason;
use identity_core::salt::seal_salt;
use identity_core::seal_leaf::{LaneHeads, SealLeaf};
use pgrx::pg_sys;

use super::cut::{Batch, Cut};
use super::lanes::{self, Heads};
use super::tree_store::{self, number};
use crate::answer::{RowType, timestamp, value};
use crate::keys::{self, region::Keys};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{bucket, call, clock, error, gucs, transaction};

sql_function!(ledger_seal, pg_finfo_ledger_seal, run);

static NUMBERS: Statement = Statement::read(
    c"SELECT COALESCE(pg_catalog.max(cut), 0), COALESCE(pg_catalog.max(batch), 0) FROM identity.ledger_seals",
    &[],
);
static PROVIDER: Statement = Statement::read(
    c"SELECT provider FROM identity.keyring WHERE kind = 'chain' AND version = $1",
    &[pg_sys::INT4OID],
);
static ADD_SEAL: Statement = Statement::write(
    c"INSERT INTO identity.ledger_seals (batch, cut, leaf_index, partition, batch_rows, batch_root, sealed_at, leaf) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::INT8OID,
        pg_sys::BYTEAOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
    ],
);

static ANSWER: RowType =
    RowType::new(&[(c"tree_size", pg_sys::INT8OID), (c"root", pg_sys::BYTEAOID)]);

fn run(_: Arguments) -> pg_sys::Datum {
    call::operation();
    // SAFETY: reads the state of the server and of the transaction.
    if unsafe { pg_sys::RecoveryInProgress() || pg_sys::XactReadOnly || pg_sys::IsInParallelMode() }
    {
        error::raise(Reason::ReadOnly);
    }
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    // The lock before the snapshot: what the sealer before us committed must be seen, or its rows would be sealed twice.
    bucket::sealing();
    let tree = with_latest_snapshot(|| seal(&keys)).unwrap_or_else(|reason| error::raise(reason));
    ANSWER.record(&[value(number(tree.size())), value(tree.root().to_vec())])
}

fn seal(keys: &Keys) -> Result<Frontier, Reason> {
    let (tree, sealed, cuts, batches) = connected(|| {
        let tree = Frontier::load(tree_store::size(), &tree_store::Stored)?;
        let numbers = NUMBERS.run(&mut []);
        let highest = |column| numbers.get::<i64>(0, column).map_or(0, i64::unsigned_abs);
        Ok((tree, lanes::sealed(), highest(1), highest(2)))
    })?;
    let mut cut = Cut::new(keys.installation, tree, batches + 1);
    cut.take(&sealed)?;
    if !cut.moved.is_empty() {
        // An anchor of a tree that is lost here would look like tampering: the seal must be on every disk that a read must be on.
        transaction::must_last();
        connected(|| close(keys, &mut cut, sealed, cuts + 1))?;
    }
    Ok(cut.tree)
}

/// What is the same in every seal leaf of a cut.
struct Closing<'a> {
    keys: &'a Keys,
    number: u64,
    sealed_at: i64,
    lane_heads: [u8; 32],
    chain_version: i32,
    provider: String,
    settings: [u8; 32],
}

/// A seal leaf for each month that had a row, and the heads of the lanes that moved.
fn close(keys: &Keys, cut: &mut Cut, mut heads: Heads, number: u64) -> Result<(), Reason> {
    let chain_version = i32::try_from(keys.chain.version()).map_err(|_| Reason::Chain)?;
    let provider = PROVIDER.run(&mut [bind(chain_version)]).get(0, 1);
    let provider = provider.ok_or(Reason::Chain)?;
    lanes::write(&cut.moved, number);
    heads.append(&mut cut.moved);
    let mut lane_heads = LaneHeads::new();
    for (lane, head) in &heads {
        lane_heads.push(*lane, head.seq, &head.mac);
    }
    let closing = Closing {
        keys,
        number,
        // After the last row was read: nothing in the cut is younger.
        sealed_at: clock::now_unix_micros(),
        lane_heads: lane_heads.finish(),
        chain_version,
        provider,
        settings: gucs::digest(&keys.installation, &gucs::effective()),
    };
    for (month, batch) in std::mem::take(&mut cut.batches) {
        closing.seal(cut, &month, batch);
    }
    cut.additions.write();
    Ok(())
}

impl Closing<'_> {
    fn seal(&self, cut: &mut Cut, month: &str, batch: Batch) {
        let (batch_number, rows) = (batch.number, batch.rows.rows());
        let additions = &mut cut.additions;
        let root = batch
            .rows
            .finish(&mut |tile| additions.tile(batch_number, tile));
        let leaf = SealLeaf {
            batch: batch_number,
            batch_root: root,
            batch_rows: rows,
            chain_version: self.chain_version,
            cut: self.number,
            keys: &self.provider,
            lane_heads: self.lane_heads,
            // SAFETY: reads where WAL is written next.
            lsn: unsafe { pg_sys::GetXLogInsertRecPtr() },
            merkle_rows: batch.merkle_rows,
            partition: month,
            sealed_at: self.sealed_at,
            settings: self.settings,
            // SAFETY: constant while the server runs, and as it writes WAL now.
            system_identifier: unsafe { pg_sys::GetSystemIdentifier() },
            timeline: unsafe { pg_sys::GetWALInsertionTimeLine() },
        }
        .leaf();
        let salt = seal_salt(&self.keys.chain, &self.keys.installation, cut.tree.size());
        let hash = merkle::leaf_hash(&salt, &leaf);
        let index = additions.leaf(&mut cut.tree, None, hash);
        ADD_SEAL.run(&mut [
            bind(number(batch_number)),
            bind(number(self.number)),
            bind(number(index)),
            bind(month),
            bind(number(rows)),
            bind(root.to_vec()),
            timestamp(self.sealed_at - clock::UNIX_EPOCH_MICROS),
            bind(String::from_utf8_lossy(&leaf).into_owned()),
        ]);
    }
}
