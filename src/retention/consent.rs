//! `consent_sweep`: records that consents ran out. Reads were bound by it from the moment itself; this says so in the subject's state, its history and
//! on the chain, and tells caches.

use identity_core::field::FieldSet;
use identity_core::vocabulary::{ConsentKind, ConsentStatus, Vertical};
use pgrx::pg_sys;

use super::sweep::{Due, Ended, Range, due_of};
use crate::bucket;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::consent::event::{Consent, EXPIRED, Event};
use crate::keys::region::Keys;
use crate::query::{Rows, Statement, bind, connected};
use crate::record::{Entry, Fate, Line};
use crate::sql_function::uuid;
use crate::subject::many::{AT_ONCE, with_work_mem};
use crate::subject::standing::as_of;

static DUE: Statement = Statement::read(
    c"SELECT candidate_id, vertical, 'consent_expired' FROM identity.subjects
       WHERE candidate_id > $1 AND candidate_id <= $2 AND erased_at IS NULL
         AND (consent_status = 'given' AND consent_valid_until <= $3 OR biometric_consent_status = 'given' AND biometric_consent_valid_until <= $3)
       ORDER BY candidate_id LIMIT $4",
    &[pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID],
);

/// What each row's event says: the subject, its generation and vertical, and the version and end of the consent that ran out; last, what its general
/// consent is good for.
static EXPIRE_GENERAL: Statement = Statement::write(
    c"UPDATE identity.subjects SET consent_status = 'expired', generation = generation + 1, updated_at = $2
       WHERE candidate_id = ANY ($1) AND erased_at IS NULL AND consent_status = 'given' AND consent_valid_until <= $2
   RETURNING candidate_id, generation, vertical, consent_version, consent_valid_until, consent_status, consent_valid_until",
    &[pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZOID],
);
static EXPIRE_BIOMETRIC: Statement = Statement::write(
    c"UPDATE identity.subjects SET biometric_consent_status = 'expired', generation = generation + 1, updated_at = $2
       WHERE candidate_id = ANY ($1) AND erased_at IS NULL AND biometric_consent_status = 'given' AND biometric_consent_valid_until <= $2
   RETURNING candidate_id, generation, vertical, biometric_consent_version, biometric_consent_valid_until, consent_status, consent_valid_until",
    &[pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZOID],
);

/// The subjects have it all by now, but for who recorded it and when.
static KEEP_GENERAL: Statement = Statement::write(
    c"INSERT INTO identity.consent_history (access_id, candidate_id, kind, status, version, valid_until, generation, recorded_by, recorded_at)
      SELECT e.access_id, s.candidate_id, 'general', 'expired', s.consent_version, s.consent_valid_until, s.generation, $3::name, $4
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS e (access_id, candidate_id) JOIN identity.subjects s ON s.candidate_id = e.candidate_id",
    &KEPT,
);
static KEEP_BIOMETRIC: Statement = Statement::write(
    c"INSERT INTO identity.consent_history (access_id, candidate_id, kind, status, version, valid_until, generation, recorded_by, recorded_at)
      SELECT e.access_id, s.candidate_id, 'biometric', 'expired', s.biometric_consent_version, s.biometric_consent_valid_until, s.generation, $3::name, $4
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS e (access_id, candidate_id) JOIN identity.subjects s ON s.candidate_id = e.candidate_id",
    &KEPT,
);
const KEPT: [pg_sys::Oid; 4] = [
    pg_sys::INT8ARRAYOID,
    pg_sys::UUIDARRAYOID,
    pg_sys::TEXTOID,
    pg_sys::TIMESTAMPTZOID,
];

/// One kind of consent.
struct Of {
    kind: ConsentKind,
    expire: &'static Statement,
    keep: &'static Statement,
}

static KINDS: [Of; 2] = [
    Of {
        kind: ConsentKind::General,
        expire: &EXPIRE_GENERAL,
        keep: &KEEP_GENERAL,
    },
    Of {
        kind: ConsentKind::Biometric,
        expire: &EXPIRE_BIOMETRIC,
        keep: &KEEP_BIOMETRIC,
    },
];

/// Those of whom some consent ran out. Runs inside a call's snapshot.
pub fn due(range: &Range, most: i64) -> Vec<Due> {
    let rows = DUE.run(&mut [
        bind(pgrx::Uuid::from_bytes(range.after)),
        bind(pgrx::Uuid::from_bytes(range.up_to)),
        Some(pg_sys::Datum::from(clock::now())),
        bind(most),
    ]);
    due_of(&rows)
}

/// Those of one kind of consent together.
pub fn end(call: &mut Call, keys: &Keys, due: &[Due]) -> Ended {
    let candidates = due.iter().map(|due| due.candidate).collect::<Vec<_>>();
    let now = clock::now();
    for of in &KINDS {
        for candidates in candidates.chunks(AT_ONCE) {
            with_work_mem(|| connected(|| expire(call, keys, of, candidates, now)));
        }
    }
    // Nobody is refused now who was not before; but what is answered from here on is of the new generation.
    bucket::keep_reads_out(&candidates);
    Ended {
        done: candidates.len(),
        failed: 0,
    }
}

fn expire(call: &mut Call, keys: &Keys, of: &Of, candidates: &[[u8; 16]], now: i64) {
    let ids = |ids: &[[u8; 16]]| {
        let ids = ids.iter().map(|id| pgrx::Uuid::from_bytes(*id));
        bind(ids.collect::<Vec<_>>())
    };
    let at = Some(pg_sys::Datum::from(now));
    let rows = of.expire.run(&mut [ids(candidates), at]);
    if rows.count == 0 {
        return;
    }
    let role = call.caller.role();
    let expired = (0..rows.count).filter_map(|row| {
        let candidate = rows.datum(row, 1).map(uuid)?;
        let generation = rows.get(row, 2)?;
        let event = Event {
            candidate,
            recorded_by: role.as_str(),
            recorded_at: now,
            text: None,
        };
        let consent = Consent {
            kind: of.kind.as_str(),
            status: EXPIRED,
            version: rows.get(row, 4),
            valid_until: rows.moment(row, 5),
            generation,
        };
        let line = Line {
            entry: Entry {
                at: now + UNIX_EPOCH_MICROS,
                candidate: Some(candidate),
                generation: Some(generation),
                vertical: rows.get(row, 3).and_then(Vertical::parse),
                consent: general(&rows, row, now),
                ..Entry::now()
            },
            fate: Fate::event(event.consent_digest(&keys.installation, &consent)),
            fields: FieldSet::EMPTY,
        };
        Some((candidate, line))
    });
    let (candidates, lines): (Vec<_>, Vec<_>) = expired.unzip();
    let access_ids = call.append_batch(keys, &lines);
    of.keep
        .run(&mut [bind(access_ids), ids(&candidates), bind(role.as_str()), at]);
}

/// What the subject's general consent is good for now.
fn general(rows: &Rows, row: usize, now: i64) -> Option<ConsentStatus> {
    let status = rows.get(row, 6).and_then(ConsentStatus::parse)?;
    Some(as_of(status, rows.last_moment(row), now))
}
