//! What a new version of a purpose is measured against: the version in effect, and every one written after it.

use identity_core::approval::{Content, needs_approval};
use identity_core::vocabulary::AuthTier;
use pgrx::pg_sys;

use super::lists::{consent, fields, names, words};
use crate::gucs;
use crate::query::{Rows, Statement, bind};

/// Columns 1 to 7 are those of `content`. A statement that writes: it must see what this transaction itself has written and revoked, down to
/// the command before, or two steps in one transaction would be measured as if the first had not been.
static KNOWN: Statement = Statement::write(
    c"SELECT v.auth_tier, v.allowed_fields, v.accepted_consent, v.allowed_roles, v.rate_limit_qps, v.daily_volume_cap, v.phi_access,
             v.version = e.version, COALESCE(v.version <= r.revoked_version OR v.revocations_seen < r.revocations, false)
        FROM identity.purpose_versions v
        LEFT JOIN identity.purpose_revocations r ON r.purpose_token = v.purpose_token
        LEFT JOIN LATERAL (SELECT c.version FROM identity.purpose_versions c
                            WHERE c.purpose_token = $1 AND (NOT c.needs_approval OR c.approved_by IS NOT NULL)
                              AND (c.effective_at <= c.changed_at OR c.effective_at <= $2)
                            ORDER BY c.version DESC LIMIT 1) e ON true
       WHERE v.purpose_token = $1 AND v.version >= COALESCE(e.version, 0)",
    &[pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

/// Whether a version with this content has to wait for approval. Runs inside the call's snapshot, before the version is written.
pub fn waits(token: &str, content: &Content, now: i64) -> bool {
    let known = KNOWN.run(&mut [bind(token), Some(pg_sys::Datum::from(now))]);
    let is = |row, column| known.get(row, column) == Some(true);
    let (in_effect, later): (Vec<_>, Vec<_>) = (0..known.count).partition(|row| is(*row, 8));
    let in_effect = in_effect.into_iter().find(|row| !is(*row, 9));
    let later = later
        .into_iter()
        .map(|row| self::content(&known, row))
        .collect::<Vec<_>>();
    needs_approval(
        gucs::PURPOSE_APPROVAL.get().policy(),
        gucs::SERVICE_DAILY_CEILING.get(),
        content,
        in_effect.map(|row| self::content(&known, row)).as_ref(),
        &later,
    )
}

/// The content in the first seven columns of a row: tier, fields, consent, roles, calls a second, subjects a day, health information.
pub fn content(rows: &Rows, row: usize) -> Content {
    Content {
        tier: rows
            .get(row, 1)
            .and_then(AuthTier::parse)
            .unwrap_or(AuthTier::Legal),
        allowed_fields: fields(&words(rows.datum(row, 2))).unwrap_or_default(),
        accepted_consent: consent(&words(rows.datum(row, 3))).unwrap_or_default(),
        allowed_roles: names(rows.datum(row, 4))
            .into_iter()
            .map(std::ffi::CString::into_bytes)
            .collect(),
        rate_limit_qps: rows.get(row, 5),
        daily_volume_cap: rows.get(row, 6),
        phi_access: rows.get(row, 7).unwrap_or(false),
    }
}
