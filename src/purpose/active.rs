//! The purpose as of now. Nothing is cached: a revocation that has committed binds the next call of every session.

use std::ffi::CStr;

use identity_core::decision::{self, Purpose};
use identity_core::field::FieldSet;
use identity_core::reason::Reason;
use identity_core::trace::is_purpose_token;
use identity_core::vocabulary::AuthTier;

use super::lists::{consent, fields, names, words};
use crate::call::Call;
use crate::caller::Caller;
use crate::clock;
use crate::columns::Columns;
use crate::record::Short;
use crate::relation::Known;
use crate::scan::Index;

/// Columns by their position in sql/40_purposes.sql.
static VERSIONS: Index = Index {
    table: Known::new(c"purpose_versions"),
    index: Known::new(c"purpose_versions_pkey"),
    columns: 18,
};
const VERSION: usize = 2;
const EFFECTIVE_AT: usize = 3;
const ALLOWED_FIELDS: usize = 6;
const AUTH_TIER: usize = 7;
const RATE_LIMIT_QPS: usize = 8;
const DAILY_VOLUME_CAP: usize = 9;
const ALLOWED_ROLES: usize = 10;
const ACCEPTED_CONSENT: usize = 11;
const PHI_ACCESS: usize = 12;
const APPROVED_BY: usize = 14;
const CHANGED_AT: usize = 15;
const NEEDS_APPROVAL: usize = 16;
const REVOCATIONS_SEEN: usize = 18;

static REVOCATIONS: Index = Index {
    table: Known::new(c"purpose_revocations"),
    index: Known::new(c"purpose_revocations_pkey"),
    columns: 6,
};
const REVOKED_VERSION: usize = 5;
const REVOKED_TIMES: usize = 6;

/// The version of a purpose that decides, for one caller.
pub struct Active {
    pub purpose: Purpose,
    pub rate_limit_qps: Option<i32>,
    pub daily_volume_cap: Option<i32>,
}

/// The purpose that a call names, if the caller is not revoked and may use it for these fields; otherwise the call is refused. Runs inside the
/// call's snapshot.
pub fn admitted(call: &mut Call, token: &str, wanted: FieldSet) -> Active {
    call.admit_caller();
    let active = if is_purpose_token(token) {
        active(token, &call.caller)
    } else {
        Err(Reason::UnknownPurpose)
    };
    // Only a token that exists is recorded: what else stands there might be anybody's data.
    if !matches!(active, Err(Reason::UnknownPurpose)) {
        call.shape.purpose = Short::new(token);
    }
    let active = call.allow(active);
    call.shape.purpose_version = Some(active.purpose.version);
    call.allow(decision::may_use(Some(&active.purpose), wanted));
    active
}

/// The version of the purpose in effect, for this caller; why there is none, otherwise.
pub fn active(token: &str, caller: &Caller) -> Result<Active, Reason> {
    let now = clock::now();
    let mut why = Reason::UnknownPurpose;
    let (mut active, seen) = VERSIONS
        .last_committed(token, |row| {
            // A version that was to hold at once holds whatever the clock says by now: it may have been set back, and the version before may
            // have allowed more.
            let moment = |column| row.datum(column).map(|at| at.value() as i64);
            if moment(EFFECTIVE_AT) > moment(CHANGED_AT) && moment(EFFECTIVE_AT) > Some(now) {
                return None;
            }
            if row.get(NEEDS_APPROVAL) != Some(false) && row.datum(APPROVED_BY).is_none() {
                why = Reason::PurposeUnapproved;
                return None;
            }
            Some((version(row, caller)?, row.get(REVOCATIONS_SEEN)))
        })
        .ok_or(why)?;
    let version = active.purpose.version;
    active.purpose.revoked = REVOCATIONS
        .last(token, |row| {
            // A version whose author did not see a revocation does not undo it.
            Some(
                row.get(REVOKED_VERSION)
                    .is_none_or(|last: i32| last >= version)
                    || row.get::<i32>(REVOKED_TIMES) > seen,
            )
        })
        .unwrap_or(false);
    Ok(active)
}

fn version(row: &Columns, caller: &Caller) -> Option<Active> {
    let allowed = |role: &&CStr| caller.is_member_of(role);
    let purpose = Purpose {
        version: row.get(VERSION)?,
        // A tier or list that is not understood is the one that allows least.
        tier: row
            .get(AUTH_TIER)
            .and_then(AuthTier::parse)
            .unwrap_or(AuthTier::Legal),
        revoked: false,
        caller_allowed: names(row.datum(ALLOWED_ROLES))
            .iter()
            .any(|role| allowed(&role.as_c_str())),
        allowed_fields: fields(&words(row.datum(ALLOWED_FIELDS))).unwrap_or_default(),
        phi_access: row.get(PHI_ACCESS).unwrap_or(false),
        accepted_consent: consent(&words(row.datum(ACCEPTED_CONSENT))).unwrap_or_default(),
    };
    Some(Active {
        purpose,
        rate_limit_qps: row.get(RATE_LIMIT_QPS),
        daily_volume_cap: row.get(DAILY_VOLUME_CAP),
    })
}
