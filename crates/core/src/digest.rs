//! Digests of events, of texts beside them, of subjects and of certificates. Specified in `docs/spec/events.md`.

use crate::framing::Hash;
use crate::json::{Object, key_order};

/// The digest of an event, for the `event_digest` of its row: `SHA-256(LP("identity_pgx/event/v1")
/// ‖ installation ‖ LP(kind) ‖ JCS object of the pairs)`.
///
/// The order of the pairs does not matter; keys must differ. The event's readable form is kept
/// elsewhere, and whoever holds it can show that it is the one recorded.
#[must_use]
pub fn event_digest(installation: &[u8; 16], kind: &str, pairs: &[(&str, &str)]) -> [u8; 32] {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| key_order(a.0, b.0));
    let mut object = Object::with_capacity(256);
    for (key, value) in sorted {
        object.any(key, value);
    }
    Hash::tagged("identity_pgx/event/v1")
        .raw(installation)
        .lp(kind.as_bytes())
        .raw(&object.finish())
        .finish()
}

/// The digest that stands on the chain for a free text about a subject: `SHA-256(LP(
/// "identity_pgx/evidence/v1") ‖ salt ‖ LP(text))`.
///
/// The text lies beside its salt where both can be erased; what stays then tells nothing about it,
/// since the salt was random and is gone.
#[must_use]
pub fn evidence_digest(salt: &[u8; 16], text: &str) -> [u8; 32] {
    Hash::tagged("identity_pgx/evidence/v1")
        .raw(salt)
        .lp(text.as_bytes())
        .finish()
}

/// What stands for a subject where its id must not: `SHA-256(LP("identity_pgx/subject/v1") ‖
/// installation ‖ candidate)`. Whoever knows the id recognises it; two installations never share one.
#[must_use]
pub fn subject_digest(installation: &[u8; 16], candidate: &[u8; 16]) -> [u8; 32] {
    Hash::tagged("identity_pgx/subject/v1")
        .raw(installation)
        .raw(candidate)
        .finish()
}

/// The fingerprint of a client certificate, from what PostgreSQL keeps of it:
/// `SHA-256(LP("identity_pgx/cert/v1") ‖ LP(issuer) ‖ LP(serial))`.
#[must_use]
pub fn cert_fingerprint(issuer: &str, serial: &str) -> [u8; 32] {
    Hash::tagged("identity_pgx/cert/v1")
        .lp(issuer.as_bytes())
        .lp(serial.as_bytes())
        .finish()
}
