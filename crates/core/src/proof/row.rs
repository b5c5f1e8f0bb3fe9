//! One row of the access log: that it is in a batch whose seal is a leaf of the tree, or is a leaf
//! of the tree itself.
//!
//! The proof is a JSON object whose values are texts. This crate has no JSON library: [`RowProofText`] is
//! what one reads, [`RowProof::json`] what one need not write.

use super::{ProofError, Proven, TlogProof};
use crate::encoding::{array_from_hex, decimal};
use crate::json::Object;
use crate::merkle::{Digest, leaf_hash, verify_inclusion};
use crate::note::VerifierKey;
use crate::proof::tlog::MAX_PATH_HASHES;
use crate::seal_leaf::{MAX_SEAL_LEAF_BYTES, SealLeaf};

/// Value of the member `schema`: names the format of the proof and its version.
pub const SCHEMA: &str = "identity_pgx/proof/v1";

/// That a row is in the log.
///
/// It does not hold the row: that a row exists is nobody's business but of those who may read it, and they have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowProof {
    /// The row's id, not negative.
    pub access_id: i64,
    /// The hash of its leaf.
    pub leaf_hash: Digest,
    /// The salt in that hash.
    pub salt: [u8; 16],
    /// Its place in a batch; `None` when the row is a leaf of the tree itself.
    pub batch: Option<BatchProof>,
    /// The [`TlogProof`] of the tree leaf: the row's own, or the batch's seal.
    pub proof: String,
}

/// That a row is in a sealed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchProof {
    /// The row's place in the batch.
    pub index: u64,
    /// How many rows the batch has.
    pub rows: u64,
    /// The hashes beside the way to the batch's root, that of the row's sibling first.
    pub path: Vec<Digest>,
    /// The seal leaf, exactly as it was hashed.
    pub seal_leaf: String,
}

/// The members of the JSON object, just as a JSON library gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the member it is called after")]
pub struct RowProofText {
    pub schema: String,
    pub access_id: String,
    pub leaf_hash: String,
    pub salt: String,
    pub batch: Option<BatchText>,
    pub proof: String,
}

/// The members of the object `batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the member it is called after")]
pub struct BatchText {
    pub index: String,
    pub rows: String,
    pub path: Vec<String>,
    pub seal_leaf: String,
}

impl RowProof {
    /// Reads the members; `None` when one has not the form [`RowProof::json`] gives it.
    #[must_use]
    pub fn parse(text: &RowProofText) -> Option<Self> {
        if text.schema != SCHEMA {
            return None;
        }
        TlogProof::parse(&text.proof)?;
        let batch = match &text.batch {
            None => None,
            Some(batch) => Some(BatchProof::parse(batch)?),
        };
        Some(Self {
            access_id: decimal(&text.access_id)?.try_into().ok()?,
            leaf_hash: array_from_hex(&text.leaf_hash)?,
            salt: array_from_hex(&text.salt)?,
            batch,
            proof: text.proof.clone(),
        })
    }

    /// The proof as a JSON object, in the canonical form of RFC 8785.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let mut json = Object::with_capacity(self.proof.len() + 4096);
        json.integer("access_id", self.access_id);
        if let Some(batch) = &self.batch {
            json.object("batch", batch.json());
        }
        json.hex("leaf_hash", &self.leaf_hash);
        json.text("proof", &self.proof);
        json.hex("salt", &self.salt);
        json.word("schema", SCHEMA);
        json.finish()
    }

    /// Whether the row whose leaf is given is in the log that one of `keys` speaks for.
    ///
    /// The signature is looked at last: [`ProofError::Checkpoint`] says that everything else holds.
    ///
    /// # Errors
    /// Any [`ProofError`].
    pub fn verify(&self, row_leaf: &[u8], keys: &[VerifierKey]) -> Result<Proven, ProofError> {
        let tlog = TlogProof::parse(&self.proof).ok_or(ProofError::Malformed)?;
        let extra = tlog.extra.as_deref().ok_or(ProofError::Malformed)?;
        let tree_salt: [u8; 16] = extra.try_into().map_err(|_| ProofError::Malformed)?;
        // Keys are sorted in a leaf, so that the id comes first, and a seal leaf begins otherwise:
        // it does not pass for a row.
        let start = format!("{{\"access_id\":\"{}\",", self.access_id);
        let of_row = row_leaf.starts_with(start.as_bytes());
        if !of_row || leaf_hash(&self.salt, row_leaf) != self.leaf_hash {
            return Err(ProofError::Row);
        }
        let tree_leaf = match &self.batch {
            Some(batch) => {
                batch.verify(&self.leaf_hash)?;
                leaf_hash(&tree_salt, batch.seal_leaf.as_bytes())
            }
            None if tree_salt == self.salt => self.leaf_hash,
            None => return Err(ProofError::Malformed),
        };
        tlog.verify(&tree_leaf, keys)
    }
}

impl BatchProof {
    fn parse(text: &BatchText) -> Option<Self> {
        if text.seal_leaf.len() > MAX_SEAL_LEAF_BYTES || text.path.len() > MAX_PATH_HASHES {
            return None;
        }
        let path: Option<Vec<Digest>> = text.path.iter().map(|hash| array_from_hex(hash)).collect();
        Some(Self {
            index: decimal(&text.index)?,
            rows: decimal(&text.rows)?,
            path: path?,
            seal_leaf: text.seal_leaf.clone(),
        })
    }

    fn json(&self) -> Object {
        let mut json = Object::with_capacity(4096);
        json.integer("index", self.index);
        json.hexes("path", self.path.iter().map(|hash| hash.as_slice()));
        json.integer("rows", self.rows);
        json.text("seal_leaf", &self.seal_leaf);
        json
    }

    /// Whether the row is in the batch that the seal leaf speaks of.
    fn verify(&self, row: &Digest) -> Result<(), ProofError> {
        let seal = SealLeaf::parse(self.seal_leaf.as_bytes()).ok_or(ProofError::Batch)?;
        let sealed = seal.batch_rows == self.rows
            && verify_inclusion(self.index, self.rows, row, &seal.batch_root, &self.path);
        if sealed {
            Ok(())
        } else {
            Err(ProofError::Batch)
        }
    }
}
