//! What we ask the database about its keys, and tell it.

use identity_core::key::KeyKind;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::refusal::refusal;
use crate::kek::KeyContext;
use crate::rows;
use crate::trouble::{Kind, Trouble};

const INSTALLATION: &str =
    "SELECT pg_catalog.uuid_send(i.installation_id) FROM identity.installation i";
/// A retired key is needed by nothing; the others must be there, those that only verify too.
const KEPT: &str = "
    SELECT k.kind, k.version, k.provider, k.wrapped, k.check_value FROM identity.keyring k
     WHERE k.state OPERATOR(pg_catalog.<>) 'retired'
     ORDER BY k.kind, k.version";
/// A key that has arrived stays when the transaction that was to unlock with it did not commit: while the vault is locked, all of them are brought.
const MISSING: &str = "
    SELECT k.kind, k.version, k.provider, k.wrapped, k.check_value FROM identity.keyring k
      JOIN identity.key_status() s ON s.kind OPERATOR(pg_catalog.=) k.kind AND s.version OPERATOR(pg_catalog.=) k.version
     WHERE k.state OPERATOR(pg_catalog.<>) 'retired' AND (NOT s.loaded OR s.state OPERATOR(pg_catalog.=) 'locked')
     ORDER BY k.kind, k.version";
/// How a key was wrapped before, by a service. The oldest first: who replaces a wrapping can only add later ones.
const EARLIER: &str = "
    SELECT w.kind, w.version, w.provider, w.wrapped, $3::pg_catalog.bytea, w.kek_uri FROM identity.key_wrappings w
     WHERE w.kind OPERATOR(pg_catalog.=) $1::pg_catalog.text AND w.version OPERATOR(pg_catalog.=) $2::pg_catalog.int4
     ORDER BY w.replaced_at, w.digest";
const NEXT_VERSION: &str = "
    SELECT COALESCE(pg_catalog.max(k.version), 0) OPERATOR(pg_catalog.+) 1 FROM identity.keyring k
     WHERE k.kind OPERATOR(pg_catalog.=) $1::pg_catalog.text";
const WAITING: &str = "
    SELECT pg_catalog.max(k.version) FROM identity.keyring k
     WHERE k.kind OPERATOR(pg_catalog.=) $1::pg_catalog.text AND k.state OPERATOR(pg_catalog.=) 'enrolled'";
const HEALTH: &str = "SELECT identity.identity_health()";
const CHALLENGE: &str = "SELECT c.public_key, pg_catalog.uuid_send(c.epoch), c.system_identifier FROM identity.key_challenge() c";
const LOAD: &str =
    "SELECT identity.key_load($1::pg_catalog.text, $2::pg_catalog.int4, $3::pg_catalog.bytea)";
const ENROL: &str = "SELECT identity.key_enrol($1::pg_catalog.text, $2::pg_catalog.int4, $3::pg_catalog.bytea, $4::pg_catalog.text, $5::pg_catalog.bytea)";

/// Longest wrapped key: those of key services have a few hundred bytes.
const MAX_WRAPPED_BYTES: usize = 16_384;
/// Most keys that a server has use for.
const MAX_ENTRIES: usize = 256;

/// A key of the keyring, wrapped.
pub(super) struct Entry {
    pub kind: KeyKind,
    pub version: u32,
    pub provider: String,
    pub wrapped: Vec<u8>,
    pub check_value: Vec<u8>,
}

/// What a run of the server shows of itself.
pub(super) struct Challenge {
    pub public_key: [u8; 32],
    pub epoch: [u8; 16],
    pub system_identifier: String,
}

impl Entry {
    fn of(row: &Row) -> Option<Self> {
        let wrapped: Option<Vec<u8>> = row.try_get(3).ok()?;
        Some(Self {
            kind: KeyKind::parse(row.try_get(0).ok()?)?,
            version: row.try_get::<_, i32>(1).ok()?.try_into().ok()?,
            provider: row.try_get(2).ok()?,
            // A development key is wrapped by nothing; its provider says so.
            wrapped: wrapped.unwrap_or_default(),
            check_value: row.try_get(4).ok()?,
        })
        .filter(|entry: &Self| entry.wrapped.len() <= MAX_WRAPPED_BYTES)
    }

    pub(super) fn context(&self, installation: [u8; 16]) -> KeyContext {
        KeyContext {
            installation,
            kind: self.kind,
            version: self.version,
        }
    }
}

pub(super) async fn installation(database: &Client) -> Result<[u8; 16], Trouble> {
    let row = database.query_opt(INSTALLATION, &[]).await;
    let bytes: Option<Vec<u8>> = row.map_err(refusal)?.and_then(|row| row.try_get(0).ok());
    let id = bytes.and_then(|bytes| bytes.try_into().ok());
    id.ok_or_else(|| {
        let text = "the database has no installation: identity.initialize() was not called";
        Trouble::new(Kind::Unavailable, text)
    })
}

/// Whether the vault says that it works; if it does not, keys are one reason of several.
pub(super) async fn is_unlocked(database: &Client) -> bool {
    health(database).await.is_ok()
}

pub(crate) async fn health(database: &Client) -> Result<(), Trouble> {
    let asked = database.execute(HEALTH, &[]).await;
    asked.map(drop).map_err(refusal)
}

pub(super) async fn kept(database: &Client) -> Result<Vec<Entry>, Trouble> {
    entries(database, KEPT).await
}

pub(super) async fn missing(database: &Client) -> Result<Vec<Entry>, Trouble> {
    entries(database, MISSING).await
}

async fn entries(database: &Client, statement: &str) -> Result<Vec<Entry>, Trouble> {
    let rows = rows::at_most(MAX_ENTRIES, database, statement, &[]).await;
    let rows = rows.map_err(refusal)?;
    let entries = rows.and_then(|rows| rows.iter().map(Entry::of).collect());
    entries.ok_or_else(|| strange("keyring"))
}

/// One more than the highest version; the database has the last word.
pub(super) async fn next_version(database: &Client, kind: KeyKind) -> Result<u32, Trouble> {
    let row = database
        .query_one(NEXT_VERSION, &[&kind.as_str()])
        .await
        .map_err(refusal)?;
    let version = row.try_get::<_, i32>(0).ok();
    version
        .and_then(|version| version.try_into().ok())
        .ok_or_else(|| strange("keyring"))
}

/// The earlier wrappings of a key with their URIs, the oldest first. The server keeps some hundred at most.
pub(super) async fn earlier(
    database: &Client,
    entry: &Entry,
) -> Result<Vec<(Entry, String)>, Trouble> {
    let (kind, version) = (entry.kind.as_str(), number(entry.version)?);
    let name: [&(dyn ToSql + Sync); 3] = [&kind, &version, &entry.check_value];
    let rows = rows::at_most(MAX_ENTRIES, database, EARLIER, &name).await;
    let rows = rows.map_err(refusal)?;
    let one = |row: &Row| Some((Entry::of(row)?, row.try_get(5).ok()?));
    let entries = rows.and_then(|rows| rows.iter().map(one).collect());
    entries.ok_or_else(|| strange("keyring"))
}

/// The version that waits for its rotation.
pub(super) async fn waiting(database: &Client, kind: KeyKind) -> Result<Option<i32>, Trouble> {
    let row = database.query_one(WAITING, &[&kind.as_str()]).await;
    row.and_then(|row| row.try_get(0)).map_err(refusal)
}

pub(super) async fn challenge(database: &Client) -> Result<Challenge, Trouble> {
    let row = database.query_one(CHALLENGE, &[]).await.map_err(refusal)?;
    let shown = || {
        Some(Challenge {
            public_key: row.try_get::<_, Vec<u8>>(0).ok()?.try_into().ok()?,
            epoch: row.try_get::<_, Vec<u8>>(1).ok()?.try_into().ok()?,
            system_identifier: row.try_get(2).ok()?,
        })
    };
    shown().ok_or_else(|| strange("challenge"))
}

pub(super) async fn load(
    database: &Client,
    kind: KeyKind,
    version: u32,
    sealed: &[u8; 80],
) -> Result<(), Trouble> {
    let version = number(version)?;
    let sealed = sealed.as_slice();
    let done = database
        .execute(LOAD, &[&kind.as_str(), &version, &sealed])
        .await;
    done.map(drop).map_err(refusal)
}

pub(super) async fn enrol(
    database: &Client,
    kind: KeyKind,
    version: u32,
    wrapped: &[u8],
    kek_uri: &str,
    check_value: &[u8],
) -> Result<(), Trouble> {
    let version = number(version)?;
    let done = database
        .execute(
            ENROL,
            &[&kind.as_str(), &version, &wrapped, &kek_uri, &check_value],
        )
        .await;
    done.map(drop).map_err(refusal)
}

fn number(version: u32) -> Result<i32, Trouble> {
    i32::try_from(version).map_err(|_| strange("keyring"))
}

fn strange(what: &str) -> Trouble {
    let text = format!("the database's {what} is not what the extension writes");
    Trouble::new(Kind::Untrue, text)
}
