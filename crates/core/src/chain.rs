//! The MAC chain of a lane, and its verification. Specified in `docs/spec/chain.md`.
//!
//! The database is not trusted to return the rows it was given: the verifier sees rows in the order
//! of their sequence numbers and says where they cannot be what was written.

use core::fmt;

use subtle::ConstantTimeEq;

use crate::framing::{Hash, hmac_sha256};
use crate::key::ChainKey;

/// Separates the input of a link from every other use of the chain key (key checks begin with the
/// zero byte of a length).
const LINK: u8 = 0x02;

/// Where a lane stands: its last row's sequence number and MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Sequence number; 0 is the empty lane.
    pub seq: u64,
    /// MAC of that row.
    pub mac: [u8; 32],
}

/// The head of an empty lane: seq 0 and `SHA-256(LP("identity_pgx/lane/v1") ‖ installation ‖
/// u32 BE lane)`, so that no row can be moved to another lane or installation.
#[must_use]
pub fn genesis(installation: &[u8; 16], lane: u32) -> Head {
    let hash = Hash::tagged("identity_pgx/lane/v1")
        .raw(installation)
        .raw(&lane.to_be_bytes());
    Head {
        seq: 0,
        mac: hash.finish(),
    }
}

/// The MAC of a row: `HMAC-SHA-256(key, 0x02 ‖ prev ‖ leaf)`, `prev` being the MAC of the row
/// before it or the [`genesis`] of the lane.
#[must_use]
pub fn link(key: &ChainKey, prev: &[u8; 32], leaf: &[u8]) -> [u8; 32] {
    hmac_sha256(key.expose(), &[&[LINK], prev, leaf])
}

/// What is wrong with a lane at one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Rows are missing: `expected` up to `found - 1`.
    Gap {
        /// The sequence number that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A sequence number that was already passed: two rows claim one place.
    Fork {
        /// The number.
        seq: u64,
    },
    /// The MAC does not match the row, the row before it, or the key.
    Altered {
        /// Sequence number of the row.
        seq: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { expected, found } => {
                write!(out, "gap: expected seq {expected}, found {found}")
            }
            Self::Fork { seq } => write!(out, "fork: seq {seq} comes again"),
            Self::Altered { seq } => write!(out, "altered: the MAC of seq {seq} does not match"),
        }
    }
}

/// Verifies the rows of one lane, given in the order of their sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneVerifier {
    head: Head,
}

impl LaneVerifier {
    /// Starts after `head`: the lane's [`genesis`], or any head that was verified before.
    #[must_use]
    pub const fn new(head: Head) -> Self {
        Self { head }
    }

    /// The last row accepted as the lane's, verified or not.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Checks the next row. `key` is the chain key of the row's `chain_version`.
    ///
    /// After a finding it goes on with the recorded MAC as the one before, so that one altered row
    /// is one finding. A fork does not move the head: the first row to claim a place keeps it.
    ///
    /// # Errors
    /// The [`Finding`]. The MAC of a row after a gap cannot be checked, so a gap hides what else is
    /// wrong with that row.
    pub fn check(
        &mut self,
        seq: u64,
        leaf: &[u8],
        mac: &[u8; 32],
        key: &ChainKey,
    ) -> Result<(), Finding> {
        let Head {
            seq: last,
            mac: prev,
        } = self.head;
        if seq <= last {
            return Err(Finding::Fork { seq });
        }
        self.head = Head { seq, mac: *mac };
        // seq is above last, so last is not the highest number and this cannot overflow.
        let expected = last + 1;
        if seq != expected {
            return Err(Finding::Gap {
                expected,
                found: seq,
            });
        }
        if !bool::from(link(key, &prev, leaf).ct_eq(mac)) {
            return Err(Finding::Altered { seq });
        }
        Ok(())
    }
}
