//! The database's own numbers. They cost it a few counts, so it is asked when somebody wants to know and not more often than every ten seconds, in a
//! session of their own: neither keys nor anchors wait for it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use identity_connect::Options;
use prometheus::proto::MetricFamily;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Row as DbRow};

use super::foreign::{MAX_ROWS, Row, families};
use super::own;
use crate::database::Database;
use crate::trouble::{Kind, Trouble};
use crate::unlock::refusal::refusal;

/// How long an answer is told again.
const CACHED: Duration = Duration::from_secs(10);

/// What who asks us waits for a newer one: Prometheus waits ten seconds for everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an answer may take, and how old it may be when it is told.
const LIMIT: Duration = Duration::from_secs(30);
const OLDEST: Duration = Duration::from_secs(120);

const SETTINGS: &str = "SET statement_timeout = '25s'; SET lock_timeout = '5s'";

const QUERY: &str = "SELECT name, labels::text, value FROM identity.metrics()";

const EVENT: &str = "metrics";

/// The last answer.
#[derive(Clone, Default)]
pub(super) struct Latest {
    /// When it came, or did not.
    at: Option<Instant>,
    up: bool,
    families: Arc<Vec<MetricFamily>>,
}

impl Latest {
    fn is_fresh(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < CACHED)
    }

    /// The numbers and their age; none if they say nothing of now.
    pub fn numbers(&self) -> Option<(&[MetricFamily], Duration)> {
        let age = self.at?.elapsed();
        (self.up && age <= OLDEST).then_some((self.families.as_slice(), age))
    }
}

/// Where others ask for it.
pub(super) struct Foreign {
    wanted: Arc<Notify>,
    latest: Arc<watch::Sender<Latest>>,
}

impl Foreign {
    /// And what does the asking.
    pub fn begin(options: Options) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let foreign = Self {
            wanted: Arc::new(Notify::new()),
            latest: Arc::new(watch::Sender::new(Latest::default())),
        };
        let asking = asking(options, foreign.wanted.clone(), foreign.latest.clone());
        (foreign, asking)
    }

    /// The last answer, if it is young enough or no other comes soon.
    pub async fn latest(&self) -> Latest {
        // Before it is looked at: an answer that comes in between is a change.
        let mut latest = self.latest.subscribe();
        let fresh = latest.borrow().is_fresh();
        if !fresh {
            self.wanted.notify_one();
            let _ = timeout(PATIENCE, latest.changed()).await;
        }
        let latest = latest.borrow();
        latest.clone()
    }
}

async fn asking(options: Options, wanted: Arc<Notify>, latest: Arc<watch::Sender<Latest>>) {
    let mut session = None;
    loop {
        wanted.notified().await;
        if latest.borrow().is_fresh() {
            continue;
        }
        let answer = timeout(LIMIT, ask(&options, &mut session)).await;
        let answer = answer.unwrap_or_else(|_| {
            let text = "the database did not answer in time";
            Err(Trouble::new(Kind::Unreachable, text))
        });
        let was_up = latest.borrow().up || latest.borrow().at.is_none();
        let families = match answer {
            Ok(families) => {
                own::done(EVENT);
                Some(families)
            }
            Err(trouble) => {
                // Whatever it was: what is under way in that session is not waited for.
                session = None;
                if was_up {
                    trouble.report(
                        EVENT,
                        "the database's numbers are not told until it gives them again",
                    );
                } else {
                    own::failed(EVENT, trouble.kind);
                }
                None
            }
        };
        latest.send_replace(Latest {
            at: Some(Instant::now()),
            up: families.is_some(),
            families: Arc::new(families.unwrap_or_default()),
        });
    }
}

async fn ask(
    options: &Options,
    session: &mut Option<Database>,
) -> Result<Vec<MetricFamily>, Trouble> {
    let database = match session.take().filter(|database| !database.is_closed()) {
        Some(database) => database,
        None => Database::open_for(options, SETTINGS, Arc::default()).await?,
    };
    let rows = rows(session.insert(database).client()).await?;
    families(rows).ok_or_else(untrue)
}

/// One by one: how many there are is up to a server that is not trusted.
async fn rows(database: &Client) -> Result<Vec<Row>, Trouble> {
    let parameters: [&str; 0] = [];
    let answer = database
        .query_raw(QUERY, parameters)
        .await
        .map_err(refusal)?;
    let mut answer = pin!(answer);
    let mut rows = Vec::new();
    while let Some(row) = answer.try_next().await.map_err(refusal)? {
        if rows.len() == MAX_ROWS {
            return Err(untrue());
        }
        rows.push(read(&row).ok_or_else(untrue)?);
    }
    Ok(rows)
}

fn read(row: &DbRow) -> Option<Row> {
    let labels: &str = row.try_get(1).ok()?;
    Some(Row {
        name: row.try_get(0).ok()?,
        labels: serde_json::from_str::<BTreeMap<String, String>>(labels).ok()?,
        value: row.try_get(2).ok()?,
    })
}

fn untrue() -> Trouble {
    let text = "the database's numbers are not what the extension writes";
    Trouble::new(Kind::Untrue, text)
}
