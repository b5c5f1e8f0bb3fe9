//! Purposes: read in every call, versioned on every change, approved by a second person, revoked at once.

pub mod active;
pub mod approve;
pub mod change;
pub mod content;
pub mod lists;
pub mod measure;
pub mod mine;
pub mod revoke;
