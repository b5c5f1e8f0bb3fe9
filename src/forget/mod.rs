//! Tables of applications that hold something about a subject: registered by their owners, cleaned in the transaction that erases the subject.
//!
//! What hangs on such a table (triggers, policies, functions in indexes, columns and constraints) is somebody else's code. It runs as the table's
//! owner, who can do nothing there that it could not do anyway, and none of our functions answers it.

pub mod clean;
mod event;
mod fitness;
mod guard;
mod order;
mod register;
mod statements;
mod table;
pub mod verify;

pub use clean::{Cleaned, clean, was_cancelled};
pub use fitness::counts;
pub use guard::in_progress;
pub use table::relations;
