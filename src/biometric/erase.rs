//! Destroys the biometrics of one subject or many: the columns, the texts about them, and, once the transaction has committed, the uploaded files.

use std::collections::HashMap;

use identity_core::field::FieldSet;
use pgrx::pg_sys;

use super::event::{ERASURE, Event, Kind};
use super::files;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::keys::region::Keys;
use crate::query::{Statement, bind};
use crate::record::{Entry, Fate, Line, Short};
use crate::sql_function::uuid;
use crate::subject::standing::Standing;
use crate::tombstone;

/// Whoever has any of it, whatever is missing of the rest. Ends with consent_valid_until, as `Standing` asks.
static COLLECTED: Statement = Statement::read(
    c"SELECT vertical, consent_status, false, generation, candidate_id, biometric_data_path, biometric_collected_at, consent_valid_until
        FROM identity.subjects
       WHERE candidate_id = ANY ($1) AND erased_at IS NULL
         AND (biometric_collected_at IS NOT NULL OR biometric_data_path IS NOT NULL OR biometric_template_hash IS NOT NULL
              OR biometric_classifications_ct IS NOT NULL OR biometric_retention_until IS NOT NULL)
       ORDER BY candidate_id",
    &[pg_sys::UUIDARRAYOID],
);

static CLEAR: Statement = Statement::write(
    c"UPDATE identity.subjects
         SET biometric_data_path = NULL, biometric_template_hash = NULL, biometric_collected_at = NULL, biometric_retention_until = NULL,
             biometric_classifications_ct = NULL, updated_at = $2, generation = generation + 1
       WHERE candidate_id = ANY ($1) RETURNING candidate_id, generation",
    &[pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZOID],
);

static CLEAR_TEXTS: Statement = Statement::write(
    c"DELETE FROM identity.subject_texts WHERE candidate_id = ANY ($1) AND kind = 'biometric'",
    &[pg_sys::UUIDARRAYOID],
);

/// Destroys what there is, and records it; returns the access ids, one for each subject that had biometrics, in the order of the subjects' ids. An erasure
/// of whole subjects calls it first, so that what becomes of a file is recorded in one place.
///
/// The writers' locks of the subjects are held, the latest snapshot is pushed, SPI is connected. Reads need not be kept out: none returns biometrics.
pub fn erase(
    call: &mut Call,
    keys: &Keys,
    candidates: &[[u8; 16]],
    reason: &str,
    authority: &str,
) -> Vec<i64> {
    let rows = COLLECTED.run(&mut [ids(candidates)]);
    if rows.count == 0 {
        return Vec::new();
    }
    let now = clock::now();
    let mut lines = Vec::with_capacity(rows.count);
    let mut uploads = Vec::with_capacity(rows.count);
    let mut collected = Vec::with_capacity(rows.count);
    for row in 0..rows.count {
        let Some(candidate) = rows.datum(row, 5).map(uuid) else {
            continue;
        };
        let mut entry = Entry {
            at: now + UNIX_EPOCH_MICROS,
            candidate: Some(candidate),
            ..Entry::now()
        };
        Standing::at(&rows, row).note(&mut entry);
        lines.push(Line {
            entry,
            fate: Fate::READ,
            fields: FieldSet::EMPTY,
        });
        uploads.push((candidate, rows.get::<String>(row, 6)));
        // Of those that somebody wrote here by hand the moment may be missing.
        let collected_at = rows.moment(row, 7);
        collected.push((
            candidate,
            collected_at.map_or(0, |at| at + UNIX_EPOCH_MICROS),
        ));
    }
    let candidates = uploads.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let generations = clear(&candidates, now);

    let role = call.caller.role();
    let events = uploads.iter().map(|(candidate, path)| Event {
        reason: Some(reason),
        schedule_version: Some(authority).filter(|authority| !authority.is_empty()),
        file: path.as_deref().map(|path| files::fate(path, candidate)),
        ..Event::new(
            Kind::Erase,
            *candidate,
            generations.get(candidate).copied().unwrap_or(0),
            role.as_str(),
            now,
        )
    });
    let events = events.collect::<Vec<_>>();
    for (line, event) in lines.iter_mut().zip(&events) {
        line.entry.generation = Some(event.generation);
        line.fate = Fate::event(event.digest(&keys.installation));
    }
    // The call may be a sweep's, or an erasure's of whole subjects: these rows are about their biometrics.
    let before = call.shape;
    call.shape.kind = Kind::Erase.accessor();
    call.shape.purpose = Short::new(ERASURE);
    let access_ids = call.append_batch(keys, &lines);
    call.shape = before;
    tombstone::add_biometrics(keys, &access_ids, &collected);

    for ((event, (candidate, path)), access_id) in events.iter().zip(&uploads).zip(&access_ids) {
        event.keep(*access_id);
        if let Some(path) = path {
            files::due(*access_id, candidate, path);
        }
    }
    access_ids
}

/// Takes the columns and the texts away; returns the new generations.
fn clear(candidates: &[[u8; 16]], now: i64) -> HashMap<[u8; 16], i32> {
    let cleared = CLEAR.run(&mut [ids(candidates), Some(pg_sys::Datum::from(now))]);
    let generations = (0..cleared.count)
        .filter_map(|row| Some((cleared.datum(row, 1).map(uuid)?, cleared.get(row, 2)?)))
        .collect();
    CLEAR_TEXTS.run(&mut [ids(candidates)]);
    generations
}

fn ids(candidates: &[[u8; 16]]) -> Option<pg_sys::Datum> {
    let ids = candidates.iter().map(|id| pgrx::Uuid::from_bytes(*id));
    bind(ids.collect::<Vec<_>>())
}
