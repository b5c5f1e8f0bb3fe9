//! The database's outbox: what waits there is taken, brought, and what became of it is said.

use std::sync::Arc;
use std::time::Duration;

use identity_core::vocabulary::DeliveryTrouble;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use tracing::{error, info, warn};

use super::channel::Channel;
use super::failure::Failure;
use super::message::Message;
use crate::beside::Duty;
use crate::rows;
use crate::trouble::{Kind, Trouble};
use crate::unlock::refusal::refusal;

/// How often the outbox is looked at when nobody notifies: what failed comes due by itself.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// While something is on its way, and when more waits than was taken.
const SOON: Duration = Duration::from_millis(200);

/// Anybody may notify, as often as he likes.
const PAUSE: Duration = Duration::from_secs(1);

/// What a round waits for what it sent off. What takes longer is heard of in the next.
const PATIENCE: Duration = Duration::from_secs(2);

/// Taken at once by one channel: so few that not much is sent twice if we end before we could say that it arrived.
const BATCH: usize = 20;

/// What the client waits at most for an answer to any of it.
const LIMIT: Duration = Duration::from_secs(20);

const BOUNDS: &str = "SET lock_timeout = '5s'; SET statement_timeout = '15s'";

const SERVE: &str = "SELECT identity.outbox_serve($1)";
const TAKE: &str =
    "SELECT t.access_id, t.payload::text, t.attempts FROM identity.outbox_take($1, $2) t";
const DELIVERED: &str = "SELECT identity.outbox_delivered($1, $2)";
const FAILED: &str = "SELECT identity.outbox_failed($1, $2, $3, $4)";

/// What became of a batch.
struct Sent {
    channel: usize,
    delivered: Vec<i64>,
    failed: Vec<i64>,
    why: Option<Failure>,
    /// What is no notice of ours.
    strange: Vec<i64>,
}

struct Place {
    channel: Arc<Channel>,
    /// Something is on its way.
    busy: bool,
    /// The last attempt failed.
    fails: bool,
}

/// The channels, and what is on its way to them.
pub(crate) struct Outbox {
    places: Vec<Place>,
    names: Vec<String>,
    sending: JoinSet<Sent>,
    last: Option<Instant>,
}

impl Outbox {
    pub fn new(channels: Vec<Arc<Channel>>) -> Self {
        Self {
            names: channels.iter().map(|c| c.name.clone()).collect(),
            places: channels
                .into_iter()
                .map(|channel| Place {
                    channel,
                    busy: false,
                    fails: false,
                })
                .collect(),
            sending: JoinSet::new(),
            last: None,
        }
    }

    /// Takes what is due for each channel that is idle, and sends it off. Says whether more waits.
    async fn take(&mut self, database: &Client) -> Result<bool, Trouble> {
        let mut more = false;
        for (number, place) in self.places.iter_mut().enumerate() {
            if place.busy {
                continue;
            }
            let most = i32::try_from(BATCH).unwrap_or(i32::MAX);
            let taken: [&(dyn ToSql + Sync); 2] = [&place.channel.name, &most];
            let rows = rows::at_most(BATCH, database, TAKE, &taken).await;
            let rows = rows.map_err(refusal)?.ok_or_else(|| {
                let text = "the database's outbox gave more than it was asked for";
                Trouble::new(Kind::Untrue, text)
            })?;
            let mut batch = Vec::new();
            for row in rows {
                let id: i64 = row.try_get(0).map_err(refusal)?;
                let payload: String = row.try_get(1).map_err(refusal)?;
                batch.push((id, Message::notice(&payload)));
            }
            if batch.is_empty() {
                continue;
            }
            more |= batch.len() == BATCH;
            place.busy = true;
            let channel = place.channel.clone();
            self.sending.spawn(send(number, channel, batch));
        }
        Ok(more)
    }

    /// Says what became of what was sent off, as it comes back.
    async fn settle(&mut self, database: &Client, patience: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + patience;
        while !self.sending.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(Some(sent)) = timeout(left, self.sending.join_next()).await else {
                break;
            };
            // One that broke says nothing: its batch is taken again.
            let Ok(sent) = sent else { continue };
            self.note(database, sent).await?;
        }
        if self.sending.is_empty() {
            for place in &mut self.places {
                place.busy = false;
            }
        }
        Ok(())
    }

    async fn note(&mut self, database: &Client, sent: Sent) -> Result<(), Trouble> {
        let Some(place) = self.places.get_mut(sent.channel) else {
            return Ok(());
        };
        place.busy = false;
        let channel = place.channel.name.as_str();
        if !sent.delivered.is_empty() {
            count(database, DELIVERED, &[&channel, &sent.delivered]).await?;
            let notices = sent.delivered.len();
            info!(event = "outbox", channel, notices, "delivered");
        }
        let failed = place.fails;
        if let Some(failure) = &sent.why {
            place.fails = true;
            note_failed(database, channel, &sent.failed, failure, !failed).await?;
        } else if !sent.delivered.is_empty() {
            place.fails = false;
        }
        if !sent.strange.is_empty() {
            let text = "the database's outbox holds what is no notice: it is not sent";
            let failure = Failure::new(DeliveryTrouble::Notice, text);
            note_failed(database, channel, &sent.strange, &failure, true).await?;
        }
        Ok(())
    }

    async fn work(&mut self, database: &Client) -> Result<Duration, Trouble> {
        database.batch_execute(BOUNDS).await.map_err(refusal)?;
        self.settle(database, Duration::ZERO).await?;
        count(database, SERVE, &[&self.names]).await?;
        let more = self.take(database).await?;
        self.settle(database, PATIENCE).await?;
        let again = more || !self.sending.is_empty();
        Ok(if again { SOON } else { LOOK_EVERY })
    }
}

impl Duty for Outbox {
    const SETTINGS: &'static str = "LISTEN identity_outbox";
    const EVENT: &'static str = "outbox";
    const FAILED: &'static str = "the outbox was not looked through";

    async fn round(&mut self, database: &Client) -> Result<Duration, Trouble> {
        if let Some(last) = self.last {
            sleep(PAUSE.saturating_sub(last.elapsed())).await;
        }
        self.last = Some(Instant::now());
        match timeout(LIMIT, self.work(database)).await {
            Ok(done) => done,
            Err(_) => {
                let text = "the database did not answer in time";
                Err(Trouble::new(Kind::Unreachable, text))
            }
        }
    }
}

async fn count(
    database: &Client,
    statement: &str,
    arguments: &[&(dyn ToSql + Sync)],
) -> Result<i64, Trouble> {
    let row = database.query_one(statement, arguments).await;
    row.map_err(refusal)?.try_get(0).map_err(refusal)
}

async fn note_failed(
    database: &Client,
    channel: &str,
    failed: &[i64],
    failure: &Failure,
    is_news: bool,
) -> Result<(), Trouble> {
    let word = failure.word.as_str();
    let wait = i32::try_from(failure.wait.as_secs()).unwrap_or(0);
    let dead = count(database, FAILED, &[&channel, &failed, &word, &wait]).await?;
    if dead > 0 {
        error!(
            event = "outbox", alarm = true, channel, dead, word, trouble = %failure,
            "notices are dead: they were tried for a day, and reached nobody"
        );
    } else if is_news {
        let notices = failed.len();
        warn!(event = "outbox", channel, notices, word, trouble = %failure, "not delivered: they wait");
    }
    Ok(())
}

/// One after the other. What stands in the way of one stands in the way of the rest: they come again, each at a time of its own. What is no notice stands
/// in the way of none.
async fn send(channel: usize, to: Arc<Channel>, batch: Vec<(i64, Option<Message>)>) -> Sent {
    let mut sent = Sent {
        channel,
        delivered: Vec::new(),
        failed: Vec::new(),
        why: None,
        strange: Vec::new(),
    };
    for (id, message) in batch {
        let Some(message) = message else {
            sent.strange.push(id);
            continue;
        };
        if sent.why.is_some() {
            sent.failed.push(id);
            continue;
        }
        match to.deliver(&message).await {
            Ok(()) => sent.delivered.push(id),
            Err(failure) => {
                sent.failed.push(id);
                sent.why = Some(failure);
            }
        }
    }
    sent
}
