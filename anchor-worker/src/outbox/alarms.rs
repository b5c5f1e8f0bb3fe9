//! The worker's own alarms: whatever is logged with `alarm = true` goes to every channel, without the database, which it may be about.
//!
//! Kept in memory, and no more of them than there is room for: they are in the log, too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, error, info, warn};
use tracing_subscriber::layer::Context;

use super::channel::Channel;
use super::message::Message;
use crate::beside::Turn;

/// Alarms that nobody has taken up yet, and that one channel has not got yet. The oldest go first.
const MOST_RAISED: usize = 64;
const MOST_WAITING: usize = 64;

/// The same alarm again, while what it is about goes on.
const AGAIN: Duration = Duration::from_secs(3600);

const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// With these waits about a day.
const MOST_ATTEMPTS: u32 = 150;

/// What the last attempts may take when the worker ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// An alarm, by words of ours.
#[derive(Clone, Debug)]
struct Raised {
    what: String,
    micros: i64,
}

/// Where alarms come from.
#[derive(Clone)]
pub struct Alarms(broadcast::Sender<Raised>);

impl Default for Alarms {
    fn default() -> Self {
        Self(broadcast::channel(MOST_RAISED).0)
    }
}

impl Alarms {
    /// What listens to the log.
    #[must_use]
    pub fn layer(&self) -> Layer {
        Layer(self.0.clone())
    }
}

/// Hears what is logged.
pub struct Layer(broadcast::Sender<Raised>);

#[derive(Default)]
struct Seen {
    alarm: bool,
    event: String,
    /// What it is, more closely: the code of a refusal, the kind of a trouble.
    detail: String,
}

impl Visit for Seen {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.alarm |= field.name() == "alarm" && value;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => value.clone_into(&mut self.event),
            "code" | "kind" => value.clone_into(&mut self.detail),
            _ => {}
        }
    }

    /// Texts: not for channels.
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        if seen.alarm {
            let what = match seen.detail.as_str() {
                "" => seen.event,
                detail => format!("{}_{detail}", seen.event),
            };
            // Nobody listens where there are no channels.
            let _ = self.0.send(Raised {
                what,
                micros: now(),
            });
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

/// Brings every alarm from here on to a channel, until the worker ends. Whoever waits for the future to be polled misses none.
pub(crate) fn tell(
    alarms: &Alarms,
    channel: Arc<Channel>,
    turn: watch::Receiver<Turn>,
) -> impl Future<Output = ()> + Send + 'static {
    let teller = Teller {
        raised: alarms.0.subscribe(),
        channel,
        told: BTreeMap::new(),
        waiting: VecDeque::new(),
    };
    teller.run(turn)
}

struct Teller {
    raised: broadcast::Receiver<Raised>,
    channel: Arc<Channel>,
    /// When each alarm was last raised anew.
    told: BTreeMap<String, Instant>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    message: Message,
    attempts: u32,
    at: Instant,
}

impl Teller {
    async fn run(mut self, mut turn: watch::Receiver<Turn>) {
        let over = async move { turn.wait_for(|turn| *turn == Turn::Over).await.is_ok() };
        tokio::pin!(over);
        loop {
            let next = self.waiting.iter().map(|waiting| waiting.at).min();
            tokio::select! {
                raised = self.raised.recv() => match raised {
                    Ok(raised) => self.take(&raised),
                    Err(RecvError::Lagged(missed)) => self.missed(missed),
                    Err(RecvError::Closed) => break,
                },
                // The worker's end waits for nobody.
                () = at(next) => tokio::select! {
                    () = self.attempt() => {}
                    _ = &mut over => break,
                },
                _ = &mut over => break,
            }
        }
        // What was raised last is why we end, perhaps.
        loop {
            match self.raised.try_recv() {
                Ok(raised) => self.take(&raised),
                Err(TryRecvError::Lagged(missed)) => self.missed(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let last = async {
            for waiting in &self.waiting {
                if self.channel.deliver(&waiting.message).await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(FAREWELL, last).await;
    }

    fn take(&mut self, raised: &Raised) {
        let now = Instant::now();
        self.told.retain(|_, at| now.duration_since(*at) < AGAIN);
        if self.told.contains_key(&raised.what) {
            return;
        }
        self.told.insert(raised.what.clone(), now);
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.missed(1);
        }
        self.waiting.push_back(Waiting {
            message: Message::alarm(&raised.what, raised.micros),
            attempts: 0,
            at: now,
        });
    }

    fn missed(&self, count: u64) {
        let channel = self.channel.name.as_str();
        warn!(
            event = "outbox",
            channel,
            count,
            "more alarms than the channel could take: the oldest are in the log alone"
        );
    }

    /// Tries what has waited longest; what stands in its way stands in the way of all.
    async fn attempt(&mut self) {
        let channel = self.channel.name.as_str();
        while let Some(first) = self.waiting.front_mut() {
            let Err(failure) = self.channel.deliver(&first.message).await else {
                info!(event = "outbox", channel, "an alarm was delivered");
                self.waiting.pop_front();
                continue;
            };
            first.attempts += 1;
            if first.attempts >= MOST_ATTEMPTS {
                error!(event = "outbox", channel, trouble = %failure, "an alarm was not delivered, and is given up");
                self.waiting.pop_front();
                return;
            }
            if first.attempts == 1 {
                warn!(event = "outbox", channel, trouble = %failure, "an alarm was not delivered, and waits");
            }
            let wait = FIRST_WAIT * 2u32.saturating_pow(first.attempts.min(10) - 1);
            let next = Instant::now() + wait.min(LONGEST_WAIT).max(failure.wait);
            for waiting in &mut self.waiting {
                waiting.at = next;
            }
            return;
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
