//! What is said of subjects' biometrics must be what was put on the chain, and what subjects have must be what was last recorded of them.

use pgrx::pg_sys;

use super::event::{self, Event};
use crate::consent::texts;
use crate::keys::region::Keys;
use crate::ledger::dropped;
use crate::ledger::verify::Report;
use crate::query::{Rows, Statement, bind};

const CHECK: &str = "biometrics";

/// The time narrows the search to one partition; it is the same in both. A text goes with an erasure, of the biometrics or of the subject, and with nothing
/// else.
static HISTORY: Statement = Statement::read(
    c"SELECT h.candidate_id, h.kind, h.consent_version, h.schedule_version, h.retention_until, h.reason, h.file, h.erasure, h.generation, h.recorded_by::text,
             h.recorded_at, h.text_digest, h.access_id, l.event_digest, t.salt, t.content,
             s.erased_at IS NULL AND NOT EXISTS (SELECT FROM identity.biometric_history e
                                                  WHERE e.candidate_id = h.candidate_id AND e.kind = 'erase' AND e.generation > h.generation)
        FROM identity.biometric_history h
        LEFT JOIN identity.pii_access_log l
          ON l.access_id = h.access_id AND l.accessed_at = h.recorded_at AND l.outcome = 'committed' AND l.candidate_id = h.candidate_id
         AND l.accessor_kind = CASE h.kind WHEN 'file' THEN 'biometric_erase' ELSE 'biometric_' || h.kind END
        LEFT JOIN identity.subject_texts t ON t.access_id = h.access_id AND t.candidate_id = h.candidate_id AND t.kind = 'biometric'
        LEFT JOIN identity.subjects s ON s.candidate_id = h.candidate_id
       WHERE h.access_id > $1 ORDER BY h.access_id LIMIT 5000",
    &[pg_sys::INT8OID],
);

static LOST: Statement = Statement::read(
    c"SELECT l.access_id FROM identity.pii_access_log l
       WHERE l.outcome = 'committed' AND l.accessor_kind IN ('biometric_attach', 'biometric_classify', 'biometric_erase')
         AND NOT EXISTS (SELECT FROM identity.biometric_history h WHERE h.access_id = l.access_id)",
    &[],
);

/// Subjects whose biometrics are not the ones of their newest collection, or that have some although the newest event took them or there never was one.
static DIVERGED: Statement = Statement::read(
    c"WITH newest AS (SELECT DISTINCT ON (candidate_id) * FROM identity.biometric_history WHERE kind IN ('attach', 'erase') ORDER BY candidate_id, generation DESC)
      SELECT s.candidate_id::text
        FROM identity.subjects s
        LEFT JOIN newest n ON n.candidate_id = s.candidate_id
        LEFT JOIN identity.subject_texts t ON t.access_id = n.access_id AND t.candidate_id = n.candidate_id
       WHERE s.erased_at IS NULL
         AND CASE WHEN n.kind = 'attach' THEN
                       (s.biometric_collected_at, s.biometric_retention_until) IS DISTINCT FROM (n.recorded_at, n.retention_until)
                       OR pg_catalog.jsonb_build_object('data_path', s.biometric_data_path, 'template_hash', s.biometric_template_hash)::text IS DISTINCT FROM t.content
                       OR (s.biometric_classifications_ct IS NOT NULL)
                          <> EXISTS (SELECT FROM identity.biometric_history c WHERE c.candidate_id = n.candidate_id AND c.kind = 'classify' AND c.generation > n.generation)
                  ELSE s.biometric_collected_at IS NOT NULL OR s.biometric_retention_until IS NOT NULL OR s.biometric_data_path IS NOT NULL
                       OR s.biometric_template_hash IS NOT NULL OR s.biometric_classifications_ct IS NOT NULL END",
    &[],
);

/// Erasures whose file was to be destroyed, and that have neither a file on the list nor the record of its end; and files on the list that no erasure put there,
/// or whose end is recorded.
static ASTRAY: Statement = Statement::read(
    c"SELECT e.access_id FROM identity.biometric_history e
       WHERE e.kind = 'erase' AND e.file = 'waiting'
         AND (SELECT pg_catalog.count(*) FROM identity.files_to_destroy f WHERE f.access_id = e.access_id)
             + (SELECT pg_catalog.count(*) FROM identity.biometric_history d WHERE d.candidate_id = e.candidate_id AND d.kind = 'file' AND d.erasure = e.access_id) <> 1
      UNION ALL
      SELECT f.access_id FROM identity.files_to_destroy f
       WHERE NOT EXISTS (SELECT FROM identity.pii_access_log l WHERE l.access_id = f.access_id AND l.candidate_id = f.candidate_id AND l.outcome = 'committed'
                            AND l.accessor_kind IN ('biometric_erase', 'erasure'))",
    &[],
);

/// Compares all of it, and says by name what does not fit. Runs inside a call's snapshot.
pub fn check(keys: &Keys, report: &mut Report) {
    check_history(keys, report);
    let lost = LOST.run(&mut []);
    report.events(CHECK, &lost, "its readable row is not there");
    let diverged = DIVERGED.run(&mut []);
    let what = "its biometrics are not what was last recorded";
    report.subjects(CHECK, &diverged, what);
    let astray = ASTRAY.run(&mut []);
    for id in (0..astray.count).filter_map(|row| astray.get::<i64>(row, 1)) {
        if !dropped::event(id) {
            report.finding(
                CHECK,
                &format!("access_id {id}: the list of files to destroy is not what was recorded"),
            );
        }
    }
    report.close(CHECK, "subjects, files and records agree");
}

fn check_history(keys: &Keys, report: &mut Report) {
    let mut last = i64::MIN;
    loop {
        let rows = HISTORY.run(&mut [bind(last)]);
        for at in 0..rows.count {
            last = rows.get(at, 13).unwrap_or(i64::MAX);
            let event = event::stored(&rows, at);
            let digest = event.as_ref().map(|event| event.digest(&keys.installation));
            let fits = match (rows.bytes(at, 14), &digest) {
                (Some(known), Some(digest)) => known == digest,
                (None, Some(_)) => dropped::event(last),
                (_, None) => false,
            };
            if !fits {
                report.finding(
                    CHECK,
                    &format!("access_id {last}: it is not what was recorded"),
                );
            } else if !event.is_some_and(|event| text_fits(&event, &rows, at)) {
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

fn text_fits(event: &Event<'_>, rows: &Rows, at: usize) -> bool {
    let text = rows.bytes(at, 15).zip(rows.get(at, 16));
    texts::fits(event.text, text, rows.get(at, 17) == Some(true))
}
