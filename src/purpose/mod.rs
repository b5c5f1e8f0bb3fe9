//! Purposes: read in every call, versioned on every change, revoked at once.

pub mod active;
pub mod change;
pub mod content;
pub mod lists;
pub mod revoke;
