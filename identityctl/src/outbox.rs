//! `identityctl outbox`: which notices have not arrived, and trying them again.

use identity_connect::{Failure, Options, Session};
use tokio::runtime::Builder;
use tokio_postgres::Client;

use crate::cli;
use crate::report::Report;

const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = '1min'; SET lock_timeout = '10s'";

const CHANNELS: &str = "SELECT c.channel, to_char(c.since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM identity.outbox_channels c ORDER BY 1";

/// Those that are dead first; of each the oldest.
const OPEN: &str = "SELECT d.channel, d.access_id, n.payload ->> 'event_kind', d.dead_at IS NOT NULL AND c.channel IS NOT NULL, d.attempts, COALESCE(d.last_error, 'none'),
       to_char(d.queued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), CASE WHEN c.channel IS NULL THEN 'never: nobody serves it' ELSE to_char(d.next_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') END
  FROM identity.outbox_deliveries d JOIN identity.notifications n USING (access_id) LEFT JOIN identity.outbox_channels c USING (channel)
 WHERE d.delivered_at IS NULL AND ($1::text IS NULL OR d.channel = $1)
 ORDER BY 4 DESC, d.queued_at, d.channel, d.access_id LIMIT 1000";

const RETRY: &str = "SELECT identity.outbox_retry($1, $2)";

pub fn list(arguments: &cli::OutboxList) -> Report {
    let mut report = Report::new("outbox list");
    let (url, channel) = (&arguments.url, arguments.channel.as_deref());
    run(url.as_deref(), &mut report, async |client, report| {
        tell(client, channel, report).await
    });
    report
}

pub fn retry(arguments: &cli::OutboxRetry) -> Report {
    let mut report = Report::new("outbox retry");
    let (url, channel) = (&arguments.url, arguments.channel.as_deref());
    run(url.as_deref(), &mut report, async |client, report| {
        let row = client
            .query_one(RETRY, &[&channel, &arguments.access_id])
            .await?;
        let count: i64 = row.try_get(0)?;
        report.good("outbox", &format!("{count} are sent again now"));
        Ok(())
    });
    report
}

fn run(
    url: Option<&str>,
    report: &mut Report,
    work: impl AsyncFnOnce(&Client, &mut Report) -> Result<(), Failure>,
) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
        return report.unchecked("start", "no runtime could be started");
    };
    let done: Result<(), Failure> = runtime.block_on(async {
        let options = Options::parse(url, |name| std::env::var(name).ok())?;
        let session: Session = identity_connect::open(&options, SESSION).await?;
        let worked = work(&session.client, report).await;
        let closed = session.close().await;
        worked.and(closed)
    });
    if let Err(failure) = done {
        report.unchecked("database", &failure.to_string());
    }
}

async fn tell(client: &Client, channel: Option<&str>, report: &mut Report) -> Result<(), Failure> {
    let channels = client.query(CHANNELS, &[]).await?;
    for row in &channels {
        let (name, since): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        report.note("channel", &format!("{name} is served since {since}"));
    }
    if channels.is_empty() {
        report.unchecked("channel", "there is none: notices are told to nobody");
    }
    let rows = client.query(OPEN, &[&channel]).await?;
    for row in &rows {
        let (name, id, kind): (String, i64, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (dead, attempts, error): (bool, i32, String) =
            (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        let (queued, next): (String, String) = (row.try_get(6)?, row.try_get(7)?);
        let what = format!(
            "{name}: {kind} of {queued}, access_id {id}, {attempts} attempts, last {error}"
        );
        if dead {
            report.bad("dead", &what);
        } else {
            report.note("waits", &format!("{what}, next {next}"));
        }
    }
    if rows.is_empty() && !channels.is_empty() {
        report.good("outbox", "every notice was delivered");
    } else if !channels.is_empty() {
        report.good("outbox", &format!("{} were not delivered yet", rows.len()));
    }
    Ok(())
}
