//! `reencrypt`: what older keys encrypted is encrypted with the active one, a batch at a time; a key that nothing refers to any more is retired and forgotten.
//!
//! `dek_version` of a subject is the oldest key that any of its ciphertexts may be under. Reads go on: one that began before may still hold the row as it
//! was, and a write that began before a rotation may still bring a ciphertext under the older key. So a key is retired only once every transaction is over
//! that ran when it was last used, and a look after that finds nothing.

use identity_core::envelope::{self, ClassificationsContext, FieldContext};
use identity_core::field::Field;
use identity_core::key::KeyKind;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, KeyState};
use identity_core::{EnvelopeError, context::Context};
use pgrx::{IntoDatum, pg_sys};

use super::history::Event;
use super::pending::{self, Change};
use super::region::{self, Keys};
use super::ring::{self, Ring};
use crate::bucket;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::json_text::{jsonb, object};
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::relation::Known;
use crate::sql_function::{Arguments, sql_function, uuid};

sql_function!(reencrypt, pg_finfo_reencrypt, run);

const MOST_ROWS: i32 = 10_000;
/// Subjects that are looked up at once.
const PAGE: i64 = 256;

static SUBJECTS: Known = Known::new(c"subjects");

static WAITING: Statement = Statement::read(
    c"SELECT dek_version, candidate_id FROM identity.subjects
       WHERE erased_at IS NULL AND dek_version > 0 AND dek_version < $1 AND (dek_version, candidate_id) > ($2, $3)
       ORDER BY dek_version, candidate_id LIMIT $4",
    &[
        pg_sys::INT4OID,
        pg_sys::INT4OID,
        pg_sys::UUIDOID,
        pg_sys::INT8OID,
    ],
);
static SUBJECT: Statement = Statement::read(
    c"SELECT erasure_generation, name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, biometric_classifications_ct
        FROM identity.subjects WHERE candidate_id = $1 AND erased_at IS NULL AND dek_version < $2",
    &[pg_sys::UUIDOID, pg_sys::INT4OID],
);
/// The column of `SUBJECT` that holds the first field's ciphertext; the others follow in the order of `Field`.
const FIRST_FIELD: i32 = 2;
/// Not the generation, which caches go by: no value changes. Nor when it was changed.
static UPDATE: Statement = Statement::write(
    c"UPDATE identity.subjects
         SET name_ct = $2, email_ct = $3, phone_ct = $4, address_ct = $5, ssn_ct = $6, dob_ct = $7, biometric_classifications_ct = $8, dek_version = $9
       WHERE candidate_id = $1",
    &[
        pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID,
        pg_sys::INT4OID,
    ],
);
static LEFT: Statement = Statement::read(
    c"SELECT pg_catalog.count(*) FROM identity.subjects WHERE erased_at IS NULL AND dek_version > 0 AND dek_version < $1",
    &[pg_sys::INT4OID],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::KeyRetire);
    let keys = call.admit();
    let most: i32 = call.required(arguments.get(0));
    if most < 1 {
        call.refuse(Reason::BadArgument);
    }
    if most > MOST_ROWS {
        call.refuse(Reason::TooMany);
    }
    let active = i32::try_from(keys.dek.version()).unwrap_or(i32::MAX);
    let (done, failed) = batch(&keys, active, most);
    if done > 0 {
        pending::at_commit(Change::Reencrypted);
    }
    if failed > 0 {
        pgrx::warning!("identity_pgx: {failed} subjects hold a ciphertext that does not open");
    }
    let retired = if done == 0 {
        retire(&mut call, &keys, active)
    } else {
        Vec::new()
    };
    let left = with_latest_snapshot(|| {
        connected(|| LEFT.run(&mut [bind(active)]).get::<i64>(0, 1).unwrap_or(0))
    });
    let retired = retired.iter().map(i32::to_string).collect::<Vec<_>>();
    jsonb(&object([
        ("version", active.to_string()),
        ("done", done.to_string()),
        ("failed", failed.to_string()),
        ("left", left.to_string()),
        ("retired", format!("[{}]", retired.join(","))),
    ]))
}

/// Goes over who waits, oldest keys first; whom somebody is changing is left for the next call. Returns how many were done, and how many could not be.
fn batch(keys: &Keys, active: i32, most: i32) -> (i32, i32) {
    let (mut done, mut failed) = (0, 0);
    let mut last = (0, [0; 16]);
    while done < most {
        let page = with_latest_snapshot(|| connected(|| page(active, last, most - done)));
        let Some(end) = page.last() else {
            break;
        };
        last = *end;
        for (_, candidate) in page {
            if !bucket::try_keep_writers_out(&candidate) {
                continue;
            }
            // The lock before the snapshot: what a writer before us committed is what is encrypted anew.
            match with_latest_snapshot(|| connected(|| subject(keys, active, &candidate))) {
                Ok(true) => done += 1,
                Ok(false) => {}
                Err(_) => failed += 1,
            }
        }
    }
    (done, failed)
}

fn page(active: i32, after: (i32, [u8; 16]), most: i32) -> Vec<(i32, [u8; 16])> {
    let rows = WAITING.run(&mut [
        bind(active),
        bind(after.0),
        bind(pgrx::Uuid::from_bytes(after.1)),
        bind(PAGE.min(i64::from(most))),
    ]);
    let place = |row| Some((rows.get(row, 1)?, rows.datum(row, 2).map(uuid)?));
    (0..rows.count).filter_map(place).collect()
}

/// Encrypts one subject's values anew. False if there is nothing to do any more; nothing is changed if one of them does not open.
fn subject(keys: &Keys, active: i32, candidate: &[u8; 16]) -> Result<bool, EnvelopeError> {
    let rows = SUBJECT.run(&mut [bind(pgrx::Uuid::from_bytes(*candidate)), bind(active)]);
    let Some(generation) = rows.get::<i32>(0, 1) else {
        return Ok(false);
    };
    let erasure_generation = generation.unsigned_abs();
    let mut arguments = vec![bind(pgrx::Uuid::from_bytes(*candidate))];
    for field in Field::ALL {
        let context = FieldContext {
            installation: &keys.installation,
            candidate,
            field: *field,
            erasure_generation,
        };
        arguments.push(anew(keys, &context, &rows, FIRST_FIELD + *field as i32)?);
    }
    let classifications = ClassificationsContext {
        installation: &keys.installation,
        candidate,
        erasure_generation,
    };
    let column = FIRST_FIELD + Field::ALL.len() as i32;
    arguments.push(anew(keys, &classifications, &rows, column)?);
    arguments.push(bind(active));
    Ok(UPDATE.run(&mut arguments).count > 0)
}

/// The ciphertext of a column under the active key; NULL stays NULL.
fn anew(
    keys: &Keys,
    context: &impl Context,
    rows: &Rows,
    column: i32,
) -> Result<Option<pg_sys::Datum>, EnvelopeError> {
    let Some(sealed) = rows.bytes(0, column) else {
        return Ok(None);
    };
    let version = envelope::key_version(sealed)?;
    let key = region::data_key(version).ok_or(EnvelopeError)?;
    let value = envelope::open(&key, context, sealed)?;
    let sealed = envelope::seal(&keys.dek, &clock::random(), context, &value)?;
    Ok(sealed.into_datum())
}

/// Retires the keys that nothing refers to any more. Returns their versions.
fn retire(call: &mut Call, keys: &Keys, active: i32) -> Vec<i32> {
    bucket::keyring();
    // Before the look: whoever could still bring or see a ciphertext under such a key has ended by now, and what it brought is there to be seen.
    let oldest = oldest_transaction();
    let mut retired = Vec::new();
    with_latest_snapshot(|| {
        connected(|| {
            let ring = Ring::read();
            let older = ring
                .of(KeyKind::Dek)
                .filter(|key| key.state == KeyState::VerifyOnly && key.version < active);
            for key in older {
                // By its own version: a subject whose key is older still does not keep this one.
                let next = key.version.saturating_add(1);
                let up_to = LEFT.run(&mut [bind(next)]).get::<i64>(0, 1);
                if up_to != Some(0) {
                    break;
                }
                if !region::is_quiet(key.number(), oldest) {
                    // The next call can be the later transaction that this one waits for.
                    // SAFETY: inside a transaction.
                    unsafe { pg_sys::GetCurrentTransactionId() };
                    continue;
                }
                let now = clock::now();
                call.entry.at = now + UNIX_EPOCH_MICROS;
                pending::writes_keyring();
                ring::set_state(key, KeyState::Retired, Some(now));
                let role = call.caller.role();
                Event::of(call, key, role.as_str()).record(call, keys);
                pending::at_commit(Change::Retire {
                    version: key.number(),
                });
                retired.push(key.version);
            }
        });
    });
    retired
}

/// The oldest transaction that can still be seen running by anybody in this database, where alone keys are used; in 64 bits. Not the oldest anywhere: a
/// slot of logical decoding that nobody reads holds that back for ever, and uses no key.
fn oldest_transaction() -> u64 {
    // SAFETY: a table of ours, open while its horizon is read.
    let (oldest, next) = unsafe {
        let mode = pg_sys::AccessShareLock as i32;
        let subjects = pg_sys::table_open(SUBJECTS.oid(), mode);
        let oldest = pg_sys::GetOldestNonRemovableTransactionId(subjects);
        let next = pg_sys::ReadNextFullTransactionId().value;
        pg_sys::table_close(subjects, mode);
        (oldest, next)
    };
    let behind = (next as u32).wrapping_sub(u32::from(oldest));
    next.saturating_sub(u64::from(behind))
}
