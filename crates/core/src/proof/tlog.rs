//! One leaf of the tree, in the text form of C2SP `tlog-proof`, so that other people's tools read it.

use super::ProofError;
use crate::checkpoint::Checkpoint;
use crate::encoding::{array_from_base64, base64, decimal, from_base64};
use crate::merkle::{Digest, verify_inclusion};
use crate::note::{MAX_NOTE_BYTES, VerifierKey, is_plain};

/// Longest proof: the checkpoint in it may be as long as a note.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + (1 << 13);

/// Most hashes of a path: no tree is higher.
pub const MAX_PATH_HASHES: usize = 64;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1\n";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";

/// That the leaf at `index` is in the tree of `checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof<'a> {
    /// What the verifier needs besides the leaf: for us, its salt. Not empty.
    pub extra: Option<Vec<u8>>,
    /// The place of the leaf in the tree.
    pub index: u64,
    /// The hashes beside the way to the root, that of the leaf's sibling first.
    pub path: Vec<Digest>,
    /// The signed checkpoint, or its text alone while nobody has signed it.
    pub checkpoint: &'a str,
}

/// What a proof has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The signed checkpoint that covers the leaf.
    pub checkpoint: Checkpoint,
    /// The place of the leaf in its tree.
    pub index: u64,
}

impl<'a> TlogProof<'a> {
    /// The proof as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(FIRST_LINE);
        if let Some(extra) = &self.extra {
            text.push_str(EXTRA);
            text.push_str(&base64(extra));
            text.push('\n');
        }
        text.push_str(INDEX);
        text.push_str(itoa::Buffer::new().format(self.index));
        text.push('\n');
        for hash in &self.path {
            text.push_str(&base64(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(self.checkpoint);
        text
    }

    /// Reads what [`TlogProof::text`] writes, and nothing else. The checkpoint is not looked into.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_PROOF_BYTES || !is_plain(text) {
            return None;
        }
        let (head, checkpoint) = text.strip_prefix(FIRST_LINE)?.split_once("\n\n")?;
        let mut lines = head.split('\n').peekable();
        let extra = match lines.next_if(|line| line.starts_with(EXTRA)) {
            None => None,
            Some(line) => {
                let extra = from_base64(line.strip_prefix(EXTRA)?)?;
                Some(extra).filter(|extra| !extra.is_empty())?.into()
            }
        };
        let index = decimal(lines.next()?.strip_prefix(INDEX)?)?;
        let path: Option<Vec<Digest>> = lines
            .take(MAX_PATH_HASHES + 1)
            .map(array_from_base64)
            .collect();
        let path = path.filter(|path| path.len() <= MAX_PATH_HASHES)?;
        Some(Self {
            extra,
            index,
            path,
            checkpoint,
        })
    }

    /// Whether the leaf with this hash is in the log that one of `keys` speaks for.
    ///
    /// The signature is looked at last: [`ProofError::Checkpoint`] says that everything else holds.
    ///
    /// # Errors
    /// Any [`ProofError`] but those about rows and batches.
    pub fn verify(&self, leaf_hash: &Digest, keys: &[VerifierKey]) -> Result<Proven, ProofError> {
        let claimed = Checkpoint::claimed(self.checkpoint).ok_or(ProofError::Malformed)?;
        let (size, root) = (claimed.size, &claimed.root);
        if !verify_inclusion(self.index, size, leaf_hash, root, &self.path) {
            return Err(ProofError::Tree);
        }
        let checkpoint = Checkpoint::open(self.checkpoint, keys).map_err(ProofError::Checkpoint)?;
        Ok(Proven {
            checkpoint,
            index: self.index,
        })
    }
}
