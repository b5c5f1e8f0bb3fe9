//! The scrub: what erasures left in the pages of tables and indexes is overwritten.
//!
//! An erasure makes rows dead; their bytes stay where they are. VACUUM takes the rows out of the page's order, and leaves most of the bytes in the
//! page's hole, here and on every standby. Which pages these are nobody knows afterwards: each earlier update of the subject left an older row on
//! some page. So a pass goes over all pages of every table that holds something about subjects, and rewrites those with bytes in them that belong to
//! no row. GenericXLog does the same on standbys.

mod blockers;
mod layout;
mod page;
mod pass;
mod progress;
mod relation;
pub mod rounds;
mod run;
pub mod waits;
