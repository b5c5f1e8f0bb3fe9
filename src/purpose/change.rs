//! The trigger on `purpose_definitions`: checks what the DBA wrote, writes the next version if the content changed, records it, and says whether it waits.

use identity_core::approval::Content;
use identity_core::field::Field;
use identity_core::reason::Reason;
use identity_core::trace::is_purpose_token;
use identity_core::vocabulary::{AccessorKind, AuthTier};
use pgrx::pg_sys;

use super::lists::{consent, fields, names, words};
use super::{content, measure};
use crate::answer::timestamp;
use crate::call::{Call, serves_this_database};
use crate::caller::Caller;
use crate::keys::{self, region::Keys};
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::{Fate, Short};
use crate::sql_function::{Arguments, sql_function};
use crate::{clock, error, sql_function as sql};

sql_function!(_purpose_changed, pg_finfo__purpose_changed, purpose_changed);
sql_function!(_append_only, pg_finfo__append_only, append_only);

static DEFINITION: Statement = Statement::write(
    c"SELECT d.auth_tier, d.allowed_fields, d.accepted_consent, d.allowed_roles, d.rate_limit_qps, d.daily_volume_cap, d.phi_access,
             v.version,
             v.version IS NOT NULL AND GREATEST(d.effective_at, v.changed_at) = v.effective_at AND (d.description, d.allowed_fields, d.auth_tier, d.rate_limit_qps, d.daily_volume_cap, d.allowed_roles, d.accepted_consent, d.phi_access)
               IS NOT DISTINCT FROM (v.description, v.allowed_fields, v.auth_tier, v.rate_limit_qps, v.daily_volume_cap, v.allowed_roles, v.accepted_consent, v.phi_access),
             COALESCE(pg_catalog.array_ndims(d.allowed_fields), 1) <> 1 OR COALESCE(pg_catalog.array_ndims(d.allowed_roles), 1) <> 1
               OR COALESCE(pg_catalog.array_ndims(d.accepted_consent), 1) <> 1 OR pg_catalog.cardinality(d.allowed_roles) > 100
               OR EXISTS (SELECT FROM pg_catalog.unnest(d.allowed_fields || d.allowed_roles::text[] || d.accepted_consent) AS e WHERE e IS NULL)
               OR NOT COALESCE(pg_catalog.isfinite(d.effective_at), true),
             pg_catalog.length(d.description)
        FROM identity.purpose_definitions d
        LEFT JOIN LATERAL (SELECT * FROM identity.purpose_versions v WHERE v.purpose_token = d.purpose_token ORDER BY v.version DESC LIMIT 1) v ON true
       WHERE d.purpose_token = $1",
    &[pg_sys::TEXTOID],
);

/// The versions before this one, from the moment it takes effect.
static SUPERSEDE: Statement = Statement::write(
    c"UPDATE identity.purpose_versions SET superseded_at = $3 WHERE purpose_token = $1 AND version < $2 AND superseded_at IS NULL",
    &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TIMESTAMPTZOID],
);

static NEXT_VERSION: Statement = Statement::write(
    c"INSERT INTO identity.purpose_versions (purpose_token, version, effective_at, description, allowed_fields, auth_tier,
             rate_limit_qps, daily_volume_cap, allowed_roles, accepted_consent, phi_access, changed_by, changed_at, needs_approval, revocations_seen)
      SELECT d.purpose_token, $2, GREATEST(d.effective_at, $3), d.description, d.allowed_fields, d.auth_tier,
             d.rate_limit_qps, d.daily_volume_cap, d.allowed_roles, d.accepted_consent, d.phi_access, $4::name, $3, $5, COALESCE(r.revocations, 0)
        FROM identity.purpose_definitions d LEFT JOIN identity.purpose_revocations r ON r.purpose_token = d.purpose_token
       WHERE d.purpose_token = $1
      RETURNING effective_at",
    &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID, pg_sys::BOOLOID],
);

fn append_only(_: Arguments) -> pg_sys::Datum {
    error::raise(Reason::AppendOnly)
}

fn purpose_changed(arguments: Arguments) -> pg_sys::Datum {
    let (token, renamed) = fired_for(arguments);
    if restoring() {
        return pg_sys::Datum::from(0);
    }
    let mut call = Call::begin(AccessorKind::PurposeChange);
    let keys = call.admit();
    if renamed || !is_purpose_token(token) {
        call.refuse(Reason::BadArgument);
    }
    call.shape.purpose = Short::new(token);
    let role = call.caller.role();
    // The snapshot is taken after the row was written, and sees it: the trigger fires after a new command began.
    let changed = with_latest_snapshot(|| {
        connected(|| {
            let definition = DEFINITION.run(&mut [bind(token)]);
            let content = call.allow(checked(&definition));
            call.shape.fields = content.allowed_fields;
            if definition.get(0, 9).unwrap_or(false) {
                return None;
            }
            let version = definition.get::<i32>(0, 8).unwrap_or(0) + 1;
            let now = clock::now();
            let waits = measure::waits(token, &content, now);
            let made = NEXT_VERSION.run(&mut [
                bind(token),
                bind(version),
                timestamp(now),
                bind(role.as_str()),
                bind(waits),
            ]);
            if !waits {
                supersede(token, version, made.datum(0, 1));
            }
            Some((version, waits))
        })
    });
    if let Some((version, waits)) = changed {
        record(&mut call, &keys, token, version);
        if waits {
            pgrx::notice!("version {version} of the purpose waits for a second person's approval");
        }
    }
    pg_sys::Datum::from(0)
}

/// Notes on the versions before this one from when on it holds instead of them. Reads do not look at it.
pub fn supersede(token: &str, version: i32, from: Option<pg_sys::Datum>) {
    SUPERSEDE.run(&mut [bind(token), bind(version), from]);
}

/// Puts one version's content on the chain.
pub fn record(call: &mut Call, keys: &Keys, token: &str, version: i32) {
    // A snapshot of its own sees the version that was just inserted.
    let digest =
        with_latest_snapshot(|| connected(|| content::digest(&keys.installation, token, version)));
    call.shape.purpose = Short::new(token);
    call.shape.purpose_version = Some(version);
    call.append(
        keys,
        &Fate::event(digest.unwrap_or_else(|| error::fault("a purpose version is not there"))),
    );
}

/// The checks that a DBA's row must pass. Returns its content.
fn checked(definition: &Rows) -> Result<Content, Reason> {
    let positive = |column| definition.get::<i32>(0, column).is_none_or(|cap| cap > 0);
    let exists = |role: std::ffi::CString| {
        // SAFETY: a syscache look-up by a C string.
        unsafe { pg_sys::get_role_oid(role.as_ptr(), true) != pg_sys::InvalidOid }
    };
    if !words(definition.datum(0, 2))
        .into_iter()
        .all(|name| Field::parse(name).is_some())
    {
        return Err(Reason::UnknownField);
    }
    let tier = definition.get::<&str>(0, 1).and_then(AuthTier::parse);
    let described = definition
        .get::<i32>(0, 11)
        .is_some_and(|length| (1..=1000).contains(&length));
    let well_formed = tier.is_some()
        && described
        && fields(&words(definition.datum(0, 2))).is_some()
        && consent(&words(definition.datum(0, 3))).is_some()
        && names(definition.datum(0, 4)).into_iter().all(exists)
        && positive(5)
        && positive(6)
        && definition.get(0, 10) == Some(false);
    if well_formed {
        Ok(measure::content(definition, 0))
    } else {
        Err(Reason::BadArgument)
    }
}

/// A superuser loading rows while keys are locked, or into another database, is a restore: the versions come along in the dump, and nothing is derived.
/// It opens nothing: reads look at the versions only.
pub fn restoring() -> bool {
    crate::shmem::attached()
        && (!serves_this_database() || keys::active().is_none())
        && Caller::current().is_superuser()
}

/// The token of the row the trigger fired for, and whether an UPDATE changed it.
fn fired_for<'a>(arguments: Arguments) -> (&'a str, bool) {
    // SAFETY: a trigger's data; the column is declared NOT NULL.
    unsafe {
        let trigger = arguments.trigger();
        let descriptor = (*(*trigger).tg_relation).rd_att;
        let token = |tuple| {
            let mut null = false;
            sql::text(pg_sys::heap_getattr(tuple, 1, descriptor, &mut null))
        };
        if (*trigger).tg_newtuple.is_null() {
            return (token((*trigger).tg_trigtuple), false);
        }
        let after = token((*trigger).tg_newtuple);
        (after, after != token((*trigger).tg_trigtuple))
    }
}
