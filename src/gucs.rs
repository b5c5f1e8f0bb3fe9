//! All settings. Each says who may change it, why its default, and why nobody weaker may. None holds a secret.

use std::ffi::CString;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

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

/// Subjects that one login may be shown in a day under a purpose without a cap of its own. Sighup, for the same reason; the default is what a person's
/// work takes, and far from what a copy of the vault would.
pub static SERVICE_DAILY_CEILING: GucSetting<i32> = GucSetting::<i32>::new(10_000);

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
    // SAFETY: the prefix is a constant C string; PostgreSQL copies it.
    unsafe { pgrx::pg_sys::MarkGUCPrefixReserved(c"identity_pgx".as_ptr()) };
}

/// The settings in force, by name, as they are recorded.
pub fn effective() -> [(&'static str, String); 4] {
    let switch = |on: bool| String::from(if on { "on" } else { "off" });
    [
        ("allow_dev_keys", switch(ALLOW_DEV_KEYS.get())),
        ("database", database()),
        ("recorder_slots", RECORDER_SLOTS.get().to_string()),
        ("require_mtls", switch(REQUIRE_MTLS.get())),
    ]
}

/// The name of the database served.
pub fn database() -> String {
    DATABASE
        .get()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
