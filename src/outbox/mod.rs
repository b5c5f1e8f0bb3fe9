//! The outbox: what is told to the outside, and whether it arrived. A notice says that something happened and how to find it in the log, and nothing more.
//!
//! It is written in the transaction of its event, so there is one exactly if the event is. Nobody waits for its delivery: the worker takes it from here,
//! and says what became of it.

mod channels;
mod deliveries;
mod gauges;
mod notice;

pub use gauges::gauges;
pub use notice::{add, tell, tell_of_new};
