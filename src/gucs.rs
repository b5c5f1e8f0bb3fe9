//! All settings. Each says who may change it, why its default, and why nobody weaker may. None holds a secret.

use std::ffi::CString;

use identity_core::{ApprovalPolicy, event_digest};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

/// The one database of the cluster that is served. Postmaster: the recorder connects to it once.
pub static DATABASE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"postgres"));
/// Whether `dev_unlock()` works. Postmaster and off: a superuser's session must not be able to switch to keys everybody knows.
pub static ALLOW_DEV_KEYS: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Slots of the recorder's queue. Postmaster: they lie in shared memory.
pub static RECORDER_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(4096);
/// Whether TCP sessions need a verified client certificate. Sighup and on: who may write the server's configuration decides,
/// not who may run SQL.
pub static REQUIRE_MTLS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Which purpose versions wait for a second person. Sighup, and those that reach sensitive data: the DBA who writes purposes must not be able to
/// switch off who checks them.
pub static PURPOSE_APPROVAL: GucSetting<PurposeApproval> =
    GucSetting::<PurposeApproval>::new(PurposeApproval::Sensitive);
/// Subjects that one login may be shown in a day under a purpose without a cap of its own. Sighup, for the same reason; the default is what a person's
/// work takes, and far from what a copy of the vault would.
pub static SERVICE_DAILY_CEILING: GucSetting<i32> = GucSetting::<i32>::new(10_000);

/// How long rows of the log are kept, in minutes. Sighup, and what the anchors are locked for: whoever runs SQL must not be able to shorten what can be
/// asked of the past.
pub static LOG_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(2557 * MINUTES_PER_DAY);
/// How old a row may be that no anchor covers before reads are refused, in minutes; 0 is never. Sighup: a session that could lengthen it could go on
/// reading while what it leaves behind can still be rewritten unseen. A day is long enough to mend what anchors, and short enough that somebody does.
pub static MAX_ANCHOR_LAG: GucSetting<i32> = GucSetting::<i32>::new(MINUTES_PER_DAY);
/// How long backups are kept, in minutes: what a receipt promises about them. Sighup: whoever runs SQL must not be able to promise what the backups do not
/// keep. The server cannot see them, so this is a statement of whoever runs it; longer is weaker, since what was erased lies there for longer.
pub static BACKUP_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(30 * MINUTES_PER_DAY);
/// Whether biometrics may be classified. Sighup and off: what a face says of somebody is worth more to others than to whoever asked for it, and no
/// gateway must be able to begin with it by itself.
pub static BIOMETRIC_CLASSIFICATIONS: GucSetting<bool> = GucSetting::<bool>::new(false);
/// The directory whose files are destroyed along with the biometrics that came in them. Postmaster and empty: the server unlinks what lies there, and nobody
/// who runs SQL may say where that is.
pub static BIOMETRIC_DIRECTORY: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c""));
/// The worker's X25519 public key, in hex: only what this one seals is taken as a key. Postmaster and empty: whoever runs SQL must not be able to say whose
/// keys the vault encrypts with.
pub static WORKER_PUBLIC_KEY: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c""));
const MINUTES_PER_DAY: i32 = 1440;
/// Ten years: beyond that the setting means "off", and there is a word for that.
const LONGEST_ANCHOR_LAG: i32 = 3653 * MINUTES_PER_DAY;

/// The words of `purpose_approval`, as the setting has them.
#[derive(Clone, Copy, PostgresGucEnum)]
pub enum PurposeApproval {
    #[name = c"sensitive"]
    Sensitive,
    #[name = c"all"]
    All,
    #[name = c"none"]
    None,
}

impl PurposeApproval {
    pub const fn policy(self) -> ApprovalPolicy {
        match self {
            Self::Sensitive => ApprovalPolicy::Sensitive,
            Self::All => ApprovalPolicy::All,
            Self::None => ApprovalPolicy::None,
        }
    }
}

/// Defines the settings. Called once, from `_PG_init`.
pub fn define() {
    GucRegistry::define_string_guc(
        c"identity_pgx.database",
        c"The database that identity_pgx serves.",
        c"One database per cluster; elsewhere its functions refuse.",
        &DATABASE,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"identity_pgx.allow_dev_keys",
        c"Lets dev_unlock() load the development keys, which are public.",
        c"For playgrounds and tests. Never where real people's data lies.",
        &ALLOW_DEV_KEYS,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"identity_pgx.recorder_slots",
        c"Slots of the recorder's queue.",
        c"A transaction holds one slot per 24 reads until it ends; one caller can hold a quarter of them.",
        &RECORDER_SLOTS,
        64,
        65536,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"identity_pgx.require_mtls",
        c"Refuses sessions that are neither on a Unix socket nor on TLS with a verified client certificate.",
        c"Turning it off is recorded and shown by identity_status().",
        &REQUIRE_MTLS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"identity_pgx.purpose_approval",
        c"Which purpose versions wait for a second person's approval: sensitive, all or none.",
        c"Narrowing a purpose is at once in any case. Weakening it is recorded and shown by identity_status().",
        &PURPOSE_APPROVAL,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"identity_pgx.service_daily_ceiling",
        c"Subjects a day, for each login, under a purpose without daily_volume_cap; a cap above it needs approval.",
        c"",
        &SERVICE_DAILY_CEILING,
        1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"identity_pgx.log_retention",
        c"How long rows of the access log are kept, by whole months.",
        c"ledger_expire() drops a month when all of it is older, sealed and anchored.",
        &LOG_RETENTION,
        MINUTES_PER_DAY,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"identity_pgx.max_anchor_lag",
        c"How old a row of the log may be that no anchor covers before reads are refused; 0: reads go on.",
        c"Making it longer, or turning it off, is recorded as a weakening.",
        &MAX_ANCHOR_LAG,
        0,
        LONGEST_ANCHOR_LAG,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"identity_pgx.backup_retention",
        c"How long backups of this database are kept, archived WAL included.",
        c"Receipts of erasures say until when a backup may hold a residue. Making it longer is recorded as a weakening.",
        &BACKUP_RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_bool_guc(
        c"identity_pgx.biometric_classifications",
        c"Lets biometric_classify() store what biometrics say of a subject, encrypted.",
        c"Turning it on is recorded and shown by identity_status().",
        &BIOMETRIC_CLASSIFICATIONS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"identity_pgx.biometric_directory",
        c"Where uploaded biometrics lie that the server itself destroys; empty: nowhere.",
        c"An absolute path without detours. A file there is destroyed only if its path carries its subject's id.",
        &BIOMETRIC_DIRECTORY,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"identity_pgx.worker_public_key",
        c"Public key of the worker that brings the keys: X25519, 64 hexadecimal digits; empty: nobody does.",
        c"anchor-worker new-key makes the pair. With another key here, what a captured login of the worker seals does not open.",
        &WORKER_PUBLIC_KEY,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    // SAFETY: the prefix is a constant C string; PostgreSQL copies it.
    unsafe { pgrx::pg_sys::MarkGUCPrefixReserved(c"identity_pgx".as_ptr()) };
}

/// The name and value of each.
pub type Settings = [(&'static str, String); 12];

/// The settings in force, by name, as they are recorded.
pub fn effective() -> Settings {
    let switch = |on: bool| String::from(if on { "on" } else { "off" });
    [
        ("allow_dev_keys", switch(ALLOW_DEV_KEYS.get())),
        ("backup_retention", format!("{}min", BACKUP_RETENTION.get())),
        (
            "biometric_classifications",
            switch(BIOMETRIC_CLASSIFICATIONS.get()),
        ),
        ("biometric_directory", biometric_directory()),
        ("database", database()),
        ("log_retention", format!("{}min", LOG_RETENTION.get())),
        ("max_anchor_lag", format!("{}min", MAX_ANCHOR_LAG.get())),
        (
            "purpose_approval",
            PURPOSE_APPROVAL.get().policy().as_str().to_owned(),
        ),
        ("recorder_slots", RECORDER_SLOTS.get().to_string()),
        ("require_mtls", switch(REQUIRE_MTLS.get())),
        (
            "service_daily_ceiling",
            SERVICE_DAILY_CEILING.get().to_string(),
        ),
        ("worker_public_key", text(&WORKER_PUBLIC_KEY)),
    ]
}

/// The digest that the log and the seals hold of settings.
pub fn digest(installation: &[u8; 16], settings: &Settings) -> [u8; 32] {
    let pairs = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    event_digest(installation, "settings_change", &pairs)
}

/// Whether this value of a setting protects less than the one before; at a start there is none before, and what counts is the weakest value.
pub fn is_weaker(name: &str, before: Option<&str>, after: &str) -> bool {
    let strength = |value: &str| match (name, value) {
        ("require_mtls", "off")
        | ("allow_dev_keys" | "biometric_classifications", "on")
        | ("purpose_approval", "none")
        | ("max_anchor_lag", "0min") => 0,
        ("purpose_approval", "sensitive") => 1,
        ("log_retention", kept) => minutes(kept).unwrap_or(i64::MIN),
        ("backup_retention", kept) => -minutes(kept).unwrap_or(i64::MAX),
        // Positive: what is off is weaker than any length.
        ("max_anchor_lag", lag) => i64::MAX - minutes(lag).unwrap_or(0),
        ("service_daily_ceiling", ceiling) => -ceiling.parse::<i64>().unwrap_or(i64::MAX),
        _ => 2,
    };
    match before {
        Some(before) => strength(after) < strength(before),
        None => {
            !["service_daily_ceiling", "backup_retention"].contains(&name) && strength(after) == 0
        }
    }
}

fn minutes(setting: &str) -> Option<i64> {
    setting.trim_end_matches("min").parse().ok()
}

/// The name of the database served.
pub fn database() -> String {
    text(&DATABASE)
}

/// The directory of uploads that are ours to destroy, as it was written; empty if there is none.
pub fn biometric_directory() -> String {
    text(&BIOMETRIC_DIRECTORY)
}

/// The worker's public key; `None` if there is none, or what stands there is none.
pub fn worker_public_key() -> Option<[u8; 32]> {
    let text = text(&WORKER_PUBLIC_KEY);
    let digits = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<Vec<_>>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low);
    bytes.collect::<Vec<_>>().try_into().ok()
}

fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting
        .get()
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default()
}
