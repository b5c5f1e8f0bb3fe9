//! `identityctl verify`.

pub mod bundle;
pub mod database;
mod file;
