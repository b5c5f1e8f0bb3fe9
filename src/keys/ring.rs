//! The keyring: which keys there are. Whoever writes it, or goes by it to load keys, holds its lock until the transaction ends.

use identity_core::{KeyKind, KeyState};
use pgrx::pg_sys;

use crate::query::{Statement, bind};

pub const DEVELOPMENT: &str = "development";

static KEYS: Statement = Statement::read(
    c"SELECT kind, version, state, provider, check_value, created_at, kek_uri, pg_catalog.sha256(wrapped), enrolled_by::text
        FROM identity.keyring ORDER BY kind, version",
    &[],
);
static ADD: Statement = Statement::write(
    c"INSERT INTO identity.keyring (kind, version, state, provider, kek_uri, wrapped, check_value, created_at, enrolled_by)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::name)",
    &[
        pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
    ],
);
static REWRAP: Statement = Statement::write(
    c"UPDATE identity.keyring SET provider = $3, kek_uri = $4, wrapped = $5
       WHERE kind = $1 AND version = $2 AND (kek_uri, wrapped) IS DISTINCT FROM ($4, $5)",
    &[
        pg_sys::TEXTOID,
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::BYTEAOID,
    ],
);
/// What is about to be replaced, unless it was kept before.
static KEEP: Statement = Statement::write(
    c"INSERT INTO identity.key_wrappings (kind, version, digest, provider, kek_uri, wrapped, replaced_at)
      SELECT k.kind, k.version, pg_catalog.sha256(k.wrapped), k.provider, k.kek_uri, k.wrapped, $5
        FROM identity.keyring k WHERE k.kind = $1 AND k.version = $2 AND (k.kek_uri, k.wrapped) IS DISTINCT FROM ($3, $4)
      ON CONFLICT DO NOTHING",
    &[
        pg_sys::TEXTOID,
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::BYTEAOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);
/// A write, so that it sees what this call has put there.
static KEPT: Statement = Statement::write(
    c"SELECT pg_catalog.count(*), COALESCE(pg_catalog.bool_or(w.digest = pg_catalog.sha256($3)), false)
        FROM identity.key_wrappings w WHERE w.kind = $1 AND w.version = $2",
    &[pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::BYTEAOID],
);
static MOVE: Statement = Statement::write(
    c"UPDATE identity.keyring SET state = $3, retired_at = $4 WHERE kind = $1 AND version = $2",
    &[
        pg_sys::TEXTOID,
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// A key of the keyring, without what the key service wrapped.
pub struct Key {
    pub kind: KeyKind,
    pub version: i32,
    pub state: KeyState,
    pub provider: String,
    pub check_value: Vec<u8>,
    /// Microseconds since 2000.
    pub created_at: i64,
    pub kek_uri: Option<String>,
    pub wrapped_digest: Option<Vec<u8>>,
    pub enrolled_by: Option<String>,
}

impl Key {
    /// The version as the region has it.
    pub fn number(&self) -> u32 {
        self.version.unsigned_abs()
    }

    pub fn is_development(&self) -> bool {
        self.provider == DEVELOPMENT
    }
}

/// A key on its way into the keyring.
pub struct Enrolment<'a> {
    pub kind: KeyKind,
    pub version: i32,
    pub state: KeyState,
    pub provider: &'a str,
    pub kek_uri: Option<&'a str>,
    pub wrapped: Option<&'a [u8]>,
    pub check_value: &'a [u8],
    pub created_at: i64,
    pub enrolled_by: Option<&'a str>,
}

/// All of it, in the order of kinds and versions. Runs inside SPI and a snapshot, as all of these.
pub struct Ring(pub Vec<Key>);

impl Ring {
    pub fn read() -> Self {
        let rows = KEYS.run(&mut []);
        let key = |row| {
            Some(Key {
                kind: rows.get::<&str>(row, 1).and_then(KeyKind::parse)?,
                version: rows.get(row, 2)?,
                state: rows.get::<&str>(row, 3).and_then(KeyState::parse)?,
                provider: rows.get(row, 4)?,
                check_value: rows.get(row, 5)?,
                created_at: rows.moment(row, 6)?,
                kek_uri: rows.get(row, 7),
                wrapped_digest: rows.get(row, 8),
                enrolled_by: rows.get(row, 9),
            })
        };
        Self((0..rows.count).filter_map(key).collect())
    }

    pub fn key(&self, kind: KeyKind, version: i32) -> Option<&Key> {
        self.of(kind).find(|key| key.version == version)
    }

    pub fn of(&self, kind: KeyKind) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| key.kind == kind)
    }

    pub fn in_state(&self, kind: KeyKind, state: KeyState) -> Option<&Key> {
        self.of(kind).filter(|key| key.state == state).last()
    }

    pub fn active(&self, kind: KeyKind) -> Option<&Key> {
        self.in_state(kind, KeyState::Active)
    }

    /// The keys without which nothing is unlocked: those in use, and those that may still have to open or verify something.
    pub fn needed(&self) -> impl Iterator<Item = &Key> {
        let in_use = [KeyState::Active, KeyState::VerifyOnly];
        self.0.iter().filter(move |key| in_use.contains(&key.state))
    }
}

pub fn add(key: &Enrolment<'_>) {
    ADD.run(&mut [
        bind(key.kind.as_str()),
        bind(key.version),
        bind(key.state.as_str()),
        bind(key.provider),
        key.kek_uri.and_then(bind),
        key.wrapped.and_then(bind),
        bind(key.check_value),
        Some(pg_sys::Datum::from(key.created_at)),
        key.enrolled_by.and_then(bind),
    ]);
}

/// How many earlier wrappings of a key there can be. More could hide the one that unwraps from whoever tries them all.
const MOST_KEPT: i64 = 100;

/// Whether a key may have this wrapping: one that it had before it may always have again.
pub fn has_room_for(key: &Key, wrapped: &[u8]) -> bool {
    let rows = KEPT.run(&mut [bind(key.kind.as_str()), bind(key.version), bind(wrapped)]);
    rows.get::<i64>(0, 1).is_some_and(|kept| kept <= MOST_KEPT) || rows.get(0, 2) == Some(true)
}

/// The same key, wrapped by another key of the service or by another service; false if it is so already. The wrapping before is kept.
pub fn rewrap(key: &Key, provider: &str, kek_uri: &str, wrapped: &[u8], now: i64) -> bool {
    KEEP.run(&mut [
        bind(key.kind.as_str()),
        bind(key.version),
        bind(kek_uri),
        bind(wrapped),
        Some(pg_sys::Datum::from(now)),
    ]);
    let changed = REWRAP.run(&mut [
        bind(key.kind.as_str()),
        bind(key.version),
        bind(provider),
        bind(kek_uri),
        bind(wrapped),
    ]);
    changed.count > 0
}

pub fn set_state(key: &Key, state: KeyState, retired_at: Option<i64>) {
    MOVE.run(&mut [
        bind(key.kind.as_str()),
        bind(key.version),
        bind(state.as_str()),
        retired_at.map(pg_sys::Datum::from),
    ]);
}
