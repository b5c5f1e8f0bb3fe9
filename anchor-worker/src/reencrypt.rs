//! What older keys encrypted follows a rotation, in small batches.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use tracing::{info, warn};

use crate::beside::Duty;
use crate::database::reason;
use crate::metrics;
use crate::pace::Pace;
use crate::rows;
use crate::trouble::{Kind, Trouble};
use crate::unlock::refusal::refusal;

/// How often it is asked whether an older key is there.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Between batches that had nothing to do: an older key goes once every transaction that could use it is over.
const RETIRE_EVERY: Duration = Duration::from_secs(5);

/// While what is left cannot be done without a person.
const STUCK_EVERY: Duration = Duration::from_secs(600);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(30);

const SUBJECTS: Pace = Pace::new(50, 1000);

/// What the client waits at most for an answer to any of it.
const LIMIT: Duration = Duration::from_secs(10);

const WAITING: &str = "SELECT EXISTS (SELECT FROM identity.keyring k WHERE k.kind = 'dek' AND k.state = 'verify_only')";

/// One message, which is one transaction without BEGIN: whatever becomes of it, and of our waiting for it, the session is left as it was. Locks and time
/// are bounded: somebody who keeps the keyring locked must not keep the log from being anchored.
fn statement(most: i32) -> String {
    format!(
        "SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '5s';
         SELECT r ->> 'version', r ->> 'done', r ->> 'failed', r ->> 'left', r ->> 'retired' FROM identity.reencrypt({most}) r"
    )
}

/// What a batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Batch {
    version: i64,
    done: i64,
    failed: i64,
    left: i64,
    /// Versions, as a JSON array.
    retired: String,
}

/// How far we are.
pub(crate) struct Reencryption {
    pace: Pace,
    /// Since progress was last told.
    done: i64,
    told: Option<Instant>,
    /// What failed when it was last told.
    stuck: i64,
}

impl Reencryption {
    pub fn new() -> Self {
        Self {
            pace: SUBJECTS,
            done: 0,
            told: None,
            stuck: 0,
        }
    }

    fn tell(&mut self, batch: &Batch) {
        let (version, left, failed) = (batch.version, batch.left, batch.failed);
        self.done += batch.done;
        let is_time = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if self.done > 0 && (is_time || left == 0) {
            let done = self.done;
            info!(
                event = "reencrypt",
                version, done, left, "what older keys encrypted is encrypted anew"
            );
            (self.done, self.told) = (0, Some(Instant::now()));
        }
        if failed > self.stuck {
            warn!(
                event = "reencrypt",
                alarm = true,
                version,
                failed,
                left,
                "subjects hold a ciphertext that does not open: they are left as they are, and so is their key"
            );
        }
        self.stuck = failed;
        metrics::reencrypt(left, failed);
        if batch.retired != "[]" {
            let retired = batch.retired.as_str();
            info!(
                event = "retired",
                retired, "keys that nothing refers to any more are retired"
            );
        }
    }
}

impl Duty for Reencryption {
    const EVENT: &'static str = "reencrypt";
    const FAILED: &'static str = "what older keys encrypted was not encrypted anew";

    /// One batch, if something waits.
    async fn round(&mut self, database: &Client) -> Result<Duration, Trouble> {
        let began = Instant::now();
        let answer = timeout(LIMIT, one(database, self.pace.size)).await;
        let answer = answer.unwrap_or_else(|_| {
            let text = "the database did not answer in time";
            Err(Trouble::new(Kind::Unreachable, text))
        });
        let took = self.pace.after(began, answer.is_ok());
        let Some(answer) = answer? else {
            *self = Self::new();
            metrics::reencrypt(0, 0);
            return Ok(LOOK_EVERY);
        };
        self.tell(&answer);
        Ok(if answer.done > 0 {
            // At most half of the time: the database has other things to do.
            took
        } else if answer.left > 0 && answer.failed == answer.left {
            STUCK_EVERY
        } else {
            RETIRE_EVERY
        })
    }
}

/// Nothing if there is no older key, or the keys are not there yet.
async fn one(database: &Client, most: i32) -> Result<Option<Batch>, Trouble> {
    let row = database.query_one(WAITING, &[]).await.map_err(refusal)?;
    if !row.try_get::<_, bool>(0).map_err(refusal)? {
        return Ok(None);
    }
    let answer = match rows::first_of(database, &statement(most)).await {
        Err(error) if error.as_db_error().and_then(reason) == Some("locked") => return Ok(None),
        answer => answer.map_err(refusal)?,
    };
    let batch = || {
        let row = answer?;
        let number = |column| row.try_get(column).ok()??.parse::<i64>().ok();
        Some(Batch {
            version: number(0)?,
            done: number(1)?,
            failed: number(2)?,
            left: number(3)?,
            retired: row.try_get(4).ok()??.to_owned(),
        })
    };
    batch().map(Some).ok_or_else(|| {
        let text = "the database's answer is not what the extension writes";
        Trouble::new(Kind::Untrue, text)
    })
}
