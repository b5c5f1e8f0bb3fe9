//! The recorder: makes sure that a read leaves a row even when its transaction does not commit, and that a refusal leaves one at all.

pub mod callers;
pub mod intake;
pub mod queue;
pub mod refusals;
pub mod slots;
pub mod worker;
pub mod writer;
