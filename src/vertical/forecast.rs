//! `review_forecast`: how long the review queue is, and when it ends at the pace of the last days.

use pgrx::pg_sys;

use crate::answer::RowType;
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::{call, clock};

sql_function!(review_forecast, pg_finfo_review_forecast, run);

/// The pace is that of the last 14 days, or of the days since the first review if that is later; at least one day, so that the first hour of
/// reviewing does not promise the moon. No end where nothing waits, nobody reviews, or it would lie a century away.
static FORECAST: Statement = Statement::read(
    c"SELECT q.waiting, q.oldest, r.per_day,
             CASE WHEN q.waiting > 0 AND r.per_day > 0 AND q.waiting / r.per_day < 36500
                  THEN $1 + pg_catalog.make_interval(secs => q.waiting / r.per_day * 86400) END
        FROM (SELECT pg_catalog.count(*) AS waiting, pg_catalog.min(s.created_at) AS oldest
                FROM identity.subjects s WHERE s.vertical = 'unknown' AND s.erased_at IS NULL) q,
             (SELECT COALESCE(pg_catalog.count(*) / GREATEST(EXTRACT(epoch FROM $1 - pg_catalog.min(h.changed_at)) / 86400, 1), 0)::double precision AS per_day
                FROM identity.vertical_history h
               WHERE h.kind = 'review' AND h.before = 'unknown' AND h.after <> 'unknown' AND h.changed_at > $1 - pg_catalog.make_interval(days => 14)) r",
    &[pg_sys::TIMESTAMPTZOID],
);

static QUEUE: Statement = Statement::read(
    c"SELECT pg_catalog.count(*), pg_catalog.min(created_at) FROM identity.subjects WHERE vertical = 'unknown' AND erased_at IS NULL",
    &[],
);

static ANSWER: RowType = RowType::new(&[
    (c"length", pg_sys::INT8OID),
    (c"oldest", pg_sys::TIMESTAMPTZOID),
    (c"per_day", pg_sys::FLOAT8OID),
    (c"projected_end", pg_sys::TIMESTAMPTZOID),
]);

/// How many wait, and since when the oldest does. Runs inside a call's snapshot.
pub fn queue() -> (i64, Option<pg_sys::Datum>) {
    let rows = QUEUE.run(&mut []);
    (rows.get(0, 1).unwrap_or(0), rows.datum(0, 2))
}

fn run(_: Arguments) -> pg_sys::Datum {
    call::operation();
    // All four columns are passed by value.
    let values = with_latest_snapshot(|| {
        connected(|| {
            let row = FORECAST.run(&mut [Some(pg_sys::Datum::from(clock::now()))]);
            [1, 2, 3, 4].map(|column| row.datum(0, column))
        })
    });
    ANSWER.record(&values)
}
