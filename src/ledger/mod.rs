//! The ledger: the access log as a table, its guards, and its verification.

pub mod guards;
pub mod insert;
pub mod partitions;
mod policy;
pub mod row;
pub mod table;
pub mod verify;
pub mod vetting;
