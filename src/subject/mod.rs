//! Subjects: resolving and registering their fields, their vertical, and the playground's import.

pub mod attributes;
pub mod import;
pub mod pii;
pub mod register;
pub mod resolve;
pub mod standing;
pub mod vertical;
