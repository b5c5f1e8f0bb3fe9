//! Tests of the public API, one module a promise. One binary: they link once.

mod approval;
mod chain;
mod decision;
mod envelope;
mod frozen;
mod frozen_file;
mod leaf;
mod leaf_texts;
mod ledger;
mod replay;
mod small;
mod support;
mod text;
mod text_hostile;
mod zones;
