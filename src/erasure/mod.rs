//! Erasing a subject: asked for, authorised, done in one transaction, and told about afterwards.
//!
//! Lock order: the writers' locks of all subjects before the snapshot and any row; rows of application tables, of subjects and of their texts; the locks
//! of reads last. So reads go on until the moment before the commit, and nobody who holds one of these locks waits for a row of ours.

pub mod answer;
pub mod authorise;
pub mod erase;
pub mod gauges;
pub mod receipt;
pub mod record;
pub mod request;
pub mod stores;
pub mod verify;
pub mod wal;
