//! The one path on which subjects are erased, one or many: everything about them goes in one transaction, and an event for each says so.

use std::collections::{BTreeMap, HashMap};

use identity_core::field::FieldSet;
use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::record::{self, Act, Done};
use super::stores;
use crate::biometric;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::error;
use crate::forget::{Cleaned, clean};
use crate::keys::region::Keys;
use crate::query::{Rows, Statement, bind, connected};
use crate::record::{Entry, Fate, Line, Short};
use crate::scrub::waits::{self, What};
use crate::sql_function::uuid;
use crate::subject::many::{AT_ONCE, with_work_mem};
use crate::subject::register::fresh_ids;
use crate::subject::standing::Standing;
use crate::tombstone;

/// Subjects that are there and not erased. The request that stands, if there is one, is fulfilled by whatever erases its subject.
static PRESENT: Statement = Statement::read(
    c"SELECT s.vertical, s.consent_status, s.erased_at IS NOT NULL, s.generation, s.candidate_id, r.request_id, r.reason,
             s.biometric_collected_at IS NOT NULL OR s.biometric_data_path IS NOT NULL OR s.biometric_template_hash IS NOT NULL
               OR s.biometric_classifications_ct IS NOT NULL OR s.biometric_retention_until IS NOT NULL,
             s.consent_valid_until
        FROM identity.subjects s LEFT JOIN identity.erasure_requests r ON r.candidate_id = s.candidate_id AND r.state <> 'refused'
       WHERE s.candidate_id = ANY ($1) AND s.erased_at IS NULL",
    &[pg_sys::UUIDARRAYOID],
);

/// Somebody to erase.
pub struct Wanted {
    pub candidate: [u8; 16],
    /// The request that is to be fulfilled, and no other; `None`: whichever stands, or none.
    pub request: Option<[u8; 16]>,
}

/// Why, and who allows it.
pub struct Ground<'a> {
    /// The reason of those whom nobody asked for.
    pub reason: &'a str,
    pub authority: &'a str,
    /// The purpose token of the rows.
    pub purpose: &'a str,
}

/// A subject on its way out.
struct Subject {
    standing: Standing,
    request: [u8; 16],
    reason: String,
    asked: bool,
    biometrics: bool,
    erasure_generation: i32,
}

/// Erases subjects: clears every store of them, and leaves an event for each, whose access ids it returns in the order of the subjects' ids. Those that are
/// not there, or erased already, are left out.
///
/// The writers' locks of all of them are held, the latest snapshot is pushed. Reads go on: whoever calls keeps them out (`bucket::keep_reads_out`) as the
/// last thing before the transaction ends, once nothing more is to be waited for.
pub fn erase(
    call: &mut Call,
    keys: &Keys,
    wanted: &[Wanted],
    ground: &Ground<'_>,
) -> Result<Vec<i64>, Reason> {
    connected(|| {
        let mut subjects = BTreeMap::new();
        for wanted in wanted.chunks(AT_ONCE) {
            connected(|| present(wanted, ground.reason, &mut subjects));
        }
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = subjects.keys().copied().collect::<Vec<_>>();
        let cleaned = clean(&candidates)?;
        let collected = subjects.iter().filter(|(_, subject)| subject.biometrics);
        let collected = collected.map(|(id, _)| *id).collect::<Vec<_>>();
        for candidates in collected.chunks(AT_ONCE) {
            // By themselves: what becomes of an uploaded file is recorded with them.
            with_work_mem(|| {
                connected(|| {
                    biometric::erase::erase(call, keys, candidates, ground.reason, ground.authority)
                })
            });
        }
        let now = clock::now();
        call.shape.purpose = Short::new(ground.purpose);
        Ok(with_work_mem(|| {
            for candidates in candidates.chunks(AT_ONCE) {
                connected(|| clear(candidates, &mut subjects, now));
            }
            let access_ids = log(call, keys, &subjects, &cleaned, ground, now);
            waits::add(What::Subjects, &candidates, now);
            access_ids
        }))
    })
}

fn present(wanted: &[Wanted], reason: &str, subjects: &mut BTreeMap<[u8; 16], Subject>) {
    let asked = wanted
        .iter()
        .map(|wanted| (wanted.candidate, wanted.request))
        .collect::<HashMap<_, _>>();
    let ids = wanted
        .iter()
        .map(|wanted| pgrx::Uuid::from_bytes(wanted.candidate));
    let rows = PRESENT.run(&mut [bind(ids.collect::<Vec<_>>())]);
    for (row, fresh) in fresh_ids(rows.count).into_iter().enumerate() {
        let Some(candidate) = rows.datum(row, 5).map(uuid) else {
            continue;
        };
        let subject = subject(&rows, row, reason, fresh);
        let request = asked.get(&candidate).copied().flatten();
        if request.is_none_or(|request| subject.asked && request == subject.request) {
            subjects.insert(candidate, subject);
        }
    }
}

/// `fresh`: the id of a request that nobody made.
fn subject(rows: &Rows, row: usize, reason: &str, fresh: [u8; 16]) -> Subject {
    let request = rows.datum(row, 6).map(uuid);
    Subject {
        standing: Standing::at(rows, row),
        request: request.unwrap_or(fresh),
        reason: rows.get(row, 7).unwrap_or_else(|| reason.to_owned()),
        asked: request.is_some(),
        biometrics: rows.get(row, 8).unwrap_or(true),
        erasure_generation: 0,
    }
}

fn clear(candidates: &[[u8; 16]], subjects: &mut BTreeMap<[u8; 16], Subject>, now: i64) {
    let wanted = candidates
        .iter()
        .filter_map(|id| Some((*id, subjects.get(id)?.reason.as_str())))
        .collect::<Vec<_>>();
    let cleared = stores::clear(&wanted, now);
    if cleared.len() != candidates.len() {
        error::fault("a subject could not be erased");
    }
    for cleared in cleared {
        if let Some(subject) = subjects.get_mut(&cleared.candidate) {
            subject.standing.generation = cleared.generation;
            subject.erasure_generation = cleared.erasure_generation;
        }
    }
}

/// The events, and the requests that they fulfil. Returns their access ids.
fn log(
    call: &Call,
    keys: &Keys,
    subjects: &BTreeMap<[u8; 16], Subject>,
    cleaned: &[Cleaned],
    ground: &Ground<'_>,
    now: i64,
) -> Vec<i64> {
    let role = call.caller.role();
    let act = Act::new(ground.authority, role.as_str(), now);
    let forgotten = subjects.keys().map(|id| forgotten(cleaned, id));
    let forgotten = forgotten.collect::<Vec<_>>();
    let done = subjects
        .iter()
        .zip(&forgotten)
        .map(|((candidate, subject), forgotten)| Done {
            request: subject.request,
            candidate: *candidate,
            reason: &subject.reason,
            generation: subject.standing.generation,
            erasure_generation: subject.erasure_generation,
            forgotten: forgotten.as_deref(),
        })
        .collect::<Vec<_>>();
    let lines = subjects.values().zip(&done).map(|(subject, done)| {
        let mut entry = Entry {
            at: now + UNIX_EPOCH_MICROS,
            candidate: Some(done.candidate),
            ..Entry::now()
        };
        subject.standing.note(&mut entry);
        Line {
            entry,
            fate: Fate::event(done.digest(&keys.installation, &act)),
            fields: FieldSet::EMPTY,
        }
    });
    let access_ids = call.append_batch(keys, &lines.collect::<Vec<_>>());
    let candidates = subjects.keys().copied().collect::<Vec<_>>();
    tombstone::add_subjects(keys, &access_ids, &candidates);
    let (asked, unasked): (Vec<_>, Vec<_>) = subjects
        .values()
        .zip(done.iter().zip(access_ids.iter().copied()))
        .partition(|(subject, _)| subject.asked);
    let places = |of: Vec<(&Subject, _)>| of.into_iter().map(|(_, place)| place).collect();
    let (asked, unasked): (Vec<_>, Vec<_>) = (places(asked), places(unasked));
    if !asked.is_empty() && record::fulfil(&asked, &act) != asked.len() {
        error::fault("a request could not be fulfilled");
    }
    if !unasked.is_empty() {
        record::add_done(&unasked, &act, ground.reason);
    }
    access_ids
}

/// How many rows of each registered table went along, none included; `None` if there is no such table.
fn forgotten(cleaned: &[Cleaned], candidate: &[u8; 16]) -> Option<String> {
    let count = |table: &Cleaned| {
        let count = table.counts.get(candidate).copied().unwrap_or(0);
        format!("{}={count}", table.relation)
    };
    let tables = cleaned.iter().map(count).collect::<Vec<_>>();
    (!tables.is_empty()).then(|| tables.join(","))
}
