//! `ledger_proof`: that one row was sealed, for somebody who has the row from elsewhere. Specified in `docs/spec/proof.md`.
//!
//! Trust: every store on the way may have been rewritten. So a proof is verified before it is given out, and what does not verify is refused.

use identity_core::checkpoint::Checkpoint;
use identity_core::key::ChainKey;
use identity_core::leaf::AccessRow;
use identity_core::merkle::{self, leaf_hash};
use identity_core::proof::{BatchProof, RowProof, TlogProof};
use identity_core::reason::Reason;
use identity_core::salt::{row_salt, seal_salt};
use identity_core::seal_leaf::SealLeaf;
use pgrx::pg_sys;

use super::place::{self, InBatch, Place};
use super::tree_store::{self, Stored, number};
use super::{checkpoint, row};
use crate::keys::{self, region, region::Keys};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, error, json_text};

sql_function!(ledger_proof, pg_finfo_ledger_proof, run);

/// The newest anchored checkpoint that covers a leaf, of a size that the tree still has.
static ANCHORED: Statement = Statement::read(
    c"SELECT checkpoint FROM identity.anchor_commits WHERE tree_size > $1 AND tree_size <= $2 ORDER BY commit_id DESC LIMIT 1",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

/// A leaf's salt and hash.
type Salted = ([u8; 16], [u8; 32]);

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let access_id = arguments
        .get(0)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let proof = with_latest_snapshot(|| connected(|| prove(&keys, access_id)));
    let proof = proof.unwrap_or_else(|reason| error::raise(reason));
    json_text::jsonb(&String::from_utf8_lossy(&proof.json()))
}

fn prove(keys: &Keys, access_id: i64) -> Result<RowProof, Reason> {
    let (place, (salt, leaf_hash)) = sealed(keys, access_id)?;
    let (batch, tree_leaf) = match &place.batch {
        None => (None, (salt, leaf_hash)),
        Some(batch) => (
            Some(in_batch(batch, &leaf_hash)?),
            seal(keys, batch, place.leaf_index)?,
        ),
    };
    Ok(RowProof {
        access_id,
        leaf_hash,
        salt,
        batch,
        proof: in_tree(place.leaf_index, tree_leaf)?,
    })
}

/// Where the row lies, with its salt and its hash. The hash is made from the columns anew: a row that was altered is not proven.
fn sealed(keys: &Keys, access_id: i64) -> Result<(Place, Salted), Reason> {
    let rows = row::ONE.run(&mut [bind(access_id)]);
    if rows.count == 0 {
        return expired(keys, access_id).ok_or(Reason::BadArgument);
    }
    let place = place::find(access_id)?.ok_or(Reason::NotSealed)?;
    let row = row::stored(&rows, 0).row.ok_or(Reason::Chain)?;
    let leaf = leaf(keys, &row)?;
    if leaf.1 == place.hash {
        Ok((place, leaf))
    } else {
        Err(Reason::Chain)
    }
}

/// The same of a row whose month was dropped because its time was over: its hash is still there, and who kept the row can prove it.
fn expired(keys: &Keys, access_id: i64) -> Option<(Place, Salted)> {
    let place = place::find(access_id).ok().flatten()?;
    let version = place::expired_with(place.cut)?;
    let salt = row_salt(&chain_key(version)?, &keys.installation, access_id);
    let hash = place.hash;
    Some((place, (salt, hash)))
}

/// A row's salt and leaf hash, from its columns.
fn leaf(keys: &Keys, row: &AccessRow<'_>) -> Result<Salted, Reason> {
    let key = chain_key(row.chain_version).ok_or(Reason::Chain)?;
    let salt = row_salt(&key, &keys.installation, row.access_id());
    Ok((salt, leaf_hash(&salt, &row.leaf())))
}

/// The way from a row to the root of its batch, which its seal leaf holds.
fn in_batch(place: &InBatch, hash: &[u8; 32]) -> Result<BatchProof, Reason> {
    let (index, rows) = (place.index, place.rows);
    let path = merkle::inclusion(index, rows, &tree_store::batch(place.batch));
    let path = path.map_err(|_| Reason::Chain)?;
    let seal = SealLeaf::parse(place.seal_leaf.as_bytes()).ok_or(Reason::Chain)?;
    let holds = seal.batch_rows == rows
        && merkle::verify_inclusion(index, rows, hash, &seal.batch_root, &path);
    if !holds {
        return Err(Reason::Chain);
    }
    Ok(BatchProof {
        index,
        rows,
        path,
        seal_leaf: place.seal_leaf.clone(),
    })
}

/// The salt and leaf hash of a seal leaf.
fn seal(keys: &Keys, batch: &InBatch, index: u64) -> Result<Salted, Reason> {
    let leaf = batch.seal_leaf.as_bytes();
    let version = SealLeaf::parse(leaf).ok_or(Reason::Chain)?.chain_version;
    let key = chain_key(version).ok_or(Reason::Chain)?;
    let salt = seal_salt(&key, &keys.installation, index);
    Ok((salt, leaf_hash(&salt, leaf)))
}

/// The tlog-proof of a leaf: under the newest anchor that covers it, or else under the tree as it is now, which nobody has signed.
fn in_tree(index: u64, (salt, hash): Salted) -> Result<String, Reason> {
    let size = tree_store::size();
    let anchored = ANCHORED.run(&mut [bind(number(index)), bind(number(size))]);
    let text = match anchored.get::<String>(0, 1) {
        Some(note) => note,
        None => checkpoint::of_size(size)?.text(),
    };
    // Whether a signature is good is for those to say who have the key; that the tree is ours is for us.
    let tree = Checkpoint::claimed(&text).ok_or(Reason::Chain)?;
    let path = merkle::inclusion(index, tree.size, &Stored)?;
    if !merkle::verify_inclusion(index, tree.size, &hash, &tree.root, &path) {
        return Err(Reason::Chain);
    }
    let proof = TlogProof {
        extra: Some(salt.to_vec()),
        index,
        path,
        checkpoint: &text,
    };
    Ok(proof.text())
}

fn chain_key(version: i32) -> Option<ChainKey> {
    region::chain_key(u32::try_from(version).ok()?)
}
