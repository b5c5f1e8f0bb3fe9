//! An `evidence` argument: any JSON object about how consent was given. Two of its keys are looked at, the rest is the caller's.

use identity_core::moment;
use identity_core::reason::Reason;
use pgrx::pg_sys;

use crate::clock::UNIX_EPOCH_MICROS;
use crate::json::{self, Value};

/// Small enough to lie in one page beside its salt, so that an erasure has no TOAST table to scrub.
const MAX_EVIDENCE_BYTES: usize = 4096;

/// What the evidence claims.
#[derive(Default)]
pub struct Claims {
    /// `given_at`, in microseconds since 2000.
    pub given_at: Option<i64>,
    /// `template_hash`, in lower case.
    pub template_hash: Option<String>,
}

/// The text of an evidence argument; `None` if it says nothing. Bounded before it is taken apart.
pub fn evidence(argument: pg_sys::Datum) -> Result<Option<String>, Reason> {
    // SAFETY: a jsonb datum; its size is known without detoasting it.
    let size = unsafe { pg_sys::toast_raw_datum_size(argument) };
    // jsonb is no more than some bytes a value longer than its text.
    if size > 8 * MAX_EVIDENCE_BYTES {
        return Err(Reason::BadArgument);
    }
    if json::object(argument)
        .ok_or(Reason::BadArgument)?
        .is_empty()
    {
        return Ok(None);
    }
    let text = json::to_text(argument);
    if text.len() > MAX_EVIDENCE_BYTES {
        return Err(Reason::BadArgument);
    }
    Ok(Some(text))
}

impl Claims {
    /// Reads the two keys that are looked at. Runs after `evidence` has bounded the argument.
    pub fn parse(argument: pg_sys::Datum) -> Result<Self, Reason> {
        let mut claims = Self::default();
        for (key, value) in json::object(argument).ok_or(Reason::BadArgument)? {
            match (key, value) {
                ("given_at", Value::Text(text)) => {
                    let given_at = moment::parse(text).ok_or(Reason::BadArgument)?;
                    claims.given_at = Some(given_at - UNIX_EPOCH_MICROS);
                }
                ("template_hash", Value::Text(text)) if is_hash(text) => {
                    claims.template_hash = Some(text.to_ascii_lowercase());
                }
                ("given_at" | "template_hash", _) => return Err(Reason::BadArgument),
                _ => {}
            }
        }
        Ok(claims)
    }
}

/// SHA-256 in hex, in either case.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
