//! Consent: the texts that subjects agree to, what is recorded of a subject's consent, and what else is recorded of a subject beside its fields.

pub mod claims;
pub mod eu;
pub mod event;
pub mod interaction;
pub mod record;
pub mod template;
pub mod texts;
pub mod verify;
pub mod versions;
