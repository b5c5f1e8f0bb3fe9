//! How long data is kept: the policies, and the sweeps that go by them.

pub mod audit;
pub mod change;
pub mod policy;
