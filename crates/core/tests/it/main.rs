//! Tests of the public API, one module a promise. One binary: they link once.

mod approval;
mod chain;
mod decision;
mod envelope;
mod frozen;
mod frozen_file;
mod frozen_ledger;
mod leaf;
mod leaf_texts;
mod merkle;
mod merkle_oracles;
mod merkle_reference;
mod salt;
mod seal_leaf;
mod small;
mod support;
mod text;
mod text_hostile;
mod tile;
mod trees;
mod zones;
