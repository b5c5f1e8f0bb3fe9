//! A gateway's cache of resolved fields that never serves what the database has replaced.
//!
//! What is served is at most `max_stale` older than what the database had committed. A hit needs a proof of that: the feed of changes
//! (`identity.subject_changes`) was read to its end that recently, or `identity.subject_generations` says that the generation is still the
//! same. Notifications are not proof. Anybody can send one and anybody's can be lost: one makes the cache look at the feed sooner, and nothing
//! else. Whenever the cache cannot be sure that it talks to the server it talked to before, it forgets everything.
//!
//! What a cache cannot know: a purpose that is revoked changes no generation, so an entry is dropped after `max_age` whatever the feed says.
//! And a hit leaves no row in the access log: the row is that of the read which filled the entry.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The server and its timeline come with each page: behind a pooler the connection stays the same when the server does not.
const FEED: &str = "SELECT (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8),
                           c.cursor, c.candidate_id, c.generation
                      FROM (SELECT) AS once LEFT JOIN identity.subject_changes($1, $2) AS c ON true";
const GENERATION: &str = "SELECT generation FROM identity.subject_generations(ARRAY[$1::uuid])";
const RESOLVE: &str = "SELECT r.generation, f.name, r.pii ->> f.name
                         FROM identity.pii_resolve($1, $2, $3) AS r, unnest($3::text[]) AS f (name)";
const PAGE: i32 = 1000;
/// However often somebody notifies, the feed is not read more often than this.
const LEAST_BETWEEN_HINTS: Duration = Duration::from_millis(50);

/// How far the cache may lag, and how much it may hold.
pub struct Limits {
    pub max_stale: Duration,
    pub max_age: Duration,
    pub max_entries: usize,
}

/// Values by field; `None` was not collected. Overwritten when dropped; the driver's buffer that they came in is not.
pub type Values = HashMap<String, Option<Zeroizing<String>>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    model: String,
    candidate: Uuid,
    fields: Vec<String>,
    generation: i32,
}

struct Entry {
    values: Values,
    since: Instant,
}

struct Link {
    client: Client,
    hint: Arc<AtomicBool>,
}

pub struct Cache {
    config: Config,
    model: String,
    purpose: String,
    limits: Limits,
    link: Option<Link>,
    entries: HashMap<Key, Entry>,
    cursor: i64,
    server: Option<(i64, String)>,
    proved_at: Option<Instant>,
    pub hits: u64,
    pub misses: u64,
}

impl Cache {
    pub fn new(config: Config, model: &str, purpose: &str, limits: Limits) -> Self {
        Self {
            config,
            model: model.to_owned(),
            purpose: purpose.to_owned(),
            limits,
            link: None,
            entries: HashMap::new(),
            cursor: 0,
            server: None,
            proved_at: None,
            hits: 0,
            misses: 0,
        }
    }

    /// The fields of a subject. `&mut`: between an answer and its entry no change may pass by.
    pub async fn fields(&mut self, candidate: Uuid, fields: &[&str]) -> Result<Values, Error> {
        let mut fields = fields
            .iter()
            .map(|field| (*field).to_owned())
            .collect::<Vec<_>>();
        fields.sort_unstable();
        match self.held(candidate, &fields).await {
            Ok(Some(values)) => {
                self.hits += 1;
                return Ok(values);
            }
            Ok(None) => {}
            Err(_) => self.disconnect(),
        }
        match self.resolve(candidate, &fields).await {
            Err(error) if self.is_closed() || is_lost(&error) => {
                self.disconnect();
                self.resolve(candidate, &fields).await
            }
            answer => answer,
        }
    }

    async fn held(&mut self, candidate: Uuid, fields: &[String]) -> Result<Option<Values>, Error> {
        if !self.prove(candidate).await? {
            return Ok(None);
        }
        let held = self.entries.iter().find(|(key, entry)| {
            key.candidate == candidate
                && key.fields == fields
                && entry.since.elapsed() <= self.limits.max_age
        });
        Ok(held.map(|(_, entry)| entry.values.clone()))
    }

    async fn resolve(&mut self, candidate: Uuid, fields: &[String]) -> Result<Values, Error> {
        self.forget(candidate, i32::MAX);
        let since = Instant::now();
        let purpose = self.purpose.clone();
        let client = &self.linked().await?.client;
        let rows = client
            .query(RESOLVE, &[&candidate, &purpose, &fields])
            .await?;
        let generation = rows.first().map_or(0, |row| row.get(0));
        let values = rows
            .iter()
            .map(|row| {
                (
                    row.get(1),
                    row.get::<_, Option<String>>(2).map(Zeroizing::new),
                )
            })
            .collect::<Values>();
        if self.entries.len() >= self.limits.max_entries
            && let Some(oldest) = self.oldest()
        {
            self.entries.remove(&oldest);
        }
        let key = Key {
            model: self.model.clone(),
            candidate,
            fields: fields.to_vec(),
            generation,
        };
        let kept = values.clone();
        self.entries.insert(
            key,
            Entry {
                values: kept,
                since,
            },
        );
        self.misses += 1;
        Ok(values)
    }

    /// Whether what is held of this subject is what the database had committed at most `max_stale` ago.
    async fn prove(&mut self, candidate: Uuid) -> Result<bool, Error> {
        if self.is_closed() || !self.entries.keys().any(|key| key.candidate == candidate) {
            return Ok(false);
        }
        let hinted = self
            .link
            .as_ref()
            .is_some_and(|link| link.hint.load(Ordering::Acquire));
        let allowed = if hinted {
            LEAST_BETWEEN_HINTS
        } else {
            self.limits.max_stale
        };
        if self.proved_at.is_some_and(|at| at.elapsed() <= allowed) || self.read_feed().await? {
            return Ok(true);
        }
        // The feed has more than a page for us: this one subject is asked for.
        let client = &self.linked().await?.client;
        let row = client.query_one(GENERATION, &[&candidate]).await?;
        self.forget(candidate, row.get::<_, Option<i32>>(0).unwrap_or(i32::MAX));
        Ok(true)
    }

    /// Reads a page; true if it was the last.
    async fn read_feed(&mut self) -> Result<bool, Error> {
        let (asked_at, cursor) = (Instant::now(), self.cursor);
        let link = self.linked().await?;
        // Before the page is read: a hint that comes meanwhile is one for the next page.
        link.hint.store(false, Ordering::Release);
        let rows = match link.client.query(FEED, &[&cursor, &PAGE]).await {
            // The server does not know this cursor: its history is not the one we followed.
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => {
                self.forget_server();
                return Ok(false);
            }
            rows => rows?,
        };
        let mut complete = false;
        for row in &rows {
            let server = (row.get(0), row.get(1));
            let at: Option<i64> = row.get(2);
            if self.server.as_ref().is_some_and(|known| *known != server)
                || at.is_some_and(|at| at < cursor)
            {
                self.forget_server();
                return Ok(false);
            }
            self.server = Some(server);
            complete = rows.len() < usize::try_from(PAGE).unwrap_or(0);
            if let Some(at) = at {
                self.cursor = at;
                self.forget(row.get(3), row.get(4));
            }
        }
        if complete {
            self.proved_at = Some(asked_at);
        }
        Ok(complete)
    }

    /// Drops what is held of a subject under a lower generation.
    fn forget(&mut self, candidate: Uuid, below: i32) {
        self.entries
            .retain(|key, _| key.candidate != candidate || key.generation >= below);
    }

    fn forget_server(&mut self) {
        self.entries.clear();
        (self.cursor, self.server, self.proved_at) = (0, None, None);
    }

    fn oldest(&self) -> Option<Key> {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.since);
        oldest.map(|(key, _)| key.clone())
    }

    fn is_closed(&self) -> bool {
        self.link
            .as_ref()
            .is_none_or(|link| link.client.is_closed())
    }

    fn disconnect(&mut self) {
        self.link = None;
        self.forget_server();
    }

    async fn linked(&mut self) -> Result<&Link, Error> {
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                // What was held came from a server that this may no longer be.
                self.forget_server();
                connect(&self.config).await?
            }
        };
        Ok(self.link.insert(link))
    }
}

/// Whether an error means that the connection is going, as opposed to a refusal, which is an answer.
fn is_lost(error: &Error) -> bool {
    error
        .code()
        .is_none_or(|code| code.code().starts_with("57P"))
}

async fn connect(config: &Config) -> Result<Link, Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let hint = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&hint);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                heard.store(true, Ordering::Release);
            }
        }
    });
    client.batch_execute("LISTEN identity_changed").await?;
    Ok(Link { client, hint })
}
