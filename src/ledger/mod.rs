//! The ledger: the access log as a table, its guards, the tree it is sealed into, and its verification.

mod anchor;
mod checkpoint;
mod cut;
pub mod dropped;
pub mod due;
mod expire;
pub mod guards;
mod incarnation;
pub mod insert;
pub mod lag;
mod lanes;
pub mod partitions;
mod place;
mod policy;
pub mod progress;
mod proof;
pub mod row;
mod salts;
mod seal;
pub mod table;
mod tree_store;
pub mod verify;
pub mod vetting;
