//! How the outbox stands: for `identity_status` and `metrics`.

use crate::query::Statement;

/// What was left of a channel that is served no more needs nobody's attention.
static STANDING: Statement = Statement::read(
    c"SELECT (SELECT pg_catalog.count(*) FROM identity.outbox_channels), pg_catalog.count(*), pg_catalog.min(d.queued_at),
             (SELECT pg_catalog.count(*) FROM identity.outbox_deliveries e JOIN identity.outbox_channels c ON c.channel = e.channel WHERE e.dead_at IS NOT NULL)
        FROM identity.outbox_deliveries d WHERE d.delivered_at IS NULL AND d.dead_at IS NULL",
    &[],
);

pub struct Gauges {
    pub channels: i64,
    pub waiting: i64,
    /// When the oldest of them was put down, in microseconds since 2000.
    pub oldest: Option<i64>,
    pub dead: i64,
}

/// Runs inside SPI and a call's snapshot.
pub fn gauges() -> Gauges {
    let rows = STANDING.run(&mut []);
    Gauges {
        channels: rows.get(0, 1).unwrap_or(0),
        waiting: rows.get(0, 2).unwrap_or(0),
        oldest: rows.moment(0, 3),
        dead: rows.get(0, 4).unwrap_or(0),
    }
}
