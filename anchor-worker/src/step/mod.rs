//! What the worker does next, without doing it: the clock, the database, the signer and the store are others'. Everything here is a function of
//! what they answered, so it can be tested by the thousand.

pub mod anchor;
pub mod declared;
pub mod known;
pub mod refusal;
pub mod tombstones;
pub mod wait;
