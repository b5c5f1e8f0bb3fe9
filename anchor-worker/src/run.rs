//! The loop: a session with the database, one leader, the keys every few seconds, an anchor every few minutes and soon after what should not wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::beside::{self, Turn};
use crate::config::{Config, parties};
use crate::database::{Database, Lead};
use crate::kek::Kek;
use crate::metrics;
use crate::night::Night;
use crate::outbox::{self, Alarms, Channel, Outbox};
use crate::publish::publish;
use crate::reencrypt::Reencryption;
use crate::round::{Tools, round};
use crate::signer::Signer;
use crate::step::anchor::End;
use crate::step::known::Known;
use crate::step::tombstones::Looked;
use crate::step::wait;
use crate::stop::Stop;
use crate::store::Store;
use crate::task::Task;
use crate::trouble::{Kind, Trouble};
use crate::unlock::{State, Unlocker};

/// How often a worker that does not lead asks whether it may.
const FOLLOW: Duration = Duration::from_secs(5);

/// How often the database is looked at whether it is locked.
const UNLOCK_EVERY: Duration = Duration::from_secs(2);
const UNLOCK_LIMIT: Duration = Duration::from_secs(120);

/// Between a round and one that a notification asks for: anybody may notify, as often as he likes.
const PAUSE: Duration = Duration::from_secs(2);

/// What a command came to; its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Good = 0,
    Refused = 1,
    CouldNot = 2,
}

impl Verdict {
    /// Something that is not what it must be is refused; anything else could not be done.
    #[must_use]
    pub fn of(trouble: &Trouble) -> Self {
        match trouble.kind {
            Kind::Untrue => Self::Refused,
            _ => Self::CouldNot,
        }
    }
}

/// A worker, with everything that its configuration names.
pub struct Worker {
    config: Config,
    tools: Option<Tools>,
    unlocker: Option<Unlocker>,
    known: Known,
    /// What the database said at the beginning of the last round.
    occasions: Option<i64>,
    stop: Stop,
    anchoring: Task,
    unlocking: Task,
    /// Tombstones of what is anchored.
    publishing: Task,
    looked: Looked,
    /// How many leaves the last round found anchored, of this database. It says nothing of another that takes its place.
    anchored: Option<u64>,
    turn: watch::Sender<Turn>,
    channels: Vec<Arc<Channel>>,
    /// What brings alarms to them.
    tellers: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Opens what is configured. Nothing is asked of the database yet.
    ///
    /// # Errors
    /// `Configuration`, in the main.
    pub async fn open(config: Config, stop: Stop, alarms: &Alarms) -> Result<Self, Trouble> {
        let (mut tools, mut known) = (None, Known::default());
        if let Some(anchor) = &config.anchor {
            known = Known::new(anchor.former_keys.clone());
            known.parties = anchor.parties.as_deref().map(parties).transpose()?;
            tools = Some(Tools {
                signer: Signer::open(&anchor.signer).await?,
                store: Store::open(&anchor.store).await?,
                retention: Duration::from_secs(u64::from(anchor.store.retention_days()) * 86_400),
            });
        }
        let unlocker = match &config.unlock {
            Some(unlock) => Some(Unlocker::open(
                &unlock.settings,
                Arc::new(Kek::open(&unlock.kek).await?),
            )?),
            None => None,
        };
        let channels = outbox::open(&config.outbox)?;
        let turn = watch::Sender::new(Turn::Others);
        let teller = |channel: &Arc<Channel>| {
            tokio::spawn(outbox::tell(alarms, channel.clone(), turn.subscribe()))
        };
        Ok(Self {
            tellers: channels.iter().map(teller).collect(),
            channels,
            config,
            tools,
            unlocker,
            known,
            occasions: None,
            stop,
            anchoring: Task::new(),
            unlocking: Task::new(),
            publishing: Task::new(),
            looked: Looked::default(),
            anchored: None,
            turn,
        })
    }

    /// Works until it is asked to stop.
    pub async fn run(mut self) -> Verdict {
        info!(
            event = "started",
            version = env!("CARGO_PKG_VERSION"),
            "started"
        );
        // It tells until it is dropped.
        let monitoring = match metrics::begin(&self.config).await {
            Ok(monitoring) => monitoring,
            Err(trouble) => {
                error!(event = "start", trouble = %trouble, "nobody can ask for the worker's numbers");
                return Verdict::CouldNot;
            }
        };
        let duties = self.duties();
        let mut failures = 0;
        while !self.stop.is_wanted() {
            let Err(trouble) = self.session(&mut failures).await else {
                continue;
            };
            self.turn.send_replace(Turn::Others);
            metrics::failed("database", trouble.kind);
            if trouble.kind == Kind::Unreachable {
                warn!(event = "database", trouble = %trouble, "no session with the database");
            } else {
                let alarm = trouble.kind == Kind::Untrue;
                error!(event = "database", alarm, trouble = %trouble, "no session with the database");
            }
            failures = failures.saturating_add(1);
            self.rest(wait::after(trouble.kind, failures)).await;
        }
        self.end(duties).await;
        drop(monitoring);
        info!(event = "stopped", "stopped");
        Verdict::Good
    }

    /// Begins what is done beside the loop.
    fn duties(&self) -> Vec<JoinHandle<()>> {
        let (options, turn) = (&self.config.database, || self.turn.subscribe());
        // Without channels too: those that were there before are told of no more.
        let outbox = Outbox::new(self.channels.clone());
        vec![
            tokio::spawn(beside::keep(Reencryption::new(), options.clone(), turn())),
            tokio::spawn(beside::keep(Night::new(), options.clone(), turn())),
            tokio::spawn(beside::keep(outbox, options.clone(), turn())),
        ]
    }

    /// Waits until what is done beside the loop has ended: by itself, or with the program.
    async fn end(&mut self, duties: Vec<JoinHandle<()>>) {
        self.turn.send_replace(Turn::Over);
        for task in duties.into_iter().chain(self.tellers.drain(..)) {
            let _ = task.await;
        }
    }

    /// Unlocks and anchors once. What alarms is told; what waits in the database's outbox is not brought.
    pub async fn once(mut self) -> Verdict {
        let verdict = self.one_round().await;
        self.end(Vec::new()).await;
        verdict
    }

    async fn one_round(&mut self) -> Verdict {
        let mut database = match Database::open(&self.config.database, self.stop.wake.clone()).await
        {
            Ok(database) => database,
            Err(trouble) => {
                let alarm = trouble.kind == Kind::Untrue;
                error!(event = "database", alarm, trouble = %trouble, "no session with the database");
                return Verdict::of(&trouble);
            }
        };
        if let Err(verdict) = self.lead_once(&mut database).await {
            return verdict;
        }
        let unlocked = self.unlock(&database).await;
        let anchored = match self.anchor(&database).await {
            Verdict::Good => self.publish(&database).await,
            verdict => verdict,
        };
        database.close().await;
        // What is refused is worse than what could not be done.
        match (unlocked, anchored) {
            (Verdict::Refused, _) | (_, Verdict::Refused) => Verdict::Refused,
            (unlocked, anchored) => unlocked.max(anchored),
        }
    }

    /// Leads, if no other worker does: one that was killed has its session for a moment longer.
    async fn lead_once(&self, database: &mut Database) -> Result<(), Verdict> {
        let patience = Instant::now() + FOLLOW;
        loop {
            match database.lead().await {
                Ok(Lead::Others) if Instant::now() < patience && !self.stop.is_wanted() => {
                    self.rest(Duration::from_millis(200)).await;
                }
                Ok(Lead::Others) => {
                    error!(event = "follows", "another worker leads: nothing was done");
                    return Err(Verdict::CouldNot);
                }
                Ok(lead) => {
                    if lead != Lead::Ours {
                        tell(&lead);
                    }
                    return Ok(());
                }
                Err(trouble) => {
                    error!(event = "database", trouble = %trouble, "who leads cannot be found out");
                    return Err(Verdict::CouldNot);
                }
            }
        }
    }

    /// One session, until it ends or we stop.
    async fn session(&mut self, failures: &mut u32) -> Result<(), Trouble> {
        let wake = self.stop.wake.clone();
        let mut database = Database::open(&self.config.database, wake).await?;
        info!(event = "connected", "connected to the database");
        // Nobody told us of what happened meanwhile.
        (self.anchoring, self.unlocking) = (Task::new(), Task::new());
        let mut lead = None;
        while !self.stop.is_wanted() {
            if database.is_closed() {
                let text = "the connection to the database ended";
                return Err(Trouble::new(Kind::Unreachable, text));
            }
            let now = database.lead().await?;
            *failures = 0;
            let leads = now != Lead::Others;
            metrics::turned(leads);
            if lead.as_ref() != Some(&now) {
                tell(&now);
                lead = Some(now);
            }
            self.turn
                .send_replace(if leads { Turn::Ours } else { Turn::Others });
            if leads {
                self.work(&database).await;
            } else {
                self.rest(FOLLOW).await;
            }
        }
        database.close().await;
        Ok(())
    }

    /// Does what is due, and rests until something is.
    async fn work(&mut self, database: &Database) {
        if self.unlocking.is_due() {
            self.unlock(database).await;
        }
        if self.anchoring.is_due() {
            self.anchor(database).await;
        }
        if self.publishing.is_due() && !self.stop.is_wanted() {
            self.publish(database).await;
        }
        if database.is_closed() || self.stop.is_wanted() {
            return;
        }
        let finished = Instant::now();
        let next = self
            .anchoring
            .at
            .min(self.unlocking.at)
            .min(self.publishing.at);
        let woken = self.rest(next.saturating_duration_since(finished)).await;
        // After trouble its wait counts: a store that is down is not asked at every notification.
        if woken && self.anchoring.failures == 0 && !self.stop.is_wanted() {
            match database.occasions().await {
                Ok(occasions) if Some(occasions) == self.occasions => self.pause().await,
                _ => self.anchoring.at = self.anchoring.at.min(finished + PAUSE),
            }
        }
    }

    /// Hears no notification for a while: whoever sends them for nothing has the database asked no more often than that.
    async fn pause(&self) {
        for _ in 0..10 {
            if !self.stop.is_wanted() {
                sleep(PAUSE / 10).await;
            }
        }
    }

    /// Waits, and says whether somebody woke us before the time was over.
    async fn rest(&self, duration: Duration) -> bool {
        if self.stop.is_wanted() {
            return true;
        }
        timeout(duration, self.stop.wake.notified()).await.is_ok()
    }

    async fn unlock(&mut self, database: &Database) -> Verdict {
        let Some(unlocker) = &mut self.unlocker else {
            self.unlocking.done(Duration::from_secs(3600));
            return Verdict::Good;
        };
        let result = match timeout(UNLOCK_LIMIT, unlocker.round(database.client())).await {
            Ok(result) => result,
            Err(_) => {
                let text = "unlocking took too long";
                Err(Trouble::new(Kind::Unreachable, text))
            }
        };
        match result {
            Ok(State::Unlocked) => self.unlocking.done(UNLOCK_EVERY),
            Ok(State::WasLocked { loaded }) => {
                info!(
                    event = "unlocked",
                    loaded, "the database was locked, and is unlocked"
                );
                metrics::unlocked();
                self.unlocking.done(UNLOCK_EVERY);
                self.anchoring = Task::new();
            }
            Err(trouble) => {
                self.unlocking.failed(trouble.kind);
                metrics::unlocking(Some(trouble.kind));
                trouble.report("unlock", "the database was not unlocked");
                return Verdict::of(&trouble);
            }
        }
        metrics::unlocking(None);
        metrics::done("unlock");
        Verdict::Good
    }

    async fn anchor(&mut self, database: &Database) -> Verdict {
        let (Some(tools), Some(anchor)) = (&self.tools, &self.config.anchor) else {
            self.anchoring.done(Duration::from_secs(3600));
            return Verdict::Good;
        };
        // Before the round: what comes while it runs is an occasion for the next.
        self.occasions = database.occasions().await.ok();
        self.anchored = None;
        match round(tools, database, &mut self.known, &self.stop).await {
            Ok(None) => self.anchoring.done(anchor.every),
            Ok(Some(End::Nothing { size })) => {
                self.anchoring.done(anchor.every);
                self.is_anchored(size);
            }
            Ok(Some(End::Anchored { tree, stored })) => {
                let (size, root) = (tree.size, tree.root_text());
                info!(
                    event = "anchored",
                    size,
                    root,
                    uri = stored.uri,
                    version = stored.version_id,
                    "anchored"
                );
                metrics::anchored(size);
                self.anchoring.done(anchor.every);
                self.is_anchored(size);
            }
            Ok(Some(End::Refused(refusal))) => {
                error!(
                    event = "refused", alarm = true, code = refusal.code(), refusal = %refusal, hint = refusal.hint(),
                    "nothing is signed until a person has looked and restarted the worker"
                );
                metrics::refused(refusal.code());
                self.anchoring.done(anchor.every);
                return Verdict::Refused;
            }
            Ok(Some(End::Trouble(trouble))) | Err(trouble) => {
                self.anchoring.failed(trouble.kind);
                trouble.report("anchor", "the log was not anchored");
                return Verdict::of(&trouble);
            }
        }
        metrics::done("anchor");
        Verdict::Good
    }

    fn is_anchored(&mut self, size: u64) {
        self.anchored = Some(size);
        // After trouble its wait counts.
        if self.publishing.failures == 0 {
            self.publishing = Task::new();
        }
    }

    /// Publishes the tombstones of the erasures that are anchored.
    async fn publish(&mut self, database: &Database) -> Verdict {
        let log = self.anchored.and_then(|size| self.known.log(size));
        let (Some(tools), Some(anchor), Some(log)) = (&self.tools, &self.config.anchor, log) else {
            self.publishing.done(Duration::from_secs(3600));
            return Verdict::Good;
        };
        match publish(tools, database, log, &mut self.looked, &self.stop).await {
            Ok(count) => {
                if let Some(count @ 1..) = count {
                    info!(
                        event = "tombstones",
                        count, "tombstones of erasures were published"
                    );
                }
                self.publishing.done(anchor.every);
                metrics::done("tombstones");
                Verdict::Good
            }
            Err(trouble) => {
                self.publishing.failed(trouble.kind);
                trouble.report("tombstones", "tombstones of erasures were not published");
                Verdict::of(&trouble)
            }
        }
    }
}

fn tell(lead: &Lead) {
    match lead {
        Lead::Ours => info!(event = "leads", "this worker leads"),
        Lead::Others => info!(event = "follows", "another worker leads"),
        Lead::Seized { from } => warn!(
            event = "leads",
            alarm = true,
            holder = from,
            "who holds the leader's lock is no worker, so this worker leads without it"
        ),
    }
}
