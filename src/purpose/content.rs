//! The content of a purpose version, as it is digested onto the chain.

use identity_core::event_digest;
use pgrx::pg_sys;

use crate::query::{Statement, bind};

static CONTENT: Statement = Statement::read(
    c"SELECT version::text, auth_tier, allowed_fields::text, allowed_roles::text, accepted_consent::text, phi_access::text,
             COALESCE(rate_limit_qps::text, ''), COALESCE(daily_volume_cap::text, ''), changed_by::text, description, purpose_token,
             pg_catalog.to_char(effective_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
             pg_catalog.to_char(changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
             needs_approval::text, revocations_seen::text
        FROM identity.purpose_versions WHERE purpose_token = $1 AND version = $2",
    &[pg_sys::TEXTOID, pg_sys::INT4OID],
);

static ALL: Statement = Statement::read(
    c"SELECT purpose_token, version FROM identity.purpose_versions ORDER BY 1, 2",
    &[],
);

/// The names under which the columns of CONTENT are digested. Not superseded_at and the approval: they come later, and the approval has an event of
/// its own.
const DIGESTED: [&str; 15] = [
    "version",
    "auth_tier",
    "allowed_fields",
    "allowed_roles",
    "accepted_consent",
    "phi_access",
    "rate_limit_qps",
    "daily_volume_cap",
    "changed_by",
    "description",
    "purpose_token",
    "effective_at",
    "changed_at",
    "needs_approval",
    "revocations_seen",
];

/// The digest of one version; `None` if there is none. Runs inside a call's snapshot.
pub fn digest(installation: &[u8; 16], token: &str, version: i32) -> Option<[u8; 32]> {
    let rows = CONTENT.run(&mut [bind(token), bind(version)]);
    let values = (1..)
        .take(DIGESTED.len())
        .map(|column| rows.get::<String>(0, column))
        .collect::<Option<Vec<_>>>()?;
    let pairs = DIGESTED
        .iter()
        .zip(&values)
        .map(|(name, value)| (*name, value.as_str()))
        .collect::<Vec<_>>();
    Some(event_digest(installation, "purpose_change", &pairs))
}

/// Every version there is. Runs inside a call's snapshot.
pub fn all() -> Vec<(String, i32)> {
    let rows = ALL.run(&mut []);
    (0..rows.count)
        .filter_map(|row| Some((rows.get(row, 1)?, rows.get(row, 2)?)))
        .collect()
}
