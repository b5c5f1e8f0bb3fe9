//! The database, as the worker sees it: a session of a login that is a member of `identity_worker`, and our functions.
//!
//! The database is not trusted: whatever it says of the log is compared with what is anchored before anything is signed.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity_connect::{Failure, Options, Session, Unopened, open_waking};
use identity_core::merkle::Digest;
use identity_core::tombstone::{MAX_TOMBSTONES, Tombstone, What};
use tokio::sync::Notify;
use tokio_postgres::error::{DbError, Error};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::rows;
use crate::store::Stored;
use crate::trouble::{Kind, Trouble};

/// `lock_timeout`: a sealer waits for another one. No `statement_timeout` shorter than the first seal of a large log.
const SETTINGS: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = '1h'; SET lock_timeout = '30s'; \
                        SET idle_in_transaction_session_timeout = '1min'; SET client_min_messages = warning;";

/// What the loop listens to, and asks for by itself.
const WAKES: &str = "LISTEN identity_seal_due";

/// Longest text of a failed connection that is told, in characters.
const MAX_TEXT: usize = 300;

/// What a statement may take before the connection counts as dead, and the seal of a large log.
const STATEMENT_LIMIT: Duration = Duration::from_secs(60);
const SEAL_LIMIT: Duration = Duration::from_secs(3600);

/// The leader's advisory lock: `idpx`, 1. One database of a cluster keeps a log, and a lock is of a database, so this is one leader for each log.
const LEAD: &str = "SELECT pg_try_advisory_lock(1768190072, 1)";

const LEAVE: &str = "SELECT pg_advisory_unlock(1768190072, 1)";

/// Anybody who may connect may take that lock, and keep it: what is no worker is not waited for. A prepared transaction has no session, and a login that
/// was dropped has no name; a session that is ending is neither. Not pg_has_role: a superuser would be a worker by it.
const HOLDER: &str = "WITH RECURSIVE workers (oid) AS (
           SELECT oid FROM pg_roles WHERE rolname = 'identity_worker'
           UNION SELECT m.member FROM pg_auth_members m JOIN workers w ON m.roleid = w.oid)
SELECT COALESCE(a.usename::text, CASE WHEN l.pid IS NULL THEN 'a prepared transaction' ELSE 'a login that was dropped' END),
       a.usename IS NOT NULL AND a.usesysid IN (SELECT oid FROM workers)
  FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND (l.classid, l.objid, l.objsubid) = (1768190072, 1, 2)
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND (l.pid IS NULL OR a.datid IS NOT NULL)";

/// One holds it; while a session ends and another begins, there may be a second row.
const MAX_HOLDERS: usize = 8;

/// A session.
pub struct Database {
    session: Session,
    leads: bool,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// Ours.
    Ours,
    /// Ours: who holds the lock is no worker.
    Seized { from: String },
    /// Another worker's.
    Others,
}

impl Database {
    /// Opens a session, in which `wake` is told when there is something to seal.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn open(options: &Options, wake: Arc<Notify>) -> Result<Self, Trouble> {
        Self::open_for(options, WAKES, wake).await
    }

    /// Opens a session that begins with further `settings`, too.
    ///
    /// # Errors
    /// `Unreachable`.
    pub(crate) async fn open_for(
        options: &Options,
        settings: &str,
        wake: Arc<Notify>,
    ) -> Result<Self, Trouble> {
        let mut config = options.config.clone();
        config.application_name("anchor-worker");
        let options = Options {
            config,
            ..options.clone()
        };
        let settings = format!("{SETTINGS} {settings}");
        let session = open_waking(&options, &settings, wake).await;
        let session = session.map_err(|unopened| {
            let (kind, Failure(text)) = match unopened {
                Unopened::Stranger(failure) => (Kind::Untrue, failure),
                Unopened::Failed(failure) => (Kind::Unreachable, failure),
            };
            // What a server says before it is known may be long, and is for one line.
            let line = text.chars().filter(|c| !c.is_control());
            Trouble::new(kind, line.take(MAX_TEXT).collect::<String>())
        })?;
        Ok(Self {
            session,
            leads: false,
        })
    }

    /// The client, for the round that unlocks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.session.client
    }

    /// Cuts the connection, whatever is under way.
    pub(crate) fn abandon(self) {
        self.session.abandon();
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.client.is_closed()
    }

    /// Says goodbye. The lock is given back first: the server takes its time to end a session, and the next worker should not wait for that.
    pub async fn close(self) {
        if self.leads {
            let _ = limited(self.client().query_one(LEAVE, &[])).await;
        }
        // A connection that broke is no news by now.
        let _ = self.session.close().await;
    }

    /// Whether the session may do what a worker does.
    ///
    /// # Errors
    /// `Denied` if it may not, `Missing` if the extension is not there.
    pub async fn check(&self) -> Result<(), Trouble> {
        let query = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'identity_pgx'),
            COALESCE(pg_has_role(to_regrole('identity_worker'), 'MEMBER'), false),
            (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)";
        let row = limited(self.client().query_one(query, &[])).await?;
        let flag = |column| {
            row.try_get::<_, bool>(column)
                .map_err(|error| trouble(&error))
        };
        if !flag(0)? {
            let text = "identity_pgx is not installed in this database";
            return Err(Trouble::new(Kind::Missing, text));
        }
        if !flag(1)? {
            let text = "the login is not a member of identity_worker";
            return Err(Trouble::new(Kind::Denied, text));
        }
        if flag(2)? {
            let text = "the login is a superuser: give the worker one of its own, which is a member of identity_worker";
            return Err(Trouble::new(Kind::Denied, text));
        }
        Ok(())
    }

    /// The worker that the server takes keys from, as its configuration names it.
    ///
    /// # Errors
    /// What the server said.
    pub async fn worker_public_key(&self) -> Result<String, Trouble> {
        let query =
            "SELECT lower(COALESCE(current_setting('identity_pgx.worker_public_key', true), ''))";
        let row = limited(self.client().query_one(query, &[])).await?;
        row.try_get(0).map_err(|error| trouble(&error))
    }

    /// Becomes the leader, if no other worker is.
    ///
    /// # Errors
    /// What the server said.
    pub async fn lead(&mut self) -> Result<Lead, Trouble> {
        if self.leads {
            return Ok(Lead::Ours);
        }
        let row = limited(self.client().query_one(LEAD, &[])).await?;
        self.leads = row.try_get(0).map_err(|error| trouble(&error))?;
        if self.leads {
            return Ok(Lead::Ours);
        }
        let rows = limited(rows::at_most(MAX_HOLDERS, self.client(), HOLDER, &[])).await?;
        let holder = rows.unwrap_or_default().first().and_then(|row| {
            let worker: bool = row.try_get(1).ok()?;
            (!worker).then(|| row.try_get(0).ok())?
        });
        Ok(holder.map_or(Lead::Others, |from| Lead::Seized { from }))
    }

    /// Whether the session is still there.
    ///
    /// # Errors
    /// `Unreachable` if it is not.
    pub async fn answers(&self) -> Result<(), Trouble> {
        limited(self.client().batch_execute("SELECT")).await
    }

    /// How often there was something to seal soon, since the server started. A notification alone says nothing: anybody may send one.
    ///
    /// # Errors
    /// What the server said.
    pub async fn occasions(&self) -> Result<i64, Trouble> {
        let query = "SELECT identity._seal_occasions()";
        let row = limited(self.client().query_one(query, &[])).await?;
        row.try_get(0).map_err(|error| trouble(&error))
    }

    /// Takes what has been recorded into the tree.
    ///
    /// # Errors
    /// What the server said.
    pub async fn seal(&self) -> Result<(), Trouble> {
        let query = "SELECT tree_size FROM identity.ledger_seal()";
        let sealing = self.client().query_one(query, &[]);
        limited_to(SEAL_LIMIT, sealing).await.map(drop)
    }

    /// The tree as it is, as an unsigned checkpoint.
    ///
    /// # Errors
    /// What the server said.
    pub async fn checkpoint(&self) -> Result<String, Trouble> {
        let query = "SELECT identity.ledger_checkpoint()";
        let row = limited(self.client().query_one(query, &[])).await?;
        row.try_get(0).map_err(|error| trouble(&error))
    }

    /// What shows that the tree of one size begins with that of another.
    ///
    /// # Errors
    /// What the server said; `Untrue` if that is no proof.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, Trouble> {
        let query = "SELECT identity.ledger_consistency($1, $2)";
        let row = limited(
            self.client()
                .query_one(query, &[&number(old)?, &number(new)?]),
        )
        .await?;
        let path: Vec<Vec<u8>> = row.try_get(0).map_err(|error| trouble(&error))?;
        let path: Option<Vec<Digest>> = path.into_iter().map(|hash| hash.try_into().ok()).collect();
        path.ok_or_else(|| Trouble::new(Kind::Untrue, "what the database gave is no proof"))
    }

    /// The tombstones of the erasures that these leaves record, the last leaf excluded; no more than one object holds.
    ///
    /// # Errors
    /// What the server said; `Untrue` if those are none.
    pub async fn tombstones(&self, from: u64, to: u64) -> Result<Vec<(u64, Tombstone)>, Trouble> {
        let query = "SELECT leaf_index, kind, tombstone FROM identity.tombstones($1, $2)";
        let (from, to) = (number(from)?, number(to)?);
        let range: [&(dyn ToSql + Sync); 2] = [&from, &to];
        let asking = rows::at_most(MAX_TOMBSTONES, self.client(), query, &range);
        let rows = limited(asking).await?;
        rows.and_then(|rows| tombstones(&rows))
            .ok_or_else(|| Trouble::new(Kind::Untrue, "what the database gave are no tombstones"))
    }

    /// Tells of an anchor.
    ///
    /// # Errors
    /// What the server said; `Untrue` if it does not take it.
    pub async fn record(&self, note: &str, stored: &Stored) -> Result<(), Trouble> {
        let lock_until = u64::try_from(stored.lock_until).unwrap_or(0);
        let lock_until = SystemTime::UNIX_EPOCH + Duration::from_micros(lock_until);
        let query = "SELECT identity.anchor_record($1, $2, $3, $4)";
        let (uri, version) = (&stored.uri, &stored.version_id);
        let arguments: [&(dyn ToSql + Sync); 4] = [&note, uri, version, &lock_until];
        limited(self.client().query_one(query, &arguments))
            .await
            .map(drop)
    }

    /// Tells of an incarnation that was declared.
    ///
    /// # Errors
    /// What the server said; `Untrue` if it is none of this log and tree.
    pub async fn declare(&self, note: &str) -> Result<(), Trouble> {
        let query = "SELECT identity.incarnation_declare($1)";
        limited(self.client().query_one(query, &[&note]))
            .await
            .map(drop)
    }
}

/// Tombstones of erasures, each with the leaf that records it.
fn tombstones(rows: &[Row]) -> Option<Vec<(u64, Tombstone)>> {
    let tombstone = |row: &Row| {
        let (leaf, kind, hash): (i64, &str, &[u8]) = (
            row.try_get(0).ok()?,
            row.try_get(1).ok()?,
            row.try_get(2).ok()?,
        );
        let what = What::parse(kind)?;
        let hash = hash.try_into().ok()?;
        Some((u64::try_from(leaf).ok()?, Tombstone { what, hash }))
    };
    rows.iter().map(tombstone).collect()
}

fn number(size: u64) -> Result<i64, Trouble> {
    i64::try_from(size)
        .map_err(|_| Trouble::new(Kind::Untrue, "a tree of more leaves than there can be"))
}

async fn limited<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Trouble> {
    limited_to(STATEMENT_LIMIT, asking).await
}

async fn limited_to<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|error| trouble(&error)),
        Err(_) => {
            let text = format!("the database did not answer within {} s", limit.as_secs());
            Err(Trouble::new(Kind::Unreachable, text))
        }
    }
}

/// What an error of the server means for the worker.
fn trouble(error: &Error) -> Trouble {
    let Some(answer) = error.as_db_error() else {
        let text = match std::error::Error::source(error) {
            Some(cause) => format!("the connection to the database broke: {cause}"),
            None => format!("the connection to the database broke: {error}"),
        };
        return Trouble::new(Kind::Unreachable, text);
    };
    Trouble::new(kind(answer), refused(answer))
}

/// The SQLSTATE and the extension's reason. Not its message: a database that is not ours may say anything.
pub(crate) fn refused(answer: &DbError) -> String {
    let reason = reason(answer).map(|reason| format!(" (reason: {reason})"));
    format!(
        "the database refused with {}{}",
        answer.code().code(),
        reason.unwrap_or_default()
    )
}

/// The extension's word for why.
pub(crate) fn reason(answer: &DbError) -> Option<&str> {
    let word =
        |text: &&str| !text.is_empty() && text.bytes().all(|c| c == b'_' || c.is_ascii_lowercase());
    let first = answer.detail()?.lines().next()?;
    first.strip_prefix("reason: ").filter(word)
}

fn kind(answer: &DbError) -> Kind {
    let code = answer.code().code();
    match (code, reason(answer)) {
        (_, Some("not_preloaded" | "not_initialized" | "wrong_database")) => Kind::Configuration,
        ("42501", _) => Kind::Denied,
        ("3F000" | "42883" | "42P01", _) => Kind::Missing,
        _ => match code.get(..2) {
            Some("28") => Kind::Denied,
            // It found its own tables or what we told it to be wrong.
            Some("22" | "XX") => Kind::Untrue,
            _ => Kind::Unavailable,
        },
    }
}
