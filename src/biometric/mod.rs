//! Biometrics of subjects: collected under consent and a published schedule, kept no longer than promised, destroyed with the file they came in.

mod attach;
mod classify;
mod destroy;
pub mod erase;
mod erase_call;
mod event;
pub mod files;
mod path;
mod standing;
pub mod verify;
