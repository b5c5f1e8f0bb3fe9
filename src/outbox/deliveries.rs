//! What has to be brought: taken by the worker, which says what became of it; and dead letters, which a person has tried again.

use identity_core::reason::Reason;
use identity_core::vocabulary::DeliveryTrouble;
use pgrx::{IntoDatum, pg_sys};

use crate::answer::{Rows as Answer, timestamp};
use crate::arrays::Element;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, clock, error};

sql_function!(outbox_take, pg_finfo_outbox_take, take);
sql_function!(outbox_delivered, pg_finfo_outbox_delivered, delivered);
sql_function!(outbox_failed, pg_finfo_outbox_failed, failed);
sql_function!(outbox_retry, pg_finfo_outbox_retry, retry);

const MOST_AT_ONCE: usize = 1000;

/// What a channel may ask us to wait.
const LONGEST_WAIT_SECONDS: i32 = 86_400;

static DUE: Statement = Statement::read(
    c"SELECT d.access_id, n.payload, d.attempts
        FROM identity.outbox_deliveries d JOIN identity.notifications n ON n.access_id = d.access_id
       WHERE d.channel = $1 AND d.next_at <= $2 AND d.delivered_at IS NULL AND d.dead_at IS NULL
       ORDER BY d.next_at, d.access_id LIMIT $3",
    &[pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID],
);
static DELIVERED: Statement = Statement::write(
    c"UPDATE identity.outbox_deliveries SET delivered_at = $3, attempts = attempts + 1, last_error = NULL
       WHERE channel = $1 AND access_id = ANY ($2) AND delivered_at IS NULL AND dead_at IS NULL RETURNING 1",
    &[
        pg_sys::TEXTOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);
/// Ten seconds, doubled each time up to four hours, and each a quarter more or less, so that what failed together does not come together again: with 17
/// attempts about a day.
static FAILED: Statement = Statement::write(
    c"UPDATE identity.outbox_deliveries
         SET attempts = attempts + 1, last_error = $3, dead_at = CASE WHEN attempts + 1 >= 17 THEN $5 END,
             next_at = $5 + pg_catalog.make_interval(secs => GREATEST($4, LEAST(14400, 10 * 2 ^ LEAST(attempts, 16)) * (0.75 + pg_catalog.random() / 2)))
       WHERE channel = $1 AND access_id = ANY ($2) AND delivered_at IS NULL AND dead_at IS NULL RETURNING dead_at IS NOT NULL",
    &[
        pg_sys::TEXTOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TEXTOID,
        pg_sys::FLOAT8OID,
        pg_sys::TIMESTAMPTZOID,
    ],
);
/// Of a channel that nobody serves nothing is tried again.
static RETRY: Statement = Statement::write(
    c"UPDATE identity.outbox_deliveries d SET attempts = 0, dead_at = NULL, next_at = $3
        FROM identity.outbox_channels c
       WHERE c.channel = d.channel AND d.delivered_at IS NULL AND ($1 IS NULL OR d.channel = $1) AND ($2 IS NULL OR d.access_id = $2) RETURNING 1",
    &[pg_sys::TEXTOID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

fn take(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let channel = channel(arguments);
    let max: i32 = required(arguments.get(1));
    if !(1..=MOST_AT_ONCE).contains(&usize::try_from(max).unwrap_or(0)) {
        error::raise(Reason::BadArgument);
    }
    let mut answer = Answer::of(arguments);
    with_latest_snapshot(|| {
        connected(|| {
            let due = DUE.run(&mut [bind(channel), timestamp(clock::now()), bind(max)]);
            for row in 0..due.count {
                answer.push(&[due.datum(row, 1), due.datum(row, 2), due.datum(row, 3)]);
            }
        });
    });
    pg_sys::Datum::from(0)
}

fn delivered(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let (channel, ids) = (channel(arguments), ids(arguments));
    count(|| {
        let now = timestamp(clock::now());
        DELIVERED.run(&mut [bind(channel), ids, now]).count
    })
}

fn failed(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let (channel, ids) = (channel(arguments), ids(arguments));
    let word: &str = required(arguments.get(2));
    let wait: i32 = required(arguments.get(3));
    if DeliveryTrouble::parse(word).is_none() || !(0..=LONGEST_WAIT_SECONDS).contains(&wait) {
        error::raise(Reason::BadArgument);
    }
    count(|| {
        let rows = FAILED.run(&mut [
            bind(channel),
            ids,
            bind(word),
            bind(f64::from(wait)),
            timestamp(clock::now()),
        ]);
        let dead = |row: &usize| Rows::get(&rows, *row, 1) == Some(true);
        (0..rows.count).filter(dead).count()
    })
}

fn retry(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let (channel, id): (Option<&str>, Option<i64>) = (arguments.get(0), arguments.get(1));
    count(|| {
        let now = timestamp(clock::now());
        let again = [channel.and_then(bind), id.and_then(bind), now];
        RETRY.run(&mut { again }).count
    })
}

/// Runs a change, and answers with its number.
fn count(change: impl FnOnce() -> usize) -> pg_sys::Datum {
    let count = with_latest_snapshot(|| connected(change));
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    count.into_datum().unwrap_or(pg_sys::Datum::from(0))
}

fn channel<'a>(arguments: Arguments) -> &'a str {
    required(arguments.get(0))
}

/// Looked at, and handed on as they came.
fn ids(arguments: Arguments) -> Option<pg_sys::Datum> {
    match arguments.list(1, MOST_AT_ONCE, Element::Int8) {
        None => error::raise(Reason::NullArgument),
        Some(Err(reason)) => error::raise(reason),
        Some(Ok(ids)) if ids.iter().any(Option::is_none) => error::raise(Reason::NullArgument),
        Some(Ok(_)) => arguments.datum(1),
    }
}

fn required<T>(argument: Option<T>) -> T {
    argument.unwrap_or_else(|| error::raise(Reason::NullArgument))
}
