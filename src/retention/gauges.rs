//! What is due, what nobody said how long to keep, and how the last sweeps went: for `identity_status` and `metrics`. Counting goes over all subjects.

use identity_core::vocabulary::Vertical;
use pgrx::pg_sys;

use super::policies::Policies;
use super::policy::Kind;
use super::progress::Progress;
use super::sweep::Sweep;
use crate::clock;
use crate::query::{Statement, connected};

/// By vertical: subjects that are there, and those whose retention is over. The condition is that of the sweep.
static SUBJECTS: Statement = Statement::read(
    c"SELECT s.vertical, pg_catalog.count(*), pg_catalog.count(*) FILTER (
             WHERE p.days IS NOT NULL AND COALESCE(s.last_interaction, s.created_at) <= $1 - pg_catalog.make_interval(hours => 24 * LEAST(s.retention_period_days, p.days)))
        FROM identity.subjects s
             CROSS JOIN LATERAL (SELECT CASE s.vertical WHEN 'unknown' THEN $2 WHEN 'general' THEN $3 WHEN 'healthcare' THEN $4
                                                        WHEN 'finance' THEN $5 WHEN 'other' THEN $6 END AS days) p
       WHERE s.erased_at IS NULL GROUP BY s.vertical ORDER BY s.vertical",
    &[
        pg_sys::TIMESTAMPTZOID, pg_sys::INT4OID, pg_sys::INT4OID, pg_sys::INT4OID, pg_sys::INT4OID, pg_sys::INT4OID,
    ],
);

/// The subjects of one vertical.
pub struct OfVertical {
    pub vertical: &'static str,
    pub due: i64,
    /// Subjects of a vertical that no policy in effect covers, who stay for good.
    pub uncovered: i64,
}

/// How retention stands as a whole.
pub struct Gauges {
    pub verticals: Vec<OfVertical>,
    pub sweeps: Vec<(Sweep, Option<Progress>)>,
}

/// Runs inside a call's snapshot.
pub fn gauges() -> Gauges {
    connected(|| {
        let policies = Policies::in_effect(Kind::General);
        let mut arguments = vec![Some(pg_sys::Datum::from(clock::now()))];
        arguments.extend(policies.days());
        let rows = SUBJECTS.run(&mut arguments);
        let of_vertical = |row| {
            let vertical = rows.get(row, 1).and_then(Vertical::parse)?.as_str();
            let uncovered = policies.schedule(vertical).is_none();
            Some(OfVertical {
                vertical,
                due: rows.get(row, 3)?,
                uncovered: rows.get(row, 2).filter(|_| uncovered).unwrap_or(0),
            })
        };
        Gauges {
            verticals: (0..rows.count).filter_map(of_vertical).collect(),
            sweeps: Sweep::ALL
                .map(|sweep| (sweep, Progress::load(sweep)))
                .into(),
        }
    })
}
