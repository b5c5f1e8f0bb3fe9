//! `ledger_verify`: recomputes every leaf and MAC from the columns, follows each lane, and says by name what does not fit.
//!
//! It names every finding and never stops at the first. What it cannot see is a history rewritten by somebody who has the chain key.

use std::collections::BTreeMap;
use std::time::Duration;

use identity_core::chain::{Finding, Head, LaneVerifier, genesis};
use identity_core::key::ChainKey;
use identity_core::leaf::access_id;
use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::row::{Stored, next, stored};
use super::{guards, policy};
use crate::answer::{Rows as Answer, value};
use crate::keys::region::Keys;
use crate::keys::{self, region};
use crate::purpose::content;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};
use crate::vertical::audit;
use crate::{call, clock, consent, error, lane};

sql_function!(ledger_verify, pg_finfo_ledger_verify, verify);

/// Findings that are named; the rest are counted.
const MAX_FINDINGS: usize = 1000;
const RECENT_MICROS: i64 = 31 * 86_400_000_000;
const EVERYTHING: i64 = i64::MIN;

static LANE_STARTS: Statement = Statement::read(
    c"SELECT pg_catalog.min(access_id) FROM identity.pii_access_log WHERE accessed_at >= $1 GROUP BY access_id >> 48 ORDER BY 1",
    &[pg_sys::TIMESTAMPTZOID],
);
static BEFORE: Statement = Statement::read(
    c"SELECT integrity_hash FROM identity.pii_access_log WHERE access_id = $1",
    &[pg_sys::INT8OID],
);
static PURPOSE_EVENTS: Statement = Statement::read(
    c"SELECT purpose_token, purpose_version, event_digest FROM identity.pii_access_log WHERE accessor_kind = 'purpose_change' AND outcome = 'committed'",
    &[],
);
static UNVERSIONED: Statement = Statement::read(
    c"SELECT d.purpose_token FROM identity.purpose_definitions d
       WHERE NOT EXISTS (SELECT FROM identity.purpose_versions v WHERE v.purpose_token = d.purpose_token
         AND v.version = (SELECT pg_catalog.max(n.version) FROM identity.purpose_versions n WHERE n.purpose_token = d.purpose_token)
         AND GREATEST(d.effective_at, v.changed_at) = v.effective_at
         AND (d.description, d.allowed_fields, d.auth_tier, d.rate_limit_qps, d.daily_volume_cap, d.allowed_roles, d.accepted_consent, d.phi_access)
           IS NOT DISTINCT FROM (v.description, v.allowed_fields, v.auth_tier, v.rate_limit_qps, v.daily_volume_cap, v.allowed_roles, v.accepted_consent, v.phi_access))",
    &[],
);
static UNREVOKED: Statement = Statement::read(
    c"SELECT DISTINCT l.purpose_token FROM identity.pii_access_log l
       WHERE l.accessor_kind = 'purpose_revoke' AND l.outcome = 'committed' AND NOT EXISTS (
             SELECT FROM identity.purpose_revocations r WHERE r.purpose_token = l.purpose_token AND r.revoked_version >= l.purpose_version)",
    &[],
);
static LANE_END: Statement = Statement::read(
    c"SELECT pg_catalog.max(seq) FROM identity.pii_access_log WHERE access_id >= $1 AND access_id < $2",
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

fn verify(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let full = arguments
        .get(0)
        .unwrap_or_else(|| error::raise(Reason::NullArgument));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let since = if full {
        EVERYTHING
    } else {
        clock::now() - RECENT_MICROS
    };
    let mut report = Report {
        answer: Answer::of(arguments),
        findings: 0,
    };
    let ends = follow_lanes(&keys, since, &mut report);
    compare_heads(&ends, &mut report);
    with_latest_snapshot(|| {
        connected(|| {
            check_guards(&mut report);
            check_purposes(&keys, full, &mut report);
            if full {
                consent::verify::check(&keys, &mut report);
                check_callers(&keys, &mut report);
                check_verticals(&keys, &mut report);
            }
        });
    });
    pg_sys::Datum::from(0)
}

/// The answer as it grows.
pub struct Report {
    answer: Answer,
    findings: usize,
}

impl Report {
    /// How many findings there are so far.
    pub fn findings(&self) -> usize {
        self.findings
    }

    pub fn finding(&mut self, check: &str, detail: &str) {
        self.findings += 1;
        if self.findings <= MAX_FINDINGS {
            self.answer
                .push(&[value(check), value(false), value(detail)]);
        }
    }

    /// Closes a check: one line that it is good, if nothing was found since.
    pub fn close(&mut self, check: &str, found_before: usize, detail: &str) {
        if self.findings == found_before {
            self.answer
                .push(&[value(check), value(true), value(detail)]);
        } else if self.findings > MAX_FINDINGS {
            self.answer.push(&[
                value(check),
                value(false),
                value(format!("{} findings in all", self.findings - found_before)),
            ]);
        }
    }
}

/// Follows each lane from its first row that counts to its end. Returns the last sequence number of each.
fn follow_lanes(keys: &Keys, since: i64, report: &mut Report) -> BTreeMap<u32, u64> {
    let found_before = report.findings;
    let mut ends = BTreeMap::new();
    let mut chain_keys: BTreeMap<i32, Option<ChainKey>> = BTreeMap::new();
    let mut rows_seen = 0_u64;
    with_latest_snapshot(|| {
        for first in connected(|| lane_starts(since)) {
            let lane = u32::try_from(first >> 48).unwrap_or(u32::MAX);
            let mut verifier = LaneVerifier::new(head_before(keys, lane, first, since));
            let (mut last, end) = (first - 1, access_id(lane + 1, 0));
            loop {
                let count = connected(|| {
                    let rows = next(last, end);
                    for at in 0..rows.count {
                        let row = stored(&rows, at);
                        check_row(&row, &mut verifier, &mut chain_keys, report);
                        last = row.access_id;
                        ends.insert(lane, row.seq);
                    }
                    rows.count
                });
                rows_seen += count as u64;
                if count == 0 {
                    break;
                }
            }
        }
    });
    report.close(
        "chain",
        found_before,
        &format!("{rows_seen} rows in {} lanes", ends.len()),
    );
    ends
}

/// The first row of each lane that is no older than `since`. Rows after it count whatever their time: a refusal is written after
/// the moment it records, and clocks step back.
fn lane_starts(since: i64) -> Vec<i64> {
    let rows = LANE_STARTS.run(&mut [Some(pg_sys::Datum::from(since))]);
    (0..rows.count).filter_map(|row| rows.get(row, 1)).collect()
}

/// The head before the first row looked at: the lane's genesis, or the row before it when only recent rows are.
fn head_before(keys: &Keys, lane: u32, first: i64, since: i64) -> Head {
    let genesis = genesis(&keys.installation, lane);
    let seq = u64::try_from(first & 0xFFFF_FFFF_FFFF).unwrap_or(0);
    if since == EVERYTHING || seq <= 1 {
        return genesis;
    }
    let before = connected(|| BEFORE.run(&mut [bind(first - 1)]).get::<Vec<u8>>(0, 1));
    // Without a row before it the chain cannot be joined: starting at the genesis reports the gap.
    before
        .and_then(|mac| mac.try_into().ok())
        .map_or(genesis, |mac| Head { seq: seq - 1, mac })
}

fn check_row(
    row: &Stored<'_>,
    verifier: &mut LaneVerifier,
    chain_keys: &mut BTreeMap<i32, Option<ChainKey>>,
    report: &mut Report,
) {
    let place = format!(
        "lane {} seq {} (access_id {})",
        row.lane, row.seq, row.access_id
    );
    let version = row.row.as_ref().map_or(0, |row| row.chain_version);
    let key = chain_keys
        .entry(version)
        .or_insert_with(|| region::chain_key(u32::try_from(version).ok()?));
    let (leaf, key) = match (&row.row, key) {
        (Some(columns), Some(key)) => (columns.leaf(), &*key),
        (columns, _) => {
            report.finding(
                "chain",
                &format!(
                    "{place}: {}",
                    if columns.is_none() {
                        "altered"
                    } else {
                        "chained with a key that is not there"
                    }
                ),
            );
            *verifier = LaneVerifier::new(Head {
                seq: row.seq,
                mac: row.mac,
            });
            return;
        }
    };
    match verifier.check(row.seq, &leaf, &row.mac, key) {
        Ok(()) => {}
        Err(Finding::Gap { expected, found }) => report.finding(
            "chain",
            &format!("{place}: gap, expected seq {expected}, found {found}"),
        ),
        Err(Finding::Fork { .. }) => report.finding("chain", &format!("{place}: fork")),
        Err(Finding::Altered { .. }) => report.finding("chain", &format!("{place}: altered")),
    }
}

/// A running server remembers how far each lane had come. A lane that ends before that has lost its tail.
fn compare_heads(ends: &BTreeMap<u32, u64>, report: &mut Report) {
    let found_before = report.findings;
    let heads = lane::published();
    for (lane, seq) in &heads {
        if ends.get(lane).copied().unwrap_or(0) < *seq && !appears(*lane, *seq) {
            report.finding(
                "heads",
                &format!("lane {lane} should reach seq {seq} and ends before it: rows are missing"),
            );
        }
    }
    report.close(
        "heads",
        found_before,
        &format!("{} lanes reach as far as the server remembers", heads.len()),
    );
}

/// A head is published just before its transaction becomes visible, and rows committed while we read: so look again for a second.
fn appears(lane: u32, seq: u64) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let end = with_latest_snapshot(|| {
            connected(|| {
                LANE_END
                    .run(&mut [bind(access_id(lane, 0)), bind(access_id(lane + 1, 0))])
                    .get::<i64>(0, 1)
            })
        });
        end.is_some_and(|end| u64::try_from(end).unwrap_or(0) >= seq)
    })
}

fn check_guards(report: &mut Report) {
    let found_before = report.findings;
    for table in guards::unguarded() {
        report.finding(
            "guards",
            &format!("{table} has lost its append-only trigger or its row-level security"),
        );
    }
    for role in guards::opened_roles() {
        report.finding(
            "guards",
            &format!("{role} has members, memberships or attributes"),
        );
    }
    report.close("guards", found_before, "tables and roles have their guards");
}

/// The patterns that texts are searched for, and the verticals of subjects, must be what was recorded of them.
fn check_verticals(keys: &Keys, report: &mut Report) {
    let checks = [
        (
            "patterns",
            audit::patterns(&keys.installation),
            "patterns and their changes agree",
        ),
        (
            "verticals",
            audit::verticals(&keys.installation),
            "subjects, their histories and the log agree",
        ),
    ];
    for (check, findings, good) in checks {
        let found_before = report.findings;
        for finding in findings {
            report.finding(check, &finding);
        }
        report.close(check, found_before, good);
    }
}

/// What the DBA's table says must be what reads are decided by, and that must be what was put on the chain.
fn check_purposes(keys: &Keys, full: bool, report: &mut Report) {
    let found_before = report.findings;
    let unversioned = UNVERSIONED.run(&mut []);
    for token in (0..unversioned.count).filter_map(|row| unversioned.get::<&str>(row, 1)) {
        report.finding(
            "purposes",
            &format!("{token}: its definition is not its newest version"),
        );
    }
    if full {
        let events = PURPOSE_EVENTS.run(&mut []);
        let recorded = (0..events.count)
            .filter_map(|row| {
                Some((
                    (events.get::<String>(row, 1)?, events.get::<i32>(row, 2)?),
                    events.get::<Vec<u8>>(row, 3)?,
                ))
            })
            .collect::<BTreeMap<_, _>>();
        for (token, version) in content::all() {
            let digest = content::digest(&keys.installation, &token, version);
            let place = (token, version);
            if digest.is_none_or(|digest| recorded.get(&place).is_none_or(|known| known != &digest))
            {
                report.finding(
                    "purposes",
                    &format!(
                        "{} version {version}: its content is not what was recorded",
                        place.0
                    ),
                );
            }
        }
    }
    if full {
        let lost = UNREVOKED.run(&mut []);
        for token in (0..lost.count).filter_map(|row| lost.get::<&str>(row, 1)) {
            report.finding(
                "purposes",
                &format!("{token}: a revocation that was recorded is not there"),
            );
        }
        for wrong in policy::approvals(&keys.installation) {
            report.finding("purposes", &wrong);
        }
    }
    report.close(
        "purposes",
        found_before,
        "definitions, versions, approvals and records agree",
    );
}

/// Which logins are shut out must be what was put on the chain.
fn check_callers(keys: &Keys, report: &mut Report) {
    let found_before = report.findings;
    for wrong in policy::callers(&keys.installation) {
        report.finding("callers", &wrong);
    }
    report.close("callers", found_before, "revoked logins and records agree");
}
