//! Subjects: resolving and registering their fields, singly and in batches, changing them, their vertical, what caches ask, and the playground's import.

pub mod attributes;
pub mod changes;
pub mod generations;
pub mod import;
pub mod many;
pub mod pii;
pub mod register;
pub mod register_many;
pub mod resolve;
pub mod resolve_many;
pub mod standing;
pub mod update;
pub mod vertical;
