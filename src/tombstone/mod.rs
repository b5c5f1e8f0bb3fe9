//! Tombstones: what is published of erasures, so that who comes back with a backup is found and erased again.
//!
//! | file | one job |
//! |---|---|
//! | `publish.rs` | what the worker publishes |
//! | `find.rs` | who of those that were erased is there |
//! | `erase.rs` | erases them again |
//! | `verify.rs` | every erasure has its tombstone, and nothing else has one |
//!
//! A tombstone is the authority for erasing: only an erasure writes one down, and nobody can make one without the chain's first key. So there is no function that
//! answers with the tombstone of an id.

mod erase;
mod find;
mod publish;
pub mod verify;

use identity_core::tombstone::{KEY_VERSION, Tombstones, What};
use pgrx::pg_sys;

use crate::arrays::{Element, array};
use crate::error;
use crate::keys::region::{self, Keys};
use crate::query::{Statement, bind};

/// Why somebody is erased who came back, and biometrics that did.
pub const RESTORED: &str = "restored";
/// Under what.
pub const AUTHORITY: &str = "tombstone";

static ADD: Statement = Statement::write(
    c"INSERT INTO identity.tombstones (access_id, kind, tombstone)
      SELECT n.access_id, $3, n.tombstone FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS n (access_id, tombstone)",
    &[pg_sys::INT8ARRAYOID, pg_sys::BYTEAARRAYOID, pg_sys::TEXTOID],
);

/// What makes tombstones. The chain's first key is loaded with all others: it never retires.
fn maker(keys: &Keys) -> Tombstones {
    let first = region::chain_key(KEY_VERSION);
    let maker = first.and_then(|key| Tombstones::new(&key, &keys.installation));
    maker.unwrap_or_else(|| error::fault("the chain's first key is not there"))
}

/// Keeps the tombstones of subjects under the access ids of their erasures, which are in the same order. Runs inside SPI and the call's snapshot, as the next.
pub fn add_subjects(keys: &Keys, access_ids: &[i64], candidates: &[[u8; 16]]) {
    let maker = maker(keys);
    let hashes = candidates.iter().map(|candidate| maker.subject(candidate));
    add(What::Subject, access_ids, hashes);
}

/// The same of biometrics, each with the moment of their collection in microseconds since 1970.
pub fn add_biometrics(keys: &Keys, access_ids: &[i64], collected: &[([u8; 16], i64)]) {
    let maker = maker(keys);
    let hashes = collected
        .iter()
        .map(|(candidate, at)| maker.biometric(candidate, *at));
    add(What::Biometric, access_ids, hashes);
}

fn add(what: What, access_ids: &[i64], hashes: impl Iterator<Item = [u8; 32]>) {
    let hashes = hashes.map(|hash| bind(hash.to_vec())).collect::<Vec<_>>();
    let added = ADD.run(&mut [
        bind(access_ids.to_vec()),
        Some(array(&hashes, Element::Bytes)),
        bind(what.as_str()),
    ]);
    if added.count != access_ids.len() || hashes.len() != access_ids.len() {
        error::fault("an erasure has no tombstone");
    }
}
