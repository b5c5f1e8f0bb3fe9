//! Keys: the protected region they live in, how they get there, how they are replaced, and what is told about them.
//!
//! | module | its one job |
//! |---|---|
//! | [`region`] | the keys in memory |
//! | [`pending`] | what becomes of them when a transaction commits |
//! | [`ring`] | the keyring: which keys there are |
//! | [`history`], [`verify`] | what is recorded of keys; whether the keyring is what was recorded |
//! | [`unlock`] | development keys in, all keys out, what every unlocking does |
//! | [`load`] | keys that the worker brings |
//! | [`enrol`] | a key enters the keyring, or is wrapped anew |
//! | [`rotate`], [`reencrypt`] | another key is used from here on; what older ones encrypted follows it |
//! | [`status`] | what is told about keys |

use crate::relation::Known;

mod enrol;
mod history;
mod load;
pub mod pending;
mod reencrypt;
pub mod region;
mod ring;
mod rotate;
pub mod status;
mod unlock;
pub mod verify;

/// Keys are loaded for one log: its oid says whether the tables are still those.
static LOG: Known = Known::new(c"pii_access_log");

/// The keys to work with, or `None` while locked. Needs a transaction.
pub fn active() -> Option<region::Keys> {
    region::active(LOG.oid())
}
