//! What `ledger_verify` asks: is the pattern list the one that its recorded changes make, and is each subject's vertical the one that was last
//! recorded of it?

use std::collections::BTreeSet;

use identity_core::evidence_digest;
use pgrx::pg_sys;

use super::history::{self, Cause};
use crate::ledger::dropped;
use crate::query::{Rows, Statement, bind};

static UNRECORDED: Statement = Statement::read(
    c"SELECT COALESCE(p.pattern, c.pattern)
        FROM identity.vertical_patterns p
        FULL JOIN (SELECT DISTINCT ON (n.pattern) n.pattern, n.kind, n.state FROM identity.vertical_pattern_changes n ORDER BY n.pattern, n.change_no DESC) c
          ON c.pattern = p.pattern
       WHERE (p.pattern IS NULL AND c.state <> 'removed') OR c.pattern IS NULL
          OR (p.kind, CASE WHEN p.enabled THEN 'enabled' ELSE 'disabled' END) IS DISTINCT FROM (c.kind, c.state) AND p.pattern IS NOT NULL
       ORDER BY 1",
    &[],
);
static RECORDED: Statement = Statement::read(
    c"SELECT event_digest FROM identity.pii_access_log WHERE accessor_kind = 'pattern_change' AND outcome = 'committed'",
    &[],
);

static HISTORY: Statement = Statement::read(
    c"SELECT h.access_id, h.kind, h.source, h.patterns, h.before, h.after, h.generation, h.note_digest, l.event_digest,
             l.candidate_id = h.candidate_id, t.salt, t.content, s.erased_at IS NULL
        FROM identity.vertical_history h
        LEFT JOIN identity.pii_access_log l ON l.access_id = h.access_id AND l.outcome = 'committed' AND l.accessor_kind = 'vertical_' || h.kind
        LEFT JOIN identity.subject_texts t ON t.access_id = h.access_id AND t.candidate_id = h.candidate_id
        LEFT JOIN identity.subjects s ON s.candidate_id = h.candidate_id
       WHERE h.access_id > $1 ORDER BY h.access_id LIMIT 5000",
    &[pg_sys::INT8OID],
);
static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind IN ('vertical_escalation', 'vertical_review')
         AND NOT EXISTS (SELECT FROM identity.vertical_history h WHERE h.access_id = l.access_id)",
    &[],
);
/// A registration says unknown or healthcare; after it nobody but these three sets a vertical. A subject that is older than a month that was dropped may
/// have got its own in it.
static UNFOUNDED: Statement = Statement::read(
    c"WITH newest AS (SELECT DISTINCT ON (candidate_id) candidate_id, vertical FROM identity.pii_access_log
                       WHERE outcome = 'committed' AND accessor_kind IN ('import', 'vertical_escalation', 'vertical_review')
                       ORDER BY candidate_id, generation DESC)
      SELECT s.candidate_id::text FROM identity.subjects s LEFT JOIN newest n ON n.candidate_id = s.candidate_id
       WHERE s.erased_at IS NULL
         AND (n.candidate_id IS NOT NULL OR NOT EXISTS (SELECT FROM identity.ledger_expired e WHERE e.partition >= pg_catalog.to_char(s.created_at AT TIME ZONE 'UTC', 'YYYY-MM')))
         AND CASE WHEN n.vertical IS NULL THEN s.vertical NOT IN ('unknown', 'healthcare') ELSE s.vertical <> n.vertical END",
    &[],
);

/// What is wrong with the verticals of subjects: one line a finding. Runs inside a call's snapshot.
pub fn verticals(installation: &[u8; 16]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut last = 0_i64;
    loop {
        let rows = HISTORY.run(&mut [bind(last)]);
        if rows.count == 0 {
            break;
        }
        for row in 0..rows.count {
            last = rows.get(row, 1).unwrap_or(i64::MAX);
            if !as_recorded(installation, &rows, row, last) {
                findings.push(format!("{last}: not the change that was recorded"));
            } else if !note_as_recorded(&rows, row) {
                findings.push(format!("{last}: its note is not the one that was recorded"));
            }
        }
    }
    let lost = LOST.run(&mut []);
    findings.extend(
        (0..lost.count)
            .filter_map(|row| lost.get::<i64>(row, 1))
            .map(|id| format!("{id}: a recorded change that the history has not")),
    );
    let unfounded = UNFOUNDED.run(&mut []);
    findings.extend(
        (0..unfounded.count)
            .filter_map(|row| unfounded.get::<String>(row, 1))
            .map(|id| format!("subject {id}: its vertical is not the one that was last recorded")),
    );
    findings
}

fn as_recorded(installation: &[u8; 16], rows: &Rows, row: usize, access_id: i64) -> bool {
    let text = |column| rows.get::<String>(row, column);
    let (source, patterns) = (text(3), text(4));
    let cause = match (text(2).as_deref(), &source, patterns) {
        (Some("escalation"), Some(source), Some(patterns)) => {
            Some(Cause::Text { source, patterns })
        }
        (Some("review"), None, None) => note_digest(rows, row).map(|note| Cause::Review { note }),
        _ => None,
    };
    let (Some(cause), Some(before), Some(after), Some(generation)) =
        (cause, text(5), text(6), rows.get(row, 7))
    else {
        return false;
    };
    let digest = history::digest(installation, &cause, &before, &after, generation);
    match rows.bytes(row, 9) {
        Some(known) => known == digest && rows.get(row, 10) == Some(true),
        None => dropped::event(access_id),
    }
}

/// A note goes with an erasure, and with nothing else.
fn note_as_recorded(rows: &Rows, row: usize) -> bool {
    let Some(digest) = note_digest(rows, row) else {
        return true;
    };
    let salt = rows.bytes(row, 11).and_then(|salt| salt.try_into().ok());
    match (salt, rows.get::<String>(row, 12)) {
        (Some(salt), Some(note)) => evidence_digest(&salt, &note) == digest,
        _ => rows.get(row, 13) != Some(true),
    }
}

fn note_digest(rows: &Rows, row: usize) -> Option<[u8; 32]> {
    rows.bytes(row, 8)?.try_into().ok()
}

/// What is wrong with the list of patterns: one line a finding. Runs inside a call's snapshot.
pub fn patterns(installation: &[u8; 16]) -> Vec<String> {
    let rows = UNRECORDED.run(&mut []);
    let mut findings = (0..rows.count)
        .filter_map(|row| rows.get::<String>(row, 1))
        .map(|pattern| format!("pattern \"{pattern}\" is not what its last change says"))
        .collect::<Vec<_>>();
    let log = RECORDED.run(&mut []);
    let recorded = (0..log.count)
        .filter_map(|row| log.bytes(row, 1).map(<[u8]>::to_vec))
        .collect::<BTreeSet<_>>();
    for (number, digest) in super::patterns::digests(installation) {
        if digest.is_none_or(|digest| !recorded.contains(digest.as_slice()))
            && !dropped::pattern_change(number)
        {
            findings.push(format!(
                "change {number} of the patterns is not the one that was recorded"
            ));
        }
    }
    findings
}
