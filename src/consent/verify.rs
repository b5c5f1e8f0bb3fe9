//! What the consent tables say must be what was put on the chain, and what subjects stand at must be what was last recorded of them.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use super::event::{self, Consent, Event};
use super::{template, texts};
use crate::keys::region::Keys;
use crate::ledger::dropped;
use crate::ledger::verify::Report;
use crate::query::{Rows, Statement, bind};

const CHECK: &str = "consent";

static VERSION_EVENTS: Statement = Statement::read(
    c"SELECT event_digest FROM identity.pii_access_log WHERE accessor_kind = 'consent_version' AND outcome = 'committed'",
    &[],
);

/// A version ends when the first of the later ones begins.
static MISDATED: Statement = Statement::read(
    c"SELECT v.version FROM identity.consent_versions v
       WHERE v.superseded_at IS DISTINCT FROM (
             SELECT pg_catalog.min(n.effective_at) FROM identity.consent_versions n WHERE n.kind = v.kind AND n.ordinal > v.ordinal)",
    &[],
);

/// The time narrows the search to one partition; it is the same in both.
static CONSENTS: Statement = Statement::read(
    c"SELECT h.candidate_id, h.recorded_by::text, h.recorded_at, h.evidence_digest, h.access_id, l.event_digest, t.salt, t.content, s.erased_at IS NULL,
             h.kind, h.status, h.version, h.valid_until, h.generation
        FROM identity.consent_history h
        LEFT JOIN identity.pii_access_log l
          ON l.access_id = h.access_id AND l.accessed_at = h.recorded_at AND l.outcome = 'committed'
         AND l.accessor_kind = CASE h.status WHEN 'expired' THEN 'consent_expiry' ELSE 'consent' END
        LEFT JOIN identity.subject_texts t ON t.access_id = h.access_id AND t.candidate_id = h.candidate_id
        LEFT JOIN identity.subjects s ON s.candidate_id = h.candidate_id
       WHERE h.access_id > $1 ORDER BY h.access_id LIMIT 5000",
    &[pg_sys::INT8OID],
);
static EU: Statement = Statement::read(
    c"SELECT h.candidate_id, h.recorded_by::text, h.recorded_at, h.text_digest, h.access_id, l.event_digest, t.salt, t.content, s.erased_at IS NULL,
             h.eu_resident
        FROM identity.eu_history h
        LEFT JOIN identity.pii_access_log l
          ON l.access_id = h.access_id AND l.accessed_at = h.recorded_at AND l.accessor_kind = 'eu_status' AND l.outcome = 'committed'
        LEFT JOIN identity.subject_texts t ON t.access_id = h.access_id AND t.candidate_id = h.candidate_id
        LEFT JOIN identity.subjects s ON s.candidate_id = h.candidate_id
       WHERE h.access_id > $1 ORDER BY h.access_id LIMIT 5000",
    &[pg_sys::INT8OID],
);

static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed'
         AND (l.accessor_kind IN ('consent', 'consent_expiry') AND NOT EXISTS (SELECT FROM identity.consent_history h WHERE h.access_id = l.access_id)
              OR l.accessor_kind = 'eu_status' AND NOT EXISTS (SELECT FROM identity.eu_history h WHERE h.access_id = l.access_id))",
    &[],
);

/// Subjects whose state is not the one of their newest access row that set it. Nobody but these three sets it after registration; a row written after a
/// consent ran out says expired, and the subject still given. One that is older than a month that was dropped may have been set in it.
static UNFOUNDED: Statement = Statement::read(
    c"WITH newest AS (SELECT DISTINCT ON (candidate_id) candidate_id, consent_status FROM identity.pii_access_log
                       WHERE outcome = 'committed' AND accessor_kind IN ('import', 'consent', 'consent_expiry') ORDER BY candidate_id, generation DESC)
      SELECT s.candidate_id::text FROM identity.subjects s LEFT JOIN newest n ON n.candidate_id = s.candidate_id
       WHERE s.erased_at IS NULL
         AND (n.candidate_id IS NOT NULL OR NOT EXISTS (SELECT FROM identity.ledger_expired e WHERE e.partition >= pg_catalog.to_char(s.created_at AT TIME ZONE 'UTC', 'YYYY-MM')))
         AND s.consent_status <> COALESCE(n.consent_status, 'pending_first_contact')
         AND NOT (n.consent_status = 'expired' AND s.consent_status = 'given' AND s.consent_valid_until IS NOT NULL)",
    &[],
);

/// Subjects whose consent is not what was last recorded of it, unless an import came after.
static DIVERGED: Statement = Statement::read(
    c"WITH imported AS (SELECT candidate_id, pg_catalog.max(generation) AS generation FROM identity.pii_access_log
                         WHERE outcome = 'committed' AND accessor_kind = 'import' GROUP BY candidate_id),
           newest AS (SELECT DISTINCT ON (candidate_id, kind) * FROM identity.consent_history ORDER BY candidate_id, kind, generation DESC)
      SELECT s.candidate_id::text
        FROM newest n JOIN identity.subjects s ON s.candidate_id = n.candidate_id LEFT JOIN imported i ON i.candidate_id = n.candidate_id
       WHERE s.erased_at IS NULL
         AND CASE WHEN n.kind = 'biometric' THEN (s.biometric_consent_status, s.biometric_consent_version, s.biometric_consent_valid_until) IS DISTINCT FROM (n.status, n.version, n.valid_until)
                  WHEN i.generation > n.generation THEN false
                  ELSE (s.consent_status, s.consent_version, s.consent_valid_until) IS DISTINCT FROM (n.status, n.version, n.valid_until) END",
    &[],
);

/// Consents that were said to have run out, and had not: what was given held for longer by what stood there at the time.
static PREMATURE: Statement = Statement::read(
    c"SELECT h.access_id FROM identity.consent_history h
       WHERE h.status = 'expired' AND (h.valid_until IS NULL OR h.valid_until > h.recorded_at OR NOT EXISTS (
             SELECT FROM identity.consent_history g
              WHERE g.candidate_id = h.candidate_id AND g.kind = h.kind AND g.status = 'given' AND g.generation < h.generation AND g.valid_until = h.valid_until))",
    &[],
);

/// Compares all of it, and says by name what does not fit. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    check_versions(keys, report);
    check_events(&CONSENTS, report, |event, rows, at| {
        let consent = Consent {
            kind: rows.get(at, 10)?,
            status: rows.get(at, 11)?,
            version: rows.get(at, 12),
            valid_until: rows.moment(at, 13),
            generation: rows.get(at, 14)?,
        };
        Some(event.consent_digest(&keys.installation, &consent))
    });
    check_events(&EU, report, |event, rows, at| {
        Some(event.eu_digest(&keys.installation, rows.get(at, 10)?))
    });
    let lost = LOST.run(&mut []);
    report.events(CHECK, &lost, "its readable row is not there");
    let premature = PREMATURE.run(&mut []);
    let what = "no consent ran out that was given until then";
    report.events(CHECK, &premature, what);
    for statement in [&UNFOUNDED, &DIVERGED] {
        let subjects = statement.run(&mut []);
        let what = "its consent is not what was last recorded";
        report.subjects(CHECK, &subjects, what);
    }
    report.close(CHECK, "versions, subjects and records agree");
}

fn check_versions(keys: &Keys, report: &mut Report) {
    let events = VERSION_EVENTS.run(&mut []);
    let mut recorded: BTreeMap<Vec<u8>, bool> = (0..events.count)
        .filter_map(|row| Some((events.get(row, 1)?, false)))
        .collect();
    for (version, digest) in template::all(&keys.installation) {
        match recorded.get_mut(digest.as_slice()) {
            Some(seen) => *seen = true,
            None if dropped::consent_version(&version) => {}
            None => report.finding(
                CHECK,
                &format!("version {version}: its content is not what was recorded"),
            ),
        }
    }
    for _ in recorded.values().filter(|seen| !**seen) {
        report.finding(CHECK, "a version that was recorded is not there");
    }
    let misdated = MISDATED.run(&mut []);
    for version in (0..misdated.count).filter_map(|row| misdated.get::<&str>(row, 1)) {
        report.finding(
            CHECK,
            &format!("version {version}: it does not end when the next one begins"),
        );
    }
}

/// Follows one history; `digest` is how its rows are digested.
fn check_events(
    statement: &Statement,
    report: &mut Report,
    digest: impl Fn(&Event<'_>, &Rows, usize) -> Option<[u8; 32]>,
) {
    let mut last = i64::MIN;
    loop {
        let rows = statement.run(&mut [bind(last)]);
        for at in 0..rows.count {
            last = rows.get(at, 5).unwrap_or(i64::MAX);
            let event = event::stored(&rows, at);
            let computed = event.as_ref().and_then(|event| digest(event, &rows, at));
            let known = rows.bytes(at, 6);
            let fits = match &computed {
                Some(computed) => {
                    known == Some(computed) || known.is_none() && dropped::event(last)
                }
                None => false,
            };
            if !fits {
                report.finding(
                    CHECK,
                    &format!("access_id {last}: it is not what was recorded"),
                );
            }
            if !event.is_some_and(|event| text_fits(&event, &rows, at)) {
                report.finding(
                    CHECK,
                    &format!("access_id {last}: the text beside it is gone or another one"),
                );
            }
        }
        if rows.count == 0 {
            break;
        }
    }
}

/// Only an erasure takes a text away.
fn text_fits(event: &Event<'_>, rows: &Rows, at: usize) -> bool {
    let text = rows.bytes(at, 7).zip(rows.get(at, 8));
    texts::fits(event.text, text, rows.get(at, 9) == Some(true))
}
