//! `identityctl verify`.

pub mod anchors;
pub mod bundle;
pub mod database;
pub mod file;
