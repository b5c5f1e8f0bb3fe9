//! What the leading worker does beside the loop: each duty in a task and with a session of its own, so that keys and anchors never wait for it, however
//! long it takes and whatever stands in its way.

use std::sync::Arc;
use std::time::Duration;

use identity_connect::Options;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;

use crate::database::Database;
use crate::metrics;
use crate::task::Task;
use crate::trouble::{Kind, Trouble};

/// How often a duty looks whether its session still lives.
const LOOK: Duration = Duration::from_secs(5);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This worker leads.
    Ours,
    /// Another one does, or nobody knows.
    Others,
    /// The worker ends.
    Over,
}

/// Something that is done again and again while this worker leads.
pub(crate) trait Duty: Send + 'static {
    /// What its session begins with, beside what every session of the worker begins with: a LISTEN, a SET, or nothing.
    const SETTINGS: &'static str = "";
    /// Its word in the log.
    const EVENT: &'static str;
    /// What is told when a round failed.
    const FAILED: &'static str;
    /// Whether a round is cut off once it is not our turn any more: only where it is one transaction, and its session ends with the connection
    /// (`client_connection_check_interval`). A cancel could be caught by what runs inside.
    const CUT_OFF: bool = false;

    /// One round, short enough that the worker can end soon after it is asked to. Returns when to come again; a notification comes sooner.
    fn round(
        &mut self,
        database: &Client,
    ) -> impl Future<Output = Result<Duration, Trouble>> + Send;
}

/// Does a duty whenever it is our turn, until the worker ends.
pub(crate) async fn keep<D: Duty>(mut duty: D, options: Options, mut turn: watch::Receiver<Turn>) {
    let mut task = Task::new();
    while is_ours(&mut turn).await {
        let wake = Arc::new(Notify::new());
        let ended = session(&mut duty, &options, &mut turn, &wake, &mut task).await;
        if let Err(trouble) = ended {
            task.failed(trouble.kind);
            trouble.report(D::EVENT, D::FAILED);
            rest(&mut turn, &wake, task.at).await;
        }
    }
}

/// Waits for our turn; false once the worker ends.
async fn is_ours(turn: &mut watch::Receiver<Turn>) -> bool {
    let waited = turn.wait_for(|turn| *turn != Turn::Others).await;
    waited.is_ok_and(|turn| *turn == Turn::Ours)
}

/// One session, for as long as it is our turn.
async fn session<D: Duty>(
    duty: &mut D,
    options: &Options,
    turn: &mut watch::Receiver<Turn>,
    wake: &Arc<Notify>,
    task: &mut Task,
) -> Result<(), Trouble> {
    let database = Database::open_for(options, D::SETTINGS, wake.clone()).await?;
    while *turn.borrow() == Turn::Ours {
        if database.is_closed() {
            let text = "the connection to the database ended";
            return Err(Trouble::new(Kind::Unreachable, text));
        }
        if task.is_due() {
            let Some(done) = round(duty, &database, turn).await else {
                database.abandon();
                return Ok(());
            };
            match done {
                Ok(wait) => {
                    metrics::done(D::EVENT);
                    task.done(wait);
                }
                Err(trouble) => {
                    task.failed(trouble.kind);
                    trouble.report(D::EVENT, D::FAILED);
                }
            }
        }
        let woken = rest(turn, wake, task.at.min(Instant::now() + LOOK)).await;
        // After trouble its wait counts.
        if woken && task.failures == 0 {
            task.at = Instant::now();
        }
    }
    database.close().await;
    Ok(())
}

/// One round; `None` if it was cut off.
async fn round<D: Duty>(
    duty: &mut D,
    database: &Database,
    turn: &mut watch::Receiver<Turn>,
) -> Option<Result<Duration, Trouble>> {
    if !D::CUT_OFF {
        return Some(duty.round(database.client()).await);
    }
    tokio::select! {
        done = duty.round(database.client()) => Some(done),
        _ = turn.wait_for(|turn| *turn != Turn::Ours) => None,
    }
}

/// Waits until then, or until the turn changes; says whether a notification came.
async fn rest(turn: &mut watch::Receiver<Turn>, wake: &Notify, until: Instant) -> bool {
    let waiting = async {
        tokio::select! {
            () = wake.notified() => true,
            _ = turn.changed() => false,
        }
    };
    timeout_at(until, waiting).await.unwrap_or(false)
}
