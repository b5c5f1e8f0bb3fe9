//! `ledger_proof`: that one row was sealed, for somebody who has the row from elsewhere. Specified in `docs/spec/proof.md`.
//!
//! Trust: every store on the way may have been rewritten. So a proof is verified before it is given out, and what does not verify is refused.

use identity_core::checkpoint::Checkpoint;
use identity_core::leaf::AccessRow;
use identity_core::merkle::{self, leaf_hash};
use identity_core::proof::TlogProof;
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

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let access_id = arguments
        .get(0)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let proof = with_latest_snapshot(|| connected(|| prove(&keys, access_id)));
    json_text::jsonb(proof.unwrap_or_else(|reason| error::raise(reason)))
}

fn prove(keys: &Keys, access_id: i64) -> Result<String, Reason> {
    let (place, (salt, hash)) = sealed(keys, access_id)?;
    let batch = place.batch.as_ref().map(|batch| in_batch(batch, &hash));
    let batch = batch.transpose()?;
    let tree_leaf = match &place.batch {
        None => (salt, hash),
        Some(batch) => seal(keys, batch, place.leaf_index)?,
    };
    let members = [
        ("schema", json_text::quoted("identity_pgx/proof/v1")),
        ("access_id", json_text::quoted(&access_id.to_string())),
        ("leaf_hash", json_text::hex(&hash)),
        ("salt", json_text::hex(&salt)),
        ("proof", json_text::quoted(&tree_proof(&place, tree_leaf)?)),
    ];
    let members = members.into_iter().chain(batch.map(|batch| ("batch", batch)));
    Ok(json_text::object(members))
}

/// Where the row lies, with its salt and its hash. The hash is made from the columns anew: a row that was altered is not proven.
fn sealed(keys: &Keys, access_id: i64) -> Result<(Place, ([u8; 16], [u8; 32])), Reason> {
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
fn expired(keys: &Keys, access_id: i64) -> Option<(Place, ([u8; 16], [u8; 32]))> {
    let place = place::find(access_id).ok().flatten()?;
    let version = place::expired_with(place.cut)?;
    let salt = row_salt(&region::chain_key(version)?, &keys.installation, access_id);
    let hash = place.hash;
    Some((place, (salt, hash)))
}

/// A row's salt and leaf hash, from its columns.
fn leaf(keys: &Keys, row: &AccessRow<'_>) -> Result<([u8; 16], [u8; 32]), Reason> {
    let version = u32::try_from(row.chain_version).ok();
    let key = version.and_then(region::chain_key).ok_or(Reason::Chain)?;
    let salt = row_salt(&key, &keys.installation, row.access_id());
    Ok((salt, leaf_hash(&salt, &row.leaf())))
}

/// The way from a row to the root of its batch, which its seal leaf holds.
fn in_batch(place: &InBatch, hash: &[u8; 32]) -> Result<String, Reason> {
    let InBatch {
        batch,
        index,
        rows,
        seal_leaf,
    } = place;
    let path = merkle::inclusion(*index, *rows, &tree_store::batch(*batch))?;
    let root = SealLeaf::parse(seal_leaf.as_bytes())
        .ok_or(Reason::Chain)?
        .batch_root;
    if !merkle::verify_inclusion(*index, *rows, hash, &root, &path) {
        return Err(Reason::Chain);
    }
    let hashes = path.iter().map(|hash| json_text::hex(hash)).collect::<Vec<_>>();
    Ok(json_text::object([
        ("index", json_text::quoted(&index.to_string())),
        ("rows", json_text::quoted(&rows.to_string())),
        ("path", format!("[{}]", hashes.join(","))),
        ("seal_leaf", json_text::quoted(seal_leaf)),
    ]))
}

/// The salt and leaf hash of a seal leaf.
fn seal(keys: &Keys, batch: &InBatch, index: u64) -> Result<([u8; 16], [u8; 32]), Reason> {
    let leaf = batch.seal_leaf.as_bytes();
    let version = SealLeaf::parse(leaf).ok_or(Reason::Chain)?.chain_version;
    let key = region::chain_key(version).ok_or(Reason::Chain)?;
    let salt = seal_salt(&key, &keys.installation, index);
    Ok((salt, leaf_hash(&salt, leaf)))
}

/// The tlog-proof of a leaf of the tree: under the newest anchor that covers it, or else under the tree as it is now, which nobody has signed.
fn tree_proof(place: &Place, (salt, hash): ([u8; 16], [u8; 32])) -> Result<String, Reason> {
    let (index, size) = (place.leaf_index, tree_store::size());
    let anchored = ANCHORED.run(&mut [bind(number(index)), bind(number(size))]);
    let (checkpoint, text) = match anchored.get::<String>(0, 1) {
        Some(note) => (anchored_tree(&note)?, note),
        None => {
            let now = checkpoint::of_size(size)?;
            let text = now.text();
            (now, text)
        }
    };
    let path = merkle::inclusion(index, checkpoint.size, &Stored)?;
    if !merkle::verify_inclusion(index, checkpoint.size, &hash, &checkpoint.root, &path) {
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

/// The checkpoint in a signed note. Whether its signature is good is for those to say who have the key.
fn anchored_tree(note: &str) -> Result<Checkpoint, Reason> {
    let (body, _) = note.split_once("\n\n").ok_or(Reason::Chain)?;
    Checkpoint::parse(&format!("{body}\n")).ok_or(Reason::Chain)
}
