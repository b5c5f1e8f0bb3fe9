//! What the database refuses with.

use tokio_postgres::Error;

use crate::trouble::{Kind, Trouble};

/// The SQLSTATE and the extension's reason. Not its message: a database that is not ours may say anything.
pub(crate) fn refusal(error: Error) -> Trouble {
    let Some(answer) = error.as_db_error() else {
        let kind = if error.is_closed() {
            Kind::Unreachable
        } else {
            Kind::Unavailable
        };
        return Trouble::new(kind, "the connection to the database failed");
    };
    let code = answer.code().code();
    let word =
        |text: &str| !text.is_empty() && text.bytes().all(|c| c == b'_' || c.is_ascii_lowercase());
    let reason = answer
        .detail()
        .and_then(|detail| detail.lines().next()?.strip_prefix("reason: "))
        .filter(|reason| word(reason));
    let kind = match (code, reason) {
        // It does not know our public key, or it is not the one that we sealed to.
        (_, Some("signature" | "key_check")) => Kind::Untrue,
        ("42501" | "28000", _) => Kind::Denied,
        ("23505", _) => Kind::Conflict,
        ("42883" | "42P01" | "3F000", _) => Kind::Missing,
        ("22023" | "22004", _) => Kind::Configuration,
        _ => Kind::Unavailable,
    };
    let reason = reason.map(|reason| format!(", reason {reason}"));
    Trouble::new(
        kind,
        format!(
            "the database refuses with {code}{}",
            reason.unwrap_or_default()
        ),
    )
}
