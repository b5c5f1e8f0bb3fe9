//! The only table of SQLSTATEs: what each refusal tells the caller.
//!
//! A message says what was refused, DETAIL names the reason code, HINT says what to do. None of them ever carries a value: an
//! error text travels to client logs, and the value may be somebody's social security number.

use std::ffi::CStr;

use identity_core::reason::Reason;
use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as State;
use pgrx::pg_sys::panic::ErrorReport;

/// Raises the refusal as an ERROR. It returns `!`: an error value that is built and not raised would fail open.
pub fn raise(reason: Reason) -> ! {
    let (state, message, hint) = text(reason);
    ErrorReport::new(state, message, "identity_pgx")
        .set_detail(format!("reason: {}", reason.code()))
        .set_hint(hint)
        .report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Raises an internal fault that no caller can cause. `what` is a constant, never a value.
pub fn fault(what: &'static str) -> ! {
    ErrorReport::new(State::ERRCODE_INTERNAL_ERROR, what, "identity_pgx").report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// The five characters of an error's code: what may be told of an error whose words may quote a value.
pub fn sqlstate(state: State) -> String {
    // SAFETY: PostgreSQL's own buffer, of five characters and a zero.
    unsafe { CStr::from_ptr(pg_sys::unpack_sql_state(state as i32)) }
        .to_string_lossy()
        .into_owned()
}

fn text(reason: Reason) -> (State, &'static str, &'static str) {
    #[allow(clippy::enum_glob_use)] // a table of nothing but these names
    use State::*;
    match reason {
        Reason::NotPreloaded => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "identity_pgx is not preloaded",
            "Add identity_pgx to shared_preload_libraries and restart the server.",
        ),
        Reason::NotInitialized => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "identity_pgx is not initialized in this database",
            "A superuser runs SELECT identity.initialize() once.",
        ),
        Reason::WrongDatabase => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "identity_pgx does not serve this database",
            "Connect to the database that identity_pgx.database names, or change that setting and restart the server.",
        ),
        Reason::Locked => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "keys are locked",
            "Try again once the keys are unlocked; with development keys: SELECT identity.dev_unlock().",
        ),
        Reason::RecorderDown => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the recorder is not running, so this call could not be recorded",
            "Try again in a few seconds. If it lasts, look for \"identity_pgx recorder\" in the server log.",
        ),
        Reason::AnchorStale => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "rows of the access log have waited for an anchor for too long",
            "Try again once they are anchored: whoever runs the anchor-worker sees to it. \"anchor age\" in identity.identity_status() says since when they wait.",
        ),
        Reason::PreparedTransaction => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "a transaction that left access rows, or sealed them, or changed a subject, cannot be prepared",
            "Use COMMIT. A prepared transaction would hold its lane of the log open, or keep others from the subject or from sealing.",
        ),
        Reason::NotSealed => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the row is not sealed yet",
            "Try again after the next identity.ledger_seal().",
        ),
        Reason::ForgetFailed => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "a registered table of an application could not be cleaned, so nothing was erased",
            "Table and cause are in the server log. Mend it, or take the table off the register, and try again.",
        ),
        Reason::ClassificationsOff => (
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "biometrics are not classified here",
            "Whoever runs the server turns on identity_pgx.biometric_classifications, if it is to be.",
        ),
        Reason::ReadOnly => (
            ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "a read needs to write its access row, and nothing can be written here",
            "Call it on the primary, in a transaction that is not READ ONLY.",
        ),
        Reason::Transport => (
            ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            "this connection is neither a Unix socket nor TLS with a verified client certificate",
            "Connect with sslmode=verify-full and a client certificate, or over the Unix socket.",
        ),
        Reason::Signature => (
            ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            "this was not sealed for this server by the worker that it trusts",
            "identity_pgx.worker_public_key names the worker. Ask for identity.key_challenge() anew and seal the key to what it answers.",
        ),
        Reason::FieldNotAllowed => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the purpose does not allow every field asked for",
            "Ask for the fields on the purpose's list only: one field too many refuses the whole call.",
        ),
        Reason::PurposeRole => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the purpose is not open to this caller",
            "A DBA lists the roles that may use a purpose in allowed_roles; both the session user and the role set must be members of one.",
        ),
        Reason::PurposeRevoked => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the purpose has been revoked",
            "Ask whoever runs the policy; a later version of the purpose reinstates it.",
        ),
        Reason::PurposeUnapproved => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the purpose waits for a second person's approval",
            "An approver who did not write it calls identity.purpose_approve(purpose, version).",
        ),
        Reason::Tier => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the purpose belongs to another tier",
            "Purposes of the legal tier cannot be used through the service tier.",
        ),
        Reason::Consent => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the subject's consent does not cover this purpose",
            "Record the subject's consent first, under the text in effect and newer than any withdrawal; or use a purpose that accepts its present state.",
        ),
        Reason::PhiAccess => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the purpose does not reach health information",
            "Every field of a healthcare or unclassified subject is health information: it needs a purpose with phi_access.",
        ),
        Reason::Authority => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "no retention policy in effect is of that name and covers this subject",
            "Give the schedule_version of identity.retention_policies for the subject's vertical; its schedule must be in effect.",
        ),
        Reason::RetentionSchedule => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "no published retention schedule covers biometrics of this subject",
            "A DBA publishes a schedule in identity.consent_versions, and a policy of kind biometric under it in identity.retention_policies.",
        ),
        Reason::CallerRevoked => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "this login has been revoked",
            "Ask whoever runs the policy: identity.caller_reinstate(role) lets it in again.",
        ),
        Reason::AppendOnly => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "this table is append-only",
            "Rows are never changed or removed here. To change a purpose, UPDATE identity.purpose_definitions.",
        ),
        Reason::RoleConflict => (
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "this role may not do that",
            "See the table of roles in docs/roles.md.",
        ),
        Reason::UnknownPurpose => (
            ERRCODE_INVALID_PARAMETER_VALUE,
            "there is no such purpose",
            "Purposes are rows of identity.purpose_definitions; check the spelling.",
        ),
        Reason::UnknownField => (
            ERRCODE_INVALID_PARAMETER_VALUE,
            "there is no such field",
            "Fields are name, email, phone, address, ssn and dob.",
        ),
        Reason::BadArgument => (
            ERRCODE_INVALID_PARAMETER_VALUE,
            "an argument is not of the form it must have",
            "The function's page under docs/functions says what each argument may be.",
        ),
        Reason::TooMany => (
            ERRCODE_INVALID_PARAMETER_VALUE,
            "too many elements in one call",
            "Split the call: at most 6 fields, 1000 ids or records, 10000 subjects of a sweep, and an answer of less than half of work_mem.",
        ),
        Reason::NullArgument => (
            ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "an argument is null",
            "Every argument without a default needs a value, and lists hold no nulls.",
        ),
        Reason::SubjectUnavailable => (
            ERRCODE_NO_DATA_FOUND,
            "no such subject is available here",
            "The id is unknown, or its subject cannot be seen from this caller's zone; the answer is the same for both.",
        ),
        Reason::SubjectErased => (
            ERRCODE_NO_DATA_FOUND,
            "the subject has been erased",
            "Drop the id and whatever was cached for it.",
        ),
        Reason::BiometricAlreadyCollected => (
            ERRCODE_UNIQUE_VIOLATION,
            "biometrics of this subject were collected already",
            "They are collected once. To collect anew, have them erased first: identity.biometric_erase(candidate_id, reason).",
        ),
        Reason::RateLimited => (
            ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            "too many calls a second",
            "Try again in a second. The limit, for each login, is the purpose's rate_limit_qps; without a purpose it is 1000.",
        ),
        Reason::DailyCap => (
            ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            "the rows of this day under this purpose are used up",
            "The count begins anew at midnight UTC. The limit is the purpose's daily_volume_cap, for each login.",
        ),
        Reason::RecorderFull => (
            ERRCODE_INSUFFICIENT_RESOURCES,
            "no slot is free to record this call",
            "Commit what is open and try again; a transaction holds a slot for its reads until it ends.",
        ),
        Reason::AuditUnwritable => (
            ERRCODE_INSUFFICIENT_RESOURCES,
            "the access row cannot be written, so nothing is returned",
            "There is no partition of identity.pii_access_log for this month, or it cannot be written: see identity.identity_status().",
        ),
        Reason::Ciphertext => (
            ERRCODE_DATA_CORRUPTED,
            "a stored field does not open",
            "The ciphertext was damaged, or moved here from elsewhere. Keep the row as it is and look into it.",
        ),
        Reason::KeyCheck => (
            ERRCODE_DATA_CORRUPTED,
            "this is not the key that the keyring names",
            "Nothing was loaded. Find out which key the key service unwrapped: what it would encrypt or chain, nobody could open or verify later.",
        ),
        Reason::Chain => (
            ERRCODE_DATA_CORRUPTED,
            "the access log, or its ledger, is not as it was written",
            "Run identity.ledger_verify(true) and keep the log as it is.",
        ),
    }
}
