//! The pure half of identity_pgx: bytes in, bytes out.
//!
//! Every byte format and every cryptographic decision of the vault lives here, so that it can be
//! property-tested, fuzzed, mutated, benchmarked, and linked into a verifier. This crate knows no
//! PostgreSQL, clock, randomness, file or socket: they come in as arguments.
//!
//! | module | one job |
//! |---|---|
//! | [`field`] | the six fields of a subject, and sets of them |
//! | [`vocabulary`] | the closed word lists that rows and purposes use |
//! | [`reason`] | the codes of refusals |
//! | [`decision`] | may this call read these fields? |
//! | [`approval`] | does a purpose version need a second person? |
//! | [`key`] | keys that cannot be printed or cloned, and their check values |
//! | [`sealing`] | a key on its way into one run of one database |
//! | [`envelope`], [`context`] | one encrypted field; where it belongs |
//! | [`leaf`] | the canonical bytes of one access row |
//! | [`chain`] | the MAC chain of a lane, and its verification |
//! | [`merkle`] | the tree of RFC 6962: append, root, proofs and their verification |
//! | [`salt`] | salts of tree leaves |
//! | [`tile`] | batches of rows as trees in tiles |
//! | [`seal_leaf`] | the leaf that closes a batch |
//! | [`replay`] | a ledger followed from the rows to the root |
//! | [`note`] | signed notes, and the keys that sign them |
//! | [`checkpoint`] | size and root of the tree, as a note |
//! | [`proof`] | that a row is in the log |
//! | [`digest`] | digests of events, of texts beside them, and of certificates |
//! | [`limit`] | how much a caller may still do under a purpose |
//! | [`moment`] | instants that a client wrote down, and as texts in events |
//! | [`candidate`] | subject ids (UUID version 7) |
//! | [`text`] | does a text speak of healthcare work? |
//! | [`trace`] | the shape of trace ids and purpose tokens |
//!
//! The formats are specified for other languages in `docs/spec/`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod approval;
pub mod candidate;
pub mod chain;
pub mod checkpoint;
pub mod context;
pub mod decision;
pub mod digest;
pub mod envelope;
pub mod field;
pub mod key;
pub mod leaf;
pub mod limit;
pub mod merkle;
pub mod moment;
pub mod note;
pub mod proof;
pub mod reason;
pub mod replay;
pub mod salt;
pub mod seal_leaf;
pub mod sealing;
pub mod text;
pub mod tile;
pub mod trace;
pub mod vocabulary;

mod aead;
mod encoding;
mod framing;
mod instant;
mod json;
mod kdf;
mod padding;
mod words;

pub use approval::{ApprovalPolicy, Content, needs_approval};
pub use candidate::candidate_id;
pub use chain::{Finding, Head, LaneVerifier, genesis, link};
pub use checkpoint::Checkpoint;
pub use decision::{Purpose, Subject, may_read, may_use};
pub use digest::{cert_fingerprint, event_digest, evidence_digest, subject_digest};
pub use envelope::{
    ClassificationsContext, EnvelopeError, FieldContext, MAX_ENVELOPE_BYTES, MAX_VALUE_BYTES,
    key_version, open, seal,
};
pub use field::{Field, FieldSet};
pub use key::{ChainKey, DataKey, KeyKind, check_value, development_key, is_key};
pub use leaf::{AccessRow, MAX_LANE, MAX_SEQ, access_id};
pub use merkle::{Frontier, Nodes, leaf_hash, node_hash};
pub use note::VerifierKey;
pub use proof::{RowProof, TlogProof};
pub use reason::Reason;
pub use salt::{Salts, row_salt, seal_salt};
pub use seal_leaf::{LaneHeads, SealLeaf};
pub use tile::{BatchBuilder, Tile, TileNodes};
pub use trace::{is_purpose_token, is_trace_id};
pub use vocabulary::{
    AccessorKind, AuthTier, ChainKind, ConsentKind, ConsentSet, ConsentStatus, DeliveryTrouble,
    KeyState, Membership, NoticeKind, Outcome, RotationReason, Route, Vertical, Zone,
};
