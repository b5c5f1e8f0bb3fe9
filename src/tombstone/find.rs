//! `restored_subjects`: who is there that was erased. Nobody can tell by the tombstones themselves whose they are: so those of everybody who is there are made, and
//! looked up among them.

use std::collections::HashSet;

use identity_core::reason::Reason;
use identity_core::tombstone::{MAX_TOMBSTONES, Tombstones, What};
use pgrx::pg_sys;

use crate::answer::{Rows as Answer, value};
use crate::arrays::Element;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::keys::region::Keys;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, uuid};
use crate::{call, error, keys};

sql_function!(restored_subjects, pg_finfo_restored_subjects, run);

const PAGE: i64 = 5000;

/// Whoever has any biometrics, whatever is missing of the rest, as an erasure goes by it.
static PRESENT: Statement = Statement::read(
    c"SELECT candidate_id, biometric_collected_at IS NOT NULL OR biometric_data_path IS NOT NULL OR biometric_template_hash IS NOT NULL
               OR biometric_classifications_ct IS NOT NULL OR biometric_retention_until IS NOT NULL, biometric_collected_at
        FROM identity.subjects WHERE candidate_id > $1 AND erased_at IS NULL ORDER BY candidate_id LIMIT $2",
    &[pg_sys::UUIDOID, pg_sys::INT8OID],
);
/// The same of some.
static OF_SOME: Statement = Statement::read(
    c"SELECT candidate_id, biometric_collected_at IS NOT NULL OR biometric_data_path IS NOT NULL OR biometric_template_hash IS NOT NULL
               OR biometric_classifications_ct IS NOT NULL OR biometric_retention_until IS NOT NULL, biometric_collected_at
        FROM identity.subjects WHERE candidate_id = ANY ($1) AND erased_at IS NULL ORDER BY candidate_id",
    &[pg_sys::UUIDARRAYOID],
);

/// Somebody who came back, or whose biometrics did.
#[derive(Clone, Copy)]
pub struct Back {
    pub candidate: [u8; 16],
    pub what: What,
}

/// The tombstones that a caller brings, with what makes those of others.
pub struct Search {
    wanted: HashSet<[u8; 32]>,
    maker: Tombstones,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let wanted = wanted(arguments).unwrap_or_else(|reason| error::raise(reason));
    let keys = keys::active().unwrap_or_else(|| error::raise(Reason::Locked));
    let search = Search::new(wanted, &keys);
    let mut answer = Answer::of(arguments);
    with_latest_snapshot(|| {
        for back in search.everybody() {
            let id = value(pgrx::Uuid::from_bytes(back.candidate));
            answer.push(&[id, value(back.what.as_str())]);
        }
    });
    pg_sys::Datum::from(0)
}

/// The first argument of both functions.
pub fn wanted(arguments: Arguments) -> Result<HashSet<[u8; 32]>, Reason> {
    let list = arguments.list(0, MAX_TOMBSTONES, Element::Bytes);
    let hash = |datum: Option<pg_sys::Datum>| {
        // SAFETY: an element of a bytea[].
        let bytes = unsafe {
            <&[u8] as pgrx::FromDatum>::from_datum(datum.ok_or(Reason::NullArgument)?, false)
        };
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Reason::BadArgument)
    };
    list.ok_or(Reason::NullArgument)??
        .into_iter()
        .map(hash)
        .collect()
}

impl Search {
    pub fn new(wanted: HashSet<[u8; 32]>, keys: &Keys) -> Self {
        Self {
            wanted,
            maker: super::maker(keys),
        }
    }

    /// Goes over all subjects that are not erased, in the order of their ids. Runs inside a call's snapshot.
    pub fn everybody(&self) -> Vec<Back> {
        let (mut found, mut last) = (Vec::new(), Some([0; 16]));
        while let Some(after) = last.filter(|_| !self.wanted.is_empty()) {
            pgrx::check_for_interrupts!();
            last = connected(|| {
                let rows = PRESENT.run(&mut [bind(pgrx::Uuid::from_bytes(after)), bind(PAGE)]);
                self.among(&rows, &mut found);
                rows.datum(rows.count.wrapping_sub(1), 1).map(uuid)
            });
        }
        found
    }

    /// Those of some who came back. Runs inside a call's snapshot.
    pub fn of(&self, candidates: &[[u8; 16]]) -> Vec<Back> {
        let mut found = Vec::new();
        let ids = candidates.iter().map(|id| pgrx::Uuid::from_bytes(*id));
        let ids = ids.collect::<Vec<_>>();
        connected(|| self.among(&OF_SOME.run(&mut [bind(ids)]), &mut found));
        found
    }

    /// Of whom all came back the biometrics need not be told of.
    fn among(&self, rows: &Rows, found: &mut Vec<Back>) {
        for row in 0..rows.count {
            let Some(candidate) = rows.datum(row, 1).map(uuid) else {
                continue;
            };
            let collected_at = rows.moment(row, 3).map_or(0, |at| at + UNIX_EPOCH_MICROS);
            let what = if self.wanted.contains(&self.maker.subject(&candidate)) {
                What::Subject
            } else if rows.get(row, 2) == Some(true)
                && self
                    .wanted
                    .contains(&self.maker.biometric(&candidate, collected_at))
            {
                What::Biometric
            } else {
                continue;
            };
            found.push(Back { candidate, what });
        }
    }
}
