//! How long data is kept: the policies, and the sweeps that go by them.

pub mod audit;
mod biometric;
pub mod change;
mod consent;
mod due;
pub mod gauges;
pub mod general;
pub mod lead;
pub mod nightly;
mod policies;
pub mod policy;
mod progress;
mod sweep;
