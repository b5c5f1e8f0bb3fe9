//! The closed word lists that rows, subjects and purposes use, and the rules that hang on one word.
//!
//! Numbers (`as u8`) are for shared memory only and may change between releases; words are the
//! contract.

use crate::words::words;

words! {
    /// What kind of work a subject does, which decides where its data may go.
    pub enum Vertical : as_str {
        /// Not yet reviewed: treated as healthcare.
        Unknown = "unknown",
        /// Reviewed: no special rule.
        General = "general",
        /// Protected health information.
        Healthcare = "healthcare",
        /// Finance.
        Finance = "finance",
        /// Reviewed: something else.
        Other = "other",
    }
}

impl Vertical {
    /// Where the subject's data may go: on-box only for healthcare and for the unknown.
    #[must_use]
    pub const fn route(self) -> Route {
        match self {
            Self::Unknown | Self::Healthcare => Route::OnboxOnly,
            Self::General | Self::Finance | Self::Other => Route::CloudOk,
        }
    }

    /// Whether every field of such a subject is protected health information.
    #[must_use]
    pub const fn is_phi(self) -> bool {
        matches!(self, Self::Unknown | Self::Healthcare)
    }
}

words! {
    /// Where a subject's data may go.
    pub enum Route : as_str {
        /// Never to a cloud model.
        OnboxOnly = "onbox_only",
        /// To a cloud model too.
        CloudOk = "cloud_ok",
    }
}

words! {
    /// The state of a subject's consent.
    pub enum ConsentStatus : as_str {
        /// Came with a backfill, nobody has looked yet.
        PendingBackfillReview = "pending_backfill_review",
        /// New, not yet asked.
        PendingFirstContact = "pending_first_contact",
        /// Given.
        Given = "given",
        /// Withdrawn by the subject.
        Withdrawn = "withdrawn",
        /// Ran out.
        Expired = "expired",
    }
}

impl ConsentStatus {
    /// Whether nobody has asked yet. PHI is refused then, whatever a purpose accepts.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        matches!(
            self,
            Self::PendingBackfillReview | Self::PendingFirstContact
        )
    }
}

words! {
    /// What a text is about that a subject agrees to, or is told.
    pub enum ConsentKind : as_str {
        /// The use of its data.
        General = "general",
        /// The collection of biometrics.
        Biometric = "biometric",
        /// The published schedule by which biometrics are destroyed: shown, not agreed to.
        RetentionSchedule = "retention_schedule",
    }
}

/// A set of consent states: those a purpose accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConsentSet(u8);

impl ConsentSet {
    /// No state: a purpose that reads nobody.
    pub const EMPTY: Self = Self(0);

    /// Adds a state; `false` if it was already in.
    pub fn insert(&mut self, status: ConsentStatus) -> bool {
        let before = *self;
        self.0 |= 1 << status as u8;
        before != *self
    }

    /// Whether the state is in the set.
    #[must_use]
    pub const fn contains(self, status: ConsentStatus) -> bool {
        self.0 & 1 << status as u8 != 0
    }

    /// Whether every state of this set is in `other`.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

words! {
    /// Where the answers of a caller go.
    pub enum Zone : as_str {
        /// Nowhere: the caller sees no subject.
        None = "none",
        /// To a cloud model.
        Cloud = "cloud",
        /// Stays on the box.
        Onbox = "onbox",
    }
}

/// Which zone roles a role is a member of. Superuser membership counts for nothing and is `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Member of `identity_zone_cloud`.
    pub cloud: bool,
    /// Member of `identity_zone_onbox`.
    pub onbox: bool,
}

impl Zone {
    /// The zone of a call: the most restrictive over session user and outer user, so that SET ROLE
    /// can only narrow. Cloud if either is a member of cloud; onbox only if both may use onbox.
    #[must_use]
    pub const fn of(session: Membership, outer: Membership) -> Self {
        if session.cloud || outer.cloud {
            Self::Cloud
        } else if session.onbox && outer.onbox {
            Self::Onbox
        } else {
            Self::None
        }
    }

    /// Whether a caller in this zone may see that a subject of this vertical exists.
    #[must_use]
    pub const fn sees(self, vertical: Vertical) -> bool {
        match self {
            Self::None => false,
            Self::Cloud => matches!(vertical.route(), Route::CloudOk),
            Self::Onbox => true,
        }
    }
}

words! {
    /// Who may use a purpose.
    pub enum AuthTier : as_str {
        /// Gateways.
        Service = "service",
        /// Holders of a token signed by two parties.
        Legal = "legal",
    }
}

words! {
    /// How the call that a row records ended.
    pub enum Outcome : as_str {
        /// Its transaction committed.
        Committed = "committed",
        /// It was answered, and its transaction or savepoint rolled back.
        RolledBack = "rolled_back",
        /// It was refused.
        Denied = "denied",
    }
}

words! {
    /// How a row enters the sealed ledger.
    pub enum ChainKind : as_str {
        /// Folded into a batch.
        Hmac = "hmac",
        /// With a leaf of its own.
        Merkle = "merkle",
    }
}

words! {
    /// What was done.
    pub enum AccessorKind : as_str {
        /// Fields were resolved.
        GatewayLookup = "gateway_lookup",
        /// A subject was registered.
        Register = "register",
        /// Fields of a subject were changed.
        Update = "update",
        /// A subject's vertical was asked for.
        Vertical = "vertical",
        /// A subject was imported by a superuser.
        Import = "import",
        /// A purpose got a new version.
        PurposeChange = "purpose_change",
        /// A purpose was revoked.
        PurposeRevoke = "purpose_revoke",
        /// A purpose version was approved by a second person.
        PurposeApprove = "purpose_approve",
        /// A login was revoked.
        CallerRevoke = "caller_revoke",
        /// A revoked login was let in again.
        CallerReinstate = "caller_reinstate",
        /// A caller came near its daily cap, or reached it.
        VolumeNotice = "volume_notice",
        /// A subject's consent was recorded.
        Consent = "consent",
        /// A consent template got a version.
        ConsentVersion = "consent_version",
        /// Where a subject lives, and on what basis its data is held.
        EuStatus = "eu_status",
        /// A text made a subject healthcare.
        VerticalEscalation = "vertical_escalation",
        /// A reviewer set a subject's vertical.
        VerticalReview = "vertical_review",
        /// The patterns that texts are searched for were changed.
        PatternChange = "pattern_change",
        /// Keys were unlocked.
        KeyUnlock = "key_unlock",
        /// Keys were wiped.
        KeyWipe = "key_wipe",
        /// A key was entered in the keyring.
        KeyEnrol = "key_enrol",
        /// A key of the keyring was wrapped anew.
        KeyRewrap = "key_rewrap",
        /// Another key of its kind is used from here on.
        KeyRotation = "key_rotation",
        /// Nothing refers to a key any more.
        KeyRetire = "key_retire",
        /// A start or reload with other settings.
        SettingsChange = "settings_change",
        /// A month of the log was dropped because its time was over.
        LogExpire = "log_expire",
        /// A signed checkpoint that lies outside was recorded.
        Anchor = "anchor",
        /// Somebody asked that a subject be erased.
        ErasureRequest = "erasure_request",
        /// A subject was erased.
        Erasure = "erasure",
        /// A subject's consent ran out.
        ConsentExpiry = "consent_expiry",
        /// How long a kind of data is kept was changed.
        RetentionPolicy = "retention_policy",
        /// Biometrics of a subject were collected.
        BiometricAttach = "biometric_attach",
        /// Biometrics of a subject were classified.
        BiometricClassify = "biometric_classify",
        /// Biometrics of a subject were destroyed.
        BiometricErase = "biometric_erase",
        /// An application's table is cleaned when a subject is erased.
        ForgetRegister = "forget_register",
        /// It no longer is.
        ForgetUnregister = "forget_unregister",
    }
}

words! {
    /// Why a key was rotated.
    pub enum RotationReason : as_str {
        /// Its time had come.
        Scheduled = "scheduled",
        /// Somebody may know it.
        Compromise = "compromise",
        /// Credentials that reach it were lost.
        CredLoss = "cred_loss",
        /// The one before is lost.
        Recovery = "recovery",
    }
}

words! {
    /// How far a key of the keyring has come.
    pub enum KeyState : as_str {
        /// There, and not yet in use.
        Enrolled = "enrolled",
        /// The one to encrypt, chain or sign with.
        Active = "active",
        /// Still opens and verifies what it made.
        VerifyOnly = "verify_only",
        /// Nothing refers to it any more.
        Retired = "retired",
    }
}

words! {
    /// What a notice to the outside is about.
    pub enum NoticeKind : as_str {
        /// A caller has had half of its day's rows under a purpose.
        VolumeHalf = "volume_half",
        /// It has had all of them.
        VolumeCap = "volume_cap",
        /// A setting protects less than it did, or as little as can be.
        SettingWeakened = "setting_weakened",
        /// A purpose was revoked.
        PurposeRevoke = "purpose_revoke",
        /// A purpose that reaches sensitive fields was approved.
        PurposeApprove = "purpose_approve",
        /// A login was revoked.
        CallerRevoke = "caller_revoke",
        /// A revoked login was let in again.
        CallerReinstate = "caller_reinstate",
        /// Another key of its kind is used from here on.
        KeyRotation = "key_rotation",
        /// A history that is shorter than what is anchored was declared.
        Incarnation = "incarnation",
    }
}

words! {
    /// Why a notice was not delivered.
    pub enum DeliveryTrouble : as_str {
        /// No connection, or it broke off.
        Unreachable = "unreachable",
        /// The certificate is not what it must be, or there is no TLS.
        Tls = "tls",
        /// There was no answer in time.
        Timeout = "timeout",
        /// Too many, said the other side.
        Throttled = "throttled",
        /// It could not, said the other side.
        Unavailable = "unavailable",
        /// It does not take this, or not from us.
        Refused = "refused",
        /// It wants us to go elsewhere.
        Redirect = "redirect",
        /// An answer that is none, or has no end.
        Answer = "answer",
        /// The notice itself is not one of ours.
        Notice = "notice",
        /// The worker cannot work with its own configuration.
        Configuration = "configuration",
        /// Nobody serves this channel any more.
        ChannelGone = "channel_gone",
    }
}
