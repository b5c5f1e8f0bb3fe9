//! The stores that an erasure clears. This is the one list of them: what erases, what verifies that nothing came back, and what scrubs the pages all
//! read it; docs/spec/erasure.md says of every other column why it stays.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::query::{Rows, Statement, bind};

/// Tables of ours in whose pages the cleared bytes lay.
pub const RELATIONS: [&str; 3] = [
    "identity.subjects",
    "identity.subject_texts",
    "identity.files_to_destroy",
];

/// Makes the statements that name every column of a subject that is cleared.
macro_rules! cleared {
    ($($column:ident),+ $(,)?) => {
        /// Subjects that are not erased yet lose what is about them.
        static CLEAR: Statement = Statement::write(
            constant(concat!(
                "UPDATE identity.subjects SET ", $(stringify!($column), " = NULL, ",)+
                "generation = generation + 1, erasure_generation = erasure_generation + 1, erased_at = n.at, erasure_reason = n.reason, updated_at = n.at ",
                "FROM (SELECT u.id, u.reason, $3 AS at FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (id, reason)) n ",
                "WHERE candidate_id = n.id AND erased_at IS NULL RETURNING candidate_id, generation, erasure_generation\0")),
            &[pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZOID],
        );

        /// Erased subjects of whom something is there.
        static RETURNED: Statement = Statement::read(
            constant(concat!(
                "SELECT s.candidate_id::text FROM identity.subjects s WHERE s.erased_at IS NOT NULL AND (", $("s.", stringify!($column), " IS NOT NULL OR ",)+
                "EXISTS (SELECT FROM identity.subject_texts t WHERE t.candidate_id = s.candidate_id))\0")),
            &[],
        );
    };
}

cleared!(
    name_ct,
    email_ct,
    phone_ct,
    address_ct,
    ssn_ct,
    dob_ct,
    lawful_basis,
    transfer_mechanism,
    biometric_classifications_ct,
    biometric_data_path,
    biometric_collected_at,
    biometric_template_hash,
    biometric_retention_until,
);

/// Evidence, notes and whatever else was written about a subject.
static TEXTS: Statement = Statement::write(
    c"DELETE FROM identity.subject_texts WHERE candidate_id = ANY ($1)",
    &[pg_sys::UUIDARRAYOID],
);

/// A subject that was cleared, and its generations since.
pub struct Cleared {
    pub candidate: [u8; 16],
    pub generation: i32,
    pub erasure_generation: i32,
}

/// Clears the stores of some subjects, each with the reason it is erased for. Runs inside the call's snapshot.
pub fn clear(subjects: &[([u8; 16], &str)], at: i64) -> Vec<Cleared> {
    let ids = subjects
        .iter()
        .map(|(id, _)| pgrx::Uuid::from_bytes(*id))
        .collect::<Vec<_>>();
    let reasons = subjects.iter().map(|(_, reason)| *reason);
    let rows = CLEAR.run(&mut [
        bind(ids.clone()),
        bind(reasons.collect::<Vec<_>>()),
        Some(pg_sys::Datum::from(at)),
    ]);
    let cleared = (0..rows.count)
        .filter_map(|row| cleared(&rows, row))
        .collect();
    TEXTS.run(&mut [bind(ids)]);
    cleared
}

/// Subjects that were erased and of whom there is something again: their ids, as text. Runs inside a call's snapshot.
pub fn returned() -> Rows {
    RETURNED.run(&mut [])
}

fn cleared(rows: &Rows, row: usize) -> Option<Cleared> {
    Some(Cleared {
        candidate: crate::sql_function::uuid(rows.datum(row, 1)?),
        generation: rows.get(row, 2)?,
        erasure_generation: rows.get(row, 3)?,
    })
}

/// A text that ends in a zero as the statement it is.
const fn constant(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(statement) => statement,
        Err(_) => c"",
    }
}
