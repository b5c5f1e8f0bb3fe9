//! What the database refuses with, when it is asked about keys.

use tokio_postgres::Error;

use crate::database::{reason, refused};
use crate::trouble::{Kind, Trouble};

/// What the worker makes of an error of the key functions.
pub(crate) fn refusal(error: Error) -> Trouble {
    let Some(answer) = error.as_db_error() else {
        let kind = if error.is_closed() {
            Kind::Unreachable
        } else {
            Kind::Unavailable
        };
        return Trouble::new(kind, "the connection to the database failed");
    };
    let reason = reason(answer);
    let kind = match (answer.code().code(), reason) {
        // It does not know our public key, or it is not the one that we sealed to.
        (_, Some("signature" | "key_check")) => Kind::Untrue,
        ("42501" | "28000", _) => Kind::Denied,
        ("23505", _) => Kind::Conflict,
        ("42883" | "42P01" | "3F000", _) => Kind::Missing,
        ("22023" | "22004", _) => Kind::Configuration,
        _ => Kind::Unavailable,
    };
    let hint = match reason {
        Some("signature") => {
            ": identity_pgx.worker_public_key must be what check-config prints, and takes a restart to change"
        }
        Some("role_conflict") => {
            ": the keyring has development keys, or the database was in use without this keyring"
        }
        _ => "",
    };
    Trouble::new(kind, refused(answer) + hint)
}
