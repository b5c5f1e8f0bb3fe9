//! Proofs that a row is in the log, to be checked by anyone, offline. Specified in
//! `docs/spec/proof.md`.
//!
//! A proof comes from whoever wants to be believed. It is believed only as far as its hashes lead to
//! a checkpoint that a given key has signed.
//!
//! | module | one job |
//! |---|---|
//! | [`tlog`] | one leaf of the tree: C2SP `tlog-proof` |
//! | [`row`] | one row of the access log: its batch, then the tree |

pub mod row;
pub mod tlog;

use core::fmt;

pub use row::{BatchProof, BatchText, RowProof, RowProofText};
pub use tlog::{Proven, TlogProof};

use crate::note::NoteError;

/// Why a proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// It is not a proof, or not in the form its writer would give it.
    Malformed,
    /// The row is not the one the proof speaks of, or was changed.
    Row,
    /// The row is not in the batch, or the batch is not the one that was sealed.
    Batch,
    /// The leaf is not in the tree of the checkpoint.
    Tree,
    /// The proof holds together, but nobody answers for the checkpoint, or not who says so.
    Checkpoint(NoteError),
}

impl fmt::Display for ProofError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => out.write_str("it is not a proof"),
            Self::Row => out.write_str("the row is not the one that was proven"),
            Self::Batch => out.write_str("the row is not in the sealed batch"),
            Self::Tree => out.write_str("the leaf is not in the tree of the checkpoint"),
            Self::Checkpoint(error) => write!(out, "the checkpoint does not hold: {error}"),
        }
    }
}

impl core::error::Error for ProofError {}
