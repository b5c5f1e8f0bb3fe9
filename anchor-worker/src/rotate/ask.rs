//! What a rotation asks the database, and tells it. Every word of an answer is compared with what was expected before it is believed.

use std::future::Future;
use std::time::Duration;

use identity_core::key::KeyKind;
use tokio_postgres::{Client, Error};

use super::Request;
use crate::trouble::{Kind, Trouble};
use crate::unlock::refusal::refusal;

const LIMIT: Duration = Duration::from_secs(60);
/// What following a large log may take.
const VERIFY_LIMIT: Duration = Duration::from_secs(3600);

const KEYS: &str =
    "SELECT k.version, k.state, encode(k.check_value, 'hex'), COALESCE(k.enrolled_by::text, ''),
       to_char(k.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
  FROM identity.keyring k WHERE k.kind = $1 ORDER BY k.version";
const ROTATE: &str = "SELECT identity.key_rotate($1, $2, $3)";
const RECORDED: &str = "SELECT r.old_version, encode(r.old_check_value, 'hex'), encode(r.new_check_value, 'hex'), r.reason, r.witness
  FROM identity.key_rotations r WHERE r.kind = $1 AND r.new_version = $2";
const STATUS: &str = "SELECT s.version, s.state, s.loaded FROM identity.key_status() s WHERE s.kind = $1 ORDER BY s.version";
const FINDINGS: &str =
    "SELECT v.check_name, v.detail FROM identity.ledger_verify(false) v WHERE NOT v.ok";
const REWRAPPED: &str = "SELECT count(*) FROM identity.key_history h WHERE h.event = 'key_rewrap' AND h.kind = $1 AND h.version = $2";

/// A key of the keyring, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub version: u32,
    pub state: String,
    /// In hex.
    pub check_value: String,
    pub enrolled_by: String,
    /// In UTC.
    pub created_at: String,
}

/// What `key_status` says of a key.
pub(super) struct Standing {
    pub version: u32,
    pub state: String,
    pub loaded: bool,
}

pub(super) async fn keys(database: &Client, kind: KeyKind) -> Result<Vec<Key>, Trouble> {
    let rows = limited(LIMIT, database.query(KEYS, &[&kind.as_str()])).await?;
    let keys = rows.iter().map(|row| {
        Some(Key {
            version: row.try_get::<_, i32>(0).ok()?.try_into().ok()?,
            state: row.try_get(1).ok()?,
            check_value: row.try_get(2).ok()?,
            enrolled_by: row.try_get(3).ok()?,
            created_at: row.try_get(4).ok()?,
        })
    });
    keys.collect::<Option<_>>()
        .ok_or_else(|| untrue("the keyring is not what the extension writes"))
}

pub(super) async fn standing(database: &Client, kind: KeyKind) -> Result<Vec<Standing>, Trouble> {
    let rows = limited(LIMIT, database.query(STATUS, &[&kind.as_str()])).await?;
    let keys = rows.iter().map(|row| {
        Some(Standing {
            version: row.try_get::<_, i32>(0).ok()?.try_into().ok()?,
            state: row.try_get(1).ok()?,
            loaded: row.try_get(2).ok()?,
        })
    });
    keys.collect::<Option<_>>()
        .ok_or_else(|| untrue("key_status does not answer as the extension does"))
}

/// From `old` to `new` and to nothing else: a rotation that somebody else finished meanwhile is not followed by a second one.
pub(super) async fn swap(
    database: &Client,
    request: &Request,
    old: &Key,
    new: &Key,
) -> Result<(), Trouble> {
    limited(LIMIT, database.batch_execute("BEGIN")).await?;
    if let Err(trouble) = within(database, request, old, new).await {
        // Where it fails, the connection is gone, and with it the transaction.
        let _ = limited(LIMIT, database.batch_execute("ROLLBACK")).await;
        return Err(trouble);
    }
    let committed = limited(LIMIT, database.batch_execute("COMMIT")).await;
    committed.map_err(|trouble| {
        let text = format!(
            "{trouble}, while the rotation was committed: identity.key_status() says whether {} {} is active; ask it before you rotate again",
            request.kind.as_str(),
            new.version
        );
        Trouble::new(trouble.kind, text)
    })
}

async fn within(database: &Client, request: &Request, old: &Key, new: &Key) -> Result<(), Trouble> {
    let (kind, reason) = (request.kind.as_str(), request.reason.as_str());
    let witness = request.witness.as_str();
    limited(
        LIMIT,
        database.query_one(ROTATE, &[&kind, &reason, &witness]),
    )
    .await?;
    recorded(database, request, old, new).await
}

/// That the rotation stands in the record as it was asked for.
pub(super) async fn recorded(
    database: &Client,
    request: &Request,
    old: &Key,
    new: &Key,
) -> Result<(), Trouble> {
    let version = i32::try_from(new.version).unwrap_or(i32::MAX);
    let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
        [&request.kind.as_str(), &version];
    let row = limited(LIMIT, database.query_opt(RECORDED, &arguments)).await?;
    let fits = row.is_some_and(|row| {
        let text = |column: usize| row.try_get::<_, String>(column).ok();
        row.try_get::<_, i32>(0).ok().map(i64::from) == Some(i64::from(old.version))
            && text(1).as_ref() == Some(&old.check_value)
            && text(2).as_ref() == Some(&new.check_value)
            && text(3).as_deref() == Some(request.reason.as_str())
            && text(4).as_ref() == Some(&request.witness)
    });
    if fits {
        return Ok(());
    }
    let text = format!(
        "the record does not have a rotation from {kind} {} to {} as it was asked for: somebody else may have rotated meanwhile",
        old.version,
        new.version,
        kind = request.kind.as_str()
    );
    Err(untrue(&text))
}

/// What `ledger_verify` finds wrong.
pub(super) async fn findings(database: &Client) -> Result<Vec<(String, String)>, Trouble> {
    let rows = limited(VERIFY_LIMIT, database.query(FINDINGS, &[])).await?;
    let findings = rows
        .iter()
        .map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)));
    findings
        .collect::<Option<_>>()
        .ok_or_else(|| untrue("ledger_verify does not answer as the extension does"))
}

/// How often a key was wrapped anew.
pub(super) async fn rewrapped(
    database: &Client,
    kind: KeyKind,
    version: u32,
) -> Result<i64, Trouble> {
    let version = i32::try_from(version).unwrap_or(i32::MAX);
    let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&kind.as_str(), &version];
    let row = limited(LIMIT, database.query_one(REWRAPPED, &arguments)).await?;
    row.try_get(0).map_err(refusal)
}

fn untrue(text: &str) -> Trouble {
    Trouble::new(Kind::Untrue, text)
}

async fn limited<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(refusal),
        Err(_) => {
            let text = format!("the database did not answer within {} s", limit.as_secs());
            Err(Trouble::new(Kind::Unreachable, text))
        }
    }
}
