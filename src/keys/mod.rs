//! Keys: the protected region they live in, how they get there, and what is told about them.

use crate::relation::Known;

pub mod region;
pub mod unlock;

/// Keys are loaded for one log: its oid says whether the tables are still those.
static LOG: Known = Known::new(c"pii_access_log");

/// The keys to work with, or `None` while locked. Needs a transaction.
pub fn active() -> Option<region::Keys> {
    region::active(LOG.oid())
}
