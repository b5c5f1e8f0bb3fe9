//! `subject_generations`: which generation the database holds, for a cache that asks whether what it has is still so. No field, no row.

use std::collections::HashMap;

use identity_core::reason::Reason;
use pgrx::pg_sys;

use crate::answer::{Rows as Answer, value};
use crate::arrays::Element;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{call, error};

sql_function!(subject_generations, pg_finfo_subject_generations, run);

const MAX_IDS: usize = 1000;

static GENERATIONS: Statement = Statement::read(
    c"SELECT candidate_id, generation FROM identity.subjects WHERE candidate_id = ANY ($1)",
    &[pg_sys::UUIDARRAYOID],
);

/// One row per id in the order given; an id that is not there has none.
fn run(arguments: Arguments) -> pg_sys::Datum {
    call::current_state();
    let ids = arguments
        .list(0, MAX_IDS, Element::Uuid)
        .unwrap_or(Err(Reason::NullArgument));
    let candidates = ids
        .unwrap_or_else(|reason| error::raise(reason))
        .into_iter()
        .map(|id| uuid(id.unwrap_or_else(|| error::raise(Reason::NullArgument))))
        .collect::<Vec<_>>();
    let generations = with_latest_snapshot(|| connected(|| look(&candidates)));
    let mut rows = Answer::of(arguments);
    for candidate in candidates {
        rows.push(&[
            value(pgrx::Uuid::from_bytes(candidate)),
            generations.get(&candidate).copied().and_then(value),
        ]);
    }
    pg_sys::Datum::from(0)
}

fn look(candidates: &[[u8; 16]]) -> HashMap<[u8; 16], i32> {
    let ids = candidates.iter().map(|id| pgrx::Uuid::from_bytes(*id));
    let rows = GENERATIONS.run(&mut [bind(ids.collect::<Vec<_>>())]);
    (0..rows.count)
        .filter_map(|row| Some((uuid(rows.datum(row, 1)?), rows.get(row, 2)?)))
        .collect()
}
