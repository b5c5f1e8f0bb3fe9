//! Tests of the public API, one module a promise. One binary: they link once.

mod approval;
mod chain;
mod checkpoint;
mod decision;
mod envelope;
mod frozen;
mod frozen_file;
mod frozen_ledger;
mod leaf;
mod leaf_texts;
mod log;
mod merkle;
mod merkle_oracles;
mod note;
mod note_vectors;
mod row_proof;
mod salt;
mod seal_leaf;
mod small;
mod support;
mod text;
mod text_hostile;
mod tile;
mod tlog_proof;
mod trees;
mod zones;
