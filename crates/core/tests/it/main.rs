//! Tests of the public API, one module a promise. One binary: they link once.

mod approval;
mod chain;
mod checkpoint;
mod decision;
mod envelope;
mod frozen;
mod frozen_file;
mod leaf;
mod leaf_texts;
mod log;
mod note;
mod note_vectors;
mod row_proof;
mod small;
mod support;
mod text;
mod text_hostile;
mod tlog_proof;
mod zones;
