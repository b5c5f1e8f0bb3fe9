//! The codes of refusals, as they stand after `reason: ` in an error's DETAIL.

use crate::words::words;

words! {
    /// Why a call was refused. Which SQLSTATE a reason has is the shell's table.
    pub enum Reason : code {
        /// The library is not in `shared_preload_libraries`.
        NotPreloaded = "not_preloaded",
        /// `identity.initialize()` was never called.
        NotInitialized = "not_initialized",
        /// Not the database that `identity_pgx.database` names.
        WrongDatabase = "wrong_database",
        /// The keys are not unlocked.
        Locked = "locked",
        /// The recorder does not run.
        RecorderDown = "recorder_down",
        /// Rows have waited for an anchor for longer than `max_anchor_lag`.
        AnchorStale = "anchor_stale",
        /// PREPARE TRANSACTION after a read.
        PreparedTransaction = "prepared_transaction",
        /// A row of the log that no seal has taken in yet.
        NotSealed = "not_sealed",
        /// A registered table of an application could not be cleaned.
        ForgetFailed = "forget_failed",
        /// Classifications of biometrics are switched off.
        ClassificationsOff = "classifications_off",
        /// A standby or a read-only transaction: no record can be written.
        ReadOnly = "read_only",
        /// Neither a Unix socket nor TLS with a verified client certificate.
        Transport = "transport",
        /// What was handed in was not sealed or signed by whom it had to be.
        Signature = "signature",
        /// A field that the purpose does not allow.
        FieldNotAllowed = "field_not_allowed",
        /// The caller is not among the purpose's roles.
        PurposeRole = "purpose_role",
        /// The purpose is revoked.
        PurposeRevoked = "purpose_revoked",
        /// No version of the purpose that a second person approved is in effect.
        PurposeUnapproved = "purpose_unapproved",
        /// The purpose belongs to the legal tier.
        Tier = "tier",
        /// The subject's consent is not one that the purpose accepts.
        Consent = "consent",
        /// Protected health information, and the purpose has no `phi_access`.
        PhiAccess = "phi_access",
        /// No policy in effect allows what was to be done under it.
        Authority = "authority",
        /// No retention schedule is published for biometrics of such a subject.
        RetentionSchedule = "retention_schedule",
        /// The caller's login is revoked.
        CallerRevoked = "caller_revoked",
        /// UPDATE, DELETE or TRUNCATE of an append-only table.
        AppendOnly = "append_only",
        /// Two roles that exclude each other.
        RoleConflict = "role_conflict",
        /// No such purpose.
        UnknownPurpose = "unknown_purpose",
        /// No such field.
        UnknownField = "unknown_field",
        /// An argument of the wrong shape.
        BadArgument = "bad_argument",
        /// More elements than allowed.
        TooMany = "too_many",
        /// An argument is NULL.
        NullArgument = "null_argument",
        /// No such subject, or not visible from the caller's zone.
        SubjectUnavailable = "subject_unavailable",
        /// The subject was erased.
        SubjectErased = "subject_erased",
        /// The subject's biometrics were collected before, and not erased since.
        BiometricAlreadyCollected = "biometric_already_collected",
        /// More calls a second under this purpose than it allows.
        RateLimited = "rate_limited",
        /// The caller has had its rows of the day under this purpose.
        DailyCap = "daily_cap",
        /// No free slot, or the caller's quota is used up.
        RecorderFull = "recorder_full",
        /// The record could not be written.
        AuditUnwritable = "audit_unwritable",
        /// A stored ciphertext does not open.
        Ciphertext = "ciphertext",
        /// A key is not the one that the keyring names.
        KeyCheck = "key_check",
        /// The chain of a lane does not continue.
        Chain = "chain",
    }
}
