//! How the events of a subject, a policy or a register are digested: what their readable rows say, as pairs of texts.

use identity_core::{event_digest, moment};

use crate::clock::UNIX_EPOCH_MICROS;

/// The digest of an event. A pair whose column is NULL is left out.
pub fn digest(installation: &[u8; 16], kind: &str, pairs: &[(&str, Option<&str>)]) -> [u8; 32] {
    let present = pairs
        .iter()
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect::<Vec<_>>();
    event_digest(installation, kind, &present)
}

/// A moment in PostgreSQL's unit, as events and answers write it.
pub fn instant(micros: i64) -> String {
    moment::text(micros.saturating_add(UNIX_EPOCH_MICROS))
}

/// Ids and digests, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.extend(digits.map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')));
    text
}
